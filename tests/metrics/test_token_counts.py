"""Counts of tokens on grids small enough to count by eye, and with codecs whose codes have a geometry."""

import math
import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import load_codec
from codec_ft.metrics.token_counts import TokenCounts, codebook_distance, count_tokens
from codec_ft.metrics.tokens import (
    METRICS,
    code_entropy_gap,
    codebook_usage,
    cumulative_accuracy,
    majority_token_accuracy,
    majority_tokens,
    token_accuracy,
    top_k_accuracy,
)

LINE = torch.arange(10.0)[None, :, None]
"""One codebook of ten codes, 0 to 9, on a line."""


def grid(*rows: list[int]) -> Tensor:
    return torch.tensor([rows])


def everywhere(codes: Tensor) -> Tensor:
    return torch.ones(codes.shape[0], codes.shape[2]).bool()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_case(seed: int, frames: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes and target `[2, 3, T]`, often equal; active frames; codebooks `[3, 6, 4]`."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(6, (2, 3, frames), generator=generator)
    wrong = torch.rand(2, 3, frames, generator=generator) < 0.4
    target = torch.where(wrong, torch.randint(6, (2, 3, frames), generator=generator), codes)
    active = torch.rand(2, frames, generator=generator) < 0.8
    return codes, target, active, noise(3, 6, 4, seed=seed)


def ranks_in(logits: Tensor, target: Tensor) -> Tensor:
    """The rank of each target code among the logits `[B, K, V, T]`."""
    order = logits.argsort(dim=2, descending=True)
    return (order == target[:, :, None]).int().argmax(dim=2)


def test_distance_by_hand():
    target = grid([0, 4, 0, 4])  # two draws are 0 or 4 apart, equally often: root mean square sqrt(8)
    for codes, expected in [
        (grid([0, 4, 0, 4]), 0.0),
        (grid([1, 4, 0, 4]), math.sqrt(1 / 4 / 8)),
        (grid([4, 0, 4, 0]), math.sqrt(16 / 8)),
        (grid([2, 2, 2, 2]), math.sqrt(1 / 2)),  # the mean of the target, the best constant
    ]:
        assert codebook_distance(codes, target, everywhere(codes), LINE).item() == pytest.approx(expected)


def test_silent_frames_have_no_distance():
    target, codes = grid([0, 4, 9]), grid([0, 5, 0])
    active = torch.tensor([[True, True, False]])
    assert codebook_distance(codes, target, active, LINE).item() == pytest.approx(math.sqrt(1 / 2 / 8))


def test_chance_is_one():
    generator = torch.Generator().manual_seed(0)
    codes, target = torch.randint(10, (2, 1, 1, 20000), generator=generator)
    assert codebook_distance(codes, target, everywhere(codes), LINE).item() == pytest.approx(1.0, abs=0.02)


def test_a_target_of_one_code_gives_no_scale():
    codes, target = grid([3, 3, 4]), grid([3, 3, 3])
    assert codebook_distance(codes, target, everywhere(codes), 0.1 * LINE).isnan().all()
    assert codebook_distance(target, target, everywhere(codes), LINE).isnan().all()


def test_distance_does_not_depend_on_scale_and_place():
    codes, target, active, codebooks = random_case(1)
    expected = codebook_distance(codes, target, active, codebooks)
    moved = 7.0 * codebooks + noise(3, 1, 4, seed=5)
    torch.testing.assert_close(codebook_distance(codes, target, active, moved), expected, rtol=1e-5, atol=0.0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999))
def test_readings_are_what_the_single_functions_say(seed):
    codes, target, active, codebooks = random_case(seed)
    logits = noise(2, 3, 6, 40, seed=seed)
    counts = count_tokens(codes, target, active, codebooks, ranks=ranks_in(logits, target))
    found = counts.readings()
    assert counts.frames == int(active.sum())
    assert torch.equal(counts.majority, majority_tokens(target, active))
    seen = torch.cat([codes[item][:, active[item]] for item in range(2)], dim=1)[None]
    usage = codebook_usage(seen, 6)
    for name, expected in {
        "token_accuracy": token_accuracy(codes, target, active),
        "cumulative_accuracy": cumulative_accuracy(codes, target, active),
        "top5_accuracy": top_k_accuracy(logits, target, active, 5),
        "majority_token_accuracy": majority_token_accuracy(target, active),
        "codebook_distance": codebook_distance(codes, target, active, codebooks),
        "codebook_used": usage.used.double(),
        "codebook_perplexity": usage.perplexity,
        "code_entropy_gap": code_entropy_gap(codes, target, active, 6),
    }.items():
        torch.testing.assert_close(found.pop(name), expected)
        assert name in METRICS
    assert not found


def assert_same(found: TokenCounts, expected: TokenCounts) -> None:
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), value)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), cut=st.integers(0, 40))
def test_counts_of_parts_add_up_in_any_order(seed, cut):
    codes, target, active, codebooks = random_case(seed)
    whole = count_tokens(codes, target, active, codebooks)
    parts = [
        count_tokens(codes[..., part], target[..., part], active[..., part], codebooks)
        for part in (slice(None, cut), slice(cut, None))
    ]
    assert_same(parts[0] + parts[1], whole)
    assert_same(parts[1] + parts[0], whole)
    items = [count_tokens(codes[i, None], target[i, None], active[i, None], codebooks) for i in range(2)]
    assert_same(items[0] + items[1], whole)


def test_top_5_of_tracks_with_and_without_ranks():
    codes, target, active, codebooks = random_case(2)
    logits = noise(2, 3, 6, 40)
    ranked = count_tokens(codes, target, active, codebooks, ranks=ranks_in(logits, target))
    unranked = count_tokens(codes, target, active, codebooks)
    assert unranked.readings()["top5_accuracy"].isnan().all()
    expected = top_k_accuracy(logits, target, active, 5)
    torch.testing.assert_close((ranked + unranked).readings()["top5_accuracy"], expected)


def test_nothing_but_silence():
    codes, target, active, codebooks = random_case(3)
    counts = count_tokens(codes, target, torch.zeros_like(active), codebooks)
    found = counts.readings()
    assert counts.frames == 0
    assert found.pop("codebook_used").tolist() == [0, 0, 0]
    assert all(value.isnan().all() for value in found.values())


def test_they_go_between_processes_as_arrays():
    counts = count_tokens(*random_case(4))
    packed = bytes(ForkingPickler.dumps(counts))  # what a pool of processes uses
    assert b"numpy" in packed and b"rebuild" not in packed
    assert_same(pickle.loads(packed), counts)
    assert isinstance(pickle.loads(packed).frames, int)
    assert b"rebuild" in bytes(ForkingPickler.dumps(counts.hits)), "a tensor goes through an open file"


@pytest.mark.parametrize("name", ["demo", "demo_dac"])
def test_with_a_codec(name):
    codec = load_codec(name)
    codebooks = codec.codebooks()
    # Two tones that begin one after the other.
    time = torch.arange(codec.sample_rate // 2) / codec.sample_rate
    tones = [torch.sin(2 * math.pi * hz * time) for hz in (110.0, 300.0)]
    audio = 0.3 * torch.stack([tones[0] + tones[1], tones[0]])[:, None]
    latents = codec.encode(audio)
    codes, _ = codec.quantize(latents)
    estimate, target = codes[:1], codes[1:]
    active = everywhere(target)
    ranks = codec.ranks(latents[:1], estimate, target)
    counts = count_tokens(estimate, target, active, codebooks, ranks=ranks)
    found = counts.readings()
    torch.testing.assert_close(
        found["top5_accuracy"], top_k_accuracy(codec.logits(latents[:1]), target, active, 5), rtol=0, atol=0.03
    )
    assert (found["top5_accuracy"] >= found["token_accuracy"]).all()
    assert codec.ranks(latents[1:], target, target).max() <= 1  # but for ties in rounding, 0
    right = count_tokens(target, target, active, codebooks, ranks=codec.ranks(latents[1:], target, target)).readings()
    assert right["codebook_distance"].tolist() == [0.0] * codec.n_codebooks
    for name in ("token_accuracy", "cumulative_accuracy", "top5_accuracy"):
        assert right[name].tolist() == [1.0] * codec.n_codebooks


def test_the_first_codebooks_only(tiny_codec: EncodecCodec):
    latents = tiny_codec.encode(0.3 * noise(1, 1, 400))
    codes, _ = tiny_codec.quantize(latents, 2)
    counts = count_tokens(
        codes,
        codes,
        everywhere(codes),
        tiny_codec.codebooks()[:2],
        ranks=tiny_codec.ranks(latents, codes, codes),
    )
    assert counts.readings()["top5_accuracy"].tolist() == [1.0, 1.0]


def test_bad_input():
    codes, target, active, codebooks = random_case(5)
    with pytest.raises(ValueError, match=r"\[2, 2, 40\].*\[2, 3, 40\]"):
        count_tokens(codes[:, :2], target, active, codebooks)
    with pytest.raises(ValueError, match=r"\[2, 6, 4\].*\[2, 3, 40\]"):
        count_tokens(codes, target, active, codebooks[:2])
    with pytest.raises(ValueError, match=r"0 \.\. 4.*from 0 to 5"):
        count_tokens(codes, target, active, codebooks[:, :5])
    with pytest.raises(ValueError, match=r"ranks is \[2, 3, 39\]"):
        count_tokens(codes, target, active, codebooks, ranks=codes[..., 1:])
    with pytest.raises(ValueError, match=r"\[3, 6\] and \[3, 7\]"):
        _ = count_tokens(codes, target, active, codebooks) + count_tokens(codes, target, active, noise(3, 7, 4))
