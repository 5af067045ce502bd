"""Checks at the door of every mask: a wrong number must not turn into a plausible grid."""

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor


def check_whole(name: str, value: int, least: int, most: float = math.inf) -> int:
    """A whole number in `least..most`.

    Raises:
        ValueError: it is none; names it.
    """
    if not isinstance(value, Integral) or not least <= value <= most:
        limits = f"of {least} or more" if most == math.inf else f"in {least}..{most}"
        raise ValueError(f"{name} must be a whole number {limits}, got {value}")
    return int(value)


def check_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """The shape of a grid: B, K and T, each at least 1.

    Raises:
        ValueError: it is another; names it.
    """
    if len(shape) != 3 or any(not isinstance(size, Integral) or size < 1 for size in shape):
        raise ValueError(f"a grid's shape is [B, K, T] with sizes of 1 or more, got {list(shape)}")
    n_items, n_codebooks, n_frames = shape
    return int(n_items), int(n_codebooks), int(n_frames)


def check_share(name: str, share: Tensor | float) -> Tensor:
    """A share, or a tensor of shares, in float64.

    Raises:
        ValueError: one is NaN or outside 0..1; names it.
    """
    shares = torch.as_tensor(share, dtype=torch.float64)
    wrong = ~((shares >= 0) & (shares <= 1))  # so that NaN is wrong too
    if wrong.any():
        raise ValueError(f"{name} must be in 0..1, got {float(shares[wrong][0])}")
    return shares


def per_item(name: str, values: Tensor, n_items: int) -> Tensor:
    """One value for all items `[]`, or one for each `[B]`, as `[B]`.

    Raises:
        ValueError: there are as many as neither; names both shapes.
    """
    if values.ndim > 1 or (values.ndim == 1 and len(values) != n_items):
        raise ValueError(f"{name} must be one number or one for each of {n_items} items, got {list(values.shape)}")
    return values.expand(n_items)


def check_masks(*masks: Tensor) -> None:
    """One or more masks `[B, K, T]`, of one shape.

    Raises:
        ValueError: there is none, one is not bool or no grid, or two shapes differ; names both.
    """
    if not masks:
        raise ValueError("expected at least one mask, got none")
    for mask in masks:
        if mask.dtype != torch.bool or mask.ndim != 3:
            raise ValueError(f"a mask is bool [B, K, T], got {mask.dtype} {list(mask.shape)}")
        if mask.shape != masks[0].shape:
            raise ValueError(f"masks must have one shape, got {list(masks[0].shape)} and {list(mask.shape)}")
