"""What a sampler asks of a model, and what it tells about its progress."""

from collections.abc import Callable

import torch
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]
"""`predict(codes [B, K, T], mask [B, K, T]) -> logits [M, V]` of the cells under the mask.

They are in the order of `mask.nonzero()`: item, codebook, frame. What stands in `codes` under the mask means nothing to
it. An item's logits should not depend on the other items.
"""

OnStep = Callable[[Tensor, Tensor], None]
"""`on_step(codes [B, K, T], mask [B, K, T])` is told after each step what stands in the grid and what is still open."""


def ask(predict: Predict, codes: Tensor, mask: Tensor) -> Tensor:
    """Logits of the cells under the mask, `[M, V]` in float32.

    Raises:
        ValueError: the model gives another number of them.
    """
    logits = predict(codes, mask)
    n_masked = int(mask.sum())
    if logits.dim() != 2 or len(logits) != n_masked or not logits.shape[1]:
        raise ValueError(f"{n_masked} cells are masked: expected logits [{n_masked}, V], got {list(logits.shape)}")
    return logits.float()


def counts_by_item(mask: Tensor) -> list[int]:
    """How many cells of each item are masked."""
    return mask.flatten(1).sum(dim=1).tolist()


def check_grid(codes: Tensor, mask: Tensor) -> None:
    """Refuse what is no grid of codes with a mask, before any work.

    Raises:
        ValueError: codes are not `[B, K, T]` or not int64, or the mask is no boolean tensor of the same shape.
    """
    if codes.dim() != 3:
        raise ValueError(f"expected codes [B, K, T], got {list(codes.shape)}")
    if codes.dtype != torch.int64:
        raise ValueError(f"codes must be whole numbers (torch.int64), got {codes.dtype}")
    if mask.shape != codes.shape or mask.dtype != torch.bool:
        raise ValueError(
            f"the mask of codes {list(codes.shape)} must be torch.bool {list(codes.shape)}, got {mask.dtype} "
            f"{list(mask.shape)}"
        )
