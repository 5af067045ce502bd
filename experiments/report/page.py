"""The page of a run: one static HTML file that opens from the disk and asks the network for nothing."""

import shlex
from pathlib import Path
from typing import Any

from codec_ft.atomic import atomic_path
from experiments.report import tables, training_wording, wording
from experiments.report.curves import curve_panels
from experiments.report.players import draw_spectrograms, environment, players_view
from experiments.report.run_folder import Run, finite, mapping, read_run


def write_page(run_dir: Path) -> Path:
    """Write `index.html` of a run folder, and the spectrogram of each sample's wav beside the wav.

    Pictures that are newer than their wav are kept. Whatever is missing or broken in the folder is said on the
    page. The page refers to files of the run folder by relative URLs only.

    Args:
        run_dir: folder as the training loop writes it; it may be unfinished.

    Returns:
        Path of the page.

    Raises:
        UserError: `run_dir` is no run folder, or cannot be written to.
    """
    run_dir = Path(run_dir)
    run = read_run(run_dir)
    pictures = draw_spectrograms(run)
    page = run_dir / "index.html"
    html = environment().get_template("page.html.j2").render(_view(run, pictures))
    with atomic_path(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def _view(run: Run, pictures: dict[Path, Path]) -> dict[str, Any]:
    """The template's variables."""
    results_table = tables.results_table(run.results)
    tokens = tables.token_table(mapping(run.results.get("tokens")))
    overview = tables.overview_table(run.samples)
    panels = curve_panels(run.curves)
    stem = wording.setting(run.config, "stem")
    remarks = run.results.get("notes")
    return {
        "run": run,
        "remarks": remarks if isinstance(remarks, list) else [],
        "title": wording.setting(run.config, "id") or run.name,
        "route": training_wording.route(run.config),
        "description": training_wording.describe(run.config),
        "facts": _facts(run),
        "from_scratch": training_wording.trains_codec(run.config) or training_wording.trains_separator(run.config),
        "headline": wording.headline(run.results, stem),
        "progress": _progress(run),
        "dot_plots": tables.dot_plots(run.results),
        **players_view(run, pictures),
        "results_table": results_table,
        "overview": overview,
        "tokens": tokens,
        "usage": tables.usage_table(mapping(run.results.get("usage"))),
        "definitions": tables.definitions(results_table, with_tokens=bool(tokens)),
        "panels": [panel for panel in panels if not panel.aside],
        "aside": [panel for panel in panels if panel.aside],
        "command": f"accelerate launch scripts/train_codec.py {shlex.quote(str(run.path / 'config.yaml'))}",
        "sample_command": f"python scripts/sample.py {shlex.quote(str(run.path))}",
    }


def _facts(run: Run) -> list[tuple[str, str]]:
    """Name and value of the few facts that a reader wants before the results."""
    results = run.results
    facts = [
        ("codec", wording.setting(run.config, "codec")),
        ("loss", training_wording.loss_words(run.config)),
        ("heard in training", training_wording.shares_heard(run.config)),
        ("steps", wording.show(results.get("steps", run.last_step))),
        ("training time", wording.show_duration(results.get("seconds"))),
        ("trained parameters", wording.show(results.get("parameters"))),
        ("training tracks", wording.show(results.get("train_tracks"))),
        ("validation tracks", wording.show(results.get("valid_tracks"))),
        ("evaluated on", _evaluated_on(results)),
    ]
    return [(name, value) for name, value in facts if value not in ("", "–")]


def _evaluated_on(results: dict[str, Any]) -> str:
    """Number, length and split of the excerpts behind the table; empty when that is not written down."""
    excerpts, seconds = finite(results.get("excerpts")), finite(results.get("excerpt_seconds"))
    if excerpts is None or seconds is None:
        return ""
    return f"{excerpts:.0f} × {seconds:g} s of {results.get('report_split', 'data')}"


def _progress(run: Run) -> str:
    """How far an unfinished run came; empty for a finished one."""
    if run.finished:
        return ""
    if run.last_step is None:
        return "No results yet: nothing has been logged so far."
    total = mapping(run.config.get("train")).get("steps")
    of_total = f" of {total}" if isinstance(total, int) else ""
    return f"No final results yet: the last logged step is {run.last_step}{of_total}. What is there is shown below."
