"""How loud audio is, as a whole and frame by frame, in dB re full scale (a full-scale square wave is at 0)."""

import math

import torch
from torch import Tensor
from torch.nn import functional

FLOOR_DB = -120.0
"""Level that stands for nothing at all: below what 16 bit can hold."""


def rms_db(audio: Tensor) -> float:
    """The RMS level of all samples of `audio`, whatever its shape; at least `FLOOR_DB`."""
    return _decibels(audio.double().square().mean()).item()


def frame_levels(audio: Tensor, hop_length: int) -> Tensor:
    """The RMS level of every codec frame, `[B, C, N] -> [B, T]` with `T = ceil(N / hop_length)`.

    Samples of all channels are taken together; the last frame counts those it has. At least `FLOOR_DB`.
    """
    channels, samples = audio.shape[1:]
    n_frames = math.ceil(samples / hop_length)
    padded = functional.pad(audio.double(), (0, n_frames * hop_length - samples))
    energy = padded.unflatten(2, (n_frames, hop_length)).square().sum(dim=(1, 3))
    starts = torch.arange(n_frames, device=audio.device) * hop_length
    return _decibels(energy / (channels * (samples - starts).clamp(max=hop_length))).float()


def _decibels(power: Tensor) -> Tensor:
    return 10.0 * power.clamp(min=10.0 ** (FLOOR_DB / 10.0)).log10()
