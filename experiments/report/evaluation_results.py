"""What lies in the folder of an evaluation, read forgivingly, and who compares how with whom."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec_ft.errors import UserError
from codec_ft.metrics.registry import METRICS
from experiments.report.run_folder import Sample, finite, mapping, printable, read_samples

ALL = "all"
"""Where the results of the single stems are drawn together."""

LEADING_METRICS = ("usdr", "sdr_med", "si_sdr", "log_mel_distance")
"""What the headline speaks of: the first of these that was measured, the first metric of the table otherwise."""

ROLES = ("floor", "input", "system", "ceiling")


@dataclass(frozen=True)
class System:
    """What is compared: a separator, or the floor, input or ceiling beside it; `number` marks its rows."""

    name: str
    role: str
    source: str
    number: int


@dataclass(frozen=True)
class Value:
    """A number of a table with its interval; None is undefined."""

    value: float | None
    low: float | None
    high: float | None
    tracks: int | None


@dataclass
class Evaluation:
    """`results.json` and the samples beside it; `notes` says, one sentence each, what is missing or broken.

    Attributes:
        path: the folder.
        results: `results.json` as it was read.
        stems: in the order of the tables.
        systems: in the order of the tables.
        metrics: keys of the columns against the reference.
        second_metrics: keys of the columns against the reference as the codec can say it.
        rows: one per track, stem and system.
        samples: what can be heard.
        notes: what the page must say is not there.
    """

    path: Path
    results: dict[str, Any]
    stems: list[str]
    systems: list[System]
    metrics: list[str]
    second_metrics: list[str]
    rows: list[dict[str, Any]]
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def views(self) -> list[str]:
        """What can be chosen: all stems together where there are several, and each."""
        return [ALL, *self.stems] if len(self.stems) != 1 else self.stems

    @property
    def columns(self) -> list[str]:
        """Every metric that is in some table, once."""
        return list(dict.fromkeys([*self.metrics, *self.second_metrics]))

    @property
    def leading(self) -> str | None:
        """The metric that the headline speaks of."""
        return next((name for name in LEADING_METRICS if name in self.metrics), next(iter(self.metrics), None))

    def part(self, name: str) -> dict[str, Any]:
        """A part of `results.json` that is a mapping; empty where it is missing."""
        return mapping(self.results.get(name))

    def listed(self, name: str) -> list[dict[str, Any]]:
        """The mappings in a part of `results.json` that is a list; empty where it is missing."""
        return _mappings(self.results.get(name))

    def value(self, part: str, stem: str, system: str, metric: str) -> Value:
        """A number of the part `summary` or `second`."""
        cell = mapping(mapping(mapping(self.part(part).get(stem)).get(system)).get(metric))
        tracks = finite(cell.get("tracks"))
        low, high = finite(cell.get("low")), finite(cell.get("high"))
        return Value(finite(cell.get("value")), low, high, None if tracks is None else int(tracks))

    def systems_in(self, part: Mapping[str, Any]) -> list[System]:
        """The systems that are keys of a mapping, in the order of the tables."""
        return [system for system in self.systems if system.name in part]

    def best(self, stem: str, metric: str, part: str = "summary") -> list[System]:
        """Of the systems that are judged those with a value, best first; empty where no direction is known."""
        scores = {
            system.number: goodness(metric, self.value(part, stem, system.name, metric).value)
            for system in self.systems
            if system.role == "system"
        }
        ranked = [system for system in self.systems if scores.get(system.number) is not None]
        return sorted(ranked, key=lambda system: -(scores[system.number] or 0.0))


def read_evaluation(folder: Path) -> Evaluation:
    """Read the folder of an evaluation; whatever part is missing becomes a note instead of an error.

    Raises:
        UserError: there is no such folder, or its `results.json` cannot be read or is of something else.
    """
    results = _read_results(folder)
    rows = _mappings(results.get("rows"))
    notes = [f"results.json holds no {words}." for key, words in _PARTS.items() if not results.get(key)]
    samples = read_samples(folder / "samples", notes) if (folder / "samples").is_dir() else []
    summaries = [mapping(results.get(part)) for part in ("summary", "second")]
    stems = _names(
        results.get("stems"), (row.get("stem") for row in rows), *summaries, mapping(results.get("coverage"))
    )
    return Evaluation(
        path=folder,
        results=results,
        stems=[stem for stem in stems if stem != ALL],
        systems=_systems(results, rows, summaries),
        metrics=_names(results.get("metrics"), *_cells(summaries[0]), *(mapping(row.get("values")) for row in rows)),
        second_metrics=_names(results.get("second_metrics"), *_cells(summaries[1])),
        rows=rows,
        samples=samples,
        notes=notes,
    )


def goodness(metric: str, value: float | None) -> float | None:
    """A number that is larger for the better of two values; None where the value or the direction is not known."""
    if value is None or metric not in METRICS:
        return None
    return {"up": value, "down": -value, "zero": -abs(value)}[METRICS[metric].direction]


_PARTS = {
    "systems": "list of systems",
    "coverage": "account of what was measured",
    "summary": "summary per stem",
    "rows": "numbers of single tracks",
}


def _read_results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give the folder that an evaluation wrote.")
    try:
        results = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: is missing, so there is nothing to make a page of. Evaluate first.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({_first_line(error)}). Evaluate again.") from error
    if not isinstance(results, dict) or results.get("kind", "evaluation") != "evaluation":
        raise UserError(f"{path}: does not hold the results of an evaluation. Give the folder that one wrote.")
    return results


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _mappings(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _names(*sources: object) -> list[str]:
    """The strings in all sources, once each: first what is listed, then what else occurs."""
    found = (name for source in sources if isinstance(source, Iterable) for name in source if isinstance(name, str))
    return list(dict.fromkeys(name for name in found))


def _cells(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The mappings from metrics to numbers of all stems and systems."""
    return [mapping(cell) for systems in summary.values() for cell in mapping(systems).values()]


def _systems(results: Mapping[str, Any], rows: list[dict[str, Any]], summaries: list[dict[str, Any]]) -> list[System]:
    """The listed systems, and after them those that only the numbers know, as systems like any other."""
    listed = {str(system["name"]): system for system in _mappings(results.get("systems")) if "name" in system}
    unlisted = (mapping(systems) for summary in summaries for systems in summary.values())
    names = _names(listed, (row.get("system") for row in rows), *unlisted)
    return [
        System(
            name=name,
            role=str(role) if (role := mapping(listed.get(name)).get("role")) in ROLES else "system",
            source=printable(str(mapping(listed.get(name)).get("source") or "")),
            number=number,
        )
        for number, name in enumerate(names)
    ]
