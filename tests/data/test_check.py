"""The check names everything that is wrong with a data set, and what to do about it."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from codec_ft.data.check import CheckReport, Finding, check_dataset
from codec_ft.errors import UserError

RATE = 8000
NOISE = np.random.default_rng(0).uniform(-0.2, 0.2, (6, 3 * RATE))


@pytest.fixture
def root(tmp_path: Path, make_track: Callable[..., Path]) -> Path:
    """Three sound training tracks and a validation track."""
    for name in ("train/a", "train/b", "train/c", "valid/v"):
        make_track(tmp_path / name)
    return tmp_path


def found(report: CheckReport) -> list[tuple[str, str, str]]:
    """Severity, file or track, and message of all findings."""
    return [
        (f.severity, str(f.file.relative_to(report.root)) if f.file else f.track, f.message) for f in report.findings
    ]


def only(report: CheckReport) -> Finding:
    """The one finding of a report."""
    assert len(report.findings) == 1, found(report)
    return report.findings[0]


def test_a_sound_set_has_no_findings(root: Path) -> None:
    report = check_dataset(root)
    assert found(report) == []
    train, valid = report.totals
    assert (train.split, train.tracks, train.seconds) == ("train", 3, pytest.approx(9.0))
    assert (train.sample_rates, train.channels, train.silent_share) == ({RATE}, {1}, 0.0)
    assert (valid.split, valid.tracks) == ("valid", 1)
    assert str(train) == "3 tracks, 9.0 s, 8 kHz, mono, 0% of the stems silent"
    assert str(valid).startswith("1 track, ")
    report.raise_if_errors()


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: 44 + (len(content) - 44) // 3])


def write(audio: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Callable[[Path], None]:
    return lambda path: soundfile.write(path, audio.T, rate, subtype=subtype)


def nan_at_two_seconds() -> np.ndarray:
    audio = NOISE[0].copy()
    audio[2 * RATE] = np.nan
    return audio


@pytest.mark.parametrize(
    ("break_it", "message", "advice"),
    [
        (truncate, "is truncated: its header promises 3.00 s, but it holds 1.00 s", "Copy or export it again"),
        (lambda path: path.write_bytes(b""), "is empty (0 bytes)", "Copy or export it again"),
        (
            lambda path: path.write_bytes(b"x" * 5000),
            "cannot be read as audio (format not recognised)",
            "Copy or export it again as wav, flac, ogg or mp3",
        ),
        (write(np.zeros((1, 0))), "holds no samples", "Copy or export it again"),
        (
            write(nan_at_two_seconds(), subtype="FLOAT"),
            "holds NaN or infinite samples, the first at 2.000 s",
            "Export it again, or leave it out",
        ),
        (
            write(NOISE[0, : 2 * RATE]),
            "is 2.00 s long, but mixture.wav is 3.00 s",
            "Export all files of a track with the same start and length",
        ),
    ],
)
def test_errors(root: Path, break_it: Callable[[Path], None], message: str, advice: str) -> None:
    bass = root / "train/b/bass.wav"
    break_it(bass)
    for report in (check_dataset(root), check_dataset(root, stem="bass")):
        finding = only(report)
        assert (finding.severity, finding.track, finding.file) == ("error", "train/b", bass)
        assert (finding.message, finding.advice) == (message, advice)
        with pytest.raises(UserError) as caught:
            report.raise_if_errors()
        assert str(caught.value) == (
            f"{root}: 1 error in the data. {bass}: {message}. {advice}. "
            f"List all with: python scripts/prepare_data.py check {root}"
        )
    # What training on another stem does not read cannot disturb it.
    assert found(check_dataset(root, stem="drums")) == []


def test_a_truncated_flac_is_an_error(root: Path) -> None:
    bass = root / "train/b/bass.wav"
    bass.unlink()
    flac = bass.with_suffix(".flac")
    soundfile.write(flac, NOISE[0], RATE)
    flac.write_bytes(flac.read_bytes()[:20000])
    (finding,) = check_dataset(root).errors
    assert finding.file == flac
    assert finding.message.startswith(("breaks off near", "is truncated"))


def test_a_missing_stem_is_an_error(root: Path) -> None:
    (root / "train/b/bass.wav").unlink()
    advice = "Add bass.wav, remove the folder, or choose another stem"
    expected = Finding("error", "train/b", None, "no stem bass (there are drums)", advice)
    assert check_dataset(root).errors == [expected]
    assert only(check_dataset(root, stem="bass")) == expected
    assert found(check_dataset(root, stem="drums")) == []
    report = check_dataset(root, stem="drum")
    assert len(report.errors) == 4
    with pytest.raises(
        UserError, match=r"4 errors in the data\. train/a: no stem drum .*did you mean drums\?.* And 2 more\."
    ):
        report.raise_if_errors()


def test_separated_inputs_are_checked(root: Path) -> None:
    with pytest.raises(UserError, match=r"separated/sep: no separated stems of sep \(there are none\)"):
        check_dataset(root, stem="bass", input="separated/sep")
    for name in ("train/a", "train/b", "valid/v"):
        (root / "separated/sep" / name).mkdir(parents=True)
        write(NOISE[0])(root / "separated/sep" / name / "bass.wav")
    write(NOISE[0, :RATE])(root / "separated/sep/train/b/bass.wav")
    report = check_dataset(root, stem="bass", input="separated/sep")
    assert sorted(found(report)) == [
        ("error", "separated/sep/train/b/bass.wav", "is 1.00 s long, but bass.wav is 3.00 s"),
        ("error", "train/c", "no such separated stem"),
    ]


def test_several_inputs_are_checked_and_noise_needs_no_file(root: Path) -> None:
    assert found(check_dataset(root, stem="bass", input=["noise", "noisy", "target"])) == []
    (root / "train/b/mixture.wav").write_bytes(b"")
    assert found(check_dataset(root, stem="bass", input=["noise", "noisy"])) == []
    report = check_dataset(root, stem="bass", input=["noisy", "mixture"])
    assert found(report) == [("error", "train/b/mixture.wav", "is empty (0 bytes)")]
    with pytest.raises(UserError, match="input=nois: no such input"):
        check_dataset(root, stem="bass", input=["mixture", "nois"])


def test_silence(root: Path) -> None:
    bass = root / "train/b/bass.wav"
    write(1e-4 * NOISE[0])(bass)
    mixture = root / "train/b/mixture.wav"
    write(NOISE[1])(mixture)
    write(NOISE[1])(root / "train/b/drums.wav")
    report = check_dataset(root)
    assert found(report) == [("note", "train/b/bass.wav", "is silent throughout")]
    assert report.totals[0].silent_share == pytest.approx(1 / 6)
    report = check_dataset(root, stem="bass")
    assert only(report).severity == "warning"
    assert only(report).advice == "Nothing to do: a track is left out where its target is silent"
    assert report.totals[0].silent_share == pytest.approx(1 / 3)
    write(0 * NOISE[0])(root / "valid/v/bass.wav")
    (error,) = check_dataset(root, stem="bass").errors
    assert (error.track, error.file, error.message) == ("valid", None, "bass is silent in all tracks")


def test_what_is_converted_is_only_noted(root: Path) -> None:
    write(NOISE[:6], subtype="FLOAT")(root / "train/a/bass.wav")
    write(np.repeat(NOISE[0], 2), 2 * RATE)(root / "train/b/bass.wav")
    write(NOISE[0], subtype="PCM_U8")(root / "train/c/bass.wav")
    write(np.repeat(NOISE[:2], 24, axis=1), 192000, "PCM_24")(root / "valid/v/bass.wav")
    report = check_dataset(root, stem="bass")
    assert found(report) == [
        ("note", "train/c/bass.wav", "has only 8 bits"),
        ("note", "train", "sample rates are mixed (8000, 16000 Hz)"),
        ("note", "train", "numbers of channels are mixed (1, 6)"),
        ("note", "valid", "sample rates are mixed (8000, 192000 Hz)"),
        ("note", "valid", "numbers of channels are mixed (1, 2)"),
    ]
    assert "8 kHz, 192 kHz, mono, stereo" in str(report.totals[1])


def test_short_loud_and_wrongly_mixed(root: Path, make_track: Callable[..., Path]) -> None:
    make_track(root / "train/short", seconds=0.1)
    write(np.where(NOISE[0] > 0.1, 1.5, NOISE[0]), subtype="FLOAT")(root / "train/c/bass.wav")
    write(0.5 * NOISE[2])(root / "train/a/mixture.wav")
    lines = found(check_dataset(root))
    for name in ("mixture", "bass", "drums"):
        assert ("warning", f"train/short/{name}.wav", "is only 0.10 s long") in lines
    assert ("note", "train/c/bass.wav", "reaches full scale (peak 1.50)") in lines
    # Three independent noises, the mixture at half level: 10 log10((1/4 + 1 + 1) / (1/4)) = 9.5 dB.
    assert any(
        where == "train/a/mixture.wav" and message.startswith("is not the sum of the stems (difference ")
        for _, where, message in lines
    )
    assert not check_dataset(root).errors


def test_difference_of_a_wrong_mixture_in_decibels(root: Path) -> None:
    bass, _ = soundfile.read(root / "train/a/bass.wav")
    drums, _ = soundfile.read(root / "train/a/drums.wav")
    write(0.8 * (bass + drums))(root / "train/a/mixture.wav")  # 20 log10(0.2 / 0.8) = -12.04 dB
    assert only(check_dataset(root)).message == "is not the sum of the stems (difference -12 dB)"


def test_without_a_mixture_the_sum_is_said_to_be_used(root: Path) -> None:
    (root / "train/a/mixture.wav").unlink()
    finding = only(check_dataset(root))
    assert (finding.severity, finding.track, finding.message) == ("note", "train/a", "no mixture file")
    assert finding.advice == "Nothing to do: the sum of its stems is used"
    write(NOISE[0, :RATE])(root / "train/a/bass.wav")
    assert ("error", "train/a/bass.wav", "is 1.00 s long, but drums.wav is 3.00 s") in found(check_dataset(root))


def test_the_second_check_is_quick_and_never_stale(root: Path) -> None:
    check_dataset(root)
    began = time.perf_counter()
    assert found(check_dataset(root)) == []
    assert time.perf_counter() - began < 0.2
    cache = root / ".check-cache.json"
    truncate(root / "train/b/bass.wav")
    assert [f.file for f in check_dataset(root).errors] == [root / "train/b/bass.wav"]
    cache.write_text("no json")
    write(NOISE[3])(root / "train/b/bass.wav")
    assert [message for _, _, message in found(check_dataset(root))] == [
        "is not the sum of the stems (difference 0 dB)"
    ]
    (root / "train/b/other.wav").write_bytes((root / "train/b/drums.wav").read_bytes())
    assert "(difference" in found(check_dataset(root))[0][2]


def test_a_flat_folder_is_checked_once(tmp_path: Path, make_track: Callable[..., Path]) -> None:
    for name in "abc":
        make_track(tmp_path / name)
    assert [(totals.split, totals.tracks) for totals in check_dataset(tmp_path).totals] == [("train", 2), ("valid", 1)]
    assert [totals.split for totals in check_dataset(tmp_path, splits=["test"]).totals] == ["test"]


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tracks found\. Expected ROOT/"):
        check_dataset(tmp_path)


def test_the_table_says_it_all(root: Path, make_track: Callable[..., Path]) -> None:
    for i in range(8):
        make_track(root / f"train/eight {i}", mixture=False)
    truncate(root / "train/b/bass.wav")
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(check_dataset(root).table())
    text = console.export_text()
    assert "11 tracks, 33.0 s, 8 kHz, mono, 0% of the stems silent" in text
    assert "train/b/bass.wav" in text and "is truncated" in text and "Copy or export it again" in text
    assert text.count("no mixture file") == 5
    assert "... and 3 more like it" in text
    assert text.index("is truncated") < text.index("no mixture file")
