"""A data set of remixes: made of what it says, exactly added up, the same every time, or refused."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from codec_ft.audio.files import read_audio
from codec_ft.data import made, remix_set
from codec_ft.data.check import check_dataset
from codec_ft.data.dataset import PairDataset
from codec_ft.data.remix_set import build_remix_set, mix_16_bits
from codec_ft.data.tracks import find_tracks, split_folders
from codec_ft.errors import UserError

RATE = 8000
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_data.py"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four training tracks of 4 s: every sample of a stem is another one, in 16 bits, and tells track and place."""
    root = tmp_path_factory.mktemp("source") / "songs"
    (root / "valid" / "held out").mkdir(parents=True)
    for number in range(4):
        folder = root / "train" / f"song {number}"
        folder.mkdir(parents=True)
        for stem, sign in (("bass", 1), ("drums", -1)):
            counted = sign * (1 + np.arange(4 * RATE) // 4 + 8000 * (number % 4)) // 8
            soundfile.write(folder / f"{stem}.wav", counted.astype(np.int16), RATE)
        shutil.copy(folder / "bass.wav", folder / "mixture.wav")  # which nobody reads
    shutil.copytree(root / "train" / "song 0", root / "valid" / "held out", dirs_exist_ok=True)
    return root


@pytest.fixture
def make_song(tmp_path: Path, make_track: Callable[..., Path]) -> Callable[..., Path]:
    """A function that writes a training track of the data set `tmp_path/<name>`, which has no validation tracks."""

    def make(root: str, name: str, stems: dict[str, np.ndarray] | None = None, **options) -> Path:
        (tmp_path / root / "valid").mkdir(parents=True, exist_ok=True)
        return make_track(tmp_path / root / "train" / name, stems, **options)

    return make


def read(path: Path) -> np.ndarray:
    """The samples of a file as it holds them, int16 [C, N]."""
    return soundfile.read(path, dtype="int16", always_2d=True)[0].T


def parts(folder: Path) -> dict[str, dict]:
    return json.loads((folder / "parts.json").read_text())


def folders(root: Path) -> list[Path]:
    return sorted((root / "train").iterdir())


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p.relative_to(root)): (p.stat().st_mtime_ns, p.read_bytes()) for p in root.rglob("*") if p.is_file()}


def contents(root: Path) -> dict[str, bytes]:
    return {name: content for name, (_, content) in snapshot(root / "train").items()}


def test_stems_are_those_of_the_tracks_and_places_it_names(source: Path, tmp_path: Path) -> None:
    report = build_remix_set(source, tmp_path / "remix", tracks=12, seconds=1.5, gain_db=(0.0, 0.0), jobs=1)
    assert (report.made, report.skipped) == (12, 0)
    assert [folder.name for folder in folders(tmp_path / "remix")] == [f"remix {i:04d}" for i in range(12)]
    seen, together = set(), 0
    for folder in folders(tmp_path / "remix"):
        assert {path.name for path in folder.iterdir()} == {"bass.wav", "drums.wav", "mixture.wav", "parts.json"}
        info = soundfile.info(folder / "bass.wav")
        assert (info.samplerate, info.channels, info.frames, info.subtype) == (RATE, 1, 12000, "PCM_16")
        for stem, part in parts(folder).items():
            first = round(part["start_seconds"] * RATE)
            whole = read(source / "train" / part["track"] / f"{stem}.wav")
            assert np.array_equal(read(folder / f"{stem}.wav"), whole[:, first : first + 12000])
            seen.add((stem, part["track"], round(part["start_seconds"])))
        assert np.array_equal(read(folder / "mixture.wav"), read(folder / "bass.wav") + read(folder / "drums.wav"))
        together += parts(folder)["bass"]["track"] == parts(folder)["drums"]["track"]
    assert {track for _, track, _ in seen} == {f"song {i}" for i in range(4)}
    assert {second for _, _, second in seen} == {0, 1, 2} and together < 8


def test_all_of_it_is_for_training(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "remix"
    build_remix_set(source, out, tracks=11, seconds=1.0, jobs=1)
    found = split_folders(out)
    assert (len(found["train"]), found["valid"], found["test"]) == (11, [], [])
    report = check_dataset(out)
    assert not report.findings and [totals.tracks for totals in report.totals] == [11]
    tracks = [*find_tracks(source, "train"), *find_tracks(out, "train")]
    pairs = PairDataset(tracks=tracks, stem="bass", sample_rate=RATE, seconds=0.5, length=40, seed=0)
    assert {item["name"][:5] for item in pairs} == {"song ", "remix"}


def test_a_larger_set_holds_the_smaller_one(source: Path, tmp_path: Path) -> None:
    small, large, other = (tmp_path / name for name in ("small", "large", "other"))
    build_remix_set(source, small, tracks=2, seconds=1.0, jobs=1)
    build_remix_set(source, large, tracks=5, seconds=1.0, jobs=2)
    build_remix_set(source, other, tracks=2, seconds=1.0, seed=1, jobs=1)
    assert contents(small).items() < contents(large).items()
    assert all(contents(other)[name] != content for name, content in contents(small).items())
    report = build_remix_set(source, small, tracks=5, seconds=1.0, jobs=1)
    assert (report.made, report.skipped) == (3, 2)
    assert contents(small) == contents(large)


def test_run_again_it_makes_what_is_missing(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "remix"
    build_remix_set(source, out, tracks=3, seconds=1.0, jobs=1)
    before = snapshot(out)
    assert str(build_remix_set(source, out, tracks=3, seconds=1.0)).endswith("0 tracks made, 3 were there already")
    assert snapshot(out) == before
    shutil.move(out / "train/remix 0001", out / "train/.partial-77-remix 0001")  # as a kill leaves it
    assert build_remix_set(source, out, tracks=3, seconds=1.0, jobs=1).made == 1
    assert {name: content for name, (_, content) in snapshot(out).items()} == {
        name: content for name, (_, content) in before.items()
    }


def test_an_error_leaves_no_half_of_a_track(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def fail_at_the_fifth(path, *args, **kwargs):
        written.append(path)
        if len(written) == 5:
            raise OSError(28, "No space left on device")
        Path(path).write_bytes(b"wave")

    monkeypatch.setattr(remix_set.soundfile, "write", fail_at_the_fifth)
    with pytest.raises(UserError, match=r"remix 0001: the disk is full"):
        build_remix_set(source, tmp_path / "remix", tracks=3, seconds=1.0, jobs=1)
    assert [folder.name for folder in folders(tmp_path / "remix")] == ["remix 0000"]


def test_gains_are_within_their_range(source: Path, tmp_path: Path) -> None:
    build_remix_set(source, tmp_path / "remix", tracks=15, seconds=1.0, gain_db=(-12.0, -2.0), jobs=1)
    gains = []
    for folder in folders(tmp_path / "remix"):
        for stem, part in parts(folder).items():
            first = round(part["start_seconds"] * RATE)
            whole = read(source / "train" / part["track"] / f"{stem}.wav").astype(float)[0]
            factor = 10 ** (part["gain_db"] / 20)
            assert np.abs(read(folder / f"{stem}.wav")[0] - factor * whole[first : first + RATE]).max() < 0.6
            gains.append(part["gain_db"])
    assert -12.0 <= min(gains) < -10.0 and -4.0 < max(gains) <= -2.0


def test_what_would_clip_is_made_quieter_together(tmp_path: Path, make_song) -> None:
    for name in ("a", "b"):
        make_song("in", name, {stem: np.full(RATE, 0.75) for stem in ("bass", "drums", "other")})
    build_remix_set(tmp_path / "in", tmp_path / "out", tracks=3, seconds=1.0, gain_db=(-3.0, 3.0), jobs=1)
    for folder in folders(tmp_path / "out"):
        stems = {stem: read(folder / f"{stem}.wav").astype(int) for stem in ("bass", "drums", "other")}
        mixture = read(folder / "mixture.wav").astype(int)
        assert np.array_equal(mixture, sum(stems.values()))
        assert 0.949 * 2**15 < mixture.max() <= 0.95 * 2**15
        for stem, part in parts(folder).items():
            assert stems[stem][0, 0] == pytest.approx(0.75 * 2**15 * 10 ** (part["gain_db"] / 20), abs=1.0)


@given(level=st.floats(0, 4), count=st.integers(1, 6), channels=st.integers(1, 2), seed=st.integers(0, 2**32 - 1))
def test_the_sum_of_any_stems_fits_exactly(level: float, count: int, channels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    audio = {str(i): rng.uniform(-level, level, (channels, 50)).astype(np.float32) for i in range(count)}
    mixture, stems, factor = mix_16_bits(audio)
    assert mixture.dtype == np.int16
    assert np.array_equal(mixture, sum(steps.astype(int) for steps in stems.values()))
    for name, steps in stems.items():
        assert np.abs(steps / 2**15 - factor * audio[name].astype(float)).max() <= 0.5 / 2**15 + 1e-12
    peak = max(np.abs(total).max() for total in (sum(audio.values()), *audio.values()))
    assert factor == pytest.approx(min(1.0, 0.95 / peak), rel=1e-3) if peak else factor == 1.0


def test_every_stem_sounds(tmp_path: Path, make_song) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        stems = {stem: np.zeros(10 * RATE) for stem in ("bass", "drums")}
        for stem, audio in stems.items():
            first = round((2 + 2 * number + (stem == "bass")) * RATE)
            audio[first : first + RATE] = rng.uniform(-0.2, 0.2, RATE)
        make_song("in", f"{number}", stems)
    build_remix_set(tmp_path / "in", tmp_path / "out", tracks=20, seconds=1.0, jobs=1)
    for folder in folders(tmp_path / "out"):
        assert all(np.abs(read(folder / f"{stem}.wav")).max() > 500 for stem in ("bass", "drums"))


def test_other_rates_and_channels_become_the_commonest(tmp_path: Path, make_song) -> None:
    def tone(rate: int) -> np.ndarray:
        return 0.4 * np.sin(2 * np.pi * 500 * np.arange(2 * rate) / rate)

    for name, rate, wide in (("a", 8000, True), ("b", 8000, True), ("c", 12000, True), ("d", 8000, False)):
        stems = {stem: np.stack([tone(rate)] * 2) if wide else tone(rate) for stem in ("bass", "drums")}
        make_song("in", name, stems, sample_rate=rate)
    build_remix_set(tmp_path / "in", tmp_path / "out", tracks=12, seconds=1.0, gain_db=(0.0, 0.0), jobs=1)
    used = set()
    for folder in folders(tmp_path / "out"):
        for stem, part in parts(folder).items():
            audio, rate = read_audio(folder / f"{stem}.wav")
            assert rate == 8000 and audio.shape == (2, 8000)
            spectrum = np.abs(np.fft.rfft(audio * np.hanning(8000)))
            assert (spectrum.argmax(axis=1) == 500).all()
            used.add(part["track"])
    assert used == {"a", "b", "c", "d"}


def test_shorter_tracks_are_left_out(tmp_path: Path, make_song, caplog: pytest.LogCaptureFixture) -> None:
    for name, seconds in (("a", 2.0), ("b", 2.0), ("brief", 1.0)):
        make_song("in", name, seconds=seconds)
    build_remix_set(tmp_path / "in", tmp_path / "out", tracks=10, seconds=2.0, jobs=1)
    assert "left out, because they are shorter than 2 s: brief" in caplog.text
    found = [part for folder in folders(tmp_path / "out") for part in parts(folder).values()]
    # What is just as long as the remix always begins at its beginning.
    assert {(part["track"], part["start_seconds"]) for part in found} == {("a", 0.0), ("b", 0.0)}


# --- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "seed 0 there, 1 now"),
        ({"seconds": 2.0}, "seconds 1.0 there, 2.0 now"),
        ({"gain_db": (-3.0, 6.0)}, r"gain_db \[-6.0, 6.0\] there, \[-3.0, 6.0\] now"),
    ],
)
def test_other_parameters_on_the_same_folder_are_refused(
    source: Path, tmp_path: Path, changes: dict, words: str
) -> None:
    build_remix_set(source, tmp_path / "remix", tracks=1, seconds=1.0, jobs=1)
    before = snapshot(tmp_path / "remix")
    with pytest.raises(UserError, match=rf"holds a remix set made with other parameters \({words}\)"):
        build_remix_set(source, tmp_path / "remix", **({"tracks": 2, "seconds": 1.0, "jobs": 1} | changes))
    assert snapshot(tmp_path / "remix") == before


def test_a_source_that_has_changed_is_refused(source: Path, tmp_path: Path, make_song) -> None:
    songs, out = tmp_path / "songs", tmp_path / "remix"
    shutil.copytree(source, songs)
    build_remix_set(songs, out, tracks=1, seconds=1.0, jobs=1)
    make_song("songs", "new song")
    with pytest.raises(UserError, match=r"\(source_tracks 4 there, 5 now; source_files \w+ there, \w+ now\)"):
        build_remix_set(songs, out, tracks=2, seconds=1.0, jobs=1)


def test_what_it_is_made_from_is_written_down(source: Path, tmp_path: Path) -> None:
    build_remix_set(source, tmp_path / "first", tracks=1, seconds=1.0, seed=3, jobs=1)
    first = json.loads((tmp_path / "first/dataset.json").read_text())
    assert len(first.pop("source_files")) == 16
    made_by = first.pop("source_made_by")
    assert made_by is None and first == {
        "generator": "remix",
        "version": remix_set.GENERATOR_VERSION,
        "seed": 3,
        "seconds": 1.0,
        "gain_db": [-6.0, 6.0],
        "source": "songs",
        "source_tracks": 4,
    }
    with pytest.raises(UserError, match=r"first: remixes need two or more training tracks; there is only one"):
        build_remix_set(tmp_path / "first", tmp_path / "second", tracks=1, seconds=1.0)
    build_remix_set(source, tmp_path / "first", tracks=2, seconds=1.0, seed=3, jobs=1)
    build_remix_set(tmp_path / "first", tmp_path / "second", tracks=1, seconds=1.0, jobs=1)
    second = json.loads((tmp_path / "second/dataset.json").read_text())
    assert second["source_made_by"]["source"] == "songs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"tracks": 0}, r"--tracks 0: a set has 1 to 9999 remixes"),
        ({"seconds": 0.5}, r"--seconds 0\.5: a remix lasts a second or more"),
        ({"seconds": float("nan")}, r"--seconds nan"),
        ({"seconds": 9.0}, r"--seconds 9: .*songs has 0\. Ask for 4 s or less"),
        ({"gain_db": (3.0, -3.0)}, r"--gain-db 3 -3: must be a range from low to high"),
        ({"gain_db": (0.0, float("inf"))}, r"--gain-db 0 inf"),
        ({"seed": -1}, r"--seed -1"),
        ({"jobs": 0}, r"--jobs 0"),
    ],
)
def test_bad_arguments_are_named(source: Path, tmp_path: Path, arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        build_remix_set(source, tmp_path / "remix", **({"tracks": 2, "seconds": 1.0} | arguments))
    assert not (tmp_path / "remix").exists()


def test_folders_that_will_not_do(source: Path, tmp_path: Path, make_song) -> None:
    for out in (source, source / "train" / "remix", tmp_path / ".." / source.parent.name / "songs"):
        with pytest.raises(UserError, match=r"--out .*: lies in the data set .*songs itself\. Choose another folder"):
            build_remix_set(source, out, tracks=2, seconds=1.0)
    with pytest.raises(UserError, match=r"nowhere: no such folder"):
        build_remix_set(tmp_path / "nowhere", tmp_path / "out", tracks=2)
    with pytest.raises(UserError, match=r"holds something that was not made here\. Choose another folder"):
        build_remix_set(source, source.parent, tracks=2, seconds=1.0)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"file.*cannot be written"):
        build_remix_set(source, tmp_path / "file", tracks=2, seconds=1.0)
    for name in ("a", "b"):
        make_song("solo", name, {"bass": np.full(2 * RATE, 0.1)})
        make_song("mute", name, {"bass": np.zeros(2 * RATE), "drums": np.full(2 * RATE, 0.1)})
    with pytest.raises(UserError, match=r"solo: remixes need two or more stems .* there is only bass"):
        build_remix_set(tmp_path / "solo", tmp_path / "out", tracks=2, seconds=1.0)
    with pytest.raises(UserError, match=r"mute: none of the .* bass is silent"):
        build_remix_set(tmp_path / "mute", tmp_path / "out", tracks=2, seconds=1.0)
    assert not (tmp_path / "out").exists()


def test_too_small_a_disk_is_said_before_anything_is_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Three files of 8000 samples of 2 bytes for each of two remixes.
    for free, fits in ((95_999, False), (96_000, True)):
        usage = shutil.disk_usage(tmp_path)._replace(free=free)
        monkeypatch.setattr(made.shutil, "disk_usage", lambda path, usage=usage: usage)
        if fits:
            assert build_remix_set(source, tmp_path / "remix", tracks=2, seconds=1.0, jobs=1).made == 2
        else:
            with pytest.raises(UserError, match=r"the tracks need 0\.00 GB, but the disk has 0\.00 GB"):
                build_remix_set(source, tmp_path / "remix", tracks=2, seconds=1.0, jobs=1)


# --- the script --------------------------------------------------------------------------------------------------


def test_remixes_are_separated_like_any_data_set(tmp_path: Path, make_song, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        stems = {stem: rng.uniform(-0.1, 0.1, 3 * RATE) for stem in ("bass", "drums", "other", "vocals")}
        make_song("songs", name, stems)
    monkeypatch.chdir(tmp_path)
    app = runpy.run_path(str(SCRIPT))["app"]

    def run(*words: str):
        return CliRunner().invoke(app, words)

    words = ("remix", "--root", "songs", "--tracks", "2", "--seconds", "2", "--gain-db", "-6", "3", "--jobs", "1")
    first = run(*words)
    assert first.exit_code == 0, first.output
    out = tmp_path / "songs_remix"
    said = f"{out}: 2 tracks made, 0 were there already. Learn from them too with data.extra=[{out}]\n"
    assert first.stdout == said
    assert json.loads((out / "dataset.json").read_text())["gain_db"] == [-6.0, 3.0]
    assert "0 tracks made, 2 were there already" in run(*words).stdout
    assert run("check", str(out)).exit_code == 0
    separated = run("separate", "--with", "spectrogram", "--root", "songs_remix", "--jobs", "1")
    assert separated.exit_code == 0, separated.output
    assert "2 tracks made, 0 were there already" in separated.stdout
    settings = {"stem": "bass", "sample_rate": RATE, "seconds": 1.0, "length": 5, "seed": 0}
    pairs = PairDataset(tracks=find_tracks(out, "train"), input="separated/spectrogram", **settings)
    mixtures = PairDataset(tracks=find_tracks(out, "train"), **settings)
    for item, mixed in zip(pairs, mixtures, strict=True):
        assert 0 < (item["input"] - item["target"]).norm() < (mixed["input"] - mixed["target"]).norm()


def test_the_script_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "remix", "--root", "nowhere", "--tracks", "2"]
    environment = os.environ | {"COLUMNS": "200"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: nowhere: no such folder.") and done.stderr.count("\n") == 1
