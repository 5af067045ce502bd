"""What a trained module reached: samples to hear, and the table that says what changed."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import ExcerptDataset, collate
from codec_ft.data.tracks import context_names
from codec_ft.metrics.frechet import Gaussian, frechet_distance
from codec_ft.metrics.tokens import active_frames, majority_token_accuracy, majority_tokens, token_accuracy
from codec_ft.training.samples import plain
from codec_ft.training.stem_config import StemConfig
from codec_ft.training.stem_sample import Metrics, Sample, excerpt_folder, other_floors, save_sample, separate_sample
from codec_ft.training.stem_task import StemTask

MAJORITY_EXCERPTS = 32
"""Training excerpts from which the majority tokens are counted."""

ROWS = {
    "mixture": ("mixture (floor)", "floor"),
    "quantized_input": ("untouched encoder", "baseline"),
    "output": ("output", "output"),
    "quantized_target": ("quantized_target (ceiling)", "ceiling"),
}
"""Title and role of each system in the table; input and context are called by their own names."""


def report(task: StemTask, module: nn.Module, samples: Path, checkpoint: str, device: torch.device) -> dict:
    """Separate the fixed excerpts of the report split; write a sample of each and return the table of all.

    Args:
        task: knows the data.
        module: the trained module, in `eval()`.
        samples: folder that gets one folder per excerpt.
        checkpoint: what the weights are, in words.
        device: where to compute.

    Returns:
        `rows` (systems with the mean of each metric against target and quantized_target, and the Frechet distance of
        all excerpts to the clean ones), `tokens` (accuracies per codebook over all non-silent frames), `report_split`,
        `excerpts` and `excerpt_seconds`.
    """
    data, config = task.config.data, task.config
    split, seconds, per_track = task.report_split, data.report_seconds, data.report_per_track
    excerpts = task.excerpts(split, seconds, per_track, config.input)
    others = {name: task.reading(excerpts.excerpts, source) for name, source in other_floors(config).items()}
    found: list[Sample] = []
    for i, excerpt in enumerate(tqdm(excerpts.excerpts, desc="samples", unit="sample")):
        floors = {name: collate([data[i]]).to(device).input for name, data in others.items()}
        found.append(separate_sample(task, module, collate([excerpts[i]]).to(device), floors))
        save_sample(excerpt_folder(samples, excerpt), found[-1], task, excerpt, checkpoint)
    return plain(
        {
            "report_split": split,
            "excerpts": len(excerpts),
            "excerpt_seconds": excerpts.excerpts[0].seconds,
            "rows": [_row(system, found, config) | _frechet(system, found, task.codec) for system in found[0].metrics],
            "tokens": _tokens(found) | {"majority": _majority(task, excerpts, device)},
        }
    )


def _row(system: str, found: Sequence[Sample], config: StemConfig) -> dict:
    """One line of the table: means over items, leaving out what is undefined for an item."""
    names = {"input": config.input, **context_names(config.context)}
    if system in found[0].separation.steps:
        title, role = system, "step"
    else:
        title, role = ROWS.get(system) or (f"{names[system]} (floor)", "floor")
    against: dict[str, Metrics] = {}
    for other, metrics in found[0].metrics[system].items():
        values = {name: torch.tensor([sample.metrics[system][other][name] for sample in found]) for name in metrics}
        against[other] = {name: float(value.nanmean()) for name, value in values.items()}
    errors = [sample.latent_mse[title] for sample in found if title in sample.latent_mse]
    return {
        "system": title,
        "role": role,
        "against": against,
        "latent_mse": sum(errors) / len(errors) if errors else None,
    }


@torch.no_grad()
def _frechet(system: str, found: Sequence[Sample], codec: Codec) -> dict[str, float]:
    """How far the codec's latents of all excerpts lie from those of the clean stems, as Gaussians."""

    def all_latents(audio: Sequence[Tensor]) -> Gaussian:
        return Gaussian.merge([Gaussian.of(codec.encode(wave)[0].T.cpu()) for wave in audio])

    systems = all_latents([sample.systems[system] for sample in found])
    return {"frechet_distance": frechet_distance(systems, all_latents([sample.batch.target for sample in found]))}


def _tokens(found: Sequence[Sample]) -> dict[str, int | Tensor]:
    """Accuracies `[K]` over all items, each non-silent frame counting once."""
    active = torch.cat([sample.active for sample in found])
    target = torch.cat([sample.reference.codes for sample in found])
    readings = {
        "trained": torch.cat([sample.separation.codes for sample in found]),
        "copy_input": torch.cat([sample.separation.input_codes for sample in found]),
        "idempotence": torch.cat([sample.reference.recoded for sample in found]),
        **{
            name: torch.cat([sample.separation.steps[name].codes for sample in found])
            for name in found[0].separation.steps
        },
    }
    accuracies = {name: token_accuracy(codes, target[:, : codes.shape[1]], active) for name, codes in readings.items()}
    return {"frames": int(active.sum()), **accuracies}


def _majority(task: StemTask, excerpts: ExcerptDataset, device: torch.device) -> Tensor:
    """Accuracy `[K]` on the excerpts of always answering the tokens that are most frequent in training."""
    training = task.pairs(MAJORITY_EXCERPTS)
    codes, active = _target_codes(task, [training[i]["target"] for i in range(MAJORITY_EXCERPTS)], device)
    majority = majority_tokens(codes, active)
    codes, active = _target_codes(task, [excerpts[i]["target"] for i in range(len(excerpts))], device)
    return majority_token_accuracy(codes, active, majority)


@torch.no_grad()
def _target_codes(task: StemTask, targets: Sequence[Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    codec = task.codec
    codes = [codec.quantize(codec.encode(target[None].to(device)))[0] for target in targets]
    active = [active_frames(target[None], codec.hop_length).to(device) for target in targets]
    return torch.cat(codes), torch.cat(active)
