"""Masks with a plan: which codebooks and which frames are known.

Those that VampNet is prompted with (Flores García et al., 2023). To meet several conditions at once they
are combined with `all_of` and `any_of`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from token_models.masks.checks import check_shape, check_whole, per_item


def codebook_mask(shape: Sequence[int], first: int, device: torch.device | str = "cpu") -> Tensor:
    """A mask `[B, K, T]` of all codebooks from `first` on; those before are known.

    `all_of(mask, codebook_mask(shape, n))` gives the first `n` codebooks as a condition, and
    `any_of(mask, codebook_mask(shape, n))` leaves no other known.

    Raises:
        ValueError: a size is below 1, or `first` is not in 0 (everything is masked) .. K (nothing is).
    """
    n_codebooks = check_shape(shape)[1]
    first = check_whole("first", first, 0, n_codebooks)
    return (torch.arange(n_codebooks, device=device) >= first)[None, :, None].expand(*shape).clone()


def periodic_mask(
    shape: Sequence[int],
    period: int,
    *,
    width: int = 1,
    offset: int | Tensor = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A mask `[B, K, T]` that keeps `width` frames in every `period`, of all codebooks.

    Kept are the frames `t` with `(t - offset) mod period < width`.

    Args:
        shape: of the grid.
        period: frames from the begin of one kept run to that of the next, 1 or more.
        width: frames of a run, 1 or more; from `period` on all frames are kept.
        offset: a frame in which a run begins, any whole number, the same for all items or one for each, `[B]`.
        device: the mask's.

    Raises:
        ValueError: a size, the period or the width is below 1, or there are not as many offsets as items.
    """
    n_items, _, n_frames = check_shape(shape)
    period, width = check_whole("period", period, 1), check_whole("width", width, 1)
    offsets = torch.as_tensor(offset, device=device)
    if offsets.is_floating_point():
        raise ValueError(f"offset must be whole numbers, got {offset}")
    since = torch.arange(n_frames, device=device) - per_item("offset", offsets, n_items)[:, None]  # [B, T]
    return _of_frames(shape, since.remainder(period) >= width)


def prefix_mask(shape: Sequence[int], n_kept: int, device: torch.device | str = "cpu") -> Tensor:
    """A mask `[B, K, T]` that keeps the first `n_kept` frames: what follows is a continuation.

    Raises:
        ValueError: a size is below 1, or `n_kept` is not in 0..T.
    """
    n_frames = check_shape(shape)[2]
    n_kept = check_whole("n_kept", n_kept, 0, n_frames)
    return _of_frames(shape, (torch.arange(n_frames, device=device) >= n_kept)[None])


def suffix_mask(shape: Sequence[int], n_kept: int, device: torch.device | str = "cpu") -> Tensor:
    """A mask `[B, K, T]` that keeps the last `n_kept` frames.

    Raises:
        ValueError: a size is below 1, or `n_kept` is not in 0..T.
    """
    n_frames = check_shape(shape)[2]
    n_kept = check_whole("n_kept", n_kept, 0, n_frames)
    return _of_frames(shape, (torch.arange(n_frames, device=device) < n_frames - n_kept)[None])


def inpaint_mask(shape: Sequence[int], prefix: int, suffix: int, device: torch.device | str = "cpu") -> Tensor:
    """A mask `[B, K, T]` that keeps the first `prefix` and the last `suffix` frames, which may meet.

    Raises:
        ValueError: a size is below 1, or one of the two is negative, or they are more than T together.
    """
    n_frames = check_shape(shape)[2]
    prefix = check_whole("prefix", prefix, 0, n_frames)
    check_whole("suffix", suffix, 0, n_frames - prefix)
    return prefix_mask(shape, prefix, device) & suffix_mask(shape, suffix, device)


def _of_frames(shape: Sequence[int], frames: Tensor) -> Tensor:
    """Frames `[B or 1, T]` -> `[B, K, T]`, the same in every codebook."""
    return frames[:, None].expand(*shape).clone()
