"""From an experiment to its configuration, and from that to its run."""

from collections.abc import Mapping, Sequence
from typing import Any

from codec_ft.config import Source, load_config, peek
from codec_ft.errors import UserError
from codec_ft.training.config import ExperimentConfig, RunConfig
from codec_ft.training.run_folder import RunFolder, run_path
from experiments.places import PROJECT
from experiments.registry.card import ScaleName, overlays, read_scale, substituted
from experiments.registry.catalogue import Experiment, choose
from experiments.run import run_experiment
from experiments.tasks import SCHEMAS
from experiments.tokens.config import TokensConfig
from experiments.tokens.run import run_tokens

RUN_OF = "run:"
"""What stands before an ID in a card where the name of its run folder belongs."""
ALL_SCHEMAS: Mapping[str, type[RunConfig]] = {**SCHEMAS, "tokens": TokensConfig}
"""The trainers, and what looks into a codec without training anything."""


def layers(experiment: Experiment, scale: ScaleName) -> list[Source]:
    """What an experiment's configuration is made of, lowest first; scales are for cards only.

    Raises:
        UserError: the scale's file is wrong.
    """
    if experiment.card is None or experiment.variant is None:
        return [experiment.file]
    size, origin, named = read_scale(scale), str(experiment.file), f"the scale {scale}"
    own = [substituted(layer, size.stand_ins) for layer in overlays(experiment.card, experiment.variant, scale)]
    cards: list[Source] = [*((origin, layer) for layer in own), (origin, {"id": experiment.id})]
    task = peek([(named, size.config), *cards], [], "task")
    return [(named, size.config), (named, size.tasks.get(str(task), {})), *cards]


def resolve(experiment: Experiment, overrides: Sequence[str] = (), scale: ScaleName = "demo") -> RunConfig:
    """The whole configuration of an experiment, with `key=value` laid over it.

    Where a card says `run:ID`, it means the run folder of another experiment with the same words laid over it, if they
    are words for it, or else with none; its name is put there.

    Raises:
        UserError: a file, a key or a value is wrong.
    """

    def named(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: named(item) for key, item in value.items()}
        if not isinstance(value, str) or not value.startswith(RUN_OF):
            return value
        return run_path(_with_words(value.removeprefix(RUN_OF), overrides, scale)).name

    parts = [
        (source[0], named(source[1])) if isinstance(source, tuple) else source for source in layers(experiment, scale)
    ]
    task = peek(parts, overrides, "task")
    if task not in ALL_SCHEMAS:
        raise UserError(f"task: is {task!r}, but there are {', '.join(ALL_SCHEMAS)}. Set task in {experiment.file}.")
    return load_config(ALL_SCHEMAS[task], parts, overrides, root=PROJECT)


def runs_before(experiment: Experiment, overrides: Sequence[str], scale: ScaleName) -> dict[str, str]:
    """The experiments that a card refers to by `run:ID`, each with the name of a run folder that `resolve` puts there.

    Raises:
        UserError: see `resolve`.
    """

    def references(value: Any) -> list[str]:
        if isinstance(value, Mapping):
            return [name for item in value.values() for name in references(item)]
        return [value.removeprefix(RUN_OF)] if isinstance(value, str) and value.startswith(RUN_OF) else []

    named = [
        name for source in layers(experiment, scale) if isinstance(source, tuple) for name in references(source[1])
    ]
    return {name: run_path(_with_words(name, overrides, scale)).name for name in named}


def run(config: RunConfig) -> RunFolder:
    """Run an experiment of any kind; one that is finished says so and does nothing.

    Raises:
        UserError: anything that the user can mend.
    """
    if isinstance(config, TokensConfig):
        return run_tokens(config)
    assert isinstance(config, ExperimentConfig)
    return run_experiment(config)


def _with_words(name: str, overrides: Sequence[str], scale: ScaleName) -> RunConfig:
    """Another experiment with the same words laid over it, if they are words for it, or else with none."""
    (other,) = choose([name])
    try:
        return resolve(other, overrides, scale)
    except UserError:
        return resolve(other, (), scale)
