"""Randomness of sampling: one generator for each item of a batch.

An item's draws come from its own generator and are as many as it needs itself. So it comes out as it would alone, or
beside any others, with the same seed. The numbers are those of the device's generators: a CPU and a GPU draw others.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SMALLEST = torch.finfo(torch.float32).tiny
"""Stands for a uniform number of exactly 0, whose Gumbel noise would be minus infinity."""


def item_generators(seeds: Sequence[int], device: torch.device | str = "cpu") -> list[torch.Generator]:
    """A generator for each item, on the device of the grid."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds]


def uniform(counts: Sequence[int], generators: Sequence[torch.Generator], width: int | None = None) -> Tensor:
    """Uniform noise in `[0, 1)` for `counts[b]` cells of each item `b`: `[M]`, or `[M, width]`, in float32.

    Raises:
        ValueError: there are not as many generators as items.
    """
    if len(generators) != len(counts):
        raise ValueError(f"{len(counts)} items need a generator each, got {len(generators)}")
    shape = (sum(counts),) if width is None else (sum(counts), width)
    noise = torch.empty(shape, device=generators[0].device if generators else None)
    for part, generator in zip(noise.split(list(counts)), generators, strict=True):
        part.uniform_(generator=generator)
    return noise


def gumbel(counts: Sequence[int], generators: Sequence[torch.Generator], width: int | None = None) -> Tensor:
    """Standard Gumbel noise, always finite; arguments and shapes as of `uniform`."""
    noise = uniform(counts, generators, width)
    return noise.clamp_(min=SMALLEST).log_().neg_().log_().neg_()
