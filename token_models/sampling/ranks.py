"""Which masked cells of an item come first by some value, for all items of a batch at once."""

import torch
from torch import Tensor


def ranks_by_item(values: Tensor, mask: Tensor) -> Tensor:
    """The place of each masked cell among those of its item by ascending value: `[B, K, T]`, from 0.

    Of equal values the cell that is first (codebook, then frame) is first. Cells that are not masked come behind all
    that are.

    Args:
        values: of the masked cells in the order of `mask.nonzero()`, `[M]`; finite.
        mask: `[B, K, T]`.
    """
    grid = torch.full(mask.shape, torch.inf, dtype=values.dtype, device=values.device)
    order = grid.masked_scatter(mask, values).flatten(1).argsort(dim=1, stable=True)
    places = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter(1, order, places).view(mask.shape)


def lowest(values: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    """Of each item the `counts [B]` masked cells with the lowest values (all, where there are fewer): `[B, K, T]`.

    Ties and arguments as of `ranks_by_item`.
    """
    return mask & (ranks_by_item(values, mask) < counts[:, None, None])
