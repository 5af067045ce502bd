"""Tables of what is no number per track: rolloff, onsets and tokens over frames, Frechet distances over sets."""

from collections import defaultdict
from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import torch

from codec_ft.metrics.frechet import Gaussian, frechet_distance, frechet_infinity, words
from codec_ft.metrics.rolloff import ROLLOFF_EDGES, rolloff_histogram
from experiments.evaluation.reference_set import ReferenceSet
from experiments.evaluation.results import Row


def _by_system(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """stem -> system -> rows."""
    found: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        found.setdefault(row.stem, {}).setdefault(row.system, []).append(row)
    return found


def rolloff_table(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """stem -> system -> histogram, median and quartiles of the rolloff errors of all frames (MSG's figure 5)."""
    table: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for stem, systems in _by_system(rows).items():
        for system, answers in systems.items():
            errors = np.concatenate([row.rolloff for row in answers])
            if errors.size:
                low, median, high = np.quantile(errors, (0.25, 0.5, 0.75)).tolist()
                table[stem][system] = {
                    "edges": list(ROLLOFF_EDGES),
                    "counts": rolloff_histogram(torch.from_numpy(errors)).tolist(),
                    "median": median,
                    "low": low,
                    "high": high,
                    "frames": int(errors.size),
                }
    return dict(table)


def onset_table(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """stem -> system -> precision, recall and F1 over all frames of all tracks, as MSG counts; and those of events."""
    table: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for stem, systems in _by_system(rows).items():
        for system, answers in systems.items():
            frames = reduce(add, [row.onset_frames for row in answers])
            events = reduce(add, [row.onset_events for row in answers])
            table[stem][system] = {
                "precision": frames.precision,
                "recall": frames.recall,
                "f1": frames.f1,
                "event_precision": events.precision,
                "event_recall": events.recall,
                "event_f1": events.f1,
            }
    return dict(table)


def token_table(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """stem -> what the tokens of each system say over all active frames, per codebook."""
    table: dict[str, dict[str, Any]] = {}
    for stem, systems in _by_system(rows).items():
        counted = {
            system: reduce(add, [row.tokens for row in answers if row.tokens is not None])
            for system, answers in systems.items()
            if any(row.tokens is not None for row in answers)
        }
        if not counted:
            continue
        readings = {system: counts.readings() for system, counts in counted.items()}
        first = next(iter(counted))
        table[stem] = {
            "frames": counted[first].frames,
            "majority": readings[first]["majority_token_accuracy"],
            "target_entropy_bits": readings[first]["code_entropy_gap"] + readings[first]["codebook_perplexity"].log2(),
            "systems": {
                system: {
                    "token_accuracy": reading["token_accuracy"],
                    "cumulative_accuracy": reading["cumulative_accuracy"],
                    "top5_accuracy": reading["top5_accuracy"],
                    "codebook_distance": reading["codebook_distance"],
                    "entropy_bits": reading["codebook_perplexity"].log2(),
                }
                for system, reading in readings.items()
            },
        }
    return table


def frechet_table(
    rows: Sequence[Row], references: Sequence[Row], embedding: str | None, others: ReferenceSet | None
) -> list[dict[str, Any]]:
    """The Frechet distance of each stem and system from clean stems, with all that it depends on.

    Args:
        rows: what was measured.
        references: the embeddings of the references.
        embedding: its name; None gives an empty table.
        others: clean stems of other tracks. Only with these can the distance be extrapolated to infinitely many
            vectors: an estimate and its own reference are of the same songs and share what is special about them,
            so that their distance is not too large to begin with, and the line would lead below it.
    """
    table: list[dict[str, Any]] = []
    true = _by_system(references)
    for stem, systems in _by_system(rows).items():
        of_stem = [row.gaussian for row in true[stem]["reference"] if row.gaussian is not None]
        if embedding is None or not of_stem:
            continue
        reference = others.stems[stem] if others else Gaussian.merge(of_stem)
        about = f"the {stem} of {others.words}" if others else f"the {stem} of the {len(of_stem)} references"
        for system, answers in systems.items():
            parts = [row.gaussian for row in answers if row.gaussian is not None]
            if not parts:
                continue
            gaussian = Gaussian.merge(parts)
            distance = frechet_distance(gaussian, reference)
            infinity = (
                frechet_infinity(np.concatenate([row.vectors for row in answers if row.gaussian]), reference)
                if others
                else None
            )
            seconds = sum(row.embedded_seconds for row in answers)
            table.append(
                {
                    "stem": stem,
                    "system": system,
                    "embedding": embedding,
                    "value": distance,
                    "infinity": infinity and infinity.value,
                    "vectors": gaussian.n,
                    "reference_vectors": reference.n,
                    "seconds": seconds,
                    "dimension": len(reference.mean),
                    "words": words(
                        distance,
                        embedding=embedding,
                        dimension=len(reference.mean),
                        reference=about,
                        n=gaussian.n,
                        seconds=seconds,
                        infinity=infinity,
                    ),
                }
            )
    return table
