"""Choose what to listen to, and write it: for each stem the track on which the best system is best, and worst."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from codec_ft.metrics.registry import METRICS
from codec_ft.training.samples import write_sample
from experiments.evaluation.align import Aligned
from experiments.evaluation.layout import Item
from experiments.evaluation.loudest import loudest_part
from experiments.evaluation.results import Row
from experiments.evaluation.settings import Settings
from experiments.evaluation.summary import Values
from experiments.evaluation.systems import Comparison
from experiments.report.spectrograms import spectrogram_png

LEADING = ("usdr", "sdr_med", "si_sdr", "log_mel_distance")
"""By which metric systems and tracks are ranked: the first of these that there is. uSDR is defined everywhere."""


@dataclass(frozen=True)
class Choice:
    """An item worth hearing.

    Attributes:
        item: track and stem.
        why: "best", "worst" or "asked for".
        system: whose best or worst it is.
        metric: by which number.
    """

    item: Item
    why: str
    system: str
    metric: str


def leading_metric(metrics: Sequence[str]) -> str:
    """The metric by which systems are ranked."""
    return next((name for name in LEADING if name in metrics), metrics[0])


def badness(metric: str, value: float) -> float:
    """How bad a number is: the smaller, the better."""
    direction = METRICS[metric].direction
    return -value if direction == "up" else abs(value) if direction == "zero" else value


def choose(comparison: Comparison, values: Values, metric: str, asked_for: Sequence[str]) -> list[Choice]:
    """For each stem the best and the worst track of its best system, and the tracks that were asked for."""
    judged = [system.name for system in comparison.systems if system.role in ("input", "system")]
    chosen: list[Choice] = []
    for stem, systems in values.items():
        ranked = {
            name: {t: badness(metric, v) for t, v in systems[name].get(metric, {}).items() if np.isfinite(v)}
            for name in judged
            if name in systems
        }
        ranked = {name: tracks for name, tracks in ranked.items() if tracks}
        if not ranked:
            continue
        best = min(ranked, key=lambda name: float(np.mean(list(ranked[name].values()))))
        order = sorted(ranked[best], key=ranked[best].__getitem__)
        ends = {order[0]: "best", order[-1]: "worst"} if len(order) > 1 else {order[0]: "only"}
        wanted = {track: "asked for" for track in asked_for if (track, stem) in comparison.items} or ends
        chosen += [Choice((track, stem), why, best, metric) for track, why in wanted.items()]
    return chosen


def write_sample_of(
    folder: Path, settings: Settings, seconds: float, work: tuple[Choice, Comparison, Sequence[Row]]
) -> None:
    """Write one sample and draw its pictures, which the page would do one after the other.

    Args:
        folder: of all samples.
        settings: how it was measured.
        seconds: length of the excerpt at most.
        work: what to write, the comparison of its track, and the item's numbers.
    """
    from experiments.evaluation.measure import read_item  # here, as in `parts`: it takes seconds

    choice, comparison, rows = work
    sample = write_choice(folder, choice, read_item(comparison, choice.item, settings), rows, seconds)
    for wav in sorted(sample.glob("*.wav")):
        spectrogram_png(wav)


def write_choice(
    folder: Path,
    choice: Choice,
    aligned: Aligned,
    rows: Sequence[Row],
    seconds: float,
) -> Path:
    """Write an excerpt of an item as every system has it, with what is known about it, into a folder of its own.

    Args:
        folder: of all samples.
        choice: what it is.
        aligned: its audio; the estimates in the order of the page.
        rows: the item's numbers.
        seconds: length of the excerpt at most.
    """
    (track, stem), sample_rate = choice.item, aligned.sample_rate
    span = loudest_part(aligned.reference, sample_rate, seconds)
    audio = {name: torch.from_numpy(np.ascontiguousarray(a[:, span])) for name, a in aligned.estimates.items()}
    audio["reference"] = torch.from_numpy(np.ascontiguousarray(aligned.reference[:, span]))
    side_car = {
        "track": track,
        "stem": stem,
        "start": span.start / sample_rate,
        "seconds": audio["reference"].shape[1] / sample_rate,
        "why": choice.why,
        "system": choice.system,
        "metric": choice.metric,
        "captions": {name: "" for name in audio},
        "metrics": {row.system: row.values for row in rows},
    }
    sample = folder / f"{stem} - {track.replace('/', '-')}"
    write_sample(sample, audio, sample_rate, side_car)
    return sample
