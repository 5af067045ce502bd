"""What an analysis hands back: findings, tables, figures and sounds, and how they are written into a run folder."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from codec_ft.atomic import atomic_path
from codec_ft.metrics.registry import METRICS
from codec_ft.training.samples import plain, write_sample

Cell = float | int | str | None

DOTS_PER_INCH = 150
"""Of the figures, which are 11 inches wide: sharp at the width of the page, also on a fine screen."""


@dataclass(frozen=True)
class Heading:
    """Heading of a column: a metric's key, or words of its own; the unit "share" is shown in per cent."""

    label: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers of an analysis: a CSV file of the run folder and a table on its page.

    Attributes:
        name: of the file.
        title: on the page.
        hint: what the numbers are, in a sentence or two.
        first: heading of the column of labels.
        columns: of the others.
        rows: label and cells; undefined numbers may be NaN or None.
        full: where given, cells are shaded, up to the deepest shade at this value.
    """

    name: str
    title: str
    hint: str
    first: str
    columns: Sequence[Heading]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    full: float | None = None


@dataclass(frozen=True)
class Picture:
    """A figure with the name of its file, its title and its caption on the page."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Sounds:
    """Audio `[1, N]` to be heard side by side, by name, with a caption for each."""

    name: str
    audio: Mapping[str, Tensor]
    captions: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """All that an analysis found; a finding is a sentence with measured numbers, the first the most telling."""

    findings: list[str]
    tables: list[Table]
    pictures: list[Picture]
    sounds: list[Sounds] = field(default_factory=list)


def save_outcome(outcome: Outcome, folder: Path, sample_rate: int) -> dict[str, Any]:
    """Write tables, figures and sounds of an analysis below `folder`.

    Returns:
        What of `results.json` is the analysis' own: `findings`, `tables` by name and `figures`.
    """
    for table in outcome.tables:
        _write_csv(table, folder / "tables" / f"{table.name}.csv")
    for picture in outcome.pictures:
        with atomic_path(folder / "plots" / f"{picture.name}.png") as temporary:
            picture.figure.savefig(temporary, dpi=DOTS_PER_INCH)
    for sounds in outcome.sounds:
        side_car = {"track": sounds.name, **sounds.facts, "captions": dict(sounds.captions)}
        write_sample(folder / "samples" / sounds.name, sounds.audio, sample_rate, side_car)
    return plain(
        {
            "findings": outcome.findings,
            "tables": {table.name: _describe(table) for table in outcome.tables},
            "figures": [
                {"file": f"plots/{picture.name}.png", "title": picture.title, "caption": picture.caption}
                for picture in outcome.pictures
            ],
        }
    )


def _describe(table: Table) -> dict[str, Any]:
    return {
        "file": f"tables/{table.name}.csv",
        "title": table.title,
        "hint": table.hint,
        "first": table.first,
        "columns": [{"label": heading.label, "unit": heading.unit} for heading in table.columns],
        "rows": [{"label": label, "values": list(values)} for label, values in table.rows],
        "full": table.full,
    }


def _write_csv(table: Table, path: Path) -> None:
    headings = [_words(heading) for heading in table.columns]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([table.first, *headings])
        for label, values in table.rows:
            writer.writerow([label, *(f"{value:.6g}" if isinstance(value, float) else value for value in values)])


def _words(heading: Heading) -> str:
    unit = METRICS[heading.label].unit if heading.label in METRICS else heading.unit
    return f"{heading.label} [{unit}]" if unit else heading.label
