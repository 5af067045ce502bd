"""Many experiments one after the other, each in a process of its own: one that fails does not stop the others."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

from codec_ft.errors import UserError
from codec_ft.training.config import RunConfig
from codec_ft.training.run_folder import run_path
from experiments.places import PROJECT
from experiments.registry.card import ScaleName
from experiments.registry.catalogue import Experiment
from experiments.registry.state import record_failure, state_of

SCRIPT = PROJECT / "scripts" / "run_experiment.py"
TAIL_BYTES = 32768
"""How much of what a process has said last is searched for the reason of its failure."""
LAUNCHER_ERROR = "CalledProcessError"
"""How `accelerate launch` ends when what it launched has failed; the reason stands before it."""


@dataclass(frozen=True)
class Queued:
    """An experiment and its configuration, which is known to be right."""

    experiment: Experiment
    config: RunConfig


@dataclass
class Outcome:
    """What became of a queue: failures by ID, with their reasons, and what was not started because of a Ctrl-C."""

    finished: list[str]
    failed: dict[str, str]
    left: list[str]


def run_queue(
    queued: Sequence[Queued], overrides: Sequence[str], scale: ScaleName, launch: Sequence[str] = (sys.executable,)
) -> Outcome:
    """Run experiments one after the other, and say at the end what became of them.

    One that is finished says so and is not run again; one that was stopped goes on. Ctrl-C, SIGTERM and a closed
    terminal stop the experiment that is running as they would stop it alone, and with it the queue.

    Args:
        queued: what to run.
        overrides: the `key=value` words with which the configurations were made.
        scale: likewise.
        launch: the command that runs a script: this Python, or `accelerate launch` with its options.

    Raises:
        UserError: the configurations share a run folder, or `launch` cannot be run.
    """
    _refuse_shared_folders(queued)
    outcome = Outcome([], {}, [])
    with Relay() as relay:
        for number, entry in enumerate(queued, start=1):
            name, config = entry.experiment.id, entry.config
            page = run_path(config) / "index.html"
            if relay.stopped:
                outcome.left.append(name)
                continue
            if state_of(config).kind == "finished" and page.is_file():
                _say(f"[{number}/{len(queued)}] {run_path(config)} is finished. Its page: {page}")
                outcome.finished.append(name)
                continue
            _say(f"[{number}/{len(queued)}] {name}: {entry.experiment.what}")
            reason = _run_one([*launch, str(SCRIPT), "run", name, "--scale", scale, *overrides], relay)
            if state_of(config).kind == "finished" and not reason:
                outcome.finished.append(name)
            elif relay.stopped:
                outcome.left.append(name)
            else:
                outcome.failed[name] = reason or "ended before its last step"
                record_failure(config, outcome.failed[name])
    return outcome


def summary(outcome: Outcome) -> list[str]:
    """What became of a queue, a line each."""
    total = len(outcome.finished) + len(outcome.failed) + len(outcome.left)
    lines = [f"{len(outcome.finished)} of {total} experiments are finished."]
    lines += [f"{name} failed: {reason}" for name, reason in outcome.failed.items()]
    if outcome.left:
        lines.append(f"Stopped before the end of {', '.join(outcome.left)}. The same command goes on from there.")
    return lines


class Relay:
    """Passes signals on to the process that is running, and remembers that the person wants to stop.

    The process has a session of its own: otherwise the terminal's Ctrl-C would reach it twice, and twice means at once.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.process: subprocess.Popen[bytes] | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Relay":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
                self._before[number] = signal.signal(number, self._pass_on)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.stopped = True
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM if number == signal.SIGHUP else number)


def _run_one(command: Sequence[str], relay: Relay) -> str:
    """Run a command, show what it says, and return why it failed; nothing if it did not."""
    try:
        relay.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
    except OSError as error:
        raise UserError(
            f"--launch {shlex.join(command[: command.index(str(SCRIPT))])}: cannot be run ({error.strerror})."
        ) from None
    assert relay.process.stderr is not None
    tail = b""
    while said := os.read(relay.process.stderr.fileno(), 4096):
        sys.stderr.buffer.write(said)
        sys.stderr.buffer.flush()
        tail = (tail + said)[-TAIL_BYTES:]
    relay.process.stderr.close()
    status = relay.process.wait()
    relay.process = None
    return _reason(status, tail.decode("utf-8", "replace")) if status else ""


def _reason(status: int, tail: str) -> str:
    """Why a process failed: the error it told, the exception that ended it, or the signal that did."""
    lines = [line.strip() for line in re.split(r"[\r\n]", tail) if line.strip()]
    told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    exceptions = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
    raised = [line for line in exceptions if LAUNCHER_ERROR not in line]
    killed = f"killed by {signal.Signals(-status).name}" if status < 0 else ""
    if killed and -status == signal.SIGKILL:
        killed += ", as the system does when memory runs out"
    return next(iter([*told[-1:], *([killed] if killed else []), *raised[-1:], *exceptions[-1:]]), f"exit {status}")


def _refuse_shared_folders(queued: Sequence[Queued]) -> None:
    owners: dict[str, str] = {}
    for entry in queued:
        folder = str(run_path(entry.config))
        other = owners.setdefault(folder, entry.experiment.id)
        if other != entry.experiment.id:
            raise UserError(
                f"{other} and {entry.experiment.id} would share the run folder {folder}. Leave run= and id= out."
            )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
