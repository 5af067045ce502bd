"""What a decoder gained by learning an enhancer's codes: it, and the codec's own, playing them on held-out songs."""

from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from codec_ft.codec_training.decoder_task import DecoderStep, DecoderTask
from codec_ft.data.dataset import collate
from codec_ft.data.tracks import MIXTURE, context_names
from codec_ft.metrics.registry import waveform_metrics
from codec_ft.training.samples import plain, write_sample

ROLES = {
    "untouched_decoder": "baseline",
    "output": "output",
    "quantized_target": "ceiling",
}
"""What there is to hear of an excerpt beside the target, and its role in the table; all that was heard is a floor."""


@torch.no_grad()
def report_decoder(
    task: DecoderTask, module: DecoderStep, samples: Path, checkpoint: str, device: torch.device
) -> dict:
    """Play the codes of the fixed excerpts of the report split; write a sample of each and return the table of all.

    Args:
        task: knows the data.
        module: with the trained decoder, in `eval()`.
        samples: folder that gets one folder per excerpt.
        checkpoint: what the weights are, in words.
        device: where to compute.

    Returns:
        `rows` (systems with the mean of each metric against the target), `input` (what the enhancer heard),
        `report_split`, `excerpts` and `excerpt_seconds`. Codes are not in it: they are the enhancer's, as they were.
    """
    data, codec, source = task.config.data, task.enhancer.codec, task.enhancer.input
    beside = context_names(task.enhancer.context)
    excerpts = task.chosen(data.report_split, data.report_seconds, data.report_per_track)
    pairs = task.pairs(excerpts, source)
    # With a separated input, the mixture is a second floor to stand on.
    mixtures = None if source == MIXTURE else task.pairs(excerpts, MIXTURE)
    found: dict[str, list[dict[str, float]]] = {}
    for i, excerpt in enumerate(tqdm(excerpts, desc="samples", unit="sample")):
        batch = collate([pairs[i]]).to(device)
        target, length = batch.target, batch.target.shape[-1]
        predicted = module.predicted(batch)
        systems: dict[str, Tensor] = {
            "input": batch.input,
            **({} if mixtures is None else {MIXTURE: collate([mixtures[i]]).to(device).input}),
            **({} if batch.context is None else dict(zip(beside, batch.context.split(1, dim=1), strict=True))),
            "untouched_decoder": codec.decode(predicted, length),
            "output": module.decode(predicted, length),
            "quantized_target": codec.reconstruct(target),
        }
        metrics = {
            name: {key: float(value) for key, value in waveform_metrics(audio, target, codec.sample_rate).items()}
            for name, audio in systems.items()
        }
        for name, values in metrics.items():
            found.setdefault(name, []).append(values)
        side_car = {
            "track": excerpt.track.name,
            "split": excerpt.track.split,
            "start": excerpt.start_seconds,
            "seconds": excerpt.seconds,
            "stem": task.config.stem,
            "input": source,
            "context": task.enhancer.context,
            "checkpoint": checkpoint,
            "metrics": {name: {"target": values} for name, values in metrics.items()},
        }
        audio = {name: wave[0] for name, wave in systems.items()} | {"target": target[0]}
        write_sample(samples / excerpt.name, audio, codec.sample_rate, side_car)
    titles = {
        "input": f"{source} (floor)",
        MIXTURE: f"{MIXTURE} (floor)",
        **{name: f"{other} (floor)" for name, other in beside.items()},
        "untouched_decoder": "untouched decoder",
        "output": "output",
        "quantized_target": "quantized_target (ceiling)",
    }
    return plain(
        {
            "input": source,
            "report_split": data.report_split,
            "excerpts": len(excerpts),
            "excerpt_seconds": data.report_seconds,
            "rows": [
                {"system": titles[name], "role": ROLES.get(name, "floor"), "against": {"target": _means(items)}}
                for name, items in found.items()
            ],
        }
    )


def _means(items: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric, leaving out items for which it is not defined."""
    return {name: float(torch.tensor([item[name] for item in items]).nanmean()) for name in items[0]}
