"""What the cards of all shipped models say alike: how they were made, and tables of audio metrics."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codec_ft.atomic import atomic_path

PLACES = {"cpu": "on CPU", "cuda": "on a GPU"}

METRICS_HEAD = "SI-SDR (dB) | uSDR (dB) | log-mel distance | LSD (dB)"
METRICS = {"si_sdr": ".1f", "usdr": ".1f", "log_mel_distance": ".3f", "log_spectral_distance": ".1f"}
"""Metrics of a card's table and how they are written."""


def data_line(composed: Mapping[str, Any], root: str, options: str = " --no-separators") -> str:
    """The command that makes a data set.

    Args:
        composed: what `composed_data` says of it.
        root: its name.
        options: what the command that composes music is told beside the numbers.
    """
    if composed["generator"] == "remix":
        low, high = composed["gain_db"]
        return (
            f"- Data: `python scripts/prepare_data.py remix --root data/{composed['source']} --out data/{root} "
            f"--tracks {composed['tracks']['train']} --seconds {composed['seconds']:g} --gain-db {low:g} {high:g} "
            f"--seed {composed['seed']}`"
        )
    counts = " ".join(f"--{split} {count}" for split, count in composed["tracks"].items())
    return (
        f"- Data: `python scripts/prepare_data.py demo --root data/{root} --seed {composed['seed']} "
        f"--seconds {composed['seconds']:g} {counts}{options}`"
    )


def training_line(stage: Mapping[str, Any], words: str, script: str = "train_codec.py") -> str:
    """The command of a training, and what it took.

    Args:
        stage: what `training_facts` says of it.
        words: what the command is told.
        script: of the command.
    """
    config, train = stage["config"], stage["config"]["train"]
    where = PLACES.get(stage["device"], f"on {stage['device']}")
    return (
        f"- Training: `accelerate launch scripts/{script} {words}`, "
        f"{stage['steps']} steps of {train['batch_size']} x {config['data']['seconds']:g} s, seed {train['seed']}, "
        f"{stage['hours']:g} hours {where}; the {stage['checkpoint']}."
    )


def metric_cells(values: Mapping[str, float | None], beside: Mapping[str, float | None] | None = None) -> str:
    """Cells of a row under `METRICS_HEAD`; what is `beside` stands in brackets."""

    def number(found: Mapping[str, float | None], metric: str) -> str:
        value = found.get(metric)
        return "-" if value is None else f"{value:{METRICS[metric]}}"

    return " | ".join(number(values, m) + (f" ({number(beside, m)})" if beside else "") for m in METRICS)


def write_card(folder: Path, facts: Mapping[str, Any], text: str) -> Path:
    """Write `card.json`, from which every number of the text is, and `card.md`, which is returned."""
    with atomic_path(folder / "card.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1, default=str) + "\n")
    with atomic_path(folder / "card.md") as temporary:
        temporary.write_text(text)
    return folder / "card.md"
