"""The part of a page on which samples are heard and seen side by side."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import soundfile as sf
from tqdm import tqdm

from experiments.report import tables, training_wording, wording
from experiments.report.run_folder import CLIPS, Clip, Run, Sample, finite, mapping, printable
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


def relative_url(path: Path, base: Path) -> str:
    """URL of `path` relative to the folder `base`, quoted byte by byte: any file name is a valid one."""
    return quote(os.fsencode(path.relative_to(base)), safe="/")


def draw_spectrograms(run: Run) -> dict[Path, Path]:
    """Draw the picture of each wav beside it; one that cannot be decoded loses its player and is named in the notes.

    Pictures that are newer than their wav are kept.

    Returns:
        wav -> picture.
    """
    pictures = {}
    clips = [(sample, clip) for sample in run.samples for clip in sample.clips]
    for sample, clip in tqdm(clips, desc="spectrograms", unit="wav", leave=False, disable=None):
        try:
            pictures[clip.path] = spectrogram_png(clip.path)
        except (sf.LibsndfileError, OSError):
            run.notes.append(f"{sample.name}: {clip.name}.wav is damaged and cannot be decoded; it is left out.")
            sample.clips.remove(clip)
    return pictures


def players_view(run: Run, pictures: dict[Path, Path]) -> dict[str, Any]:
    """What `base.html.j2` and `listen.html.j2` need to show the samples of a run."""
    clips = [clip for sample in run.samples for clip in sample.clips]
    return {
        "samples": [_sample_view(run, sample, i, pictures) for i, sample in enumerate(run.samples, start=1)],
        "filter": len(run.samples) >= FILTER_FROM,
        "frequency_axes": {rate: frequency_ticks(rate) for rate in sorted({clip.sample_rate for clip in clips})},
        "time_axes": {clip_axis(clip): time_ticks(clip.seconds) for clip in clips},
        "colours": colour_bar(),
        "lowest_db": wording.show(LOWEST_DB, "dB").removesuffix(".0"),
        "highest_db": wording.show(HIGHEST_DB, "dB").removesuffix(".0"),
    }


def clip_axis(clip: Clip) -> str:
    """Name of the time axis of a clip: clips of the same length share it."""
    return f"{clip.seconds * 1000:.0f}"


@lru_cache
def environment() -> jinja2.Environment:
    """Where the templates of all pages are found."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("experiments.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def _sample_view(run: Run, sample: Sample, number: int, pictures: dict[Path, Path]) -> dict[str, Any]:
    facts = sample.facts
    seconds = max((clip.seconds for clip in sample.clips), default=0.0)
    name = str(facts.get("track") or sample.name)
    # A sample that says what each of its excerpts is decides their order, too.
    captions = mapping(facts.get("captions"))
    expected: tuple[str, ...] = tuple(captions) or CLIPS
    if training_wording.trains_decoder(run.config):
        expected = ("input", "untouched_decoder", "output", "target", "quantized_target")
    if training_wording.trains_codec(run.config):
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
                "caption": str(captions.get(clip.name) or training_wording.clip_caption(clip.name, run.config)),
                "wav": relative_url(clip.path, run.path),
                "png": relative_url(pictures[clip.path], run.path),
                "seconds": f"{clip.seconds:.3f}".rstrip("0").rstrip("."),
                "rate": clip.sample_rate,
                "axis": clip_axis(clip),
            }
            for clip in _in_order(sample.clips, list(captions))
        ],
    }


def _in_order(clips: list[Clip], names: list[str]) -> list[Clip]:
    """The clips in the order of `names`, those that it does not know after them."""
    rank = {name: i for i, name in enumerate(names)}
    return sorted(clips, key=lambda clip: rank.get(clip.name, len(names)))
