"""Many experiments in processes of their own, with a stand-in for what they run."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codec_ft.training.run_folder import run_path
from experiments.registry.catalogue import choose
from experiments.registry.queue import Outcome, Queued, run_queue, summary
from experiments.registry.resolve import resolve
from experiments.registry.state import state_of

# Called as `python fake.py SCRIPT run ID --scale SCALE key=value ...`, it does what a file named after the ID says.
FAKE = """
import json, os, pathlib, signal, sys, time
here = pathlib.Path(__file__).parent
script, run, name, flag, scale, *words = sys.argv[1:]
assert script.endswith("run_experiment.py") and (run, flag) == ("run", "--scale"), sys.argv
with (here / "started").open("a") as file:
    file.write(json.dumps([name, scale, *words]) + "\\n")
do, folder = (here / name).read_text().split("\\n")
folder = pathlib.Path(folder)
print(f"this is {name}", file=sys.stderr, flush=True)
if do == "finish":
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"id: {name}\\n")
    (folder / "results.json").write_text("{}")
    (folder / "index.html").write_text("page")
if do == "mistake":
    print("error: the oven is cold. Light it.", file=sys.stderr)
    sys.exit(2)
if do == "crash":
    raise RuntimeError("it boiled over")
if do == "launcher":
    print("RuntimeError: it boiled over", file=sys.stderr)
    print("subprocess.CalledProcessError: Command '...' returned non-zero exit status 1.", file=sys.stderr)
    sys.exit(1)
if do == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if do == "wait":  # as a training does: the first signal asks it to stop
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: stopped.append(number))
    (here / "waiting").touch()
    while not stopped:
        time.sleep(0.01)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"id: {name}\\n")
    (here / "stopped").write_text(signal.Signals(stopped[0]).name)
"""

Make = Callable[..., list[Queued]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Experiments that do what is said of them, by ID."""
    (tmp_path / "fake.py").write_text(FAKE)

    def queued(**what: str) -> list[Queued]:
        found = []
        for name, do in what.items():
            (experiment,) = choose([f"N3.{name}"])
            config = resolve(experiment, [f"runs={tmp_path / 'runs'}"])
            (tmp_path / experiment.id).write_text(f"{do}\n{run_path(config)}")
            found.append(Queued(experiment, config))
        return found

    return queued


def go(queued: list[Queued], tmp_path: Path) -> Outcome:
    return run_queue(queued, [f"runs={tmp_path / 'runs'}"], "full", [sys.executable, str(tmp_path / "fake.py")])


def started(tmp_path: Path) -> list[str]:
    file = tmp_path / "started"
    return file.read_text().splitlines() if file.is_file() else []


def test_one_that_fails_does_not_stop_the_others(make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    queued = make(bass="mistake", song="kill", drums="crash", segment="nothing", random="launcher", denoise="finish")
    outcome = go(queued, tmp_path)
    assert outcome.finished == ["N3.denoise"] and outcome.left == []
    assert outcome.failed == {
        "N3.bass": "the oven is cold. Light it.",
        "N3.song": "killed by SIGKILL, as the system does when memory runs out",
        "N3.drums": "RuntimeError: it boiled over",
        "N3.segment": "ended before its last step",
        "N3.random": "RuntimeError: it boiled over",
    }
    assert started(tmp_path)[0] == f'["N3.bass", "full", "runs={tmp_path / "runs"}"]'
    told = capfd.readouterr().err
    assert "[2/6] N3.song: one song" in told and "this is N3.denoise" in told  # what they say is passed on
    states = {entry.experiment.id: state_of(entry.config) for entry in queued}
    assert states["N3.denoise"].kind == "finished"
    assert all((states[name].kind, states[name].why) == ("failed", why) for name, why in outcome.failed.items())
    lines = summary(outcome)
    assert lines[0] == "1 of 6 experiments are finished."
    assert "N3.bass failed: the oven is cold. Light it." in lines and len(lines) == 6


def test_finished_ones_say_so_and_the_others_go_on(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    go(make(bass="finish", song="mistake"), tmp_path)
    capfd.readouterr()
    queued = make(bass="crash", song="finish")
    outcome = go(queued, tmp_path)
    assert outcome.finished == ["N3.bass", "N3.song"] and outcome.failed == {}
    assert [line.split('"')[1] for line in started(tmp_path)] == ["N3.bass", "N3.song", "N3.song"]
    folder = run_path(queued[0].config)
    assert f"{folder} is finished. Its page: {folder / 'index.html'}" in capfd.readouterr().err
    assert state_of(queued[1].config).kind == "finished"  # its old failure is no longer told


@pytest.fixture
def nothing_ignored() -> Iterator[None]:
    """Signals have their usual effect, also where the tests were started with nohup or in the background."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("nothing_ignored")
@pytest.mark.parametrize(("number", "passed"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM")])
def test_a_signal_stops_the_running_one_and_the_queue(make: Make, tmp_path: Path, number: str, passed: str) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        deadline = time.monotonic() + 30
        while not (tmp_path / "waiting").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.Signals[number])

    thread = threading.Thread(target=interrupt)
    thread.start()
    queued = make(bass="finish", song="wait", drums="finish")
    outcome = go(queued, tmp_path)
    thread.join()
    assert (outcome.finished, outcome.failed, outcome.left) == (["N3.bass"], {}, ["N3.song", "N3.drums"])
    assert (tmp_path / "stopped").read_text() == passed
    assert [state_of(entry.config).kind for entry in queued] == ["finished", "unfinished", "not run"]
    assert summary(outcome)[-1] == "Stopped before the end of N3.song, N3.drums. The same command goes on from there."
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_to_be_ignored_stays_ignored(make: Make, tmp_path: Path) -> None:
    """Under nohup a closed terminal stops nothing."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        thread = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGHUP))
        thread.start()
        outcome = go(make(bass="finish", song="finish", drums="finish"), tmp_path)
        thread.join()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert len(outcome.finished) == 3
