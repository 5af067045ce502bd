"""What a trained separator reached: samples to hear, and each stem beside the mixture."""

from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from codec_ft.data.dataset import collate
from codec_ft.metrics.registry import waveform_metrics
from codec_ft.separation.step import SeparatorStep
from codec_ft.separation.task import SeparatorTask, silent
from codec_ft.training.samples import plain, write_sample

Metrics = dict[str, float]


@torch.no_grad()
def report_separator(
    task: SeparatorTask, module: nn.Module, samples: Path, checkpoint: str, device: torch.device
) -> dict:
    """Separate the fixed excerpts of the report split; write a sample of each stem and return the table of all.

    Args:
        task: knows the data.
        module: the trained `SeparatorStep`, in `eval()`.
        samples: folder that gets one folder per excerpt and stem, unless the stem rests there.
        checkpoint: what the weights are, in words.
        device: where to compute.

    Returns:
        `rows` (each stem, and the mixture in its place), `report_split`, `excerpts` and `excerpt_seconds`.
    """
    assert isinstance(module, SeparatorStep)
    data = task.config.data
    excerpts = task.excerpts(data.report_split, data.report_seconds, data.report_per_track)
    outputs: dict[str, list[Metrics]] = {stem: [] for stem in module.stems}
    floors: dict[str, list[Metrics]] = {stem: [] for stem in module.stems}
    for i, excerpt in enumerate(tqdm(excerpts.excerpts, desc="samples", unit="excerpt")):
        batch = collate([excerpts[i]]).to(device)
        estimates = module.separate(batch.input)
        for s, stem in enumerate(module.stems):
            target = batch.target[:, s]
            if silent(target):
                continue
            metrics = {
                "input": _measure(batch.input, target, task.config.sample_rate),
                "output": _measure(estimates[:, s], target, task.config.sample_rate),
            }
            outputs[stem].append(metrics["output"])
            floors[stem].append(metrics["input"])
            side_car = {
                "track": f"{excerpt.track.name}, {stem}",
                "split": excerpt.track.split,
                "start": excerpt.start_seconds,
                "seconds": excerpt.seconds,
                "stem": stem,
                "input": "mixture",
                "checkpoint": checkpoint,
                "captions": {
                    "input": "the mixture",
                    "output": f"the {stem} that the separator finds in it",
                    "target": f"the clean {stem}",
                },
                "metrics": {system: {"target": values} for system, values in metrics.items()},
            }
            audio = {"input": batch.input[0], "output": estimates[0, s], "target": target[0]}
            write_sample(samples / f"{excerpt.name} - {stem}", audio, task.config.sample_rate, side_car)
    rows = [_row(stem, "output", outputs[stem]) for stem in module.stems if outputs[stem]]
    rows += [_row(f"mixture as {stem}", "baseline", floors[stem]) for stem in module.stems if floors[stem]]
    return plain(
        {
            "report_split": data.report_split,
            "excerpts": len(excerpts),
            "excerpt_seconds": data.report_seconds,
            "rows": rows,
        }
    )


def _measure(estimate: Tensor, target: Tensor, sample_rate: int) -> Metrics:
    return {name: float(value) for name, value in waveform_metrics(estimate, target, sample_rate).items()}


def _row(system: str, role: str, found: list[Metrics]) -> dict:
    """One line of the table: means over excerpts, leaving out what is undefined for one."""
    means = {name: float(torch.tensor([metrics[name] for metrics in found]).nanmean()) for name in found[0]}
    return {"system": system, "role": role, "against": {"target": means}}
