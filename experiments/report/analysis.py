"""The page of an analysis of tokens: its findings, figures, tables and sounds, in the look of a training's page."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codec_ft.atomic import atomic_path
from codec_ft.metrics.registry import METRICS
from experiments.report import wording
from experiments.report.players import draw_spectrograms, environment, players_view, relative_url
from experiments.report.run_folder import Run, finite, mapping, read_run
from experiments.report.tables import Column, Row, Table, column
from experiments.report.wording import show, show_percent


@dataclass(frozen=True)
class TableView:
    """A table as the template lays it out.

    `shaded`, where given, are its rows for a table of shaded cells: label, role, and text and depth 0..1 of each cell.
    """

    title: str
    hint: str
    first: str
    file: str
    table: Table
    shaded: list[tuple[str, str, list[tuple[str, float]]]] | None


def write_analysis_page(run_dir: Path) -> Path:
    """Write `index.html` of the run folder of an analysis, and the spectrogram of each sample's wav beside the wav.

    The page refers to files of the run folder by relative URLs only.

    Returns:
        Path of the page.

    Raises:
        UserError: `run_dir` is no run folder, or cannot be written to.
    """
    run_dir = Path(run_dir)
    run = read_run(run_dir, trained=False)
    pictures = draw_spectrograms(run)
    page = run_dir / "index.html"
    html = environment().get_template("analysis.html.j2").render(_view(run, pictures))
    with atomic_path(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def _view(run: Run, pictures: dict[Path, Path]) -> dict[str, Any]:
    """The template's variables."""
    results = run.results
    found = {name: mapping(table) for name, table in mapping(results.get("tables")).items()}
    plots = [(figure, run.path / figure["file"]) for figure in results.get("figures", [])]
    run.notes += [f"{file.relative_to(run.path)} is missing." for _, file in plots if not file.is_file()]
    return {
        "run": run,
        "title": str(results.get("title") or wording.setting(run.config, "id") or run.name),
        "route": " · ".join(filter(None, (wording.setting(run.config, "id"), str(results.get("origin") or "")))),
        "description": str(results.get("question") or ""),
        "facts": _facts(results),
        "findings": results.get("findings", []),
        "figures": [(figure, relative_url(file, run.path)) for figure, file in plots if file.is_file()],
        "tables": [_table_view(table, run.path) for table in found.values()],
        "definitions": _definitions(found),
        **players_view(run, pictures),
        "command": f"python scripts/run_experiment.py run {shlex.quote(str(run.path / 'config.yaml'))}",
    }


def _facts(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what a reader wants to know before the findings."""
    codec = mapping(results.get("codec"))
    rate, hop = finite(codec.get("sample_rate")), finite(codec.get("hop_length"))
    facts = [
        ("codec", str(codec.get("name") or "")),
        ("sample rate", f"{rate / 1000:g} kHz" if rate else ""),
        ("frames per second", f"{rate / hop:.4g}" if rate and hop else ""),
        ("codebooks", f"{codec.get('n_codebooks', '')} × {codec.get('codebook_size', '')}" if codec else ""),
        ("data", f"{results.get('data', '')}, {results.get('split', '')}".strip(", ")),
        ("tracks", show(results.get("tracks"))),
        ("audio of all sources", _minutes(results.get("minutes"))),
        ("measured in", wording.show_duration(results.get("seconds"))),
    ]
    return [(name, value) for name, value in facts if value not in ("", "–")]


def _minutes(value: object) -> str:
    minutes = finite(value)
    return "" if minutes is None else wording.show_duration(60 * minutes)


def _table_view(table: Mapping[str, Any], folder: Path) -> TableView:
    columns = [_column(heading) for heading in table["columns"]]
    shares = [heading["unit"] == "share" for heading in table["columns"]]
    rows = [
        Row(
            row["label"],
            "",
            [_text(value, col, share) for value, col, share in zip(row["values"], columns, shares, strict=True)],
        )
        for row in table["rows"]
    ]
    if len({col.unit for col in columns}) == 1:  # said once, by the hint
        columns = [replace(col, unit="") for col in columns]
    shaded = None
    if full := finite(table.get("full")):
        depths = [[_depth(value, full) for value in row["values"]] for row in table["rows"]]
        shaded = [
            (row.label, "", list(zip(row.cells, depth, strict=True))) for row, depth in zip(rows, depths, strict=True)
        ]
    return TableView(
        title=table["title"],
        hint=table["hint"],
        first=table["first"],
        file=relative_url(folder / table["file"], folder),
        table=Table([], columns, rows),
        shaded=shaded,
    )


def _column(heading: Mapping[str, str]) -> Column:
    """The heading of a column: that of a metric, or words of its own; the per cent of a share is in the cells."""
    if heading["label"] in METRICS:
        return column(heading["label"])
    return Column(heading["label"], "" if heading["unit"] == "share" else heading["unit"], "", "")


def _text(value: object, col: Column, share: bool) -> str:
    if isinstance(value, str):
        return value
    return show_percent(value) if share else show(value, col.unit)


def _depth(value: object, full: float) -> float:
    return min(1.0, max(0.0, (finite(value) or 0.0) / full))


def _definitions(found: Mapping[str, Mapping[str, Any]]) -> list[Column]:
    """The metrics that head a column, once each."""
    labels = {head["label"] for table in found.values() for head in table["columns"]}
    return [column(name) for name in METRICS if name in labels]
