"""The page of a run: one static HTML file that opens from the disk and asks the network for nothing."""

import os
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import soundfile as sf
from tqdm import tqdm

from codec_ft.atomic import atomic_path
from experiments.report import tables, wording
from experiments.report.curves import curve_panels
from experiments.report.run_folder import CLIPS, Clip, Run, Sample, finite, mapping, printable, read_run
from experiments.report.spectrograms import (
    HIGHEST_DB,
    LOWEST_DB,
    colour_bar,
    frequency_ticks,
    spectrogram_png,
    time_ticks,
)

# A page with many tracks opens with the first few unfolded, and gets a filter when a list is too long to scan.
OPEN_SAMPLES = 3
FILTER_FROM = 9


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
    pictures = _draw_spectrograms(run)
    page = run_dir / "index.html"
    html = _environment().get_template("page.html.j2").render(_view(run, pictures))
    with atomic_path(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def relative_url(path: Path, base: Path) -> str:
    """URL of `path` relative to the folder `base`, quoted byte by byte: any file name is a valid one."""
    return quote(os.fsencode(path.relative_to(base)), safe="/")


def _draw_spectrograms(run: Run) -> dict[Path, Path]:
    """The picture of each wav; a wav that cannot be decoded loses its player and is named in the notes."""
    pictures = {}
    clips = [(sample, clip) for sample in run.samples for clip in sample.clips]
    for sample, clip in tqdm(clips, desc="spectrograms", unit="wav", leave=False, disable=None):
        try:
            pictures[clip.path] = spectrogram_png(clip.path)
        except (sf.LibsndfileError, OSError):
            run.notes.append(f"{sample.name}: {clip.name}.wav is damaged and cannot be decoded; it is left out.")
            sample.clips.remove(clip)
    return pictures


def _view(run: Run, pictures: dict[Path, Path]) -> dict[str, Any]:
    """The template's variables."""
    results_table = tables.results_table(run.results)
    tokens = tables.token_table(mapping(run.results.get("tokens")))
    overview = tables.overview_table(run.samples)
    stem = wording.setting(run.config, "stem")
    clips = [clip for sample in run.samples for clip in sample.clips]
    remarks = run.results.get("notes")
    return {
        "run": run,
        "remarks": remarks if isinstance(remarks, list) else [],
        "title": wording.setting(run.config, "id") or run.name,
        "route": wording.route(run.config),
        "description": wording.describe(run.config),
        "facts": _facts(run),
        "codec_training": wording.trains_codec(run.config),
        "headline": wording.headline(run.results, stem),
        "progress": _progress(run),
        "dot_plots": tables.dot_plots(run.results),
        "samples": [_sample_view(run, sample, i, pictures) for i, sample in enumerate(run.samples, start=1)],
        "filter": len(run.samples) >= FILTER_FROM,
        "frequency_axes": {rate: frequency_ticks(rate) for rate in sorted({clip.sample_rate for clip in clips})},
        "time_axes": {clip_axis(clip): time_ticks(clip.seconds) for clip in clips},
        "colours": colour_bar(),
        "lowest_db": wording.show(LOWEST_DB, "dB").removesuffix(".0"),
        "highest_db": wording.show(HIGHEST_DB, "dB").removesuffix(".0"),
        "results_table": results_table,
        "overview": overview,
        "tokens": tokens,
        "usage": tables.usage_table(mapping(run.results.get("usage"))),
        "definitions": tables.definitions(results_table, with_tokens=bool(tokens)),
        "panels": curve_panels(run.curves),
        "command": f"accelerate launch scripts/train_codec.py {shlex.quote(str(run.path / 'config.yaml'))}",
        "sample_command": f"python scripts/sample.py {shlex.quote(str(run.path))}",
    }


def clip_axis(clip: Clip) -> str:
    """Name of the time axis of a clip: clips of the same length share it."""
    return f"{clip.seconds * 1000:.0f}"


def _facts(run: Run) -> list[tuple[str, str]]:
    """Name and value of the few facts that a reader wants before the results."""
    results = run.results
    facts = [
        ("codec", wording.setting(run.config, "codec")),
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


def _sample_view(run: Run, sample: Sample, number: int, pictures: dict[Path, Path]) -> dict[str, Any]:
    facts = sample.facts
    seconds = max((clip.seconds for clip in sample.clips), default=0.0)
    name = str(facts.get("track") or sample.name)
    expected: tuple[str, ...] = CLIPS
    if wording.trains_codec(run.config):
        expected = ("output", "target")
        name += f", {facts['stem']}" if "stem" in facts else ""
    where = f"{seconds:.1f} s"
    start = finite(facts.get("start"))
    if start is not None:
        where += f" from {start:.1f} s"
    return {
        "id": f"sample-{number}",
        "name": name,
        "where": where,
        "checkpoint": printable(str(facts.get("checkpoint") or "")),
        "open": number <= OPEN_SAMPLES,
        "missing": [f"{name}.wav" for name in sample.missing(expected)],
        "table": tables.sample_table(sample),
        "tokens": tables.token_table(mapping(facts.get("token_accuracy"))),
        "clips": [
            {
                "name": clip.name,
                "label": wording.CLIP_LABELS.get(clip.name, clip.name),
                "caption": wording.clip_caption(clip.name, run.config),
                "wav": relative_url(clip.path, run.path),
                "png": relative_url(pictures[clip.path], run.path),
                "seconds": f"{clip.seconds:.3f}".rstrip("0").rstrip("."),
                "rate": clip.sample_rate,
                "axis": clip_axis(clip),
            }
            for clip in sample.clips
        ],
    }


@lru_cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
