"""Where tracks are looked for, and how they are divided."""

from pathlib import Path

import pytest
import soundfile

from codec_ft.data.tracks import (
    MUSDB_VALIDATION_TRACKS,
    find_tracks,
    input_paths,
    separated_path,
    song_tracks,
    split_folders,
)
from codec_ft.errors import UserError


def touch(root: Path, *files: str) -> None:
    """Make empty files; finding tracks looks at names only."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()


def names(root: Path, split: str) -> list[str]:
    return [track.name for track in find_tracks(root, split)]


def test_a_folder_per_split(tmp_path: Path) -> None:
    touch(tmp_path, "train/b/bass.wav", "train/a/bass.wav", "train/a/mixture.wav", "valid/c/Bass.FLAC", "test/d/x.mp3")
    touch(tmp_path, "separated/sep/train/a/bass.wav", "train/.hidden/bass.wav", "train/a/._bass.wav", "train/notes.txt")
    touch(tmp_path, "train/a/.partial-1-drums.wav", "train/empty/readme.txt")
    a, b = find_tracks(tmp_path, "train")
    assert (a.name, a.split, a.root, a.folder) == ("a", "train", tmp_path, tmp_path / "train/a")
    assert (a.stems, a.mixture) == ({"bass": tmp_path / "train/a/bass.wav"}, tmp_path / "train/a/mixture.wav")
    assert (b.stems, b.mixture) == ({"bass": tmp_path / "train/b/bass.wav"}, None)
    assert list(a.files) == ["mixture", "bass"]
    assert find_tracks(tmp_path, "valid")[0].stems == {"bass": tmp_path / "valid/c/Bass.FLAC"}
    assert names(tmp_path, "test") == ["d"]


def test_musdbs_own_validation_tracks_leave_train(tmp_path: Path) -> None:
    assert len(set(MUSDB_VALIDATION_TRACKS)) == 14
    others = [f"song {i}" for i in range(86)]
    touch(tmp_path, *(f"train/{name}/bass.wav" for name in [*MUSDB_VALIDATION_TRACKS, *others]))
    touch(tmp_path, "test/x/bass.wav")
    assert names(tmp_path, "valid") == sorted(MUSDB_VALIDATION_TRACKS)
    assert names(tmp_path, "train") == sorted(others)
    assert names(tmp_path, "test") == ["x"]


def test_without_valid_a_fixed_tenth_of_train_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, *(f"train/song {i}/bass.wav" for i in range(30)))
    train, valid = names(tmp_path, "train"), names(tmp_path, "valid")
    assert (len(train), len(valid)) == (27, 3)
    assert not set(train) & set(valid)
    # Written down: another version of the program must not move a validation track to training.
    assert valid == ["song 2", "song 5", "song 7"]
    with pytest.raises(UserError, match=r"no test tracks\. Expected ROOT/"):
        find_tracks(tmp_path, "test")


def test_a_flat_folder_is_divided_without_overlap(tmp_path: Path) -> None:
    touch(tmp_path, *(f"song {i}/bass.ogg" for i in range(20)), "separated/sep/song 1/bass.wav")
    parts = {split: {folder.name for folder in folders} for split, folders in split_folders(tmp_path).items()}
    assert {split: len(part) for split, part in parts.items()} == {"train": 16, "valid": 2, "test": 2}
    assert len(set.union(*parts.values())) == 20


def test_a_small_flat_folder_tests_on_its_validation_tracks(tmp_path: Path) -> None:
    touch(tmp_path, *(f"song {i}/bass.wav" for i in range(4)))
    assert len(names(tmp_path, "train")) == 3
    assert names(tmp_path, "test") == names(tmp_path, "valid")
    assert len(names(tmp_path, "valid")) == 1


def test_a_single_track_is_for_training(tmp_path: Path) -> None:
    touch(tmp_path, "test/bass.wav")  # a song that is called "test"
    assert names(tmp_path, "train") == ["test"]
    with pytest.raises(UserError, match="no valid tracks"):
        find_tracks(tmp_path, "valid")


def test_an_empty_folder_shows_the_tree_that_is_expected(tmp_path: Path) -> None:
    tree = r"Expected ROOT/\{train,valid,test\}/<track>/\{mixture,bass,drums,\.\.\.\}\.wav, or ROOT/<track>/<stem>\.wav"
    with pytest.raises(UserError, match=rf"{tmp_path}: no tracks found\. {tree}"):
        find_tracks(tmp_path, "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=rf"{tmp_path}: no tracks found\. {tree}"):
        find_tracks(tmp_path, "train")
    with pytest.raises(UserError, match=r"nowhere: no such folder\. Give the folder .*prepare_data\.py demo"):
        find_tracks(tmp_path / "nowhere", "train")


def test_the_folder_above_or_below_is_hinted_at(tmp_path: Path) -> None:
    touch(tmp_path, "sets/musdb18hq/train/a/bass.wav")
    with pytest.raises(UserError, match=rf"did you mean {tmp_path}/sets/musdb18hq\?"):
        find_tracks(tmp_path / "sets", "train")
    with pytest.raises(UserError, match=rf"looks like a single track: give the folder above it, {tmp_path}/sets"):
        find_tracks(tmp_path / "sets/musdb18hq/train/a", "train")


def test_missing_and_doubled_stems_and_unknown_splits(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/bass.wav", "train/a/vocals.wav", "valid/b/bass.wav", "valid/b/bass.flac")
    with pytest.raises(UserError, match=r"train/a: no stem vocal \(there are bass, vocals; did you mean vocals\?\)"):
        find_tracks(tmp_path, "train", ["vocal"])
    with pytest.raises(UserError, match=r"valid/b: bass is there twice, bass\.flac and bass\.wav\. Remove one"):
        find_tracks(tmp_path, "valid")
    with pytest.raises(UserError, match=r"split=dev: no such split\. Use one of train, valid, test"):
        find_tracks(tmp_path, "dev")
    assert find_tracks(tmp_path, "train", ["bass", "mixture"])[0].paths("mixture") == [
        tmp_path / "train/a/bass.wav",
        tmp_path / "train/a/vocals.wav",
    ]


def test_inputs_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/bass.wav", "train/a/mixture.wav", "valid/b/bass.wav", "separated/sep/train/a/bass.wav")
    (a,) = find_tracks(tmp_path, "train")
    assert input_paths(a, "bass", "mixture") == [tmp_path / "train/a/mixture.wav"]
    assert input_paths(a, "bass", "target") == [tmp_path / "train/a/bass.wav"]
    assert input_paths(a, "bass", "separated/sep") == [tmp_path / "separated/sep/train/a/bass.wav"]
    assert input_paths(a, "bass", "noisy") == [tmp_path / "train/a/bass.wav"]
    assert input_paths(a, "bass", "noise") == []
    with pytest.raises(UserError, match=r"Use mixture, target, noisy, noise or separated/<separator>"):
        input_paths(a, "bass", "mix")
    with pytest.raises(UserError, match=r"separated/sap: no separated stems of sap \(there are sep\)\. Make them"):
        input_paths(a, "bass", "separated/sap")
    with pytest.raises(UserError, match=r"separated/sep/valid/b/bass\.wav: no such separated stem\. Run the separator"):
        separated_path(tmp_path, "sep", "valid", "b", "bass")


def test_separated_stems_of_a_track_that_was_moved_to_valid(tmp_path: Path) -> None:
    name = MUSDB_VALIDATION_TRACKS[0]
    touch(tmp_path, f"train/{name}/bass.wav", "train/a/bass.wav", f"separated/sep/train/{name}/bass.flac")
    (track,) = find_tracks(tmp_path, "valid")
    assert input_paths(track, "bass", "separated/sep") == [tmp_path / f"separated/sep/train/{name}/bass.flac"]
    touch(tmp_path, f"separated/sep/valid/{name}/bass.wav")
    assert input_paths(track, "bass", "separated/sep") == [tmp_path / f"separated/sep/valid/{name}/bass.wav"]


def test_separated_stems_of_a_flat_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a/bass.wav", "b/bass.wav", "separated/sep/a/bass.wav", "separated/sep/test/b/bass.wav")
    for split in ("train", "valid"):
        for track in find_tracks(tmp_path, split):
            folder = {"a": "a", "b": "test/b"}[track.name]
            assert input_paths(track, "bass", "separated/sep") == [tmp_path / f"separated/sep/{folder}/bass.wav"]


def test_stems_of_any_format_are_readable(tmp_path: Path, make_track) -> None:
    from codec_ft.audio.files import read_audio

    for suffix in ("wav", "flac", "ogg", "mp3"):
        make_track(tmp_path / suffix, suffix=suffix, sample_rate=44100, seconds=0.5)
    for split in ("train", "valid"):
        for track in find_tracks(tmp_path, split, ["bass", "drums"]):
            audio, rate = read_audio(track.stems["bass"], start=0.1, seconds=0.2)
            assert (audio.shape, rate) == ((1, 8820), 44100)
            expected, _ = soundfile.read(track.folder / f"bass.{track.name}", dtype="float32")
            assert abs(audio[0] - expected[4410 : 4410 + 8820]).max() < 1e-6


def test_what_lies_beside_the_tracks_is_none(tmp_path: Path) -> None:
    beside = ("separated/sep/a/bass.wav", "encoded/notes.wav", "encoded/c/x.safetensors")
    touch(tmp_path, "a/bass.wav", "b/bass.wav", *beside)
    assert [track.name for split in ("train", "valid") for track in find_tracks(tmp_path, split)] == ["a", "b"]


def test_the_song_that_a_model_is_fitted_to(tmp_path: Path) -> None:
    touch(tmp_path, "train/blue moon/bass.wav", "train/old blues/bass.wav", "train/waltz/bass.wav", "valid/v/bass.wav")
    tracks = find_tracks(tmp_path, "train")
    assert [track.name for track in song_tracks(tracks, None)] == ["blue moon"]
    assert song_tracks(tracks, "waltz") == [tracks[2]]
    assert song_tracks(tracks + tracks, "waltz") == [tracks[2]]  # the same name in two data sets: the first
    with pytest.raises(UserError, match=r"data\.song=blue mon: no such train track in .*Did you mean blue moon"):
        song_tracks(tracks, "blue mon")
    with pytest.raises(UserError, match=r"Did you mean blue moon, old blues, waltz\?$"):
        song_tracks(tracks, "xyz")
