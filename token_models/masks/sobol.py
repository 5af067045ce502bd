"""Evenly spread random numbers for the items of a training.

Numbers drawn independently leave gaps: in a batch of 8, all of them may be small. Those of a scrambled Sobol sequence
fill 0..1 evenly from the first on, in whatever stretch of it one looks. Item `i` gets the `i`-th of them, so that
batches of any size, on any number of processes, stopped and resumed at any item, together draw one sequence, and no
two processes the same part of it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from codec_ft.data.interleaved import APART

GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it lie far from each other in 0..1, however many there are."""


def sobol_numbers(seed: int, indices: Sequence[int] | Tensor) -> Tensor:
    """The numbers of items, `[B]` float64 in [0, 1), on the CPU or the indices' device.

    Equal to `SobolEngine(1, scramble=True, seed=seed).draw(n, dtype=torch.float64)[indices, 0]`, without drawing the
    numbers before and without its rounding of the first one to float32. Any `2^n` of them from a multiple of `2^n` on
    lie one in each `2^n`-th part of 0..1. After `2^30` numbers they begin anew.

    Args:
        seed: of the scrambling.
        indices: of the items, each 0 or more, in any order: `range(first, first + count)`, or those of a batch.

    Raises:
        ValueError: the indices are no whole numbers `[B]`, or there is none, or one is negative.
    """
    indices = torch.as_tensor(indices)
    whole = not (indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool)
    if indices.ndim != 1 or len(indices) == 0 or not whole or (indices < 0).any():
        raise ValueError(f"indices must be whole numbers [B] of 0 or more, at least one, got {indices}")
    engine = SobolEngine(1, scramble=True, seed=seed)
    directions, shift = engine.sobolstate[0].tolist(), int(engine.shift[0])
    indices = indices.long().remainder(2**SobolEngine.MAXBIT)
    # Number i is the exclusive or of the directions of the bits that are set in i's Gray code (Antonov and Saleev,
    # 1979), which differs from that of i - 1 in one bit.
    gray = indices ^ (indices >> 1)
    numbers = torch.full_like(indices, shift)
    for bit, direction in enumerate(directions):
        numbers ^= ((gray >> bit) & 1) * direction
    return numbers.double() / 2**SobolEngine.MAXBIT


def item_numbers(seed: int, indices: Sequence[int] | Tensor) -> Tensor:
    """The numbers of items that may come from several data sets in turn (`Interleaved`), `[B]` float64 in [0, 1).

    Each data set has the sequence from its beginning, turned round by another part of 0..1: it is spread evenly over
    the items of each, and two items of one place have different numbers.

    Args:
        seed: of the scrambling.
        indices: of the items, as `sobol_numbers` wants them.

    Raises:
        ValueError: see `sobol_numbers`.
    """
    indices = torch.as_tensor(indices)
    return (sobol_numbers(seed, indices % APART) + GOLDEN * (indices // APART)) % 1
