"""The folder of a run: one configuration, one folder; the same command again resumes it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from codec_ft.atomic import atomic_path, remove_leftovers
from codec_ft.config import config_hash, differences, load_config, peek, save_yaml
from codec_ft.errors import UserError
from codec_ft.training.config import ExperimentConfig, RunConfig

Schema = TypeVar("Schema", bound=ExperimentConfig)


class RunFolder:
    """Paths and records of one run.

    `config.yaml` (everything resolved), `metrics.jsonl`, `checkpoints/`, `samples/`, `results.json` (when
    finished), `index.html`.
    """

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.results = path / "results.json"

    @property
    def finished(self) -> bool:
        """Whether the results have been written."""
        return self.results.is_file()

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line to `metrics.jsonl`; what is not finite becomes null, which JSON can hold."""
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
        with self.metrics.open("a") as file:
            file.write(json.dumps(clean) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the lines of `metrics.jsonl` beyond `step`: they belong to steps that will be taken again."""
        if not self.metrics.is_file():
            return
        kept = []
        for line in self.metrics.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue  # A kill can cut the last line; its step is taken again.
            if record["step"] <= step:
                kept.append(line)
        with atomic_path(self.metrics) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept))

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write the results; from now on the run is finished."""
        with atomic_path(self.results) as temporary:
            temporary.write_text(json.dumps(results, indent=1))


def run_path(config: RunConfig) -> Path:
    """The run folder of a configuration."""
    return config.run or config.runs / run_name(config)


def run_name(config: RunConfig) -> str:
    """The name of a configuration's run, which no other configuration has."""
    return f"{config.id}-{config_hash(config)}"


def open_run(config: RunConfig) -> RunFolder:
    """Make the folder of a configuration, or find it again.

    Raises:
        UserError: the folder belongs to another configuration, or holds files that are not a run's.
    """
    run = RunFolder(run_path(config))
    if run.path.is_dir():
        remove_leftovers(run.path)
    if run.config.is_file():
        try:
            old = load_config(type(config), [run.config], root=Path.cwd())
        except UserError as error:
            raise UserError(
                f"{run.path}: was made by another version or trainer ({error}) Choose another run=."
            ) from None
        changed = differences(old, config)
        if changed:
            raise UserError(
                f"{run.path}: holds a run with another configuration ({'; '.join(changed)}). "
                "Choose another run=, or leave run= out to get a folder of its own."
            )
    elif run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        raise UserError(f"{run.path}: is not empty and holds no config.yaml, so it is not a run. Choose another run=.")
    else:
        with atomic_path(run.config) as temporary:
            save_yaml(config, temporary)
    run.checkpoints.mkdir(exist_ok=True)
    return run


def read_finished(path: Path, schemas: Mapping[str, type[Schema]], what: str) -> Schema:
    """The configuration of a finished run of one of some trainers.

    Args:
        path: the run's folder.
        schemas: the trainers' names and configurations.
        what: what they train, in words.

    Raises:
        UserError: the run is not finished, or trained something else.
    """
    run = RunFolder(path)
    if not run.finished:
        raise UserError(f"{path}: the training is not finished; run its command again until it says so.")
    task = peek([run.config], [], "task")
    if task not in schemas:
        raise UserError(f"{run.config}: is of a training of task {task!r}, expected {what}: {', '.join(schemas)}.")
    return load_config(schemas[task], [run.config], root=Path.cwd())
