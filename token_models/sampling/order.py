"""Halton order: cells spread evenly over the grid first (Besnier et al., Halton Scheduler, 2025).

Cells that are filled in the same step are drawn independently of each other. By confidence they often lie side by side,
where they should depend on each other; in Halton order they lie far apart.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from token_models.sampling.choose import Filter, check_temperature, draw
from token_models.sampling.filling import Step, fill_in_steps
from token_models.sampling.predict import OnStep, Predict
from token_models.sampling.ranks import lowest

_ROUNDING = 1e-9
"""Added before a floor: in floating point, three thirds of a codebook may come out a little below one."""


def halton(
    predict: Predict,
    codes: Tensor,
    mask: Tensor,
    *,
    steps: int,
    generators: Sequence[torch.Generator],
    schedule: str = "cosine",
    temperature: float = 1.0,
    filters: Sequence[Filter] = (),
    on_step: OnStep | None = None,
) -> Tensor:
    """Fill the masked cells in the order of `halton_order`, whatever the model is sure of: `[B, K, T]`.

    As many in each step as by confidence. Codes are drawn only for the cells that are filled. Arguments and errors are
    as of `maskgit`.
    """
    check_temperature("temperature", temperature)
    order = halton_order(*mask.shape[1:]).to(mask.device)

    def fill(step: Step) -> tuple[Tensor, Tensor]:
        places = order.expand_as(step.mask)[step.mask].float()
        filled = lowest(places, step.mask, step.mask.flatten(1).sum(dim=1) - step.stays)
        logits = step.logits[filled[step.mask]]
        return filled, draw(logits, filled, generators, temperature=temperature, filters=filters)[0]

    return fill_in_steps(predict, codes, mask, fill, steps=steps, schedule=schedule, on_step=on_step)


@lru_cache(maxsize=16)
def halton_order(n_codebooks: int, n_frames: int) -> Tensor:
    """When each cell has its turn: `[K, T]` int64, each of `0 .. K * T - 1` once.

    A cell's turn is that of the first point in it of the Halton sequence of bases 2 (codebooks) and 3 (frames).

    Raises:
        ValueError: the grid has no cells.
    """
    if n_codebooks < 1 or n_frames < 1:
        raise ValueError(f"a grid has at least one codebook and one frame, got [{n_codebooks}, {n_frames}]")
    # Any 2^a * 3^b consecutive points have one in each box of 1 / 2^a by 1 / 3^b. With boxes of at most half a cell
    # either way, every cell has a whole box in it, and so a point.
    n_points = _power_from(2, 2 * n_codebooks) * _power_from(3, 2 * n_frames)
    points = qmc.Halton(2, scramble=False).random(n_points)
    rows, columns = np.floor(points * (n_codebooks, n_frames) + _ROUNDING).astype(np.int64).T
    first = np.unique(rows * n_frames + columns, return_index=True)[1]  # of each cell, its first point
    turns = np.empty(len(first), dtype=np.int64)
    turns[np.argsort(first)] = np.arange(len(first))
    return torch.from_numpy(turns).view(n_codebooks, n_frames)


def _power_from(base: int, least: int) -> int:
    """The smallest power of a base that is not below `least`."""
    power = 1
    while power < least:
        power *= base
    return power
