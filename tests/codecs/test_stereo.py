"""Stereo as mono items and back: by hand, and exactly."""

from typing import get_args

import pytest
import torch

from codec_ft.codecs.stereo import StereoMode, join_stereo, split_stereo

# Two items of stereo: the same in both channels; left only, then right only.
AUDIO = torch.tensor([[[0.5, -0.25], [0.5, -0.25]], [[0.5, 0.0], [0.0, 1.0]]])


def test_mid_and_side_by_hand() -> None:
    items = split_stereo(AUDIO, "mid_side")
    assert items.tolist() == [[[0.5, -0.25]], [[0.0, 0.0]], [[0.25, 0.5]], [[0.25, -0.5]]]


def test_left_and_right_by_hand() -> None:
    items = split_stereo(AUDIO, "left_right")
    assert items.tolist() == [[[0.5, -0.25]], [[0.5, -0.25]], [[0.5, 0.0]], [[0.0, 1.0]]]


@pytest.mark.parametrize("mode", get_args(StereoMode))
def test_there_and_back_is_the_same_sample_for_sample(mode: StereoMode) -> None:
    steps = torch.randint(-(2**15), 2**15, (3, 2, 5000), generator=torch.Generator().manual_seed(0))
    audio = steps.float() / 2**15  # 16-bit audio: sums of two fit into float32
    assert torch.equal(join_stereo(split_stereo(audio, mode), mode), audio)


@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 8), (1, 3, 8)])
def test_only_stereo_is_split(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected stereo \[B, 2, N\], got"):
        split_stereo(torch.zeros(shape), "mid_side")


@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 2, 8), (2, 8)])
def test_only_pairs_are_joined(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected mono items \[2 B, 1, N\]"):
        join_stereo(torch.zeros(shape), "mid_side")
