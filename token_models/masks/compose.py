"""Masks made of masks."""

import torch
from torch import Tensor
from torch.nn import functional

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
    check_masks(mask)
    shares = per_item("share", check_share("share", share), len(mask))
    noise = uniform_noise(mask.shape, generator)
    return mask | (noise < shares.to(noise.device)[:, None, None]).to(mask.device)


def behind_known(mask: Tensor, known: int) -> Tensor:
    """The mask `[B, K, T]` of a grid whose first `known` codebooks are known, by that of the others, `[B, K', T]`.

    Raises:
        ValueError: it is no mask.
    """
    check_masks(mask)
    return functional.pad(mask, (0, 0, known, 0), value=False)
