"""How a shipped model came about: the facts of its card that every kind of model has."""

import json
from pathlib import Path
from typing import Any

from codec_ft.config import to_dict
from codec_ft.data.tracks import split_folders
from codec_ft.errors import UserError
from codec_ft.training.config import ExperimentConfig
from codec_ft.training.run_folder import RunFolder


def composed_data(config: ExperimentConfig, what: str) -> dict[str, Any]:
    """How the music that a run was trained on was composed, with the number of tracks of each split.

    Raises:
        UserError: it was not made by the demo composer; `what` was trained, in words.
    """
    made_by = config.data.root / "dataset.json"
    if not made_by.is_file():
        raise UserError(f"{made_by}: is missing; only {what} trained on music of `prepare_data.py demo` have a card.")
    facts: dict[str, Any] = json.loads(made_by.read_text())
    facts["tracks"] = {split: len(tracks) for split, tracks in split_folders(config.data.root).items()}
    return facts


def training_facts(run: Path, config: ExperimentConfig) -> dict[str, Any]:
    """Configuration, steps, hours, device and checkpoint of a finished run."""
    results = json.loads(RunFolder(run).results.read_text())
    settings = to_dict(config)
    settings["data"]["root"] = config.data.root.name  # without folders of one machine: a card is for everybody
    return {
        "config": {key: value for key, value in settings.items() if key not in ("runs", "run")},
        "steps": results["steps"],
        "hours": round(results["seconds"] / 3600, 2),
        "device": results["device"],
        "checkpoint": results["checkpoint"],
    }
