"""Masks of spans: what sounds is spread over neighbouring frames, and a single masked one is told by them.

MAGNeT (Ziv et al., 2024, section 3.1 and appendix C) masks spans of 60 ms. In each codebook, the frames in which spans
begin are drawn without replacement, and spans may overlap. Here a span that begins near the end goes on at the begin of
the grid: with that, each frame can be covered from as many begins as any other, and the expected share of masked frames
is exactly what the paper gives, of `u` spans of `L` in `T` frames: `1 - C(T - L, u) / C(T, u)`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from token_models.masks.checks import check_shape, check_share, check_whole, per_item
from token_models.masks.noise import Generators, uniform_noise


def expected_shares(n_frames: int, length: int) -> Tensor:
    """Expected share of frames that `u` spans cover, float64 `[T - L + 2]` of `u` = 0, 1, ...: 0 first and 1 last.

    With more than `T - L` spans no frame is left out, wherever they begin.

    Raises:
        ValueError: a number is below 1, or a span is longer than there are frames.
    """
    n_frames = check_whole("n_frames", n_frames, 1)
    length = check_whole("length", length, 1, n_frames)
    spans = torch.arange(n_frames - length + 2, dtype=torch.float64)
    begins = n_frames - torch.arange(length, dtype=torch.float64)
    # C(T - L, u) / C(T, u), of which the factorials are too large, as a product over the L begins that would cover it.
    return 1 - ((begins - spans[:, None]) / begins).prod(dim=1)


def span_mask(shape: Sequence[int], ratio: Tensor | float, length: int, generator: Generators) -> Tensor:
    """A mask `[B, K, T]` of whole spans, as many in each codebook as come nearest to the ratio in expectation.

    At least one span; spans that overlap or touch look like a longer one. Each codebook has its own.

    Args:
        shape: of the grid.
        ratio: the masked share in 0..1, of all items or of each, `[B]`.
        length: frames of a span.
        generator: one, or one for each item; the mask is on its device.

    Raises:
        ValueError: a size or the length is below 1, a span is longer than the grid, a ratio is NaN or outside 0..1, or
            there are not as many ratios or generators as items.
    """
    n_items, _, n_frames = check_shape(shape)
    ratios = per_item("ratio", check_share("ratio", ratio), n_items).cpu()
    distances = (expected_shares(n_frames, length)[1:] - ratios[:, None]).abs()
    n_spans = 1 + distances.argmin(dim=1)
    turns = _turns(shape, length, generator)
    return turns < (n_spans * length).to(turns.device)[:, None, None]


def _turns(shape: Sequence[int], length: int, generator: Generators) -> Tensor:
    """When each cell is masked if spans are laid one after the other, each from its begin on: `[B, K, T]`.

    A cell `j` frames into the span that is laid as number `n` has its turn at `n * length + j`, and its first turn
    counts. No two cells of a codebook have the same.
    """
    length = check_whole("length", length, 1, check_shape(shape)[2])
    begins = uniform_noise(shape, generator).argsort(dim=-1) * length  # the order is a random one, whatever it orders
    return torch.stack([begins.roll(j, dims=-1) + j for j in range(length)]).amin(dim=0)
