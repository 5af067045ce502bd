"""Box plots over tracks as rows of inline SVG pictures whose colours are the page's.

Each system is a row: its name is text of the page and its picture is stretched to the width that is there. Lines and
dots keep their size in pixels all the same, for a stroke need not scale with what it draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from experiments.report.curves import linear_ticks, show_tick
from experiments.report.wording import show

WIDTH, HEIGHT = 1000, 30
MARGIN = 22
BOX = 9
LANE, DOT = 4, 20
"""Dots nearer than `DOT` units of width are put into lanes that are `LANE` units of height apart."""

FEWEST = 5
"""With fewer tracks than this quartiles mean nothing, and only the tracks themselves are shown."""


@dataclass(frozen=True)
class Series:
    """A system's values: `(number of the name that is shown under the pointer, value)`."""

    label: str
    classes: str
    values: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class BoxRow:
    """A system in a box plot; `words` say what the picture shows."""

    label: str
    classes: str
    words: str
    svg: Markup


@dataclass(frozen=True)
class BoxPlot:
    """Ticks `(label, per cent from the left)` of the common axis, and a row per system."""

    ticks: list[tuple[str, float]]
    rows: list[BoxRow]


@dataclass(frozen=True)
class Box:
    """Quartiles, and the outermost values within one and a half times their distance (Tukey, 1977)."""

    whisker_low: float
    low: float
    median: float
    high: float
    whisker_high: float


LARGEST = 1e100
"""Larger numbers are mistakes, and differences of them overflow: the tables have them, the pictures are cut there."""


def axis(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis that holds both values: drawn apart where they are the same, or as good as that."""
    low, high = max(low, -LARGEST), min(high, LARGEST)
    largest = max(abs(low), abs(high))
    if largest < 1 / LARGEST:
        return -1.0, 1.0
    if high - low <= 1e-9 * largest:
        return low - largest / 2, high + largest / 2
    return low, high


def box(values: Sequence[float]) -> Box:
    """The box of one or more values; quartiles are interpolated linearly."""
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low, median, high = np.percentile(ordered, (25, 50, 75))
    reach = 1.5 * (high - low)
    inside = ordered[(ordered >= low - reach) & (ordered <= high + reach)]
    return Box(float(inside[0]), float(low), float(median), float(high), float(inside[-1]))


def box_plot(series: Sequence[Series], unit: str) -> BoxPlot | None:
    """One box per system on a common axis, with the single tracks as dots; None without values.

    Below `FEWEST` tracks there are dots only.
    """
    drawn = [[min(LARGEST, max(-LARGEST, value)) for _, value in one.values] for one in series]
    if not any(drawn):
        return None
    low, high = axis(min(map(min, filter(None, drawn))), max(map(max, filter(None, drawn))))

    def x(value: float) -> float:
        return MARGIN + min(1.0, max(0.0, (value - low) / (high - low))) * (WIDTH - 2 * MARGIN)

    ticks = linear_ticks(low, high)
    grid = "".join(f'<path class="{"zero" if tick == 0 else "grid"}" d="M{x(tick):.0f} 0V{HEIGHT}"/>' for tick in ticks)
    rows = []
    for one, values in zip(series, drawn, strict=True):
        parts = [grid]
        if len(values) >= FEWEST:
            edges = box(values)
            parts.append(_draw_box(*(round(x(value)) for value in vars(edges).values())))
        parts.append(_draw_dots([(x(value), number, show(value, unit)) for number, value in one.values]))
        svg = Markup(
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'
        )
        rows.append(BoxRow(one.label, one.classes, _words(values, unit), svg))
    return BoxPlot([(show_tick(round(tick, 12)), round(x(tick) / WIDTH * 100, 1)) for tick in ticks], rows)


def lanes(places: Sequence[float], nearest: float = DOT, most: int = 2) -> list[int]:
    """Which lane each of the ascending places gets so that dots hide one another least: 0, 1, -1, 2, -2."""
    order = [0, *(sign * lane for lane in range(1, most + 1) for sign in (1, -1))]
    last = dict.fromkeys(order, -np.inf)
    chosen = []
    for place in places:
        free = next((lane for lane in order if place - last[lane] >= nearest), min(order, key=lambda lane: last[lane]))
        last[free] = place
        chosen.append(free)
    return chosen


def _draw_box(start: int, low: int, median: int, high: int, end: int) -> str:
    middle, top, bottom = HEIGHT // 2, HEIGHT // 2 - BOX, HEIGHT // 2 + BOX
    return (
        f'<path class="whisker" d="M{start} {middle}H{low}M{high} {middle}H{end}"/>'
        f'<path class="box" d="M{low} {top}H{high}V{bottom}H{low}Z"/>'
        f'<path class="median" d="M{median} {top}V{bottom}"/>'
    )


def _draw_dots(dots: list[tuple[float, int, str]]) -> str:
    """Dots as strokes without length, and beside them for the pointer `number of the name:value`."""
    if not dots:
        return ""
    ordered = sorted(dots)
    heights = [HEIGHT // 2 + LANE * lane for lane in lanes([place for place, *_ in ordered])]
    path = "".join(f"M{place:.0f} {height}h0" for (place, *_), height in zip(ordered, heights, strict=True))
    data = " ".join(f"{number}:{text}" for _, number, text in ordered)
    return f'<path class="points" d="{path}" data-points="{escape(data)}"/>'


def _words(values: Sequence[float], unit: str) -> str:
    if not values:
        return "no value"
    many = f"{len(values)} values" if len(values) > 1 else "one value"
    return f"{many}, median {show(float(np.median(values)), unit)}{f' {unit}' if unit else ''}"
