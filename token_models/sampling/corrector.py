"""A second look: what the model itself doubts of a finished grid is masked and sampled again.

Sampling never takes back a code. The first ones were drawn while almost nothing was known, and some do not fit what
came later; a model that sees the whole grid gives them low probabilities (compare the token critic of Lezama et al.,
2022, which is a network of its own).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from token_models.sampling.noise import uniform
from token_models.sampling.predict import Predict, ask, counts_by_item
from token_models.sampling.ranks import lowest, ranks_by_item

Refill = Callable[[Tensor, Tensor], Tensor]
"""`refill(codes [B, K, T], mask [B, K, T])` gives the grid with the masked cells sampled anew."""


def correct(
    predict: Predict,
    codes: Tensor,
    mask: Tensor,
    refill: Refill,
    *,
    share: float,
    groups: int,
    generators: Sequence[torch.Generator],
) -> Tensor:
    """The grid with the `share` of its generated cells that the model doubts most sampled anew: `[B, K, T]`.

    Args:
        predict: the model, which is asked `groups` times.
        codes: `[B, K, T]`, all cells filled.
        mask: the cells that were generated; no others are touched.
        refill: how doubted cells are filled.
        share: in (0, 1], see `least_likely`.
        groups: see `present_log_probabilities`.
        generators: one for each item.

    Raises:
        ValueError: the share is not in (0, 1], or as of `present_log_probabilities`.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    doubts = present_log_probabilities(predict, codes, mask, groups=groups, generators=generators)
    return refill(codes, least_likely(doubts, mask, share))


def present_log_probabilities(
    predict: Predict, codes: Tensor, mask: Tensor, *, groups: int, generators: Sequence[torch.Generator]
) -> Tensor:
    """How likely the model holds the codes that stand in the cells of a mask: log-probabilities `[M]`.

    A model cannot judge what it is shown, so the cells of each item are split at random into `groups` of equal size, up
    to one cell, and each group is judged with all others known. More groups leave more of the context, and cost more.

    Args:
        predict: the model.
        codes: `[B, K, T]`, all cells filled.
        mask: the cells to judge.
        groups: 1 or more.
        generators: one for each item.

    Raises:
        ValueError: `groups` is below 1, or a code to judge is none of the model's.
    """
    if groups < 1:
        raise ValueError(f"groups must be at least 1, got {groups}")
    shuffled = ranks_by_item(uniform(counts_by_item(mask), generators), mask)
    found = torch.zeros(mask.shape, device=codes.device)
    for group in range(groups):
        part = mask & (shuffled % groups == group)
        if not part.any():
            continue
        log_probabilities = ask(predict, codes, part).log_softmax(dim=-1)
        present = codes[part]
        if not 0 <= int(present.min()) <= int(present.max()) < log_probabilities.shape[1]:
            raise ValueError(
                f"codes to judge must lie in 0..{log_probabilities.shape[1] - 1}, got {int(present.min())}.."
                f"{int(present.max())}"
            )
        found = found.masked_scatter(part, log_probabilities.gather(1, present[:, None])[:, 0])
    return found[mask]


def least_likely(log_probabilities: Tensor, mask: Tensor, share: float) -> Tensor:
    """The `share` of each item's masked cells with the lowest values `[M]`, rounded, but one at least: `[B, K, T]`."""
    counts = (share * mask.flatten(1).sum(dim=1).double()).round().clamp(min=1)
    # An impossible code is the least likely of all, but a rank needs a number.
    return lowest(log_probabilities.clamp(min=torch.finfo(log_probabilities.dtype).min), mask, counts)
