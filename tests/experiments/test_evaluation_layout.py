"""Finding the files of a folder by track and stem."""

import unicodedata
from pathlib import Path

import pytest

from codec_ft.errors import UserError
from experiments.evaluation.layout import find_files


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_musdb_layout_with_and_without_splits(tmp_path):
    flat = touch(tmp_path / "flat", "song/bass.wav", "song/Vocals.flac", "song/notes.txt", "song/.partial-1-drums.wav")
    assert set(find_files(flat)) == {("song", "bass"), ("song", "vocals")}
    split = touch(tmp_path / "split", "test/a/bass.wav", "train/b/bass.wav", "separated/x/test/a/bass.wav")
    assert set(find_files(split)) == {("a", "bass"), ("b", "bass")}


@pytest.mark.parametrize(
    ("pattern", "file"),
    [
        ("{stem}/{track}.wav", "bass/my song.wav"),
        ("{track}_{stem}.wav", "my song_bass.wav"),
        ("{split}-{stem}/{track}", "test-bass/my song.ogg"),
        ("{track}/{stem}", "my song/bass.mp3"),
        ("out_*/{track} - {stem}.wav", "out_123/my song - bass.wav"),
        ("{track}.stems/{stem} (*).flac", "my song.stems/bass (16 bit).flac"),
    ],
)
def test_a_pattern_describes_any_other_layout(tmp_path, pattern, file):
    assert set(find_files(touch(tmp_path, file), pattern)) == {("my song", "bass")}


def test_without_a_stem_in_the_pattern_all_files_are_of_the_one_that_is_asked_for(tmp_path):
    touch(tmp_path, "a.wav", "b.wav")
    assert set(find_files(tmp_path, "{track}.wav", "vocals")) == {("a", "vocals"), ("b", "vocals")}
    with pytest.raises(UserError, match=r"\{stem\} is missing"):
        find_files(tmp_path, "{track}.wav")


def test_the_same_name_in_two_spellings_of_unicode_is_one_track(tmp_path):
    touch(tmp_path, unicodedata.normalize("NFD", "Café") + "/bass.wav")
    assert set(find_files(tmp_path)) == {(unicodedata.normalize("NFC", "Café"), "bass")}


def test_an_item_that_is_there_twice_is_refused(tmp_path):
    touch(tmp_path, "song/bass.wav", "song/bass.flac")
    with pytest.raises(UserError, match=r"song/bass\.wav: bass of song is there twice, as .*bass\.flac"):
        find_files(tmp_path)


@pytest.mark.parametrize("pattern", ["{song}/{stem}.wav", "{track}/{track}/{stem}.wav"])
def test_a_placeholder_that_cannot_work_is_named(tmp_path, pattern):
    with pytest.raises(UserError, match=r"\{song\} cannot be used|\{track\} is there twice"):
        find_files(tmp_path, pattern)


def test_when_nothing_fits_a_file_that_is_there_is_shown(tmp_path):
    touch(tmp_path, "deep/er/bass/song.wav")
    with pytest.raises(UserError, match=r"no file fits .* there is deep/er/bass/song\.wav.*--layout"):
        find_files(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no audio files"):
        find_files(tmp_path / "empty")
    with pytest.raises(UserError, match="no such folder"):
        find_files(tmp_path / "nowhere")
