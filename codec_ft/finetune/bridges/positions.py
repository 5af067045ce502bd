"""Sinusoidal positions (Vaswani et al., 2017, section 3.5)."""

import torch
from torch import Tensor


def sinusoids(n_frames: int, width: int, device: torch.device | None = None) -> Tensor:
    """Positions of `n_frames` frames, `[T, width]` in float32, of which each differs from all others.

    Channel `2i` of frame `t` is `sin(t / 10000^(2i / width))` and channel `2i + 1` the cosine of the same; an odd
    width has one cosine less. They are computed as they are needed, so nothing limits the number of frames.

    Raises:
        ValueError: no frame or no channel is asked for.
    """
    if n_frames < 1 or width < 1:
        raise ValueError(f"expected positions [T, width] with T, width > 0, got [{n_frames}, {width}]")
    frequencies = 10000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(n_frames, device=device)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width]
