"""What a complete reading of a file tells, and that it is never told of another file."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec_ft.data import scan
from codec_ft.data.scan import CACHE_NAME, FileGroup, FileScan, scan_files, scan_group, scan_groups
from codec_ft.errors import UserError


def test_levels_of_tones_and_silence(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    rate = 11025  # a tenth of a second is not a whole number of samples
    square = np.where(np.arange(rate) % 2, 1.0, -1.0)  # RMS = amplitude
    audio = np.concatenate([0.5 * square, np.zeros(rate), 0.01 * square])
    soundfile.write(path, np.stack([audio, audio], 1), rate, subtype="FLOAT")
    found = scan_group(FileGroup((path,))).files[path]
    assert isinstance(found, FileScan)
    assert (found.seconds, found.sample_rate, found.channels, found.subtype) == (3.0, rate, 2, "FLOAT")
    assert found.peak == 0.5
    expected = np.repeat([-6.0, -127.5, -40.0], 10)  # 20 log10(0.5) = -6.02, kept in steps of 0.5
    assert np.array_equal(found.levels_db(), expected)


def test_long_files_are_read_in_pieces_without_a_seam(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.full(12345 * 13, 0.1), 12345, subtype="FLOAT")
    found = scan_group(FileGroup((path,))).files[path]
    assert isinstance(found, FileScan)
    assert np.array_equal(found.levels_db(), np.full(130, -20.0))


def test_residual_of_a_mixture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bass, drums = rng.uniform(-0.3, 0.3, (2, 8000))
    for name, audio in {"bass": bass, "drums": drums, "sum": bass + drums, "louder": 1.1 * (bass + drums)}.items():
        soundfile.write(tmp_path / f"{name}.wav", audio, 8000, subtype="DOUBLE")
    stems = (tmp_path / "bass.wav", tmp_path / "drums.wav")

    def residual(name: str) -> float | None:
        mixture = tmp_path / f"{name}.wav"
        return scan_group(FileGroup((mixture, *stems), mixture)).residual_db

    exact, louder = residual("sum"), residual("louder")
    assert exact is not None and exact < -130
    assert louder == pytest.approx(20 * np.log10(0.1 / 1.1), abs=1e-3)
    soundfile.write(tmp_path / "short.wav", bass[:4000], 8000)
    assert residual("short") is None
    assert residual("missing") is None


def counting(monkeypatch: pytest.MonkeyPatch) -> list[FileGroup]:
    """Note every group that is really read."""
    read: list[FileGroup] = []
    original = scan.scan_group

    def counted(group: FileGroup) -> scan.GroupScan:
        read.append(group)
        return original(group)

    monkeypatch.setattr(scan, "scan_group", counted)
    return read


def test_files_are_read_again_only_if_they_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a" / "x.wav"
    path.parent.mkdir()
    soundfile.write(path, np.full(8000, 0.5), 8000)
    read = counting(monkeypatch)
    first = scan_files([path, path], tmp_path)
    assert first[path].peak == 0.5
    assert scan_files([path], tmp_path) == first
    assert len(read) == 1

    before = path.stat()
    soundfile.write(path, np.full(8000, 0.25), 8000)  # the same size ...
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # ... and the same date
    assert scan_files([path], tmp_path)[path].peak == 0.25
    assert len(read) == 2

    path.unlink()
    with pytest.raises(UserError, match=r"x\.wav: no such file"):
        scan_files([path], tmp_path)


def test_a_data_set_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    soundfile.write(tmp_path / "old/x.wav", np.full(8000, 0.5), 8000)
    scan_files([tmp_path / "old/x.wav"], tmp_path / "old")
    read = counting(monkeypatch)
    (tmp_path / "old").rename(tmp_path / "new")
    scan_files([tmp_path / "new/x.wav"], tmp_path / "new")
    assert not read


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 1, "entries": {"x.wav": {"stamp": 3}}}',
        '{"version": 1, "entries": 5}',
    ],
)
def test_a_corrupt_cache_is_ignored_and_rewritten(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.full(8000, 0.5), 8000)
    (tmp_path / CACHE_NAME).write_text(content)
    assert scan_files([path], tmp_path)[path].peak == 0.5
    assert "x.wav" in json.loads((tmp_path / CACHE_NAME).read_text())["entries"]


def test_a_folder_that_cannot_be_written_to_is_scanned_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.full(8000, 0.5), 8000)

    def refuse(*args: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    assert scan_files([path], tmp_path)[path].peak == 0.5
    assert [p.name for p in tmp_path.iterdir()] == ["x.wav"]


def test_one_bad_file_does_not_lose_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, np.full(8000, 0.5), 8000)
    soundfile.write(bad, np.full(8000, np.nan), 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"bad\.wav: holds NaN"):
        scan_files([bad, good], tmp_path)
    read = counting(monkeypatch)
    scan_groups([FileGroup((good,))], tmp_path)
    assert not read
