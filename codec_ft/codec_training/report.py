"""What a trained codec reached: reconstruction per stem, use of the codebooks, idempotence."""

import copy
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from codec_ft.codec_training.step import CodecStep
from codec_ft.codec_training.task import CodecTask
from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import as_codec
from codec_ft.data.dataset import ExcerptDataset, collate
from codec_ft.data.excerpts import fixed_excerpts
from codec_ft.data.tracks import find_tracks
from codec_ft.metrics.registry import waveform_metrics
from codec_ft.metrics.tokens import active_frames, codebook_usage, token_accuracy
from codec_ft.training.samples import plain, write_sample


def report_codec(task: CodecTask, module: nn.Module, samples: Path, checkpoint: str, device: torch.device) -> dict:
    """Code the fixed excerpts of the report split; write a sample of each and return the table of all."""
    assert isinstance(module, CodecStep)
    data = task.config.data
    # Of a copy, because a codec freezes its model and folds weight norm away.
    codec = as_codec(copy.deepcopy(module.model), task.config.id).to(device)
    return measure_codec(
        codec,
        data.root,
        data.report_split,
        task.stems,
        seconds=data.report_seconds,
        per_track=data.report_per_track,
        samples=samples,
        checkpoint=checkpoint,
    )


@torch.no_grad()
def measure_codec(
    codec: Codec,
    root: Path,
    split: str,
    stems: list[str],
    *,
    seconds: float,
    per_track: int,
    samples: Path | None = None,
    checkpoint: str = "",
) -> dict:
    """Reconstruction per stem of a codec on a split, with its codebooks' use and idempotence.

    Args:
        codec: on its device.
        root: data set.
        split: "train", "valid" or "test".
        stems: what to code, one row each.
        seconds: length of an excerpt.
        per_track: excerpts of each track and stem.
        samples: where to write samples (input is target here), or None.
        checkpoint: what the weights are, in words, for the samples' side-car.

    Returns:
        `rows` (a system per stem), `tokens` (idempotence per codebook), `usage` (codes used and perplexity per
        codebook, over all stems), `frames` (the non-silent ones that these count), `report_split`, `excerpts` and
        `excerpt_seconds`.
    """
    device = next(codec.parameters()).device
    tracks = find_tracks(root, split)
    rows, all_codes, all_recoded, all_active = [], [], [], []
    n_excerpts = 0
    for stem in tqdm(stems, desc="samples", unit="stem"):
        excerpts = fixed_excerpts(tracks, stem, seconds, per_track)
        data = ExcerptDataset(excerpts, stem=stem, input="target", sample_rate=codec.sample_rate)
        found = []
        for i, excerpt in enumerate(excerpts):
            target = collate([data[i]]).target.to(device)
            codes, quantized = codec.quantize(codec.encode(target))
            output = codec.decode(quantized, target.shape[-1])
            all_codes.append(codes)
            all_recoded.append(codec.quantize(codec.encode(output))[0])
            all_active.append(active_frames(target, codec.hop_length))
            measured = waveform_metrics(output, target, codec.sample_rate)
            found.append({name: float(value) for name, value in measured.items()})
            if samples is not None:
                side_car = {
                    "track": excerpt.track.name,
                    "split": split,
                    "start": excerpt.start_seconds,
                    "seconds": excerpt.seconds,
                    "stem": stem,
                    "input": stem,
                    "checkpoint": checkpoint,
                    "metrics": {"output": {"target": found[-1]}},
                }
                audio = {"output": output[0], "target": target[0]}
                write_sample(samples / f"{excerpt.name} - {stem}", audio, codec.sample_rate, side_car)
        n_excerpts += len(excerpts)
        means = {name: float(torch.tensor([item[name] for item in found]).nanmean()) for name in found[0]}
        rows.append({"system": f"{stem} reconstructed", "role": "output", "against": {"target": means}})
    codes, recoded, active = torch.cat(all_codes), torch.cat(all_recoded), torch.cat(all_active)
    sounding = codes.transpose(1, 2)[active].T[None]  # [1, K, frames]
    usage = codebook_usage(sounding, codec.codebook_size)
    return plain(
        {
            "report_split": split,
            "excerpts": n_excerpts,
            "excerpt_seconds": seconds,
            "frames": int(active.sum()),
            "rows": rows,
            "tokens": {"idempotence": token_accuracy(recoded, codes, active)},
            "usage": {"used": usage.used, "perplexity": usage.perplexity},
        }
    )
