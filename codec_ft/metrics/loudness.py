"""Loudness error: is the estimate as loud as the target, by ITU-R BS.1770 (thesis, section 9.2, asks for it)."""

import math

import pyloudnorm
import torch
from torch import Tensor
from torch.nn import functional

from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    "loudness_error": Metric(
        "loudness error",
        "LU",
        "zero",
        "Integrated loudness of the estimate minus that of the target: negative where the estimate is too quiet. "
        "What is below -70 LUFS, silence too, counts as -70 LUFS.",
        "ITU-R BS.1770-4; pyloudnorm",
    ),
}
"""What this file measures."""

GATE_LUFS = -70.0
"""The absolute gate of BS.1770: quieter blocks are not measured, so that this is the lowest loudness there is."""

_BLOCK_SECONDS = 0.4


def integrated_loudness(audio: Tensor, sample_rate: int) -> float:
    """Gated loudness of `audio [C, N]` (at most five channels) in LUFS, `GATE_LUFS` or more.

    Audio shorter than the standard's block of 0.4 s is followed by silence up to that length. This makes it quieter,
    but an estimate and a target of one length alike, so that their difference stays what it is.
    """
    block = math.ceil(_BLOCK_SECONDS * sample_rate)
    padded = functional.pad(audio, (0, max(0, block - audio.shape[1])))
    meter = pyloudnorm.Meter(sample_rate, block_size=_BLOCK_SECONDS)
    return max(GATE_LUFS, float(meter.integrated_loudness(padded.T.cpu().numpy())))


def loudness_error(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Signed loudness error per item in LU, `[B, C, N], [B, C, N] -> [B]` in float64.

    `integrated_loudness` of the estimate minus that of the target. Signed, because the sign is the finding: models
    that lose energy are below zero, bleed is above it. Antisymmetric; 0 for two silent signals; a gain of g dB
    is an error of g LU (while both are above the gate).

    Raises:
        ValueError: the shapes differ, a sample is NaN or infinite, or there are more than five channels.
    """
    check_audio_pair(estimate, target)
    loudness = [[integrated_loudness(item, sample_rate) for item in audio] for audio in (estimate, target)]
    return torch.tensor(loudness[0], dtype=torch.float64) - torch.tensor(loudness[1], dtype=torch.float64)
