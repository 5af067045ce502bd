"""Shipping a separator that was trained here: weights, and the card that says how they came about and what they do."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from tqdm import tqdm

from codec_ft.data.separators.base import Separator
from codec_ft.data.separators.build import measure_levels, over_tracks
from codec_ft.data.separators.load import load_separator
from codec_ft.data.separators.networks import read_network, save_network
from codec_ft.data.separators.sources import read_mixture
from codec_ft.data.tracks import find_tracks, split_folders
from codec_ft.separation.config import SeparatorConfig
from codec_ft.training.cards import data_line, training_line, write_card
from codec_ft.training.provenance import composed_data, training_facts
from codec_ft.training.run_folder import read_finished

ARCHITECTURES = {
    "open_unmix": "Open-Unmix (spectrogram masks by a bidirectional LSTM, all stems in one network)",
    "htdemucs": "Hybrid Transformer Demucs",
}

UNSEEN = "None of these songs was trained on."
SEEN = {"train": "These songs it was trained on.", "valid": "By excerpts of these songs the checkpoint was chosen."}
"""What a card says of the splits that a training has seen."""


def ship_separator(run: Path, folder: Path, data: Sequence[Path]) -> Path:
    """Copy a trained separator to `folder` in half precision, measure exactly what was written, and write its card.

    Args:
        run: folder of a finished separator training.
        folder: gets `config.json`, `model.safetensors`, `card.md` and `card.json`.
        data: data sets on all of whose splits the separator is measured.

    Returns:
        The card.

    Raises:
        UserError: the run is not finished or trained no separator, or its data were not made by the demo composer.
    """
    config = read_finished(run, {"separator": SeparatorConfig}, "a separator")
    composed = composed_data(config, "separators")
    network, trained = read_network(run / "separator")
    save_network(network, trained, folder, torch.float16)
    separator = load_separator(folder)
    facts = {
        "name": folder.name,
        "architecture": ARCHITECTURES[config.architecture],
        "sample_rate": separator.sample_rate,
        "channels": separator.channels,
        "stems": separator.stems,
        "parameters": sum(p.numel() for p in network.parameters()),
        "licence": "MIT",
        "training_data": composed,
        **training_facts(run, config),
        "measured": {root.name: measure_separator(separator, root) for root in data},
    }
    return write_card(folder, facts, card_text(facts))


def measure_separator(separator: Separator, root: Path) -> dict[str, dict[str, Any]]:
    """Separate the whole tracks of every split of a data set.

    Returns:
        split -> `tracks` (their number), `separated` and `mixture` (of the stems, and of the mixture in their
        place: stem -> `usdr`, its mean, and `sdr_med`, its median).
    """
    found: dict[str, dict[str, Any]] = {}
    for split in (split for split, folders in split_folders(root).items() if folders):
        separated, floors = [], []
        tracks = find_tracks(root, split, separator.stems)
        for track in tqdm(tracks, desc=f"{root.name}, {split}", unit="track"):
            mixture, rate = read_mixture(track)
            separated.append(measure_levels(track, separator.separate(mixture, rate), rate))
            floors.append(measure_levels(track, dict.fromkeys(separator.stems, mixture), rate))
        found[split] = {"tracks": len(tracks), "separated": over_tracks(separated), "mixture": over_tracks(floors)}
    return found


def card_text(facts: dict[str, Any]) -> str:
    """The card as Markdown; every number in it comes from `facts`."""
    config = facts["config"]
    root = config["data"]["root"]
    lines = [
        f"# Separator `{facts['name']}`",
        "",
        f"{facts['architecture']}, {facts['parameters'] / 1e6:.2f} M parameters; {facts['sample_rate']} Hz, "
        f"{'stereo' if facts['channels'] == 2 else 'mono'}; stems: {', '.join(facts['stems'])}. Stored in half "
        "precision, computed in float32. It was trained on synthetic demo music only: a real separator with real "
        "errors, for learning to mend them, and no match for published ones on other music.",
        "",
        "## How it was made",
        "",
        data_line(facts["training_data"], root),
        training_line(facts, f"{config['id']} run=runs/{config['id']}"),
        f"- Card: `python scripts/ship_separator.py runs/{config['id']} FOLDER "
        f"{' '.join(f'--data data/{name}' for name in facts['measured'])}`",
        "",
    ]
    for name, splits in facts["measured"].items():
        for split, found in splits.items():
            seen = SEEN.get(split, UNSEEN) if name == root else UNSEEN
            lines += _measured_text(f"## `{name}`, {split}: {found['tracks']} whole tracks", seen, found)
    return "\n".join(lines)


def _measured_text(heading: str, remark: str, found: dict[str, Any]) -> list[str]:
    lines = [
        heading,
        "",
        f"In brackets: the mixture in place of the stem. {remark}",
        "",
        "| stem | uSDR, mean (dB) | SDR-med, median (dB) |",
        "|---|---|---|",
    ]
    for stem, row in found["separated"].items():
        cells = [f"{_number(row[m])} ({_number(found['mixture'][stem][m])})" for m in ("usdr", "sdr_med")]
        lines.append(f"| {stem} | {' | '.join(cells)} |")
    means = []
    for metric in ("usdr", "sdr_med"):
        ours, floor = (
            mean([row[metric] for row in found[system].values() if row[metric] is not None])
            for system in ("separated", "mixture")
        )
        means.append(f"{ours:.2f} ({floor:.2f})")
    return [*lines, f"| mean | {' | '.join(means)} |", ""]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
