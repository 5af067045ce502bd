"""What an evaluation found, in plain sentences computed from its numbers."""

from dataclasses import dataclass

from experiments.report.box_plots import axis
from experiments.report.evaluation_results import ALL, Evaluation, System, Value, goodness
from experiments.report.evaluation_tables import SIGNIFICANT, classes, interval, p_words
from experiments.report.run_folder import finite
from experiments.report.tables import Column, column
from experiments.report.wording import Sentence, Verdict, metric_label, metric_unit, show


@dataclass(frozen=True)
class IntervalDot:
    """A system on the axis of a metric: its value and interval, in per cent of the axis' length."""

    label: str
    classes: str
    value: str
    left: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalPlot:
    """The leading metric of a stem's systems on a common axis."""

    stem: str
    column: Column
    dots: list[IntervalDot]


def view_name(stem: str) -> str:
    """The name of a stem, or of all together, as a heading."""
    return "All stems" if stem == ALL else stem[:1].upper() + stem[1:]


def findings(evaluation: Evaluation) -> list[tuple[str, Sentence]]:
    """Each stem with a sentence or two: who is best, by how much, and whether that is more than chance."""
    metric = evaluation.leading
    if metric is None:
        return []
    found: list[tuple[str, Sentence]] = []
    for stem in evaluation.views:
        if sentence := _finding(evaluation, stem, metric, interval_name="" if found else "95 % interval "):
            found.append((view_name(stem), sentence))
    return found


def interval_plots(evaluation: Evaluation) -> list[IntervalPlot]:
    """The leading metric of every stem; an axis needs two different numbers."""
    metric = evaluation.leading
    if metric is None:
        return []
    plots = []
    for stem in evaluation.views:
        values = [(system, evaluation.value("summary", stem, system.name, metric)) for system in evaluation.systems]
        spans = [(system, value, *_span(value)) for system, value in values if value.value is not None]
        low, high = min((s[2] for s in spans), default=0.0), max((s[3] for s in spans), default=0.0)
        if low >= high:
            continue
        low, high = axis(low, high)
        dots = [
            IntervalDot(
                system.name,
                classes(system),
                show(value.value, metric_unit(metric)),
                *(round(100 * (v - low) / (high - low), 1) for v in (value.value or 0.0, start, end)),
            )
            for system, value, start, end in spans
        ]
        plots.append(IntervalPlot(view_name(stem), column(metric), dots))
    return plots


def _span(value: Value) -> tuple[float, float]:
    """The ends of the interval; the value itself where there is none."""
    middle = value.value or 0.0
    return (middle if value.low is None else value.low, middle if value.high is None else value.high)


def _finding(evaluation: Evaluation, stem: str, metric: str, interval_name: str) -> Sentence | None:
    ranked = evaluation.best(stem, metric)
    if not ranked:
        return None
    best, value = ranked[0], evaluation.value("summary", stem, ranked[0].name, metric)
    ends = interval(value, metric).replace(" ", "\u00a0")
    spread = f" ({interval_name}{ends})" if ends else ""
    reached = f"“{best.name}” {'is best, with' if len(ranked) > 1 else 'has'} {metric_label(metric)}"
    text = f"{reached} {_with_unit(value.value, metric)}{spread}"
    others = [system for system in evaluation.systems if system.role != "system"]
    distances = [words for system in others if (words := _distance(evaluation, stem, metric, best, system))]
    if distances:
        text += f", {_enumerate(distances)}"
    if len(ranked) > 1:
        text += f". {_lead(evaluation, stem, metric, best, ranked[1])}"
    return Sentence(f"{text}.", _verdict(evaluation, stem, metric, best))


def _distance(evaluation: Evaluation, stem: str, metric: str, best: System, other: System) -> str:
    """How far the best system is from a floor, input or ceiling; empty where that has no value."""
    mine, theirs = (
        goodness(metric, evaluation.value("summary", stem, system.name, metric).value) for system in (best, other)
    )
    if mine is None or theirs is None:
        return ""
    name = {"floor": "the floor", "input": "the input", "ceiling": "the ceiling"}[other.role]
    if round(mine - theirs, 9) == 0:
        return f"the same as {name} “{other.name}”"
    way = "better than" if mine > theirs else "short of" if other.role == "ceiling" else "worse than"
    return f"{_with_unit(abs(mine - theirs), metric)} {way} {name} “{other.name}”"


def _lead(evaluation: Evaluation, stem: str, metric: str, best: System, second: System) -> str:
    """How far the second is behind, and what the paired test says of it."""
    first, other = (
        goodness(metric, evaluation.value("summary", stem, system.name, metric).value) or 0.0
        for system in (best, second)
    )
    behind = f"“{second.name}” follows {_with_unit(first - other, metric)} behind"
    pair = next(
        (
            pair
            for pair in evaluation.listed("pairs")
            if (pair.get("stem"), pair.get("metric")) == (stem, metric)
            and {pair.get("a"), pair.get("b")} == {best.name, second.name}
        ),
        None,
    )
    if pair is None:
        return behind
    p = finite(pair.get("p_holm"))
    if p is None:
        return f"{behind}; there are not enough tracks to test the difference"
    if p < SIGNIFICANT:
        return f"{behind}; the difference is significant ({p_words(p)} after Holm)"
    # With few tracks no difference could be: the words of the test say so.
    words = "; ".join(filter(None, (f"{p_words(p)} after Holm", str(pair.get("words") or ""))))
    return f"{behind}; the difference is not significant ({words})"


def _verdict(evaluation: Evaluation, stem: str, metric: str, best: System) -> Verdict:
    """Whether the best system beats all that was there before it."""
    mine = goodness(metric, evaluation.value("summary", stem, best.name, metric).value)
    before = [
        score
        for system in evaluation.systems
        if system.role in ("floor", "input")
        and (score := goodness(metric, evaluation.value("summary", stem, system.name, metric).value)) is not None
    ]
    if mine is None or not before:
        return "same"
    return "better" if mine > max(before) else "worse" if mine < max(before) else "same"


def _with_unit(value: float | None, metric: str) -> str:
    unit = metric_unit(metric)
    return f"{show(value, unit)}\u00a0{unit}" if unit else show(value, unit)


def _enumerate(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
