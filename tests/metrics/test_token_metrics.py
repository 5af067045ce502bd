"""Token metrics on grids small enough to count by eye."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.tokens import (
    active_frames,
    code_entropy_gap,
    code_histogram,
    codebook_usage,
    cumulative_accuracy,
    majority_token_accuracy,
    majority_tokens,
    token_accuracy,
    top_k_accuracy,
)

TARGET = torch.tensor([[[1, 2, 3, 3], [5, 5, 5, 0]], [[3, 3, 1, 9], [5, 6, 7, 0]]])  # [B=2, K=2, T=4]
ACTIVE = torch.tensor([[True, True, True, False], [True, True, True, False]])


def test_token_accuracy_counts_active_frames_only():
    codes = TARGET.clone()
    codes[0, 0, 0] = 8  # one of six active frames of codebook 0
    codes[1, 1, :] = 9  # three of six of codebook 1
    codes[:, :, 3] = 4  # silent, must not count
    assert token_accuracy(codes, TARGET, ACTIVE).tolist() == pytest.approx([5 / 6, 3 / 6])
    assert token_accuracy(codes, TARGET, torch.ones(2, 4).bool()).tolist() == pytest.approx([5 / 8, 3 / 8])


def test_a_frame_counts_until_its_first_wrong_code():
    target = torch.tensor([[[1, 1, 1, 1, 1], [2, 2, 2, 2, 2], [3, 3, 3, 3, 3]]])
    codes = torch.tensor([[[1, 0, 1, 1, 0], [2, 2, 0, 2, 0], [3, 3, 3, 0, 0]]])
    active = torch.tensor([[True, True, True, True, False]])
    assert token_accuracy(codes, target, active).tolist() == [3 / 4, 3 / 4, 3 / 4]
    assert cumulative_accuracy(codes, target, active).tolist() == [3 / 4, 2 / 4, 1 / 4]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_no_cumulative_accuracy_is_larger_than_the_one_before(seed):
    codes, target = torch.randint(2, (2, 2, 4, 30), generator=torch.Generator().manual_seed(seed))
    active = torch.ones(2, 30).bool()
    found, single = cumulative_accuracy(codes, target, active), token_accuracy(codes, target, active)
    assert found[0] == single[0] and (found <= single).all() and (found.diff() <= 0).all()


def test_every_item_weighs_by_its_active_frames():
    codes = torch.zeros(2, 1, 4, dtype=torch.long)
    target = torch.tensor([[[0, 0, 0, 0]], [[1, 1, 1, 1]]])
    active = torch.tensor([[True, True, True, True], [True, False, False, False]])
    assert token_accuracy(codes, target, active).tolist() == pytest.approx([4 / 5])


def test_majority():
    # Active codes of codebook 0: 1 2 3 3 3 1; of codebook 1: 5 5 5 5 6 7.
    assert majority_tokens(TARGET, ACTIVE).tolist() == [3, 5]
    assert majority_token_accuracy(TARGET, ACTIVE).tolist() == pytest.approx([3 / 6, 4 / 6])
    from_training = torch.tensor([1, 6])
    assert majority_token_accuracy(TARGET, ACTIVE, from_training).tolist() == pytest.approx([2 / 6, 1 / 6])
    tie = torch.tensor([[[7, 2, 2, 7]]])
    assert majority_tokens(tie, torch.ones(1, 4).bool()).tolist() == [2]


def test_without_active_frames_there_is_no_accuracy():
    none = torch.zeros(2, 4).bool()
    assert token_accuracy(TARGET, TARGET, none).isnan().all()
    assert majority_token_accuracy(TARGET, none).isnan().all()
    assert cumulative_accuracy(TARGET, TARGET, none).isnan().all()
    assert code_entropy_gap(TARGET, TARGET, none, 10).isnan().all()
    with pytest.raises(ValueError, match="no frame is active"):
        majority_tokens(TARGET, none)


def test_top_k():
    # One frame per target code, the same ranking in each: code 2 first, then 0, then 1.
    logits = torch.tensor([1.0, 0.5, 3.0])[None, None, :, None].expand(1, 1, 3, 4)
    target = torch.tensor([[[2, 0, 1, 1]]])
    active = torch.tensor([[True, True, True, False]])
    for k, expected in [(1, 1 / 3), (2, 2 / 3), (3, 1.0)]:
        assert top_k_accuracy(logits, target, active, k).tolist() == pytest.approx([expected])


def test_usage_by_hand():
    codes = torch.tensor([[[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 2]]])
    usage = codebook_usage(codes, 16)
    assert usage.used.tolist() == [1, 4, 3]
    assert usage.entropy_bits.tolist() == pytest.approx([0.0, 2.0, 1.5])
    assert usage.perplexity.tolist() == pytest.approx([1.0, 4.0, 2**1.5])


def test_histogram_by_hand():
    assert code_histogram(TARGET, ACTIVE, 10).tolist() == [
        [0, 2, 1, 3, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 4, 1, 1, 0, 0],
    ]


def test_entropy_gap_by_hand():
    target = torch.tensor([[[0, 1, 2, 3, 9], [0, 0, 1, 1, 9], [0, 0, 0, 0, 9]]])  # 2, 1 and 0 bits
    codes = torch.tensor([[[5, 5, 5, 5, 1], [6, 7, 6, 7, 1], [0, 1, 0, 1, 1]]])  # 0, 1 and 1 bits
    active = torch.tensor([[True, True, True, True, False]])
    assert code_entropy_gap(codes, target, active, 10).tolist() == [2.0, 0.0, -1.0]


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 64), seed=st.integers(0, 99))
def test_usage_is_bounded_by_the_codebook(size, seed):
    codes = torch.randint(size, (2, 3, 20), generator=torch.Generator().manual_seed(seed))
    usage = codebook_usage(codes, size)
    assert (usage.used >= 1).all() and (usage.used <= size).all()
    assert (usage.entropy_bits >= 0).all() and (usage.entropy_bits <= math.log2(size) + 1e-9).all()
    assert (usage.perplexity <= usage.used + 1e-9).all()
    relabelled = codebook_usage(size - 1 - codes, size)
    torch.testing.assert_close(relabelled.entropy_bits, usage.entropy_bits)


def test_active_frames():
    # Frames of 4: loud, exactly silent, just below and just above -60 dB; then a last frame of 2 samples.
    audio = torch.zeros(1, 1, 18)
    audio[..., 0:4] = 0.5
    audio[..., 8:12] = 0.99e-3
    audio[..., 12:16] = 1.01e-3
    audio[..., 16:18] = 1.01e-3
    assert active_frames(audio, 4).tolist() == [[True, False, False, True, True]]
    assert active_frames(audio, 4, threshold_db=-20.0).tolist() == [[True, False, False, False, False]]


def test_active_frames_average_over_channels():
    one_sided = torch.zeros(1, 2, 4)
    one_sided[0, 0] = 1.2e-3  # -58.4 dB in one channel, -61.4 dB over both
    assert active_frames(one_sided, 4).tolist() == [[False]]
    assert active_frames(one_sided[:, :1], 4).tolist() == [[True]]


@pytest.mark.parametrize("samples, frames", [(1, 1), (320, 1), (321, 2), (640, 2)])
def test_active_frames_are_as_many_as_the_codecs(samples, frames):
    assert active_frames(torch.ones(3, 1, samples), 320).shape == (3, frames)


@settings(max_examples=20, deadline=None)
@given(frames=st.integers(1, 12), codebooks=st.integers(1, 4), seed=st.integers(0, 99))
def test_accuracy_is_one_at_identity_and_no_constant_beats_the_majority(frames, codebooks, seed):
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(3, (2, codebooks, frames), generator=generator)
    active = torch.ones(2, frames).bool()
    assert token_accuracy(target, target, active).tolist() == [1.0] * codebooks
    best = majority_token_accuracy(target, active)
    for constant in range(3):
        accuracy = token_accuracy(torch.full_like(target, constant), target, active)
        assert (accuracy <= best).all()


def test_bad_input():
    with pytest.raises(ValueError, match=r"\[2, 1, 4\].*\[2, 2, 4\]"):
        token_accuracy(TARGET[:, :1], TARGET, ACTIVE)
    with pytest.raises(ValueError, match=r"\[2, 2, 4\].*\[2, 3\]"):
        token_accuracy(TARGET, TARGET, ACTIVE[:, :3])
    with pytest.raises(ValueError, match=r"\[3\].*\[2, 2, 4\]"):
        majority_token_accuracy(TARGET, ACTIVE, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"\[2, 2, 9, 3\].*\[2, 2, 4\]"):
        top_k_accuracy(torch.zeros(2, 2, 9, 3), TARGET, ACTIVE, 1)
    with pytest.raises(ValueError, match=r"0 \.\. 8.*from 0 to 9"):
        codebook_usage(TARGET, 9)
    with pytest.raises(ValueError, match=r"0 \.\. 8.*from 0 to 9"):
        code_entropy_gap(TARGET, TARGET, ACTIVE, 9)
    with pytest.raises(ValueError, match=r"\[2, 1, 4\].*\[2, 2, 4\]"):
        cumulative_accuracy(TARGET[:, :1], TARGET, ACTIVE)
    with pytest.raises(ValueError, match="not empty"):
        codebook_usage(TARGET[..., :0], 9)
