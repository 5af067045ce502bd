"""Masks made of masks."""

import torch
from torch import Tensor

from token_models.masks.checks import check_masks, check_share, per_item
from token_models.masks.noise import Generators, uniform_noise


def all_of(*masks: Tensor) -> Tensor:
    """What all masks `[B, K, T]` mask; a cell that one of them knows is known.

    Raises:
        ValueError: there is none, one is no mask, or the shapes differ.
    """
    check_masks(*masks)
    return torch.stack(masks).all(dim=0)


def any_of(*masks: Tensor) -> Tensor:
    """What any of the masks `[B, K, T]` masks; only what all of them know is known.

    Raises:
        ValueError: there is none, one is no mask, or the shapes differ.
    """
    check_masks(*masks)
    return torch.stack(masks).any(dim=0)


def drop_known(mask: Tensor, share: Tensor | float, generator: Generators) -> Tensor:
    """Each known cell of a mask `[B, K, T]` is masked too, independently, with probability `share`.

    Args:
        mask: stays as it is; the result is a new one.
        share: in 0..1, of all items or of each, `[B]`.
        generator: one, or one for each item.

    Raises:
        ValueError: it is no mask, the share is NaN or outside 0..1, or there are not as many as items.
    """
    return mask | _dropped(mask, share, generator)


def drop_masked(mask: Tensor, share: Tensor | float, generator: Generators) -> Tensor:
    """Each masked cell of a mask `[B, K, T]` becomes known, independently, with probability `share`.

    Args:
        mask: stays as it is; the result is a new one.
        share: in 0..1, of all items or of each, `[B]`.
        generator: one, or one for each item.

    Raises:
        ValueError: it is no mask, the share is NaN or outside 0..1, or there are not as many as items.
    """
    return mask & ~_dropped(mask, share, generator)


def _dropped(mask: Tensor, share: Tensor | float, generator: Generators) -> Tensor:
    check_masks(mask)
    shares = per_item("share", check_share("share", share), len(mask))
    noise = uniform_noise(mask.shape, generator)
    return (noise < shares.to(noise.device)[:, None, None]).to(mask.device)


def stack_codebooks(coarse: Tensor, fine: Tensor) -> Tensor:
    """The mask `[B, K + K', T]` of a grid whose first codebooks have the one mask and the others the other.

    Args:
        coarse: `[B, K, T]`.
        fine: `[B, K', T]`.

    Raises:
        ValueError: one is no mask, or they differ in B or T; names both shapes.
    """
    check_masks(coarse)
    check_masks(fine)
    if (coarse.shape[0], coarse.shape[2]) != (fine.shape[0], fine.shape[2]):
        raise ValueError(f"masks must have one B and one T, got {list(coarse.shape)} and {list(fine.shape)}")
    return torch.cat([coarse, fine], dim=1)
