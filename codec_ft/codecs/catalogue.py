"""The table of all codecs that can be loaded by name."""

import json
from dataclasses import dataclass

from rich import box
from rich.table import Table

from codec_ft.codecs.cache import cache_folder, find_cached
from codec_ft.codecs.load import SHIPPED, read_config, shipped_names
from codec_ft.codecs.models import Summary, count_parameters, summarize
from codec_ft.codecs.releases import MIT, NOT_STATED, RELEASES


@dataclass(frozen=True)
class Entry:
    """A codec as the table shows it.

    Attributes:
        name: what `load_codec` knows it as.
        summary: its rates and codebooks.
        parameters: of the model; None where they were not published.
        licence_code: licence of the code of its authors.
        licence_weights: licence of the weights.
        kept: "yes" or "no" for a file that belongs into the cache, "always" for one that comes with the package.
    """

    name: str
    summary: Summary
    parameters: int | None
    licence_code: str
    licence_weights: str
    kept: str


def catalogue() -> list[Entry]:
    """All codecs with a name: those that were made here, then those of others."""
    shipped = []
    for name in shipped_names():
        config = read_config(SHIPPED / name)
        licence = json.loads((SHIPPED / name / "card.json").read_text())["licence"]
        shipped.append(Entry(name, summarize(config), count_parameters(config), MIT, licence, "always"))
    published = [
        Entry(
            name=release.name,
            summary=summarize(release.config),
            parameters=release.parameters,
            licence_code=release.licence_code,
            licence_weights=release.licence_weights,
            kept="yes" if find_cached(release) else "no",
        )
        for release in RELEASES.values()
    ]
    return [*shipped, *published]


def as_table(entries: list[Entry]) -> Table:
    """Entries as a table that fits into 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0)
    table.add_column("name", no_wrap=True)
    for heading in ("kHz", "ch", "frames\nper s", "code-\nbooks", "kbps", "param.\n(M)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("licence\nof code", "licence of\nweights", "cached"):
        table.add_column(heading)
    for entry in entries:
        summary = entry.summary
        table.add_row(
            entry.name,
            f"{summary.sample_rate / 1000:g}",
            str(summary.channels),
            f"{summary.frame_rate:.1f}",
            str(summary.n_codebooks),
            f"{summary.kbps:.1f}",
            f"{entry.parameters / 1e6:.1f}" if entry.parameters else "?",
            entry.licence_code,
            entry.licence_weights,
            entry.kept,
        )
    return table


def notes(entries: list[Entry]) -> str:
    """What the table does not say by itself: where the cache is, and what its words and marks stand for."""
    lines = [f"Cache: {cache_folder()}", "kbps: of all codebooks, without entropy coding."]
    if any(entry.licence_weights.startswith("CC BY-NC-SA") for entry in entries):
        lines.append("CC BY-NC-SA: no commercial use; what is made from the weights carries the same licence.")
    if any(entry.licence_weights == NOT_STATED for entry in entries):
        lines.append("not stated: the authors gave a licence for the code, and none for the weights.")
    if any(entry.parameters is None for entry in entries):
        lines.append("?: the width of the decoder was not published; the file tells it.")
    return "\n".join(lines)
