"""Onset masks by hand, at the edges of frames and grids, and from audio whose attacks are known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from token_models.masks.onset import onset_mask, onset_times


def frames_kept(mask: torch.Tensor) -> list[list[int]]:
    """Of each item, the frames known in all codebooks; each frame is known in all or in none."""
    assert torch.equal(mask, mask[:, :1].expand_as(mask))
    return [(~item[0]).nonzero()[:, 0].tolist() for item in mask]


def test_by_hand():
    # At 10 frames per second: frames 2, 7 and 7; none; frame 0, and one beyond the end.
    mask = onset_mask((3, 2, 9), [[0.2, 0.75, 0.7], [], [0.05, 1.3]], 10.0)
    assert frames_kept(mask) == [[2, 7], [], [0]]
    assert mask.shape == (3, 2, 9) and mask.dtype == torch.bool and mask[1].all()


def test_frames_around():
    times = [[0.25, 0.8], [0.95], [-0.05]]
    assert frames_kept(onset_mask((3, 1, 9), times, 10.0, before=1)) == [[1, 2, 7, 8], [8], []]
    assert frames_kept(onset_mask((3, 1, 9), times, 10.0, after=2)) == [[2, 3, 4, 8], [], [0, 1]]
    assert frames_kept(onset_mask((3, 1, 9), times, 10.0, before=2, after=20))[0] == list(range(9))


@settings(max_examples=100, deadline=None)
@given(
    frame=st.integers(0, 99),
    hop_and_rate=st.sampled_from([(320, 24000), (512, 44100), (768, 44100), (441, 44100), (160, 16000)]),
)
def test_an_onset_at_the_begin_of_a_frame_belongs_to_it(frame, hop_and_rate):
    hop, rate = hop_and_rate
    assert frames_kept(onset_mask((1, 2, 100), [[frame * hop / rate]], rate / hop)) == [[frame]]


def test_rounding_of_a_known_case():
    assert 0.29 * 100 < 29
    assert frames_kept(onset_mask((1, 1, 40), [[0.29]], 100.0)) == [[29]]


def test_from_audio():
    rate, generator = 8000, torch.Generator().manual_seed(0)
    times, audio = [[0.3, 0.9, 1.5], [0.6]], 1e-4 * torch.randn(3, 2, 2 * rate, generator=generator)
    burst = torch.randn(2, 1600, generator=generator) * torch.exp(-torch.arange(1600) / 200)
    for item, seconds in enumerate(times):
        for second in seconds:
            audio[item, :, round(second * rate) : round(second * rate) + 1600] += burst
    audio[2] = 0.0
    found = onset_times(audio, rate)
    for item, seconds in enumerate(times):
        # What the hiss before the first attack has of peaks is not asked for.
        assert all(min(abs(one - second) for one in found[item]) < 0.03 for second in seconds)
    assert found[2] == []
    mask = onset_mask((3, 1, 100), found, 50.0, before=1, after=1)
    assert not mask[0, 0, [15, 45, 75]].any() and not mask[1, 0, 30] and mask[2].all()


@pytest.mark.parametrize(
    "shape, times, frame_rate, around, message",
    [
        ((1, 1, 0), [[]], 10.0, {}, r"\[1, 1, 0\]"),
        ((2, 1, 5), [[0.1]], 10.0, {}, "each of 2 items, got 1 lists"),
        ((1, 1, 5), [[0.1, math.nan]], 10.0, {}, "finite, got nan"),
        ((1, 1, 5), [[math.inf]], 10.0, {}, "finite, got inf"),
        ((1, 1, 5), [[0.1]], 0.0, {}, "frame_rate .* got 0.0"),
        ((1, 1, 5), [[0.1]], math.nan, {}, "frame_rate .* got nan"),
        ((1, 1, 5), [[0.1]], 10.0, {"before": -1}, "before .* got -1"),
        ((1, 1, 5), [[0.1]], 10.0, {"after": 1.5}, "after .* got 1.5"),
    ],
)
def test_bad_input(shape, times, frame_rate, around, message):
    with pytest.raises(ValueError, match=message):
        onset_mask(shape, times, frame_rate, **around)


def test_bad_audio():
    with pytest.raises(ValueError, match=r"\[2, 100\]"):
        onset_times(torch.zeros(2, 100), 8000)
    with pytest.raises(ValueError, match="finite"):
        onset_times(torch.full((1, 1, 100), math.nan), 8000)
