"""What an evaluation writes down: every number of every item as JSON and CSV."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codec_ft.atomic import atomic_path
from codec_ft.metrics.frechet import Gaussian
from codec_ft.metrics.onsets import OnsetCounts
from codec_ft.metrics.token_counts import TokenCounts
from codec_ft.training.samples import plain
from experiments.evaluation.align import Note

RESULTS = "results.json"
TABLE = "results.csv"


@dataclass
class Row:
    """One system's answer for one item, measured.

    Attributes:
        track: name of the track.
        stem: name of the stem.
        system: name of the system.
        seconds: length of the item.
        values: metric -> number against the reference; NaN where it is undefined.
        second: metric -> number against the reference as the codec can say it.
        frames: "sdr" and, where asked for, "isr", "sir", "sar" -> dB of every second, NaN where museval has it.
        rolloff: errors in cents of the frames that are loud enough.
        onset_frames: frames with onsets, right and wrong.
        onset_events: onsets, right and wrong.
        tokens: what there is to count of its tokens.
        embedded_seconds: how much of it was embedded.
        gaussian: mean and covariance of its embeddings.
        vectors: some of its embeddings [n, D].
    """

    track: str
    stem: str
    system: str
    seconds: float
    values: dict[str, float] = field(default_factory=dict)
    second: dict[str, float] = field(default_factory=dict)
    frames: dict[str, np.ndarray] = field(default_factory=dict)
    rolloff: np.ndarray = field(default_factory=lambda: np.empty(0))
    onset_frames: OnsetCounts = field(default_factory=OnsetCounts)
    onset_events: OnsetCounts = field(default_factory=OnsetCounts)
    tokens: TokenCounts | None = None
    embedded_seconds: float = 0.0
    gaussian: Gaussian | None = None
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))


@dataclass
class Measured:
    """A measured track.

    Attributes:
        rows: one per stem and system.
        references: one per stem, with the embeddings of the reference and nothing else.
        notes: what was changed in the files that were read.
        left_out: a sentence on each item that could not be measured.
        sample_rate: at which the audio was measured, in Hz.
        channels: of the audio that was measured.
        codec: name, rate and size of the codec, if there is one.
    """

    rows: list[Row] = field(default_factory=list)
    references: list[Row] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    sample_rate: int = 0
    channels: int = 0
    codec: dict[str, str | int] | None = None


def row_to_json(row: Row) -> dict[str, Any]:
    """A row as it stands in `results.json`: what is undefined is null."""
    return {
        "track": row.track,
        "stem": row.stem,
        "system": row.system,
        "seconds": round(row.seconds, 3),
        "values": _rounded(row.values),
        "second": _rounded(row.second),
        "frames": {name: [_digits(value) for value in values] for name, values in row.frames.items()},
    }


def write_results(folder: Path, results: Mapping[str, Any], rows: Sequence[Row], metrics: Sequence[str]) -> None:
    """Write `results.json` and `results.csv`, each in full or not at all.

    Args:
        folder: where to.
        results: everything but the rows.
        rows: one per system and item.
        metrics: the columns of the CSV.
    """
    whole = plain({**results, "rows": [row_to_json(row) for row in rows]})
    with atomic_path(folder / RESULTS) as temporary:
        temporary.write_text(json.dumps(whole, ensure_ascii=False), encoding="utf-8")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    second = [name for name in metrics if any(name in row.second for row in rows)]
    writer.writerow(
        ["track", "stem", "system", "seconds", *metrics, *(f"{name}_against_quantized_target" for name in second)]
    )
    for row in rows:
        numbers = [*(row.values.get(name) for name in metrics), *(row.second.get(name) for name in second)]
        cells = ["" if number is None or not np.isfinite(number) else f"{number:.6g}" for number in numbers]
        writer.writerow([row.track, row.stem, row.system, f"{row.seconds:.3f}", *cells])
    with atomic_path(folder / TABLE) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def _rounded(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _digits(value) for name, value in values.items()}


def _digits(value: float) -> float | None:
    """Six significant digits: more than any of these numbers can be trusted to."""
    return float(f"{value:.6g}") if np.isfinite(value) else None
