"""All experiments by their IDs, and what a person who types a word means by it."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codec_ft.config import Layer, read_yaml
from codec_ft.errors import UserError
from experiments.places import CONFIGS
from experiments.registry.card import Card, Variant, read_card

EXPERIMENTS = CONFIGS / "experiments"
EVERYTHING = "all"
LETTERS = "ANM"
"""The order in which the thesis comes to them; other letters follow."""
YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Experiment:
    """One thing that can be run.

    Attributes:
        id: names it on the command line and in its run folder: a card's name and a variant's, or a file's name. For
            a configuration outside the registry, its path.
        what: what it is, in a phrase.
        file: the YAML file that describes it.
        card: what it is a variant of; None for a configuration of its own.
        variant: which of the card's; None for a configuration of its own.
    """

    id: str
    what: str
    file: Path
    card: Card | None = None
    variant: Variant | None = None


@dataclass(frozen=True)
class Group:
    """What one file of the registry describes: a card with its variants, or a single experiment."""

    name: str
    title: str
    file: Path
    card: Card | None
    experiments: tuple[Experiment, ...]


def read_catalogue() -> dict[str, Group]:
    """Every file of `configs/experiments/`, by name and in the order of the thesis: N2 comes before N10, and M after N.

    Raises:
        UserError: the folder is not there, or a card is wrong.
    """
    if not EXPERIMENTS.is_dir():
        raise UserError(
            f"{EXPERIMENTS}: not there. Work in a clone of the repository, installed with: pip install -e ."
        )
    files = sorted(EXPERIMENTS.glob("*.yaml"), key=lambda path: _place(path.stem))
    return {path.stem: _read_group(path) for path in files}


def experiments() -> dict[str, Experiment]:
    """Every experiment that can be run, by its ID and in order.

    Raises:
        UserError: see `read_catalogue`.
    """
    return {experiment.id: experiment for group in read_catalogue().values() for experiment in group.experiments}


def choose(words: Sequence[str]) -> list[Experiment]:
    """The experiments that words mean, each once.

    A word is an ID (`N3.song`), a card (`N3`), a letter for all whose names it begins (`N`), `all`, or the path of a
    configuration.

    Raises:
        UserError: a word is none of these (names the nearest), or a card that is left out.
    """
    groups = read_catalogue()
    single = {experiment.id: experiment for group in groups.values() for experiment in group.experiments}
    chosen: list[Experiment] = []
    for word in words:
        family = [group for name, group in groups.items() if word in (EVERYTHING, letters(name))]
        if word.endswith(YAML):
            chosen.append(Experiment(word, "", Path(word)))
        elif word in single:
            chosen.append(single[word])
        elif word in groups:
            chosen += _of_card(groups[word])
        elif family:
            chosen += [experiment for group in family for experiment in group.experiments]
        else:
            near = difflib.get_close_matches(word, [*single, *groups], n=3, cutoff=0.0)
            raise UserError(
                f"{word}: no such experiment. Near to it are {', '.join(near)}; all are told by: "
                "python scripts/run_experiment.py list"
            )
    return list({experiment.id: experiment for experiment in chosen}.values())


def groups_of(chosen: Sequence[Experiment]) -> list[tuple[Group, list[Experiment]]]:
    """The groups of some experiments, with those of them that belong to each, in their order."""
    members: dict[Path, list[Experiment]] = {}
    for experiment in chosen:
        members.setdefault(experiment.file, []).append(experiment)
    known = {group.file: group for group in read_catalogue().values()}
    return [
        (known.get(file) or Group(file.name, "a configuration of its own", file, None, tuple(own)), own)
        for file, own in members.items()
    ]


def letters(name: str) -> str:
    """What the names of a card and of its neighbours begin with: `N` of `N3`."""
    return name.rstrip("0123456789")


def _of_card(group: Group) -> tuple[Experiment, ...]:
    if group.card is not None and group.card.left_out:
        raise UserError(f"{group.name}: is left out: {group.card.left_out}")
    return group.experiments


def _read_group(path: Path) -> Group:
    values: Layer = read_yaml(path)
    if "id" in values:  # a configuration of its own, whose first line says what it is
        what = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").rstrip(".")
        return Group(path.stem, what, path, None, (Experiment(path.stem, what, path),))
    card = read_card(path, values)
    found = (
        Experiment(f"{path.stem}.{name}", variant.what, path, card, variant) for name, variant in card.variants.items()
    )
    return Group(path.stem, card.title, path, card, tuple(found))


def _place(name: str) -> tuple[int, list[tuple[int, str]]]:
    """Sort key that puts N10 after N2, and M0 after both."""
    letter = LETTERS.find(name[:1])
    parts = [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
    return (letter if letter >= 0 else len(LETTERS), parts)
