"""Histograms of errors, a row of inline SVG for each system on one axis (Schaffer et al., 2022, fig. 5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from experiments.report.box_plots import LARGEST, axis
from experiments.report.curves import linear_ticks, show_tick
from experiments.report.run_folder import finite
from experiments.report.wording import show

WIDTH, HEIGHT = 1000, 64


@dataclass(frozen=True)
class Counts:
    """How often errors fell between neighbouring edges, with their median and quartiles (None: not known)."""

    edges: np.ndarray
    counts: np.ndarray
    median: float | None
    low: float | None
    high: float | None
    frames: int


@dataclass(frozen=True)
class HistogramRow:
    """A system's histogram; `words` are its frames, median and quartiles."""

    label: str
    classes: str
    words: str
    svg: Markup


@dataclass(frozen=True)
class Histograms:
    """Ticks `(label, per cent from the left)` of the common axis, and a row per system."""

    ticks: list[tuple[str, float]]
    rows: list[HistogramRow]


def read_counts(entry: Mapping[str, Any]) -> Counts | None:
    """What `results.json` says of one histogram; None if its edges and counts do not make one."""
    edges, counts = (_numbers(entry.get(key)) for key in ("edges", "counts"))
    if edges is None or counts is None or len(edges) != len(counts) + 1 or len(counts) == 0:
        return None
    if max(np.abs(edges).max(), counts.max()) > LARGEST or np.diff(edges).min() < 1 / LARGEST:
        return None
    if counts.min() < 0 or counts.sum() < 1:
        return None
    median, low, high = (finite(entry.get(key)) for key in ("median", "low", "high"))
    return Counts(edges, counts, median, low, high, int(finite(entry.get("frames")) or counts.sum()))


def histograms(systems: Sequence[tuple[str, str, Counts]], unit: str) -> Histograms | None:
    """The histograms of all systems `(label, classes, counts)`, equal areas for equal shares of the frames.

    The axis is cut where no system has an error any more, and always holds zero. Of a ceiling, whose errors are often
    next to nothing, the peak may be cut off, and its words say so: beside it the others would be flat. None without
    systems.
    """
    if not systems:
        return None
    spans = [_span(counts) for *_, counts in systems]
    low, high = axis(min(0.0, *(start for start, _ in spans)), max(0.0, *(end for _, end in spans)))
    peaks = [(float(_density(counts).max()), classes) for _, classes, counts in systems]
    highest = max([peak for peak, classes in peaks if "ceiling" not in classes.split()] or [max(peaks)[0]])

    def x(value: float) -> float:
        return float(np.clip((value - low) / (high - low), 0, 1)) * WIDTH

    ticks = linear_ticks(low, high, about=6)
    grid = "".join(f'<path class="{"zero" if tick == 0 else "grid"}" d="M{x(tick):.0f} 0V{HEIGHT}"/>' for tick in ticks)
    rows = []
    for label, classes, counts in systems:
        parts = [grid, f'<path class="area" d="{_outline(counts, highest, x)}"/>']
        if counts.low is not None and counts.high is not None:
            parts.append(f'<path class="quartiles" d="M{x(counts.low):.1f} {HEIGHT - 3}H{x(counts.high):.1f}"/>')
        if counts.median is not None:
            parts.append(f'<path class="median" d="M{x(counts.median):.1f} {HEIGHT - 14}V{HEIGHT}"/>')
        svg = Markup(
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'
        )
        cut = _density(counts).max() / highest
        words = _words(counts, unit) + (f"; cut off, {show(cut)} times as high" if cut > 1.005 else "")
        rows.append(HistogramRow(label, classes, words, svg))
    return Histograms([(show_tick(round(tick, 9)), round(x(tick) / WIDTH * 100, 1)) for tick in ticks], rows)


def _numbers(values: object) -> np.ndarray | None:
    """A list of finite numbers as an array, None if it is anything else."""
    numbers = [finite(value) for value in values] if isinstance(values, list) else [None]
    return None if None in numbers else np.array(numbers, dtype=np.float64)


def _span(counts: Counts) -> tuple[float, float]:
    """From the first to the last edge of what is not empty."""
    filled = np.flatnonzero(counts.counts)
    return float(counts.edges[filled[0]]), float(counts.edges[filled[-1] + 1])


def _density(counts: Counts) -> np.ndarray:
    """Share of the frames per unit of the axis, which compares histograms of other bins or of more frames."""
    density: np.ndarray = counts.counts / counts.counts.sum() / np.diff(counts.edges)
    return density


def _outline(counts: Counts, highest: float, x: Any) -> str:
    """The steps over the bins that are not empty, closed along the ground."""
    filled = np.flatnonzero(counts.counts)
    first, last = filled[0], filled[-1] + 1
    heights = HEIGHT - 4 - np.minimum(1.0, _density(counts)[first:last] / highest) * (HEIGHT - 8)
    steps = "".join(
        f"V{y:.1f}H{x(edge):.1f}" for y, edge in zip(heights, counts.edges[first + 1 : last + 1], strict=True)
    )
    return f"M{x(counts.edges[first]):.1f} {HEIGHT - 4}{steps}V{HEIGHT - 4}Z"


def _words(counts: Counts, unit: str) -> str:
    text = f"{show(counts.frames)} frames"
    if counts.median is not None:
        text += f", median {show(counts.median)} {unit}".rstrip()
    if counts.low is not None and counts.high is not None:
        text += f", half within {show(counts.low)} … {show(counts.high)}"
    return text
