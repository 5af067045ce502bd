"""From the numbers of single tracks to those of a table: over tracks, with intervals and paired tests."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from codec_ft.metrics.registry import METRICS
from codec_ft.metrics.statistics import bootstrap_interval, holm, paired_test
from experiments.evaluation.results import Row
from experiments.evaluation.systems import Comparison

ALL = "all"
"""The line of a table that takes all stems together: the mean of the stems' numbers."""

RESAMPLES = 2000

Values = dict[str, dict[str, dict[str, dict[str, float]]]]
"""stem -> system -> metric -> track -> number."""


def collect(rows: Sequence[Row], *, second: bool = False) -> Values:
    """The rows' numbers, by stem, system, metric and track."""
    values: Values = {}
    for row in rows:
        for metric, value in (row.second if second else row.values).items():
            values.setdefault(row.stem, {}).setdefault(row.system, {}).setdefault(metric, {})[row.track] = value
    return values


def summarize(values: Values) -> dict[str, dict[str, dict[str, dict[str, float | int | None]]]]:
    """stem (and "all") -> system -> metric -> value over tracks, 95 % interval, and number of tracks behind it.

    The mean or the median over the tracks on which the metric is defined, as its registry entry says. "all" is the
    mean of the stems' values, of systems that have all stems; its interval is that of drawing tracks, not stems.
    """
    summary: dict[str, dict[str, dict[str, dict[str, float | int | None]]]] = {}
    for stem, systems in values.items():
        for system, metrics in systems.items():
            cells = summary.setdefault(stem, {}).setdefault(system, {})
            for metric, by_track in metrics.items():
                cells[metric] = _cell(list(by_track.values()), METRICS[metric].over_tracks)
    if len(values) > 1:
        complete = set.intersection(*(set(systems) for systems in values.values()))
        order = [system for system in next(iter(values.values())) if system in complete]
        summary = {ALL: {system: _all_stems(values, system) for system in order}, **summary}
    return summary


def _cell(numbers: Sequence[float], statistic: Any) -> dict[str, float | int | None]:
    known = [number for number in numbers if np.isfinite(number)]
    if not known:
        return {"value": None, "low": None, "high": None, "tracks": 0}
    interval = bootstrap_interval(known, statistic, resamples=RESAMPLES)
    value = float(np.median(known) if statistic == "median" else np.mean(known))
    return {"value": value, "low": interval.low, "high": interval.high, "tracks": len(known)}


def _all_stems(values: Values, system: str) -> dict[str, dict[str, float | int | None]]:
    """The mean over stems of a system's numbers."""
    per_stem = [systems[system] for systems in values.values()]
    shared = [metric for metric in per_stem[0] if all(metric in metrics for metrics in per_stem)]
    cells: dict[str, dict[str, float | int | None]] = {}
    for metric in shared:
        tracks = sorted(set().union(*(metrics[metric] for metrics in per_stem)))
        table = np.array([[metrics[metric].get(track, np.nan) for track in tracks] for metrics in per_stem])
        table = table[:, np.isfinite(table).any(axis=0)]
        if table.size == 0 or not np.isfinite(table).any(axis=1).all():
            cells[metric] = {"value": None, "low": None, "high": None, "tracks": 0}
            continue
        statistic = np.nanmedian if METRICS[metric].over_tracks == "median" else np.nanmean
        low = high = None
        if table.shape[1] > 1:
            chosen = np.random.default_rng(0).integers(table.shape[1], size=(RESAMPLES, table.shape[1]))
            drawn = table[:, chosen]  # [stems, resamples, tracks]
            # A draw may hold no track on which a stem is defined: it says nothing and is left out.
            usable = np.isfinite(drawn).any(axis=2).all(axis=0)
            low, high = (
                float(q) for q in np.quantile(statistic(drawn[:, usable], axis=2).mean(axis=0), (0.025, 0.975))
            )
        value = float(statistic(table, axis=1).mean())
        cells[metric] = {"value": value, "low": low, "high": high, "tracks": table.shape[1]}
    return cells


def compare_pairs(comparison: Comparison, values: Values, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """Paired tests between any two systems, on the tracks where both are defined, stem by stem.

    Ceilings are left out: nobody asks whether a codec beats a separator. p-values are corrected by Holm's method
    within each stem and metric.
    """
    names = [system.name for system in comparison.systems if system.role != "ceiling"]
    found: list[dict[str, Any]] = []
    for stem, systems in values.items():
        present = [name for name in names if name in systems]
        for metric in metrics:
            tests = []
            for a, b in itertools.combinations(present, 2):
                of_a, of_b = systems[a].get(metric, {}), systems[b].get(metric, {})
                tracks = [track for track in of_a if track in of_b]
                tests.append((a, b, paired_test([of_a[t] for t in tracks], [of_b[t] for t in tracks])))
            adjusted = iter(holm([test.p for _, _, test in tests if test.p is not None]))
            found += [
                {
                    "stem": stem,
                    "metric": metric,
                    "a": a,
                    "b": b,
                    "difference": test.difference,
                    "p": test.p,
                    "p_holm": None if test.p is None else float(next(adjusted)),
                    "tracks": test.n,
                    "words": test.words,
                }
                for a, b, test in tests
            ]
    return found


def coverage(rows: Sequence[Row]) -> dict[str, dict[str, float | int]]:
    """stem -> on how many tracks, seconds and frames of one second its table stands.

    `silent_frames` of them are left out of the medians for every system, because one of the references is silent.
    """
    items: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        items.setdefault((row.track, row.stem), []).append(row)
    table: dict[str, dict[str, float | int]] = {}
    for (_, stem), answers in items.items():
        undefined = np.isnan([row.frames["sdr"] for row in answers])  # [systems, frames]
        entry = table.setdefault(stem, {"tracks": 0, "seconds": 0.0, "frames": 0, "silent_frames": 0})
        entry["tracks"] += 1
        entry["seconds"] += answers[0].seconds
        entry["frames"] += undefined.shape[1]
        entry["silent_frames"] += int(undefined.all(axis=0).sum())
    return table
