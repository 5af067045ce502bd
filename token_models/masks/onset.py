"""Masks that keep the attacks: the frames around onsets are known, what sounds between them is not.

So VampNet keeps a song's rhythm while it makes all else anew (Flores García et al., 2023).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from codec_ft.metrics.msg_signal import MSG_RATE, msg_signal, peak_normalise
from codec_ft.metrics.onsets import HOP_LENGTH, onset_strength, pick_onsets
from token_models.masks.checks import check_shape, check_whole

_ROUNDING = 1e-6
"""Added before a floor, in frames: an onset at the very begin of a frame, in seconds, is easily a little before it."""


def onset_times(audio: Tensor, sample_rate: int) -> list[list[float]]:
    """When notes begin in audio `[B, C, N]` at any rate: for each item increasing seconds, in steps of 16 ms.

    The peaks of the onset strength of the mean of the channels (see `codec_ft.metrics.onsets`). Silence has none.

    Raises:
        ValueError: it is no audio `[B, C, N]`, or a sample is NaN or infinite.
    """
    if audio.ndim != 3 or audio.numel() == 0 or not audio.isfinite().all():
        raise ValueError(f"expected finite audio [B, C, N], got {list(audio.shape)}")
    peaks = [pick_onsets(onset_strength(peak_normalise(msg_signal(item, sample_rate)))) for item in audio]
    return [(frames * (HOP_LENGTH / MSG_RATE)).tolist() for frames in peaks]


def onset_mask(
    shape: Sequence[int],
    times: Sequence[Sequence[float]],
    frame_rate: float,
    *,
    before: int = 0,
    after: int = 0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """A mask `[B, K, T]` that keeps, in all codebooks, the frames in which an onset lies and some around them.

    An item without onsets keeps nothing: it is all masked. An onset outside the grid keeps those of the frames around
    it that are inside.

    Args:
        shape: of the grid.
        times: for each item its onsets in seconds from the begin of the grid, in any order; may be empty.
        frame_rate: frames per second, `sample_rate / hop_length`.
        before: frames kept before that of an onset.
        after: frames kept after it.
        device: the mask's.

    Raises:
        ValueError: a size is below 1, there are not as many lists as items, a time is not finite, the frame rate is
            not above 0, or `before` or `after` is negative.
    """
    n_items, n_codebooks, n_frames = check_shape(shape)
    before, after = check_whole("before", before, 0), check_whole("after", after, 0)
    if not 0 < frame_rate < math.inf:
        raise ValueError(f"frame_rate must be a number of frames per second above 0, got {frame_rate}")
    if len(times) != n_items:
        raise ValueError(f"expected the onsets of each of {n_items} items, got {len(times)} lists")
    frames = torch.arange(n_frames, device=device)
    kept = torch.zeros(n_items, n_frames, dtype=torch.bool, device=device)
    for item, seconds in zip(kept, times, strict=True):
        onsets = torch.as_tensor(seconds, dtype=torch.float64, device=device)
        if not onsets.isfinite().all():
            raise ValueError(f"onset times must be finite, got {float(onsets[~onsets.isfinite()][0])}")
        since = frames - (onsets * frame_rate + _ROUNDING).floor()[:, None]  # [P, T]
        item |= ((since >= -before) & (since <= after)).any(dim=0)
    return (~kept)[:, None].expand(n_items, n_codebooks, n_frames).clone()
