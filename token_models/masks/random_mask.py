"""Masks of random cells, with an exact count or with an expected one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from token_models.masks.checks import check_shape, check_share, per_item
from token_models.masks.noise import Generators, uniform_noise

LEAST_PROBABILITY = 1e-10
"""Below which VampNet lets no probability of a cell fall."""


def random_mask(shape: Sequence[int], ratio: Tensor | float, generator: Generators) -> Tensor:
    """A mask `[B, K, T]` with `round(ratio * K * T)` cells of each item, all sets of so many equally likely.

    At least one cell: an item with nothing to predict teaches nothing, and its mean loss would be 0 / 0. As in Python,
    a half is rounded to the even number.

    Args:
        shape: of the grid.
        ratio: the masked share in 0..1, of all items or of each, `[B]`: a schedule of an item's progress.
        generator: one, or one for each item; the mask is on its device.

    Raises:
        ValueError: a size is below 1, a ratio is NaN or outside 0..1, or there are not as many of either as items.
    """
    n_items, n_codebooks, n_frames = check_shape(shape)
    ratios = per_item("ratio", check_share("ratio", ratio), n_items)
    noise = uniform_noise(shape, generator).flatten(1)
    counts = (ratios * (n_codebooks * n_frames)).round().clamp(min=1).to(noise.device)
    return smallest(noise, counts).view(n_items, n_codebooks, n_frames)


def bernoulli_mask(shape: Sequence[int], ratio: Tensor | float, generator: Generators) -> Tensor:
    """A mask `[B, K, T]` whose cells are masked independently of each other, each with probability `ratio`.

    What VampNet trains with (Flores García et al., 2023). The count varies from mask to mask, and may be 0; the
    probability is at least `LEAST_PROBABILITY`.

    Args:
        shape: of the grid.
        ratio: the probability in 0..1, of all items or of each, `[B]`.
        generator: one, or one for each item; the mask is on its device.

    Raises:
        ValueError: a size is below 1, a ratio is NaN or outside 0..1, or there are not as many of either as items.
    """
    n_items, _, _ = check_shape(shape)
    ratios = per_item("ratio", check_share("ratio", ratio), n_items)
    noise = uniform_noise(shape, generator)
    return noise < ratios.clamp(min=LEAST_PROBABILITY).to(noise.device)[:, None, None]


def smallest(values: Tensor, counts: Tensor) -> Tensor:
    """Which of the values `[B, ..., N]` are among the `counts[b]` smallest of their last dimension, bool.

    Exactly so many also where values are equal: the earlier ones then.
    """
    counts = counts.view(-1, *[1] * (values.ndim - 1))
    first = (torch.arange(values.shape[-1], device=values.device) < counts).expand(values.shape)
    return torch.zeros_like(first).scatter(-1, values.argsort(dim=-1, stable=True), first)
