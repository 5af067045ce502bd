"""Shipping a codec that was trained here: weights, and the card that says how they came about and what they can do."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codec_ft.codec_training.config import RECIPES, CodecTrainingConfig
from codec_ft.codec_training.curves import ship_curves
from codec_ft.codec_training.report import measure_codec
from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import load_codec, read_model
from codec_ft.codecs.save import save_model
from codec_ft.data.tracks import MIXTURE, find_tracks
from codec_ft.training.cards import METRICS_HEAD, data_line, metric_cells, training_line, write_card
from codec_ft.training.provenance import composed_data, training_facts
from codec_ft.training.run_folder import RunFolder, read_finished

ARCHITECTURES = {
    "encodec": "EnCodec (SEANet encoder and decoder, residual vector quantiser)",
    "dac": "DAC (convolutions with Snake activations, factorised residual vector quantiser with cosine distance)",
}


def ship(run: Path, folder: Path, data: Sequence[Path], against: str | None = None) -> Path:
    """Copy a trained codec to `folder` in half precision, measure exactly what was written, and write its card.

    Args:
        run: folder of a finished codec training.
        folder: gets `config.json`, `model.safetensors`, `card.md`, `card.json`, `curves.json`, `curves.png`.
        data: data sets on whose test split the codec is measured.
        against: a codec to compare it with on the same excerpts, a name or a folder.

    Returns:
        The card.

    Raises:
        UserError: the run is not finished or trained no codec, or its data were not made by the demo composer.
    """
    config = read_finished(run, RECIPES, "a codec")
    composed = composed_data(config, "codecs")
    # Before anything is written: it may be the codec that stands in this very folder.
    compared = {root.name: measure(load_codec(against), root, config) for root in data} if against else None
    save_model(read_model(run / "codec"), folder, torch.float16)
    codec = load_codec(str(folder))
    facts = {
        "name": folder.name,
        "architecture": ARCHITECTURES[config.task],
        "sample_rate": codec.sample_rate,
        "hop_length": codec.hop_length,
        "n_codebooks": codec.n_codebooks,
        "codebook_size": codec.codebook_size,
        "parameters": sum(p.numel() for p in codec.parameters()),
        "licence": "MIT",
        "training_data": composed,
        "stages": stages(run),
        "against": against and Path(against).name,
        "measured": {root.name: measure(codec, root, config) for root in data},
        "compared": compared,
    }
    ship_curves(RunFolder(run).metrics, folder)
    return write_card(folder, facts, card_text(facts))


def stages(run: Path) -> list[dict[str, Any]]:
    """The trainings that led to a codec, first to last: a run, and before it the one that it started from."""
    config = read_finished(run, RECIPES, "a codec")
    earlier = stages(Path(config.start)) if config.start and RunFolder(Path(config.start)).finished else []
    return [*earlier, training_facts(run, config)]


def measure(codec: Codec, root: Path, config: CodecTrainingConfig) -> dict[str, Any]:
    """Two excerpts of each stem and mixture of the test split."""
    stems = sorted(set.intersection(*(set(track.stems) for track in find_tracks(root, "test"))))
    return measure_codec(codec, root, "test", [*stems, MIXTURE], seconds=config.data.report_seconds, per_track=2)


def card_text(facts: dict[str, Any]) -> str:
    """The card as Markdown; every number in it comes from `facts`."""
    frames = facts["sample_rate"] / facts["hop_length"]
    bits = frames * math.log2(facts["codebook_size"]) * facts["n_codebooks"] / 1000
    root = facts["stages"][0]["config"]["data"]["root"]
    lines = [
        f"# Codec `{facts['name']}`",
        "",
        f"{facts['architecture']}, {facts['parameters'] / 1e6:.2f} M parameters and {facts['n_codebooks']} codebooks "
        f"of {facts['codebook_size']} codes; {facts['sample_rate']} Hz mono, {frames:g} frames per second, {bits:g} "
        "kbps. Stored in half precision, computed in float32. It was trained on synthetic demo music only, and "
        "codes other music with more noise.",
        "",
        "## How it was made",
        "",
        data_line(facts["training_data"], root),
        *(_stage_text(stage) for stage in facts["stages"]),
        f"- Card: `python scripts/ship_codec.py RUN FOLDER {' '.join(f'--data data/{n}' for n in facts['measured'])}`",
        "",
        "![Training curves](curves.png)",
        "",
        "`curves.json` holds these and all other curves of the last training, `{split: {name: [[step, value], ...]}}`.",
        "",
    ]
    for name, found in facts["measured"].items():
        lines += _measured_text(name, found, facts)
    return "\n".join(lines)


def _stage_text(stage: dict[str, Any]) -> str:
    config = stage["config"]
    start = f" start={config['start']}" if config.get("start") else ""
    return training_line(stage, f"{config['id']}{start} run=runs/{config['id']}")


def _measured_text(name: str, found: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    compared = facts["compared"] and facts["compared"][name]
    lines = [
        f"## Measured on the test split of `{name}`",
        "",
        f"{found['excerpts']} excerpts of {found['excerpt_seconds']:g} s from songs that were not trained on."
        + (f" In brackets: `{facts['against']}` before, on the same excerpts." if compared else ""),
        "",
        f"| stem | {METRICS_HEAD} |",
        "|---|---|---|---|---|",
    ]
    for index, row in enumerate(found["rows"]):
        before = compared["rows"][index]["against"]["target"] if compared else None
        cells = metric_cells(row["against"]["target"], before)
        lines.append(f"| {row['system'].removesuffix(' reconstructed')} | {cells} |")
    return [
        *lines,
        "",
        f"| codebook | {' | '.join(str(k + 1) for k in range(facts['n_codebooks']))} |",
        f"|---|{'---|' * facts['n_codebooks']}",
        f"| codes in use, of {facts['codebook_size']} | {' | '.join(str(n) for n in found['usage']['used'])} |",
        f"| perplexity | {' | '.join(f'{p:.0f}' for p in found['usage']['perplexity'])} |",
        f"| idempotence | {' | '.join(f'{share:.2f}' for share in found['tokens']['idempotence'])} |",
        "",
        f"Codes in use and idempotence count the {found['frames']} non-silent frames of these excerpts.",
        "",
    ]
