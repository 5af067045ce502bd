"""The script that makes and checks data, run as its users run it."""

import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

import codec_ft.data.demo.build as demo_build
import codec_ft.data.separators.build as separators_build
from codec_ft.data.separators.stand_ins.source import StandInSource

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_data.py"


def run(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_check_exits_by_what_it_found(tmp_path: Path, make_track: Callable[..., Path]) -> None:
    for name in ("train/a", "train/b", "valid/v"):
        make_track(tmp_path / "set" / name)
    good = run("check", "set", cwd=tmp_path)
    assert (good.returncode, good.stderr.count("error")) == (0, 0)
    assert "2 tracks" in good.stdout

    (tmp_path / "set/train/b/bass.wav").write_bytes(b"")
    bad = run("check", tmp_path / "set", "--stem", "bass", cwd=tmp_path)
    assert bad.returncode == 1
    assert "train/b/bass.wav" in bad.stdout and "is empty (0 bytes)" in bad.stdout and "Copy or export" in bad.stdout
    assert "Traceback" not in bad.stderr


def test_what_is_no_data_set_gets_one_line(tmp_path: Path) -> None:
    result = run("check", tmp_path / "nowhere", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {tmp_path}/nowhere: no such folder. Give the folder of a data set")
    assert result.stderr.count("\n") == 1


def test_demo_makes_a_set_that_passes_the_check(tmp_path: Path) -> None:
    words = ("--train", 1, "--valid", 1, "--test", 0, "--seconds", 2, "--jobs", 1, "--no-separators")
    made = run("demo", "--root", "demo", *words, cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert "The demo data set is in demo" in made.stdout
    mixtures = sorted((tmp_path / "demo").glob("*/*/mixture.wav"))
    assert [path.parts[-3] for path in mixtures] == ["train", "valid"]
    info = soundfile.info(mixtures[0])
    assert (info.samplerate, info.channels, info.subtype, info.duration) == (44100, 2, "PCM_16", 2.0)
    check = run("check", "demo", cwd=tmp_path)
    assert check.returncode == 0, check.stdout
    assert "44.1 kHz, stereo" in check.stdout


def test_demo_stands_beside_the_script_and_is_separated_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple] = []
    monkeypatch.setattr(demo_build, "build_demo_set", lambda root, **options: calls.append((root, options)))

    def record(root: Path, source: StandInSource, **options: object) -> None:
        calls.append((root, source.name, source.seed, options))

    monkeypatch.setattr(separators_build, "build_separated", record)
    monkeypatch.chdir(tmp_path)
    app = runpy.run_path(str(SCRIPT))["app"]
    result = CliRunner().invoke(app, ["demo", "--seed", "5", "--jobs", "2"])
    assert result.exit_code == 0, result.output
    root = SCRIPT.parents[1] / "data" / "demo"
    tracks = {"train": 24, "valid": 4, "test": 6}
    assert calls == [
        (root, {"tracks": tracks, "seconds": 20.0, "seed": 5, "jobs": 2}),
        (root, "spectrogram", 5, {"jobs": 2}),
        (root, "waveform", 5, {"jobs": 2}),
    ]


def separate(*words: object) -> Result:
    app = runpy.run_path(str(SCRIPT))["app"]
    return CliRunner().invoke(app, ["separate", *map(str, words)])


def test_separate_with_files_says_how_well_they_do(
    tmp_path: Path, make_track: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train/a", "valid/v"):
        make_track(tmp_path / "set" / name)
        for stem in ("bass", "drums"):
            target = tmp_path / "spleeter" / f"{Path(name).name}_{stem}.wav"
            target.parent.mkdir(exist_ok=True)
            audio, rate = soundfile.read(tmp_path / "set" / name / f"{stem}.wav")
            soundfile.write(target, 0.9 * audio, rate)
    monkeypatch.chdir(tmp_path)
    words = ("--with", "folder", "--root", "set", "--source", "spleeter", "--layout", "{track}_{stem}", "--jobs", 1)
    first = separate(*words)
    assert first.exit_code == 0, first.output
    assert first.stdout.count("20.00") == 4  # a tenth is missing of everything
    assert "set/separated/spleeter: 2 tracks made, 0 were there already." in first.stdout
    assert "input=separated/spleeter" in first.stdout
    again = separate(*words, "--name", "spleeter")
    assert "0 tracks made, 2 were there already." in again.stdout


def test_separate_tells_a_mistake_in_one_line(tmp_path: Path, make_track: Callable[..., Path]) -> None:
    make_track(tmp_path / "set" / "train" / "a")
    result = separate("--with", "open_unmix_demoo", "--root", tmp_path / "set")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: open_unmix_demoo: no such separator; did you mean open_unmix_demo?")
    assert result.stderr.count("\n") == 1


def test_launched_processes_share_the_tracks(tmp_path: Path, make_track: Callable[..., Path]) -> None:
    for number in range(5):
        source = make_track(tmp_path / "set" / "train" / f"song {number}")
        shutil.copytree(source, tmp_path / "given" / source.name, ignore=lambda *_: ["mixture.wav"])
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [SCRIPT, "separate", "--with", "folder", "--root", "set", "--source", "given"]
    environment = os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launch, *map(str, words)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 tracks made by the first of 2 processes, 0 were there already." in done.stdout
    assert done.stdout.count("SDR-med") == 1
    assert len(list((tmp_path / "set" / "separated" / "given").glob("*/*/levels.json"))) == 5
