"""Stereo for mono codecs: the two channels, or their sum and difference, become items of their own."""

from typing import Literal

import torch
from torch import Tensor

StereoMode = Literal["mid_side", "left_right"]
"""What a mono codec codes of stereo: mid = (L + R) / 2 and side = (L - R) / 2, or the channels as they are.

Music lies mostly in the middle, so that its side is quiet and mid/side puts the codec's errors of left and right
where they agree; hard-panned material is better off with left/right.
"""


def split_stereo(audio: Tensor, mode: StereoMode) -> Tensor:
    """Stereo `[B, 2, N]` to mono items `[2 B, 1, N]`: the two of an item follow each other.

    Raises:
        ValueError: the audio is not stereo.
    """
    if audio.dim() != 3 or audio.shape[1] != 2:
        raise ValueError(f"expected stereo [B, 2, N], got {list(audio.shape)}")
    return _mid_side(audio, mode, 0.5).reshape(-1, 1, audio.shape[2])


def join_stereo(items: Tensor, mode: StereoMode) -> Tensor:
    """Mono items `[2 B, 1, N]` back to stereo `[B, 2, N]`: left = mid + side, right = mid - side.

    Raises:
        ValueError: the items are not mono, or not two for each item of stereo.
    """
    if items.dim() != 3 or items.shape[1] != 1 or items.shape[0] % 2:
        raise ValueError(f"expected mono items [2 B, 1, N], two for each of stereo, got {list(items.shape)}")
    return _mid_side(items.reshape(-1, 2, items.shape[2]), mode, 1.0)


def _mid_side(pairs: Tensor, mode: StereoMode, scale: float) -> Tensor:
    """Sum and difference, which is its own inverse up to `scale`; or the pairs as they are."""
    if mode == "left_right":
        return pairs
    first, second = pairs[:, 0], pairs[:, 1]
    return torch.stack([first + second, first - second], dim=1) * scale
