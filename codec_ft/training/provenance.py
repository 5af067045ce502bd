"""How a shipped model came about: the facts of its card that every kind of model has."""

import json
from pathlib import Path
from typing import Any

from codec_ft.config import to_dict
from codec_ft.data.made import DESCRIPTION_FILE, description
from codec_ft.data.tracks import split_folders
from codec_ft.errors import UserError
from codec_ft.training.config import ExperimentConfig
from codec_ft.training.run_folder import RunFolder


def composed_data(config: ExperimentConfig, what: str) -> dict[str, Any]:
    """How the music that a run was trained on was composed, or remixed, with the number of tracks of each split.

    Raises:
        UserError: it is not the demo composer's; `what` was trained, in words.
    """
    facts = origin = description(config.data.root)
    while origin is not None and origin["generator"] == "remix":
        origin = origin["source_made_by"]
    if facts is None or origin is None:
        missing = config.data.root / DESCRIPTION_FILE
        raise UserError(f"{missing}: is missing; only {what} trained on music of `prepare_data.py demo` have a card.")
    facts["tracks"] = {split: len(tracks) for split, tracks in split_folders(config.data.root).items()}
    return facts


def training_facts(run: Path, config: ExperimentConfig) -> dict[str, Any]:
    """Configuration, steps, hours, device and checkpoint of a finished run.

    Of folders only their names: those of one machine are nothing to a reader elsewhere.
    """
    results = json.loads(RunFolder(run).results.read_text())
    settings = _names_of_folders(to_dict(config))
    settings["data"]["root"] = config.data.root.name
    return {
        "config": {key: value for key, value in settings.items() if key not in ("runs", "run")},
        "steps": results["steps"],
        "hours": round(results["seconds"] / 3600, 2),
        "device": results["device"],
        "checkpoint": results["checkpoint"],
    }


def _names_of_folders(value: Any) -> Any:
    """The same settings, with the last name of every absolute path in them."""
    if isinstance(value, dict):
        return {key: _names_of_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_names_of_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
