"""Shipping a codec that was trained here: weights, and the card that says how they came about and what they can do."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codec_ft.atomic import atomic_path
from codec_ft.codec_training.config import CodecTrainingConfig
from codec_ft.codec_training.report import measure_codec
from codec_ft.codecs.load import load_codec, read_encodec
from codec_ft.codecs.save import save_encodec
from codec_ft.config import load_config, to_dict
from codec_ft.data.tracks import MIXTURE, find_tracks, split_folders
from codec_ft.errors import UserError
from codec_ft.training.run_folder import RunFolder


def ship(run: Path, folder: Path, data: Sequence[Path]) -> Path:
    """Copy a trained codec to `folder` in half precision, measure exactly what was written, and write its card.

    Args:
        run: folder of a finished codec training.
        folder: gets `config.json`, `model.safetensors`, `card.md`, `card.json`, `curves.png`.
        data: data sets on whose test split the codec is measured.

    Returns:
        The card.

    Raises:
        UserError: the run is not finished or trained no codec, or its data were not made by the demo composer.
    """
    source = RunFolder(run)
    if not source.finished:
        raise UserError(f"{run}: the training is not finished; run its command again until it says so.")
    config = load_config(CodecTrainingConfig, [source.config], root=Path.cwd())
    made_by = config.data.root / "dataset.json"
    if not made_by.is_file():
        raise UserError(f"{made_by}: is missing; only codecs trained on music of `prepare_data.py demo` have a card.")
    save_encodec(read_encodec(run / "codec"), folder, torch.float16)
    codec = load_codec(str(folder))
    results = json.loads(source.results.read_text())
    settings = json.loads(made_by.read_text())
    settings["tracks"] = {split: len(tracks) for split, tracks in split_folders(config.data.root).items()}
    measured = {
        root.name: measure_codec(
            codec, root, "test", [*_stems(root), MIXTURE], seconds=config.data.report_seconds, per_track=2
        )
        for root in data
    }
    facts = {
        "name": folder.name,
        "architecture": "EnCodec (SEANet encoder and decoder, residual vector quantiser)",
        "sample_rate": codec.sample_rate,
        "hop_length": codec.hop_length,
        "n_codebooks": codec.n_codebooks,
        "codebook_size": codec.codebook_size,
        "parameters": sum(p.numel() for p in codec.parameters()),
        "licence": "MIT",
        "training_data": settings,
        "config": _without_places(config),
        "steps": results["steps"],
        "hours": round(results["seconds"] / 3600, 2),
        "checkpoint": results["checkpoint"],
        "measured": measured,
    }
    with atomic_path(folder / "card.json") as temporary:
        temporary.write_text(json.dumps(facts, indent=1, default=str))
    plot_curves(source.metrics, folder / "curves.png")
    with atomic_path(folder / "card.md") as temporary:
        temporary.write_text(card_text(facts))
    return folder / "card.md"


def _without_places(config: CodecTrainingConfig) -> dict[str, Any]:
    """The configuration without folders of the machine that it was trained on: a card is for everybody."""
    settings = to_dict(config)
    settings["data"]["root"] = config.data.root.name
    return {key: value for key, value in settings.items() if key not in ("runs", "run")}


def _stems(root: Path) -> list[str]:
    return sorted(set.intersection(*(set(track.stems) for track in find_tracks(root, "test"))))


def card_text(facts: dict[str, Any]) -> str:
    """The card as Markdown; every number in it comes from `facts`."""
    frames = facts["sample_rate"] / facts["hop_length"]
    bits = frames * math.log2(facts["codebook_size"]) * facts["n_codebooks"] / 1000
    train, excerpts, data = facts["config"]["train"], facts["config"]["data"], facts["training_data"]
    measured_on = " ".join(f"--data data/{name}" for name in facts["measured"])
    counts = " ".join(f"--{split} {count}" for split, count in data["tracks"].items())
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
        f"- Data: `python scripts/prepare_data.py demo --root data/{excerpts['root']} --seed {data['seed']} "
        f"--seconds {data['seconds']:g} {counts} --no-separators`",
        "- Training: `accelerate launch scripts/train_codec.py codec_demo`, "
        f"{facts['steps']} steps of {train['batch_size']} x {excerpts['seconds']:g} s, seed "
        f"{train['seed']}, {facts['hours']:g} hours on one CPU core; the {facts['checkpoint']}.",
        f"- Card: `python scripts/ship_codec.py RUN FOLDER {measured_on}`",
        "",
        "![Training curves](curves.png)",
        "",
    ]
    for name, found in facts["measured"].items():
        lines += [
            f"## Measured on the test split of `{name}`",
            "",
            f"{found['excerpts']} excerpts of {found['excerpt_seconds']:g} s from songs that were not trained on.",
            "",
            "| stem | SI-SDR (dB) | uSDR (dB) | log-mel distance | LSD (dB) |",
            "|---|---|---|---|---|",
        ]
        for row in found["rows"]:
            values = row["against"]["target"]
            stem = row["system"].removesuffix(" reconstructed")
            lines.append(
                f"| {stem} | {values['si_sdr']:.1f} | {values['usdr']:.1f} | {values['log_mel_distance']:.3f} "
                f"| {values['log_spectral_distance']:.1f} |"
            )
        lines += [
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
    return "\n".join(lines)


def plot_curves(metrics: Path, png: Path) -> None:
    """Draw the named losses of `metrics.jsonl` over the steps: what a normal training looks like."""
    from matplotlib.figure import Figure

    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    panels = ["mel", "waveform", "commitment", "perplexity_1", "codes_replaced", "si_sdr"]
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    for axes, name in zip(figure.subplots(2, 3).flat, panels, strict=True):
        for split, style in {"train": {"linewidth": 0.7}, "valid": {"linewidth": 1.8}}.items():
            points = [(r["step"], r[name]) for r in records if r["split"] == split and r.get(name) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), label=split, **style)
        axes.set_title(name)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    with atomic_path(png) as temporary:
        figure.savefig(temporary, dpi=90)
