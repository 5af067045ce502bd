"""Checks at the door of every metric: a wrong shape or a NaN must not turn into a plausible number."""

import torch
from torch import Tensor


def check_same_audio_shape(estimate: Tensor, target: Tensor) -> None:
    """Refuse a pair that is not two non-empty audio batches of one shape `[B, C, N]`.

    Raises:
        ValueError: names both shapes.
    """
    if estimate.shape != target.shape or estimate.ndim != 3 or estimate.numel() == 0:
        raise ValueError(
            "estimate and target must both be audio [B, C, N] of one shape and not empty: "
            f"estimate is {list(estimate.shape)}, target is {list(target.shape)}"
        )


def check_audio_pair(estimate: Tensor, target: Tensor) -> None:
    """Refuse a pair of differing shapes (see `check_same_audio_shape`) or with a NaN or infinite sample.

    Raises:
        ValueError: names both shapes, or which of the two holds how many bad samples in which item of the batch.
    """
    check_same_audio_shape(estimate, target)
    for name, audio in (("estimate", estimate), ("target", target)):
        # One bad sample spoils the sum, which is had much faster than a look at every sample.
        if torch.isfinite(audio.detach().sum()):
            continue
        bad = ~torch.isfinite(audio)
        if bad.any():
            first = int(bad.flatten(1).any(dim=1).nonzero()[0])
            raise ValueError(f"{name} holds {int(bad.sum())} NaN or infinite samples, the first in batch item {first}")
