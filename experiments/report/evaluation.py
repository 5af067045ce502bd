"""The page of an evaluation: one static HTML file that opens from the disk and asks the network for nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup

from codec_ft.atomic import atomic_path
from codec_ft.metrics.registry import METRICS
from experiments.report import evaluation_tables as tables
from experiments.report import evaluation_wording as wording
from experiments.report.box_plots import Series, box_plot
from experiments.report.evaluation_players import listening_view
from experiments.report.evaluation_results import ALL, Evaluation, read_evaluation
from experiments.report.histograms import Histograms, histograms, read_counts
from experiments.report.players import environment
from experiments.report.run_folder import finite, mapping, printable
from experiments.report.tables import column
from experiments.report.wording import metric_label, metric_unit, show, show_duration


def write_evaluation_page(folder: Path) -> Path:
    """Write `index.html` from the `results.json` of an evaluation, and the spectrogram of each sample beside its wav.

    Whatever part of the results is missing is said on the page. The page refers to files of the folder by relative
    URLs only.

    Args:
        folder: holds `results.json`, and `samples/` unless the evaluation kept no audio.

    Returns:
        Path of the page.

    Raises:
        UserError: there is no such folder, its `results.json` is missing, broken or of something else, or the folder
            cannot be written to.
    """
    folder = Path(folder)
    evaluation = read_evaluation(folder)
    page = folder / "index.html"
    html = environment().get_template("evaluation.html.j2").render(_view(evaluation))
    with atomic_path(page) as temporary:
        # A file name need not be UTF-8; what cannot be written becomes a question mark.
        temporary.write_text(html, encoding="utf-8", errors="replace")
    return page


def _view(evaluation: Evaluation) -> dict[str, Any]:
    """The template's variables."""
    results, names = evaluation.results, _Names()
    leading = evaluation.columns.index(evaluation.leading) if evaluation.leading else None
    return {
        **listening_view(evaluation),
        "title": str(results.get("title") or printable(evaluation.path.resolve().name)),
        "route": "Evaluation",
        "description": _description(evaluation),
        "facts": _facts(evaluation),
        "findings": wording.findings(evaluation),
        "plots": wording.interval_plots(evaluation),
        "view_names": [(number, wording.view_name(stem)) for number, stem in enumerate(evaluation.views)],
        "systems": [(system, tables.ROLE_WORDS[system.role]) for system in evaluation.systems],
        "metrics": [(number, metric_label(name)) for number, name in enumerate(evaluation.columns)],
        "summaries": _of_views(evaluation, _summary),
        "pairs": [(table, table.heading.number == leading) for table in tables.pair_tables(evaluation)],
        "view_name": wording.view_name,
        "boxes": _of_views(evaluation, lambda evaluation, stem: _box_panels(evaluation, stem, names)),
        "names": Markup(json.dumps(names.all).replace("<", "\\u003c")),
        "rolloff": _of_views(evaluation, _rolloff),
        "tokens": _of_views(evaluation, tables.token_tables),
        "frechet": _with_views(evaluation, tables.frechet_lines(evaluation)),
        "track_headings": tables.headings(evaluation, evaluation.metrics),
        "tracks": _with_views(evaluation, tables.track_lines(evaluation)),
        "track_notes": any(row.get("notes") for row in evaluation.rows),
        "definitions": [(column(name), METRICS[name]) for name in _explained(evaluation)],
        "unknown": [metric_label(name) for name in evaluation.columns if name not in METRICS],
        "sources": [system for system in evaluation.systems if system.source],
        "not_measured": _not_measured(evaluation),
        "remarks": [str(note) for note in notes] if isinstance(notes := results.get("notes"), list) else [],
        "command": str(results.get("command") or ""),
        "files": [name for name in ("results.json", "results.csv") if (evaluation.path / name).is_file()],
    }


class _Names:
    """What the dots of all plots are called, each name once."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        if name not in self._numbers:
            self._numbers[name] = len(self.all)
            self.all.append(name)
        return self._numbers[name]


def _of_views(evaluation: Evaluation, make: Callable[[Evaluation, str], Any]) -> list[tuple[int, str, Any]]:
    """Number and name of each view, with what `make` makes of it; without those of which it makes nothing."""
    made = [(number, stem, make(evaluation, stem)) for number, stem in enumerate(evaluation.views)]
    return [(number, wording.view_name(stem), thing) for number, stem, thing in made if thing]


def _with_views(evaluation: Evaluation, lines: list[tuple[str, tables.Line]]) -> list[tuple[int | None, tables.Line]]:
    """Lines `(stem, line)` with the number of the stem's view; None for a stem that has none."""
    numbers = {stem: number for number, stem in enumerate(evaluation.views)}
    return [(numbers.get(stem), line) for stem, line in lines]


def _summary(evaluation: Evaluation, stem: str) -> dict[str, Any] | None:
    """What a stem's numbers stand on, and its tables with their headings."""
    found = {
        about: table
        for part, about in (("summary", ""), ("second", "Against the reference as the codec can say it"))
        if (table := tables.summary_table(evaluation, part, stem))
    }
    return {"stands_on": tables.coverage_words(evaluation, stem), "tables": found} if found else None


def _description(evaluation: Evaluation) -> str:
    judged = sum(system.role == "system" for system in evaluation.systems)
    if not judged:
        return ""
    beside = [system for system in evaluation.systems if system.role != "system"]
    text = f"{judged} system{'s' if judged > 1 else ''} compared with the clean stems"
    if beside:
        text += "; beside them " + ", ".join(f"“{system.name}” as {system.role}" for system in beside)
    return f"{text}."


def _facts(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Name and value of what a reader wants to know before the findings."""
    results, codec = evaluation.results, evaluation.part("codec")
    rate, channels = finite(results.get("sample_rate")), finite(results.get("channels"))
    coverage = [
        finite(mapping(found).get("seconds")) for name, found in evaluation.part("coverage").items() if name != ALL
    ]
    seconds = [number for number in coverage if number is not None]
    audio = [f"{rate / 1000:g} kHz" if rate else "", {1.0: "mono", 2.0: "stereo"}.get(channels or 0.0, "")]
    books = [tables.whole(codec.get(key)) for key in ("n_codebooks", "codebook_size")]
    facts = [
        ("references", str(results.get("references") or "")),
        ("tracks", show(len({str(row.get("track")) for row in evaluation.rows}) or None)),
        ("stems", ", ".join(evaluation.stems)),
        ("audio scored", show_duration(sum(seconds)) if seconds else ""),
        ("format", " ".join(filter(None, audio))),
        ("codec", str(codec.get("name") or "")),
        ("codebooks", " × ".join(books) if "–" not in books else ""),
        ("made", str(results.get("created") or "")),
    ]
    return [(name, value) for name, value in facts if value not in ("", "–")]


def _box_panels(evaluation: Evaluation, stem: str, names: _Names) -> list[dict[str, Any]]:
    """A box plot for each metric that has a number: over the tracks of a stem, or over all stems of all tracks."""
    rows = [row for row in evaluation.rows if stem == ALL or row.get("stem") == stem]
    panels = []
    for heading, metric in zip(tables.headings(evaluation, evaluation.metrics), evaluation.metrics, strict=True):
        found: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            value = finite(mapping(row.get("values")).get(metric))
            if value is not None:
                name = f"{row.get('track')}, {row.get('stem')}" if stem == ALL else str(row.get("track"))
                found.setdefault(str(row.get("system")), []).append((names.number(name), value))
        series = [
            Series(system.name, tables.classes(system), found[system.name]) for system in evaluation.systems_in(found)
        ]
        plot = box_plot(series, metric_unit(metric))
        if plot:
            panels.append({"heading": heading, "plot": plot})
    return panels


def _rolloff(evaluation: Evaluation, stem: str) -> Histograms | None:
    found = mapping(evaluation.part("rolloff").get(stem))
    counted = [(system, read_counts(mapping(found[system.name]))) for system in evaluation.systems_in(found)]
    return histograms(
        [(system.name, tables.classes(system), counts) for system, counts in counted if counts is not None], "cents"
    )


def _explained(evaluation: Evaluation) -> list[str]:
    """The metrics of the tables, and those of tokens and embeddings where these were measured."""
    shown = set(evaluation.columns)
    for part, family in {"tokens": tables.TOKEN_MEASURES, "frechet": ("frechet_distance", "frechet_infinity")}.items():
        if evaluation.results.get(part):
            shown |= set(family)
    return [name for name in METRICS if name in shown]


def _not_measured(evaluation: Evaluation) -> list[str]:
    parts = {
        "second": "scores against the reference as the codec can say it",
        "pairs": "paired tests",
        "rolloff": "rolloff errors",
        "frechet": "Fréchet distances",
        "tokens": "tokens",
    }
    return [words for key, words in parts.items() if not evaluation.results.get(key)]
