"""Long grids in windows that overlap, each of which goes on from what stands before it."""

from collections.abc import Callable

import torch
from torch import Tensor

OVERLAP = 0.25
"""Share of a window that the next one has, too."""
Fill = Callable[[Tensor, Tensor, int], Tensor]
"""`fill(codes [B, K, W], mask [B, K, W], start) -> codes` of the frames from `start` on."""


def window_starts(n_frames: int, window: int, overlap: int) -> list[int]:
    """First frames of windows of equal length that cover `n_frames`, neighbours sharing `overlap` frames or more.

    Raises:
        ValueError: the overlap is negative, or leaves a window nothing of its own.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"windows of {window} frames cannot overlap by {overlap}: take 0 to {window - 1}")
    if n_frames <= window:
        return [0]
    last = n_frames - window
    return [*range(0, last, window - overlap), last]


def fill_in_windows(fill: Fill, codes: Tensor, mask: Tensor, window: int, overlap: int) -> Tensor:
    """Fill the masked cells of a grid `[B, K, T]` of any length, window after window.

    Two windows share `overlap` frames. The first half of these the window before has filled: the next one sees them as
    known codes and goes on from them, so that nothing begins anew at a join. What the window before has put into the
    second half, without having seen what comes then, is thrown away. What is known is the same in any window. A window
    with nothing masked is left out.

    Args:
        fill: fills the masked cells of a window; must leave the others.
        codes: `[B, K, T]`.
        mask: True where a code is to be found.
        window: frames that the model sees at once, as many as in its training.
        overlap: frames that two windows share.

    Raises:
        ValueError: window and overlap do not fit together, or `fill` changed the shape.
    """
    filled, left = codes.clone(), mask.clone()
    for start in window_starts(codes.shape[-1], window, overlap):
        stop = min(start + window, codes.shape[-1])
        kept = stop if stop == codes.shape[-1] else stop - overlap // 2
        if not left[..., start:stop].any():
            continue
        found = fill(filled[..., start:stop], left[..., start:stop], start)
        if found.shape != filled[..., start:stop].shape:
            raise ValueError(f"a window of {list(filled[..., start:stop].shape)} came back as {list(found.shape)}")
        found = found[..., : kept - start]
        filled[..., start:kept] = torch.where(left[..., start:kept], found, filled[..., start:kept])
        left[..., start:kept] = False
    return filled
