"""The experiments that have an ID: every file of `configs/experiments/` is one, named after it."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from codec_ft.config import Config, load_config, peek
from codec_ft.errors import UserError
from codec_ft.training.config import ExperimentConfig
from codec_ft.training.run_folder import RunFolder
from experiments.run import run_experiment
from experiments.tasks import CONFIGS, PROJECT, SCHEMAS
from experiments.tokens.config import TokensConfig
from experiments.tokens.run import run_tokens

EXPERIMENTS = CONFIGS / "experiments"
ALL_SCHEMAS: Mapping[str, type[Config]] = {**SCHEMAS, "tokens": TokensConfig}
"""The trainers, and what looks into a codec without training anything."""


def experiment_files() -> dict[str, Path]:
    """The file of every ID, in order: A2 comes before A10.

    Raises:
        UserError: the folder is not there.
    """
    if not EXPERIMENTS.is_dir():
        raise UserError(
            f"{EXPERIMENTS}: not there. Work in a clone of the repository, installed with: pip install -e ."
        )
    return {path.stem: path for path in sorted(EXPERIMENTS.glob("*.yaml"), key=lambda path: _natural(path.stem))}


def list_experiments() -> str:
    """A line per ID, with the first line of its file."""
    lines = {name: path.read_text(encoding="utf-8").splitlines()[0] for name, path in experiment_files().items()}
    return "\n".join(f"  {name:<6} {line.removeprefix('# ')}" for name, line in lines.items())


def choose_experiments(words: Sequence[str]) -> list[Path]:
    """The configurations that words mean: an ID, a letter for all IDs that it begins, or the path of a YAML file.

    Raises:
        UserError: a word is none of these.
    """
    files = experiment_files()
    chosen: list[Path] = []
    for word in words:
        group = [path for name, path in files.items() if re.fullmatch(rf"{re.escape(word)}\d+", name)]
        if word.endswith((".yaml", ".yml")):
            chosen.append(Path(word))
        elif word in files:
            chosen.append(files[word])
        elif group:
            chosen += group
        else:
            near = difflib.get_close_matches(word, files, n=1, cutoff=0.0)
            raise UserError(f"{word}: no such experiment. There are {', '.join(files)}; did you mean {near[0]}?")
    return list(dict.fromkeys(chosen))


def read_experiment(path: Path, overrides: Sequence[str]) -> Config:
    """The configuration of an experiment, with `key=value` laid over it.

    Raises:
        UserError: the file, a key or a value is wrong.
    """
    task = peek([path], overrides, "task")
    if task not in ALL_SCHEMAS:
        raise UserError(f"task: is {task!r}, but there are {', '.join(ALL_SCHEMAS)}. Set task in {path}.")
    return load_config(ALL_SCHEMAS[task], [path], overrides, root=PROJECT)


def run(config: Config) -> RunFolder:
    """Run an experiment of any kind; one that is finished says so and does nothing.

    Raises:
        UserError: anything that the user can mend.
    """
    if isinstance(config, TokensConfig):
        return run_tokens(config)
    assert isinstance(config, ExperimentConfig)
    return run_experiment(config)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts A10 after A2."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
