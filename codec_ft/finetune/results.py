"""What a fine-tuned encoder reached: samples to hear and the table that says what changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from codec_ft.data.dataset import collate
from codec_ft.finetune.losses import latent_mse
from codec_ft.finetune.task import FinetuneTask
from codec_ft.finetune.warm_encoder import FinetuneStep, Reference, Separation
from codec_ft.metrics.registry import waveform_metrics
from codec_ft.metrics.tokens import active_frames, majority_token_accuracy, majority_tokens, token_accuracy
from codec_ft.training.samples import plain, write_sample

Metrics = dict[str, float]

MAJORITY_EXCERPTS = 32
"""Training excerpts from which the majority tokens are counted."""


def report(task: FinetuneTask, step: FinetuneStep, samples: Path, checkpoint: str, device: torch.device) -> dict:
    """Separate the fixed excerpts of the report split; write a sample of each and return the table of all.

    Args:
        task: knows the data.
        step: the trained module, in `eval()`.
        samples: folder that gets one folder per excerpt.
        checkpoint: what the weights are, in words.
        device: where to compute.

    Returns:
        `rows` (systems with the mean of each metric against target and quantized_target), `tokens` (accuracies per
        codebook), `report_split` and `excerpts`.
    """
    data, config = task.config.data, task.config
    split, seconds, per_track = data.report_split, data.report_seconds, data.report_per_track
    excerpts = task.excerpts(split, seconds, per_track, config.input)
    # With a separated input, the mixture is a second floor to stand on.
    mixtures = None if config.input == "mixture" else task.excerpts(split, seconds, per_track, "mixture")
    rows: dict[str, list[dict[str, Metrics]]] = {}
    mses: dict[str, list[float]] = {"untouched encoder": [], "output": []}
    tokens = TokenCounts()
    for i, excerpt in enumerate(tqdm(excerpts.excerpts, desc="samples", unit="sample")):
        batch = collate([excerpts[i]]).to(device)
        separation, reference = step.separate(batch.input, config.decode), step.reference(batch.target)
        floors = {"input": batch.input}
        if mixtures is not None:
            floors["mixture"] = collate([mixtures[i]]).to(device).input
        measured = measure(separation, reference, batch.target, floors, task.codec.sample_rate)
        for system, metrics in measured.items():
            rows.setdefault(system, []).append(metrics)
        active = active_frames(batch.target, task.codec.hop_length)
        accuracies = tokens.add(separation, reference, active)

        match = task.codec.match_space
        wanted = match(step.target_latents(batch.target))
        errors = {
            "untouched encoder": float(latent_mse(match(separation.input_latents), wanted)),
            "output": float(latent_mse(match(separation.latents), wanted)),
        }
        for system, error in errors.items():
            mses[system].append(error)
        name = excerpt.track.name if per_track == 1 else f"{excerpt.track.name} @ {excerpt.start_seconds:.1f} s"
        write_sample(
            samples / name,
            {
                "input": batch.input[0],
                "output": separation.output[0],
                "quantized_input": separation.quantized_input[0],
                "quantized_target": reference.quantized_target[0],
                "target": batch.target[0],
            },
            task.codec.sample_rate,
            {
                "track": excerpt.track.name,
                "split": split,
                "start": excerpt.start_seconds,
                "seconds": excerpt.seconds,
                "stem": config.stem,
                "input": config.input,
                "checkpoint": checkpoint,
                "latent_mse": errors,
                "metrics": measured,
                "token_accuracy": accuracies,
            },
        )
    return plain(
        {
            "report_split": split,
            "excerpts": len(excerpts),
            "excerpt_seconds": seconds,
            "rows": [_row(system, found, mses, config.input) for system, found in rows.items()],
            "tokens": tokens.means() | {"majority": _majority(task, excerpts, device)},
        }
    )


def measure(
    separation: Separation, reference: Reference, target: Tensor, floors: dict[str, Tensor], sample_rate: int
) -> dict[str, dict[str, Metrics]]:
    """Metrics of every system of one item `[1, 1, N]`, against the target and against what the codec can reach."""
    systems = {
        **floors,
        "quantized_input": separation.quantized_input,
        "output": separation.output,
        "quantized_target": reference.quantized_target,
    }
    against = {"target": target, "quantized_target": reference.quantized_target}
    return {
        system: {
            name: {metric: float(value) for metric, value in waveform_metrics(audio, other, sample_rate).items()}
            for name, other in against.items()
            if name != system
        }
        for system, audio in systems.items()
    }


class TokenCounts:
    """Token accuracies per codebook over items, each non-silent frame counting once."""

    def __init__(self) -> None:
        self.hits: dict[str, Tensor] = {}
        self.frames = 0

    def add(self, separation: Separation, reference: Reference, active: Tensor) -> dict[str, Tensor]:
        """Count one item; returns its own accuracies `[K]`."""
        readings = {
            "trained": separation.codes,
            "copy_input": separation.input_codes,
            "idempotence": reference.recoded,
        }
        frames = int(active.sum())
        accuracies = {name: token_accuracy(codes, reference.codes, active) for name, codes in readings.items()}
        if frames:
            self.frames += frames
            for name, accuracy in accuracies.items():
                self.hits[name] = self.hits.get(name, torch.zeros_like(accuracy)) + accuracy * frames
        return accuracies

    def means(self) -> dict[str, Any]:
        """Accuracies `[K]` over everything counted."""
        return {"frames": self.frames} | {name: hits / self.frames for name, hits in self.hits.items()}


def _row(system: str, found: Sequence[dict[str, Metrics]], mses: dict[str, list[float]], source: str) -> dict:
    """One line of the table: means over items, leaving out what is undefined for an item."""
    names = {
        "input": (f"{source} (input floor)", "floor"),
        "mixture": ("mixture (floor)", "floor"),
        "quantized_input": ("untouched encoder", "baseline"),
        "output": ("output", "output"),
        "quantized_target": ("quantized_target (ceiling)", "ceiling"),
    }
    title, role = names[system]
    against: dict[str, Metrics] = {}
    for other in found[0]:
        metrics = {name: torch.tensor([item[other][name] for item in found]) for name in found[0][other]}
        against[other] = {name: float(values.nanmean()) for name, values in metrics.items()}
    errors = mses.get(title)
    return {
        "system": title,
        "role": role,
        "against": against,
        "latent_mse": sum(errors) / len(errors) if errors else None,
    }


def _majority(task: FinetuneTask, excerpts: Any, device: torch.device) -> Tensor:
    """Accuracy `[K]` on the excerpts of always answering the tokens that are most frequent in training."""
    codec, training = task.codec, task.train_data(MAJORITY_EXCERPTS)
    seen = [_codes(task, collate([training[i]]).target.to(device)) for i in range(MAJORITY_EXCERPTS)]
    majority = majority_tokens(torch.cat([c for c, _ in seen]), torch.cat([a for _, a in seen]))
    heard = [_codes(task, collate([excerpts[i]]).target.to(device)) for i in range(len(excerpts))]
    codes, active = torch.cat([c for c, _ in heard]), torch.cat([a for _, a in heard])
    assert codes.shape[1] == codec.n_codebooks
    return majority_token_accuracy(codes, active, majority)


@torch.no_grad()
def _codes(task: FinetuneTask, target: Tensor) -> tuple[Tensor, Tensor]:
    codes, _ = task.codec.quantize(task.codec.encode(target))
    return codes, active_frames(target, task.codec.hop_length)
