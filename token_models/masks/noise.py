"""Uniform noise for a grid, of one generator or of one for each item."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from token_models.masks.checks import check_shape

Generators = Generator | Sequence[Generator]
"""One for a batch, or one for each of its items; with the latter an item comes out as it would alone."""


def uniform_noise(shape: Sequence[int], generator: Generators) -> Tensor:
    """Numbers in [0, 1), `[B, K, T]` float64, on the generator's device.

    In float64 two cells of a grid practically never draw the same number; of float32's there are so few that it would
    happen to every second grid of 5000 cells.

    Raises:
        ValueError: there are not as many generators as items, or a size is below 1.
    """
    n_items, n_codebooks, n_frames = check_shape(shape)
    if isinstance(generator, Generator):
        return _draw((n_items, n_codebooks, n_frames), generator)
    if len(generator) != n_items:
        raise ValueError(f"expected one generator, or one for each of {n_items} items, got {len(generator)}")
    return torch.stack([_draw((n_codebooks, n_frames), own) for own in generator])


def _draw(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
