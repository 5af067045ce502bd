"""The demo set on disk: layout, resuming, refusals, and nothing half-written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec_ft.data.demo import build
from codec_ft.data.demo.build import build_demo_set
from codec_ft.data.demo.picture import stem_spectrograms
from codec_ft.data.demo.render import mix, render_track
from codec_ft.data.demo.score import STEMS, TrackSpec
from codec_ft.errors import UserError

FILES = {f"{name}.wav" for name in (*STEMS, "mixture")}


@pytest.fixture(scope="module")
def demo_set(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("demo") / "set"
    report = build_demo_set(root, tracks={"train": 2, "test": 1}, seconds=2.0, seed=5, jobs=2)
    assert (report.made, report.skipped) == (3, 0)
    return root


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(root)): (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*") if p.is_file()}


def test_layout_and_format(demo_set):
    assert sorted(p.name for p in demo_set.iterdir()) == ["dataset.json", "test", "train"]
    tracks = [p for split in ("train", "test") for p in sorted((demo_set / split).iterdir())]
    assert [p.name[:6] for p in tracks] == ["000 - ", "001 - ", "000 - "]
    for track in tracks:
        assert {p.name for p in track.iterdir()} == FILES
        for path in track.iterdir():
            info = soundfile.info(path)
            assert (info.samplerate, info.channels, info.frames) == (44_100, 2, 88_200)
            assert (info.format, info.subtype) == ("WAV", "PCM_16")
    description = json.loads((demo_set / "dataset.json").read_text())
    assert description == {"generator": "demo", "version": build.GENERATOR_VERSION, "seed": 5, "seconds": 2.0}


def test_parallel_build_equals_rendering_here(demo_set):
    for split, index in (("train", 0), ("train", 1), ("test", 0)):
        stems = render_track(TrackSpec(5, split, index, 2.0))
        (folder,) = (demo_set / split).glob(f"{index:03d} - *")
        for stem in STEMS:
            written, _ = soundfile.read(folder / f"{stem}.wav", dtype="int16")
            assert np.array_equal(written, stems[stem])
        written, _ = soundfile.read(folder / "mixture.wav", dtype="int16")
        assert np.array_equal(written, mix(stems))


def test_a_second_run_makes_nothing(demo_set):
    before = snapshot(demo_set)
    report = build_demo_set(demo_set, tracks={"train": 2, "test": 1}, seconds=2.0, seed=5)
    assert (report.made, report.skipped) == (0, 3)
    assert snapshot(demo_set) == before


def test_more_tracks_are_added_and_leftovers_of_a_kill_removed(demo_set, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(demo_set, root)
    leftover = root / "train" / ".partial-123-002 - something"
    leftover.mkdir()
    (leftover / "drums.wav").write_bytes(b"half")
    old = snapshot(root)
    report = build_demo_set(root, tracks={"train": 3, "test": 1}, seconds=2.0, seed=5, jobs=1)
    assert (report.made, report.skipped) == (1, 3)
    assert not leftover.exists()
    assert sorted(p.name[:3] for p in (root / "train").iterdir()) == ["000", "001", "002"]
    new = snapshot(root)
    assert all(new[name] == stamp for name, stamp in old.items() if ".partial" not in name)


@pytest.mark.parametrize(
    ("change", "words"), [({"seed": 6}, "seed 5 there, 6 now"), ({"seconds": 3.0}, "seconds 2.0 there, 3.0 now")]
)
def test_other_parameters_on_the_same_folder_are_refused(demo_set, change, words):
    before = snapshot(demo_set)
    with pytest.raises(UserError, match=words):
        build_demo_set(demo_set, **({"tracks": {"train": 3}, "seconds": 2.0, "seed": 5} | change))
    assert snapshot(demo_set) == before


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "train" / "my song").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds something that was not made here\. Choose another folder"):
        build_demo_set(tmp_path, tracks={"train": 1}, seconds=2.0)
    assert not (tmp_path / "dataset.json").exists()


def test_a_broken_description_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset\.json: not the description"):
        build_demo_set(tmp_path, tracks={"train": 1}, seconds=2.0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"seconds": 0.5}, "seconds=0.5"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seed": -1}, "seed=-1"),
        ({"jobs": 0}, "jobs=0"),
        ({"tracks": {"train": -1}}, "train=-1"),
        ({"tracks": {"../x": 1}}, "folder's name"),
    ],
)
def test_bad_arguments_are_named(tmp_path, arguments, words):
    with pytest.raises(UserError, match=words):
        build_demo_set(tmp_path / "set", **arguments)
    assert not (tmp_path / "set").exists()


def test_too_small_a_disk_is_said_before_rendering(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(UserError, match="GB"):
        build_demo_set(tmp_path, tracks={"train": 1}, seconds=2.0)


def test_an_error_while_writing_leaves_no_track(tmp_path, monkeypatch):
    written = []

    def fail_at_the_third(path, *args, **kwargs):
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        Path(path).write_bytes(b"wave")

    monkeypatch.setattr(build.soundfile, "write", fail_at_the_third)
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"track 000 .*disk is full"):
        build._write_track(tmp_path, TrackSpec(5, "train", 0, 2.0))
    assert list((tmp_path / "train").iterdir()) == []


def test_a_failing_worker_is_reported_with_its_track(tmp_path, monkeypatch):
    # The split's folder has become a file when the workers want to write: they fail in their own processes.
    def replace_by_a_file(root, needed):
        shutil.rmtree(root / "train")
        (root / "train").write_text("in the way")

    monkeypatch.setattr(build, "check_space", replace_by_a_file)
    with pytest.raises(UserError, match=r"train: track 000 \(seed 5\) failed: UserError: .*cannot be written"):
        build_demo_set(tmp_path, tracks={"train": 2}, seconds=2.0, seed=5, jobs=2)


def test_a_killed_worker_is_reported_and_leaves_no_half_track(tmp_path):
    # A child of this process that dies at once stands for a worker that the system kills.
    code = (
        "import os, sys, threading, time\n"
        "from pathlib import Path\n"
        "from codec_ft.data.demo.build import build_demo_set\n"
        "from codec_ft.errors import UserError\n"
        "import multiprocessing, signal\n"
        "def kill_one():\n"
        "    root = Path(sys.argv[1]) / 'train'\n"
        "    while not list(root.glob('.partial-*')):\n"
        "        time.sleep(0.005)\n"
        "    os.kill(int(next(root.glob('.partial-*')).name.split('-')[1]), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n"
        "    threading.Thread(target=kill_one, daemon=True).start()\n"
        "    try:\n"
        "        build_demo_set(Path(sys.argv[1]), tracks={'train': 3}, seconds=4.0, jobs=2)\n"
        "    except UserError as error:\n"
        "        print(error)\n"
        "        sys.exit(2)\n"
    )
    script = tmp_path / "build_and_kill.py"
    script.write_text(code)
    ended = subprocess.run([sys.executable, str(script), str(tmp_path / "set")], capture_output=True, text=True)
    assert ended.returncode == 2
    assert "was killed" in ended.stdout
    for folder in (tmp_path / "set" / "train").iterdir():
        assert not folder.name.startswith(".")
        assert {p.name for p in folder.iterdir()} == FILES


def test_a_picture_is_drawn(demo_set, tmp_path):
    (folder,) = (demo_set / "test").iterdir()
    stem_spectrograms(folder, tmp_path / "track.png")
    assert (tmp_path / "track.png").read_bytes().startswith(b"\x89PNG")
