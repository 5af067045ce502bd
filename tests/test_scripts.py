"""The commands as a person types them, in processes of their own."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.tasks import PROJECT

BIN = Path(sys.executable).parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
TINY = [
    "data.seconds=0.25",
    "data.valid_seconds=0.25",
    "data.report_seconds=0.5",
    "train.steps=2",
    "train.batch_size=2",
    "train.tensorboard=false",
]


def run(command: list[object], cwd: Path) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(words, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=180)


def test_launch_from_another_folder(tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> None:
    """Paths on the command line are meant from there."""
    (tmp_path / "music").symlink_to(tiny_set)
    script = PROJECT / "scripts" / "train_codec.py"
    words = [f"codec={tiny_codec_folder}", "data.root=music", "run=mine/first", *TINY]
    done = run(
        ["accelerate", "launch", "--config_file", PROJECT / "configs/accelerate/cpu.yaml", script, *words], tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine" / "first" / "index.html").is_file()
    assert "Done. Open" in done.stderr


def test_launch_an_experiment_by_its_id(tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> None:
    script = PROJECT / "scripts" / "run_experiment.py"
    words = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", "runs=mine", "input=separated/rough", *TINY]
    launch = ["accelerate", "launch", "--config_file", PROJECT / "configs/accelerate/cpu.yaml"]
    done = run([*launch, script, "run", "N8.warm", *words], tmp_path)
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "mine").iterdir()
    assert folder.name.startswith("N8.warm-") and (folder / "index.html").is_file()


@pytest.mark.slow
def test_several_experiments_and_their_table(tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> None:
    """In processes of their own, of which one fails."""
    script = PROJECT / "scripts" / "run_experiment.py"
    words = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", "runs=mine", *TINY]
    done = run([sys.executable, script, "run", "M1.bass", "M1.vocals", "M1.drums", *words], tmp_path)
    told = done.stderr.splitlines()
    assert done.returncode == 1 and "2 of 3 experiments are finished." in told
    assert any(line.startswith("M1.vocals failed: ") and "no stem vocals" in line for line in told)
    table = run([sys.executable, script, "table", "M1", *words], tmp_path)
    assert table.returncode == 0, table.stderr
    text = (tmp_path / "RESULTS.md").read_text()
    assert "2 of 3 experiments are finished" in text and "failed: " in text


def test_launch_inside_scripts_tells_a_mistake_in_one_line() -> None:
    done = run(["accelerate", "launch", "--cpu", "train_codec.py", "train.stepz=5"], PROJECT / "scripts")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert told == ["error: train.stepz: unknown key in the command line; did you mean train.steps?"]


def test_ctrl_c_while_other_processes_read(tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> None:
    """The terminal sends it to all of them; the step is finished, a checkpoint is written, and it says so."""
    words = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", f"run={tmp_path / 'run'}", *TINY]
    words += ["train.steps=100000", "train.log_every=1", "data.workers=2"]
    process = subprocess.Popen(
        [sys.executable, PROJECT / "scripts" / "train_codec.py", *words],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.is_file() or metrics.stat().st_size == 0:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, told = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, told
    assert "Stopped at step" in told and "Traceback" not in told
    assert (tmp_path / "run" / "checkpoints" / "last.pt").is_file()


def test_sample_mistakes_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(PROJECT / "scripts" / "sample.py"))["main"]
    for options, message in [
        ({"audio": Path("a.wav"), "track": "b"}, "--track and --audio"),
        ({}, "not the folder of"),
    ]:
        with pytest.raises(SystemExit) as caught:
            main(tmp_path, **options)
        told = capsys.readouterr().err
        assert caught.value.code == 2 and told.startswith("error: ") and message in told and told.count("\n") == 1
