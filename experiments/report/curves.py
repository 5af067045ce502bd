"""Loss and metric curves as small inline SVG pictures whose colours are the page's."""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from codec_ft.metrics.registry import METRICS
from experiments.report.run_folder import Curves
from experiments.report.wording import metric_arrow, metric_label, metric_unit, power_of_ten, show

WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 46, 8, 8, 22
MAX_POINTS = 120
LOG_DECADES = 1.5
HOUSEKEEPING = re.compile(r"(\w+_)?(lr|gradient_norm)|steps_per_second")
"""How the training went: drawn last."""
BY_PRODUCTS = re.compile(r"discriminator_\w+|\w+_share|(softmax|residual)_accuracy(_\d+)?")
"""What comes with the terms of a loss, and there may be many of them."""
REFERENCES = {
    "latent_mse": ("latent_mse_untouched", "untouched"),
    "usdr": ("usdr_input", "input"),
    "token_accuracy": ("copy_input_accuracy", "copied input"),
    "token_accuracy_1": ("copy_input_accuracy_1", "copied input"),
}
"""What a metric is to be compared with, the same in each validation, and in words: a line in the metric's panel."""
COMPLEMENTS = {"token_error_1": "token_accuracy_1"}
"""What says the same as another curve, upside down."""

Points = Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Panel:
    """One small picture: a metric's title, unit and arrow, its splits' last values, a reference, and the SVG.

    `aside` is what interests the person who trains, not the one who asks what was learnt.
    """

    title: str
    unit: str
    arrow: str
    last: list[tuple[str, str, int]]
    reference: str
    logarithmic: bool
    aside: bool
    svg: Markup


def curve_panels(curves: Curves) -> list[Panel]:
    """A panel for each metric with two points or more in some split: losses first, then validation, then speed.

    Of what is logged for every codebook only the first and the last one are drawn, and what a metric is compared with
    in its own panel.
    """
    panels = []
    for name in sorted(set(curves) - _middle_codebooks(curves) - _told_elsewhere(curves), key=_rank(curves)):
        splits = {split: points for split, points in sorted(curves[name].items()) if len(points) >= 2}
        if not splits:
            continue
        unit = metric_unit(name)
        reference, words = _reference(curves, name)
        values = [value for points in splits.values() for _, value in points]
        logarithmic = _spans_decades(name, [*values, *([] if reference is None else [reference])])
        panels.append(
            Panel(
                title=metric_label(name),
                unit=unit,
                arrow=metric_arrow(name),
                last=[(split, show(points[-1][1], unit), points[-1][0]) for split, points in splits.items()],
                reference=f"{words} {show(reference, unit)}" if words else "",
                logarithmic=logarithmic,
                aside=bool(HOUSEKEEPING.fullmatch(name) or BY_PRODUCTS.fullmatch(name)),
                svg=_draw(metric_label(name), unit, splits, logarithmic, reference),
            )
        )
    return panels


def _reference(curves: Curves, name: str) -> tuple[float | None, str]:
    """What a validated metric is compared with, and what that is called; None and empty where there is nothing."""
    other, words = REFERENCES.get(name, ("", ""))
    points = curves.get(other, {}).get("valid") if "valid" in curves[name] else None
    return (points[-1][1], words) if points else (None, "")


def _told_elsewhere(curves: Curves) -> set[str]:
    """Names that other panels tell of."""
    references = {other for name, (other, _) in REFERENCES.items() if name in curves and _reference(curves, name)[1]}
    return references | {name for name, other in COMPLEMENTS.items() if other in curves}


def _middle_codebooks(names: Iterable[str]) -> set[str]:
    """Of names that end in the number of a codebook, all but the first and the last of each kind."""
    numbered: dict[str, list[int]] = {}
    for name in names:
        if match := re.fullmatch(r"(perplexity|dead|\w+_accuracy)_(\d+)", name):
            numbered.setdefault(match[1], []).append(int(match[2]))
    return {f"{kind}_{k}" for kind, numbers in numbered.items() for k in numbers if min(numbers) < k < max(numbers)}


def thin(points: Points, most: int = MAX_POINTS) -> list[tuple[float, float, float, float]]:
    """At most `most` points `(step, mean, lowest, highest)`, each from a run of neighbours of equal length."""
    size = -(-len(points) // most)
    thinned = []
    for start in range(0, len(points), size):
        steps, values = zip(*points[start : start + size], strict=True)
        thinned.append((sum(steps) / len(steps), sum(values) / len(values), min(values), max(values)))
    return thinned


def linear_ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers within `low..high`, 1, 2 or 5 times a power of ten apart."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within `low..high`, with 2 and 5 times them when there are few, thinned when there are many."""
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    inside = [10.0**e for e in range(first, last + 1) if low <= 10.0**e <= high]
    if len(inside) < 3:
        inside = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    return inside[:: -(-len(inside) // 5)] if inside else []


def _rank(curves: Curves) -> Callable[[str], tuple[int, str]]:
    """Sort key of the metrics' names."""

    def rank(name: str) -> tuple[int, str]:
        if HOUSEKEEPING.fullmatch(name):
            return (5, name)
        if BY_PRODUCTS.fullmatch(name):
            return (4, name)
        if name == "loss":
            return (0, name)
        if "train" in curves[name]:
            return (1, name)
        return (2 if name in METRICS else 3, name)

    return rank


def _spans_decades(name: str, values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows more: positive values over decades, and not decibels already."""
    low, high = min(values), max(values)
    return low > 0 and metric_unit(name) != "dB" and math.log10(high / low) > LOG_DECADES


def _draw(
    title: str, unit: str, splits: dict[str, list[tuple[int, float]]], logarithmic: bool, reference: float | None
) -> Markup:
    thinned = {split: thin(points) for split, points in splits.items()}
    steps = [step for points in thinned.values() for step, *_ in points]
    lows = [low for points in thinned.values() for _, _, low, _ in points]
    highs = [high for points in thinned.values() for *_, high in points]
    first, last = min(steps), max(steps)
    level = [] if reference is None else [reference]
    low, high = min(lows + level), max(highs + level)
    if low == high:
        low, high = low - (abs(low) / 2 or 1), high + (abs(high) / 2 or 1)
    ticks = log_ticks(low, high) if logarithmic else linear_ticks(low, high)

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks:
        parts.append(f'<path class="grid" d="M{LEFT} {y(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(tick) + 3.5:.1f}" text-anchor="end">{show_tick(tick)}</text>')
    for tick in linear_ticks(first, last):
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{tick:g}</text>')
    parts += [f'<path class="line reference" d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}"/>' for value in level]
    for split, points in thinned.items():
        name = "valid" if split == "valid" else "train"
        if any(top > bottom for _, _, bottom, top in points):
            there = [f"{x(step):.1f} {y(top):.1f}" for step, _, _, top in points]
            back = [f"{x(step):.1f} {y(bottom):.1f}" for step, _, bottom, _ in reversed(points)]
            parts.append(f'<path class="band {name}" d="M{"L".join(there + back)}Z"/>')
        line = "L".join(f"{x(step):.1f} {y(mean):.1f}" for step, mean, *_ in points)
        parts.append(f'<path class="line {name}" d="M{line}"/>')
        if len(points) <= 30:
            parts += [f'<circle class="{name}" cx="{x(p[0]):.1f}" cy="{y(p[1]):.1f}" r="2"/>' for p in points]
    data = {split: [[round(step), show(mean, unit)] for step, mean, *_ in points] for split, points in thinned.items()}
    return Markup(
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} over steps" '
        f'data-x="{first:g} {last:g} {LEFT} {WIDTH - RIGHT}" '
        f'data-points="{escape(json.dumps(data, ensure_ascii=False, separators=(",", ":")))}">'
        f'{"".join(parts)}<path class="cross" d=""/></svg>'
    )


def show_tick(value: float) -> str:
    """An axis label: plain where it is short, a power of ten where it is not."""
    if value == 0 or 0.01 <= abs(value) < 1e5:
        return f"{value:g}".replace("-", "−") if abs(value) < 1e4 else f"{value / 1000:g}k"
    return power_of_ten(value, digits=0)
