"""What has become of an experiment: its run folder tells, and beside it the record of how it failed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from codec_ft.atomic import atomic_path
from codec_ft.training.config import RunConfig
from codec_ft.training.run_folder import RunFolder, run_path
from experiments.report.run_folder import read_run


@dataclass(frozen=True)
class State:
    """How far a run has come; `why` says in words where it stands or why it failed."""

    kind: Literal["finished", "failed", "unfinished", "not run"]
    why: str = ""


def state_of(config: RunConfig) -> State:
    """How far the run of a configuration has come."""
    run = RunFolder(run_path(config))
    failure = _failure_file(run.path)
    if run.finished:
        return State("finished")
    if failure.is_file():
        return State("failed", failure.read_text(encoding="utf-8").strip())
    if not run.config.is_file():
        return State("not run")
    return State("unfinished", f"at step {read_run(run.path).last_step or 0}")


def record_failure(config: RunConfig, reason: str) -> None:
    """Write down why a run failed: beside its folder, which it may not have come to make."""
    with atomic_path(_failure_file(run_path(config))) as temporary:
        temporary.write_text(f"{reason}\n", encoding="utf-8")


def forget_failure(config: RunConfig) -> None:
    """Take the record of a failure away, because the run is tried again."""
    _failure_file(run_path(config)).unlink(missing_ok=True)


def _failure_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.failed")
