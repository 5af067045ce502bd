"""The page's tables as plain cells: the template only lays them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codec_ft.metrics.registry import METRICS
from experiments.report.run_folder import Sample, finite, mapping, natural, result_rows
from experiments.report.wording import (
    CLIP_LABELS,
    LEADING_METRICS,
    against,
    metric_arrow,
    metric_label,
    metric_unit,
    show,
    show_percent,
)

REFERENCES = {"target": "against target", "quantized_target": "against quantised target"}
LATENT_METRICS = ("latent_mse", "frechet_distance")
"""Of the codec's latents: excerpt by excerpt, and of all excerpts together."""
SHORT_LABELS = {"usdr": "uSDR", "si_sdr": "SI-SDR", "log_mel_distance": "log-mel"}
TOKEN_ROWS = {
    "trained": "trained",
    "copy_input": "copy of the input's tokens",
    "majority": "always the commonest token",
    "idempotence": "the codec repeating itself",
}


@dataclass(frozen=True)
class Column:
    """Heading of a column of numbers."""

    label: str
    unit: str
    arrow: str
    definition: str


@dataclass(frozen=True)
class Row:
    """A line of a table; `role` chooses its style, `link` is the id of the sample it speaks of."""

    label: str
    role: str
    cells: list[str]
    link: str = ""


@dataclass(frozen=True)
class Table:
    """Columns in groups `(heading, number of columns)`, and rows."""

    groups: list[tuple[str, int]]
    columns: list[Column]
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class Dot:
    """One system in a dot plot: `left` is its place on the axis, in per cent."""

    label: str
    role: str
    value: str
    left: float


@dataclass(frozen=True)
class DotPlot:
    """One metric of all systems on a common axis."""

    column: Column
    dots: list[Dot]


def column(metric: str) -> Column:
    """The heading of a metric's column."""
    definition = f"{METRICS[metric].definition} ({METRICS[metric].source})" if metric in METRICS else ""
    return Column(metric_label(metric), metric_unit(metric), metric_arrow(metric), definition)


def results_table(results: Mapping[str, Any]) -> Table | None:
    """All systems by all metrics, against the target and against the quantised target; None without rows."""
    rows = result_rows(results)
    wanted = [(reference, metric) for reference in REFERENCES for metric in _metrics(rows, reference)]
    of_latents = [metric for metric in LATENT_METRICS if any(metric in row for row in rows)]
    if not rows or not (wanted or of_latents):
        return None
    groups = _groups(wanted)
    columns = [column(metric) for _, metric in wanted]
    if of_latents:
        groups.append(("in latent space", len(of_latents)))
        columns += [column(metric) for metric in of_latents]
    table = Table(groups, columns)
    for row in rows:
        cells = [show(_raw(row, reference, metric), metric_unit(metric)) for reference, metric in wanted]
        cells += [show(row.get(metric)) for metric in of_latents]
        table.rows.append(Row(str(row.get("system", "?")), _emphasis(row, rows), cells))
    return table


def dot_plots(results: Mapping[str, Any]) -> list[DotPlot]:
    """The leading metrics against the target, for the systems that have them; an axis needs two different values."""
    plots = []
    rows = result_rows(results)
    for metric in LEADING_METRICS:
        values = [(row, value) for row in rows if (value := against(row, "target", metric)) is not None]
        low, high = min((v for _, v in values), default=0.0), max((v for _, v in values), default=0.0)
        if low == high:
            continue
        dots = [
            Dot(
                str(row.get("system", "?")),
                _emphasis(row, rows),
                show(value, metric_unit(metric)),
                round(100 * (value - low) / (high - low), 1),
            )
            for row, value in values
        ]
        plots.append(DotPlot(column(metric), dots))
    return plots


def sample_table(sample: Sample) -> Table | None:
    """The sample's excerpts by the leading metrics, against both references; None without numbers."""
    rows = [
        {"against": values, "system": CLIP_LABELS.get(clip, clip), "role": clip}
        for clip, values in mapping(sample.facts.get("metrics")).items()
    ]
    wanted = [(ref, name) for ref in REFERENCES for name in _metrics(rows, ref) if name in LEADING_METRICS]
    if not wanted:
        return None
    columns = [Column(SHORT_LABELS[name], "", "", "") for _, name in wanted]
    table = Table(_groups(wanted), columns)
    for row in rows:
        # A recording compared with itself says nothing but infinity.
        cells = ["" if row["role"] == ref else show(_raw(row, ref, name), metric_unit(name)) for ref, name in wanted]
        table.rows.append(Row(row["system"], row["role"], cells))
    return table


def overview_table(samples: list[Sample]) -> Table | None:
    """One line per sample: floor, output and ceiling of the first two measured metrics; None without numbers."""
    metrics = [
        name
        for name in ("usdr", "log_mel_distance", "si_sdr")
        if any(_clip_value(sample, "output", name) is not None for sample in samples)
    ][:2]
    if not metrics:
        return None
    compared = any(_clip_value(sample, "input", metrics[0]) is not None for sample in samples)
    labels = ("input", "output", "change", "ceiling") if compared else ("output",)
    groups = [
        (f"{metric_label(name)} ({metric_unit(name) or 1}) {metric_arrow(name)}", len(labels)) for name in metrics
    ]
    table = Table(groups, [Column(label, "", "", "") for _ in metrics for label in labels])
    for i, sample in enumerate(samples, start=1):
        cells: list[str] = []
        for name in metrics:
            floor, output, ceiling = (
                _clip_value(sample, clip, name) for clip in ("input", "output", "quantized_target")
            )
            change = output - floor if output is not None and floor is not None else None
            values = {"input": floor, "output": output, "change": change, "ceiling": ceiling}
            shown = {label: show(values[label], metric_unit(name)) for label in labels}
            if change is not None and change > 0 and compared:
                shown["change"] = f"+{shown['change']}"
            cells += shown.values()
        table.rows.append(Row(sample.name, "", cells, f"sample-{i}"))
    return table


def token_table(tokens: Mapping[str, Any]) -> list[tuple[str, str, list[tuple[str, float]]]]:
    """Rows `(name, role, [(per cent, share 0..1) per codebook])`, the trained model first; empty without numbers.

    Codebooks for which a row has no number, since a model predicts the first ones only, get a dash.
    """
    names = [*TOKEN_ROWS, *sorted(tokens.keys() - TOKEN_ROWS.keys(), key=natural)]
    found = {name: tokens[name] for name in names if isinstance(tokens.get(name), list) and tokens[name]}
    most = max(map(len, found.values()), default=0)
    rows = []
    for name, values in found.items():
        values = [*values, *[None] * (most - len(values))]
        cells = [(show_percent(value), min(1.0, max(0.0, finite(value) or 0.0))) for value in values]
        rows.append((TOKEN_ROWS.get(name, name.replace("_", " ")), name, cells))
    return rows


def usage_table(usage: Mapping[str, Any]) -> Table | None:
    """Codes in use and perplexity of each codebook of a trained codec; None without numbers."""
    kinds = {"used": "codebook_used", "perplexity": "codebook_perplexity"}
    rows = [
        Row(metric_label(metric), "", [show(value) for value in usage[kind]])
        for kind, metric in kinds.items()
        if isinstance(usage.get(kind), list) and usage[kind]
    ]
    if not rows:
        return None
    codebooks = max(len(row.cells) for row in rows)
    return Table([], [Column(str(codebook), "", "", "") for codebook in range(1, codebooks + 1)], rows)


def definitions(run_table: Table | None, with_tokens: bool) -> list[Column]:
    """Each metric that the page shows, once, for the list of explanations."""
    shown = {col.label for col in run_table.columns} if run_table else {column(name).label for name in LEADING_METRICS}
    tokens = [name for name in METRICS if "accuracy" in name or name == "idempotence"] if with_tokens else []
    return [column(name) for name in METRICS if metric_label(name) in shown or name in tokens]


def _emphasis(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The row's role, by which it is marked; none where all rows have the same one."""
    return str(row.get("role", "")) if len({str(other.get("role")) for other in rows}) > 1 else ""


def _metrics(rows: Sequence[Mapping[str, Any]], reference: str) -> list[str]:
    """Metrics that some row has against `reference`: leading ones first, the others as they come."""
    found = dict.fromkeys(name for row in rows for name in mapping(mapping(row.get("against")).get(reference)))
    return [*(name for name in LEADING_METRICS if name in found), *(n for n in found if n not in LEADING_METRICS)]


def _groups(wanted: list[tuple[str, str]]) -> list[tuple[str, int]]:
    """Headings over columns `(reference, metric)` that are sorted by reference."""
    counts = {reference: sum(reference == other for other, _ in wanted) for reference in REFERENCES}
    return [(words, counts[ref]) for ref, words in REFERENCES.items() if counts[ref]]


def _raw(row: Mapping[str, Any], reference: str, metric: str) -> object:
    return mapping(mapping(row.get("against")).get(reference)).get(metric)


def _clip_value(sample: Sample, clip: str, metric: str) -> float | None:
    clips = mapping(sample.facts.get("metrics"))
    return finite(mapping(mapping(clips.get(clip)).get("target")).get(metric))
