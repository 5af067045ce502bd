"""Patterns: in which step of a sequence each code of a grid is written.

- `flattened`: frame by frame, and in a frame codebook by codebook: one code in each of `K * T` steps, which knows all
  codes of the frames before and those of coarser codebooks in its own;
- `delay` (Copet et al., MusicGen, 2023, section 2.2): codebook `k` lags `k` frames behind the first one, so that a step
  writes a code of each codebook, `T + K - 1` steps in all. A code knows the coarser codes of its own frame, and of each
  coarser codebook as many frames ahead as it lags behind.

A sequence is `tokens [B, K, S]`, with `NOTHING` where a codebook writes nothing in a step. A step in which none has
written anything stands for the start.
"""

from typing import Literal

import torch
from torch import Tensor

Pattern = Literal["flattened", "delay"]
NOTHING = -1
"""Stands where no code is written."""


def steps_of(pattern: Pattern, n_codebooks: int, n_frames: int) -> Tensor:
    """The step in which each cell of a grid is written, `[K, T]`.

    Raises:
        ValueError: the grid is empty, or there is no such pattern.
    """
    if n_codebooks < 1 or n_frames < 1:
        raise ValueError(f"a grid of {n_codebooks} codebooks and {n_frames} frames has nothing to write")
    books, frames = torch.arange(n_codebooks)[:, None], torch.arange(n_frames)
    if pattern == "flattened":
        return frames * n_codebooks + books
    if pattern == "delay":
        return frames + books
    raise ValueError(f"there is no pattern {pattern!r}; there are flattened and delay")


def frames_of(pattern: Pattern, n_codebooks: int, n_frames: int) -> Tensor:
    """The frame for which each codebook writes in each step, `[K, S]`; `NOTHING` where it does not.

    Raises:
        ValueError: see `steps_of`.
    """
    steps = steps_of(pattern, n_codebooks, n_frames)
    frames = torch.full((n_codebooks, int(steps.max()) + 1), NOTHING)
    return frames.scatter(1, steps, torch.arange(n_frames).expand(n_codebooks, -1))


def to_steps(codes: Tensor, pattern: Pattern) -> Tensor:
    """Codes `[B, K, T]` as a sequence, `[B, K, S]`.

    Raises:
        ValueError: see `steps_of`.
    """
    frames = frames_of(pattern, *codes.shape[1:]).to(codes.device)
    gathered = codes.gather(2, frames.clamp(min=0).expand(len(codes), -1, -1))
    return gathered.masked_fill(frames == NOTHING, NOTHING)
