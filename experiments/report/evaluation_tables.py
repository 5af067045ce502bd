"""The tables of an evaluation's page as plain cells: the template only lays them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codec_ft.metrics.registry import METRICS
from experiments.report.evaluation_results import ALL, Evaluation, System, Value, goodness
from experiments.report.run_folder import finite, mapping
from experiments.report.tables import Column, column
from experiments.report.wording import metric_unit, show, show_duration, show_percent

ROLE_WORDS = {"floor": "floor", "input": "input", "system": "", "ceiling": "ceiling"}

TOKEN_MEASURES = {
    "token_accuracy": "Token accuracy",
    "cumulative_accuracy": "Cumulative accuracy",
    "top5_accuracy": "Top-5 accuracy",
    "codebook_distance": "Distance between codebook vectors",
    "entropy_bits": "Entropy",
}
TOKEN_HINTS = {
    "token_accuracy": "Share of non-silent frames that have the target's token.",
    "cumulative_accuracy": "Share of frames whose tokens are the target's in this codebook and in all before it.",
    "top5_accuracy": "Share of frames whose target token is among the five that the output is nearest to.",
    "codebook_distance": "Mean distance between the vectors of the output's and the target's tokens; less is better.",
    "entropy_bits": "Of the tokens' distribution, in bits; near the target's is better.",
}
TOKEN_ROLES = {"floor": "copy-input", "input": "copy-input", "ceiling": "idempotence"}
"""What a row is in the language of token models: the tokens of an untouched input, or of the reference decoded."""

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Heading:
    """A metric's column; `number` is its place in `Evaluation.columns`, `better` the direction to sort by first."""

    number: int
    column: Column
    better: str


@dataclass(frozen=True)
class Cell:
    """A number: `small` beneath it, `title` under the pointer, `sign` before it for what `emphasis` says by weight."""

    text: str
    small: str = ""
    title: str = ""
    sign: str = ""
    emphasis: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table; `classes` choose its style and its filter, `words` are the cells before the numbers."""

    label: str
    role: str
    classes: str
    cells: list[Cell]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class NumberTable:
    """Metrics as columns, systems as lines."""

    headings: list[Heading]
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class PairTable:
    """Differences of one metric: pairs of systems as lines, stems as columns."""

    heading: Heading
    stems: list[str]
    lines: list[Line] = field(default_factory=list)


@dataclass(frozen=True)
class TokenTable:
    """One measure of tokens for all systems; each cell is a text and the depth 0..1 of its shade."""

    title: str
    hint: str
    columns: list[str]
    rows: list[tuple[str, str, str, list[tuple[str, float]]]]


def headings(evaluation: Evaluation, metrics: Sequence[str]) -> list[Heading]:
    """A column for each metric."""
    numbers = {name: number for number, name in enumerate(evaluation.columns)}
    return [
        Heading(numbers[name], column(name), METRICS[name].direction if name in METRICS else "up") for name in metrics
    ]


def classes(system: System) -> str:
    """What marks the rows of a system: its role, for the style, and its number, for the filter."""
    return f"{system.role} s{system.number}"


def summary_table(evaluation: Evaluation, part: str, stem: str) -> NumberTable | None:
    """All systems by all metrics for a stem, the best of the judged ones marked; None without numbers.

    Args:
        part: `summary` (against the reference) or `second` (against the reference as the codec can say it).
    """
    found = mapping(evaluation.part(part).get(stem))
    metrics = evaluation.metrics if part == "summary" else evaluation.second_metrics
    if not found or not metrics:
        return None
    best = {metric: _winners(evaluation, part, stem, metric) for metric in metrics}
    table = NumberTable(headings(evaluation, metrics))
    for system in evaluation.systems_in(found):
        cells = []
        for metric in metrics:
            value = evaluation.value(part, stem, system.name, metric)
            wins = system.number in best[metric]
            cells.append(
                Cell(
                    show(value.value, metric_unit(metric)),
                    interval(value, metric),
                    _explain(value, metric),
                    sign="★" if wins else "",
                    emphasis="best" if wins else "",
                )
            )
        table.lines.append(Line(system.name, ROLE_WORDS[system.role], classes(system), cells))
    return table


def interval(value: Value, metric: str) -> str:
    """The interval of a value, `3.1 … 4.5`; empty where there is none."""
    if value.value is None or value.low is None or value.high is None:
        return ""
    return f"{show(value.low, metric_unit(metric))} … {show(value.high, metric_unit(metric))}"


def coverage_words(evaluation: Evaluation, stem: str) -> str:
    """On how many tracks, frames and seconds the numbers of a stem stand."""
    if stem == ALL and not evaluation.part("coverage").get(ALL):
        found = _coverage_of_all(evaluation)
    else:
        found = mapping(evaluation.part("coverage").get(stem))
    tracks, seconds, frames, silent = (
        finite(found.get(key)) for key in ("tracks", "seconds", "frames", "silent_frames")
    )
    parts = []
    if tracks is not None:
        parts.append(_count(tracks, "track"))
    if seconds is not None:
        parts.append(show_duration(seconds))
    if frames is not None:
        parts.append(_count(frames, "frame") + (f", {show(int(silent))} of them left out as silent" if silent else ""))
    words = f"On {' · '.join(parts)}." if parts else "On how much audio this stands is not written down."
    return f"The mean of the stems' numbers. {words}" if stem == ALL and len(evaluation.stems) > 1 else words


def pair_tables(evaluation: Evaluation) -> list[PairTable]:
    """For each metric the differences between any two systems, stems as columns, with what the paired test says.

    Pairs of judged systems come first, then what they gain over floors and inputs and lack to ceilings.
    """
    found: dict[str, dict[tuple[str, str], dict[str, Mapping[str, Any]]]] = {}
    for pair in evaluation.listed("pairs"):
        names = (str(pair.get("a")), str(pair.get("b")))
        found.setdefault(str(pair.get("metric")), {}).setdefault(names, {})[str(pair.get("stem"))] = pair
    by_name = {system.name: system for system in evaluation.systems}

    def beside(names: tuple[str, str]) -> int:
        return sum(name not in by_name or by_name[name].role != "system" for name in names)

    tables = []
    for heading, metric in zip(headings(evaluation, evaluation.metrics), evaluation.metrics, strict=True):
        pairs = found.get(metric, {})
        stems = [stem for stem in evaluation.views if any(stem in by_stem for by_stem in pairs.values())]
        if not stems:
            continue
        table = PairTable(heading, stems)
        for a, b in sorted(pairs, key=beside):
            marks = " ".join(f"s{by_name[name].number}" for name in (a, b) if name in by_name)
            cells = [_pair_cell(evaluation, pairs[a, b].get(stem, {}), metric) for stem in stems]
            table.lines.append(Line(a, "", marks, cells, (b,)))
        tables.append(table)
    return tables


def track_lines(evaluation: Evaluation) -> list[tuple[str, Line]]:
    """Stem and line of every row: track, stem, system, seconds and notes as words, and all metrics."""
    by_name = {system.name: system for system in evaluation.systems}
    lines = []
    for row in evaluation.rows:
        stem, name, notes = str(row.get("stem", "")), str(row.get("system", "")), row.get("notes")
        remarks = " ".join(map(str, notes)) if isinstance(notes, list) else ""
        values = mapping(row.get("values"))
        cells = [Cell(show(values.get(metric), metric_unit(metric))) for metric in evaluation.metrics]
        mark = classes(by_name[name]) if name in by_name else ""
        words = (stem, name, show(finite(row.get("seconds"))), remarks)
        lines.append((stem, Line(str(row.get("track", "?")), "", mark, cells, words)))
    return lines


def token_tables(evaluation: Evaluation, stem: str) -> list[TokenTable]:
    """A table for each measure of tokens that some system has, codebooks as columns."""
    found = mapping(evaluation.part("tokens").get(stem))
    measured = mapping(found.get("systems"))
    extra = {
        "token_accuracy": ("always the commonest token", "majority", found.get("majority")),
        "entropy_bits": ("target", "", found.get("target_entropy_bits")),
    }
    tables = []
    for measure, title in TOKEN_MEASURES.items():
        rows: list[tuple[str, str, str, list[Any]]] = [
            (system.name, TOKEN_ROLES.get(system.role, ""), classes(system), values)
            for system in evaluation.systems_in(measured)
            if isinstance(values := mapping(measured.get(system.name)).get(measure), list) and values
        ]
        if not rows:
            continue
        name, role, values = extra.get(measure, ("", "", None))
        if isinstance(values, list) and values:
            rows.append((name, role, "reference", values))
        tables.append(_token_table(title, measure, rows))
    return tables


def frechet_lines(evaluation: Evaluation) -> list[tuple[str, Line]]:
    """Stem and line of each Frechet distance, with all that it depends on."""
    by_name = {system.name: system for system in evaluation.systems}
    lines = []
    for entry in evaluation.listed("frechet"):
        stem, name = str(entry.get("stem", "")), str(entry.get("system", "?"))
        numbers = [show(finite(entry.get(key))) for key in ("value", "infinity")]
        numbers += [whole(entry.get(key)) for key in ("vectors", "reference_vectors", "dimension", "seconds")]
        role, mark = (ROLE_WORDS[by_name[name].role], classes(by_name[name])) if name in by_name else ("", "")
        words = (stem, str(entry.get("embedding", "")), str(entry.get("words") or ""))
        lines.append((stem, Line(name, role, mark, [Cell(number) for number in numbers], words)))
    return lines


def _winners(evaluation: Evaluation, part: str, stem: str, metric: str) -> set[int]:
    """The judged systems with the best value, where two at least can be compared."""
    ranked = evaluation.best(stem, metric, part)
    if len(ranked) < 2:
        return set()
    scores = [goodness(metric, evaluation.value(part, stem, system.name, metric).value) for system in ranked]
    return {system.number for system, score in zip(ranked, scores, strict=True) if score == scores[0]}


def _explain(value: Value, metric: str) -> str:
    if value.value is None:
        return "undefined"
    parts = [f"95 % interval {interval(value, metric)}"] if interval(value, metric) else []
    return ", ".join([*parts, *([_count(value.tracks, "track")] if value.tracks is not None else [])])


def _coverage_of_all(evaluation: Evaluation) -> dict[str, Any]:
    """What the stems stand on, drawn together; a track with several stems is one track."""
    stems = [mapping(found) for found in evaluation.part("coverage").values()]
    tracks = {str(row.get("track")) for row in evaluation.rows}
    sums = {
        key: sum(values)
        for key in ("seconds", "frames", "silent_frames")
        if (values := [number for found in stems if (number := finite(found.get(key))) is not None])
    }
    return {"tracks": len(tracks) or None, **sums}


def _pair_cell(evaluation: Evaluation, pair: Mapping[str, Any], metric: str) -> Cell:
    difference, p = finite(pair.get("difference")), finite(pair.get("p_holm"))
    words = str(pair.get("words") or "")
    if difference is None:
        return Cell("–", title=words)
    text = signed(difference, metric)
    if p is None:
        return Cell(text, "not tested", words or "not enough tracks to test")
    if p >= SIGNIFICANT:
        return Cell(text, p_words(p), words)
    gain = _gain(evaluation, pair, metric, difference)
    sign = "◆" if gain == 0 else "▲" if gain > 0 else "▼"
    return Cell(text, p_words(p), words, sign=sign, emphasis="significant")


def _gain(evaluation: Evaluation, pair: Mapping[str, Any], metric: str, difference: float) -> float:
    """By how much the first system of a pair is better than the second; 0 where no direction is known."""
    if metric in METRICS and METRICS[metric].direction == "zero":
        # The difference of two errors does not say which one is nearer to zero; their averages do.
        values = (
            evaluation.value("summary", str(pair.get("stem")), str(pair.get(side)), metric).value for side in "ab"
        )
        first, second = (goodness(metric, value) or 0.0 for value in values)
        return first - second
    return goodness(metric, difference) or 0.0


def signed(difference: float, metric: str) -> str:
    """A difference with its sign."""
    text = show(difference, metric_unit(metric))
    return f"+{text}" if difference > 0 else text


def p_words(p: float) -> str:
    """An error probability, `p = 0.03`, and a bound where digits would mean nothing."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _token_table(title: str, measure: str, rows: list[tuple[str, str, str, list[Any]]]) -> TokenTable:
    shares = measure.endswith("accuracy")
    numbers = [number for *_, values in rows for value in values if (number := finite(value)) is not None]
    full = 1.0 if shares else max(numbers, default=0.0) or 1.0
    width = max(len(values) for *_, values in rows)
    lines = []
    for name, role, mark, values in rows:
        padded = [*values, *[None] * (width - len(values))]
        cells = [
            (show_percent(v) if shares else show(finite(v)), min(1.0, max(0.0, (finite(v) or 0.0) / full)))
            for v in padded
        ]
        lines.append((name, role, mark, cells))
    hint = METRICS[measure].definition if measure in METRICS else TOKEN_HINTS[measure]
    return TokenTable(title, hint, [str(k) for k in range(1, width + 1)], lines)


def _count(number: float, noun: str) -> str:
    return f"{show(int(number))} {noun}{'' if number == 1 else 's'}"


def whole(value: object) -> str:
    """A count, a dash for what is not there."""
    number = finite(value)
    return "–" if number is None else show(int(number))
