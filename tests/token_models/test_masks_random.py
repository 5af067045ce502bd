"""Random masks: exact counts, every cell and every set of cells equally likely, items as they would be alone."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare

from token_models.masks import random_mask as module
from token_models.masks.noise import uniform_noise
from token_models.masks.random_mask import bernoulli_mask, random_mask, smallest
from token_models.masks.spans import span_mask


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_counts_by_hand():
    # Of 10 cells: 0 becomes 1, and halves go to the even number.
    ratios = torch.tensor([0.0, 0.04, 0.25, 0.35, 0.7, 0.96, 1.0], dtype=torch.float64)
    mask = random_mask((7, 2, 5), ratios, seeded(0))
    assert mask.shape == (7, 2, 5) and mask.dtype == torch.bool
    assert mask.sum(dim=(1, 2)).tolist() == [1, 1, 2, 4, 7, 10, 10]


@settings(max_examples=60, deadline=None)
@given(
    n_codebooks=st.integers(1, 9),
    n_frames=st.integers(1, 40),
    ratios=st.lists(st.floats(0, 1), min_size=1, max_size=4),
    seed=st.integers(0, 2**32),
)
def test_counts_are_exact_in_every_item(n_codebooks, n_frames, ratios, seed):
    cells = n_codebooks * n_frames
    mask = random_mask((len(ratios), n_codebooks, n_frames), torch.tensor(ratios, dtype=torch.float64), seeded(seed))
    assert mask.sum(dim=(1, 2)).tolist() == [max(1, round(ratio * cells)) for ratio in ratios]


def test_all_sets_are_equally_likely():
    # Two cells of four: six sets.
    mask = random_mask((6000, 2, 2), 0.5, seeded(1)).flatten(1)
    sets = (mask * torch.tensor([1, 2, 4, 8])).sum(dim=1).bincount(minlength=16)
    frequencies = sets[[3, 5, 6, 9, 10, 12]]
    assert frequencies.sum() == 6000 and chisquare(frequencies.numpy()).pvalue > 0.01


def test_all_cells_are_equally_likely():
    n_items, n_cells, share = 4000, 90, 1 / 3
    frequencies = random_mask((n_items, 3, 30), share, seeded(2)).sum(dim=0).flatten().double()
    # With a fixed number of cells per item, cells exclude each other a little: hence the (N - 1) / N.
    variance = n_items * share * (1 - share)
    statistic = float((frequencies - n_items * share).square().sum() / variance) * (n_cells - 1) / n_cells
    assert chi2.sf(statistic, n_cells - 1) > 0.01


@pytest.mark.parametrize("make", [random_mask, bernoulli_mask])
def test_an_item_is_what_it_would_be_alone(make):
    ratios = torch.tensor([0.3, 0.9, 0.5])
    together = make((3, 4, 20), ratios, [seeded(seed) for seed in (7, 8, 9)])
    for item, seed in enumerate((7, 8, 9)):
        assert torch.equal(make((1, 4, 20), float(ratios[item]), [seeded(seed)])[0], together[item])
        assert torch.equal(make((1, 4, 20), ratios[item], seeded(seed))[0], together[item])
    assert torch.equal(make((3, 4, 20), ratios, seeded(7)), make((3, 4, 20), ratios, seeded(7)))
    assert not torch.equal(together[0], make((1, 4, 20), 0.3, seeded(10))[0])


def test_bernoulli_shares():
    ratios = torch.tensor([0.0, 0.2, 0.8, 1.0])
    shares = bernoulli_mask((4, 50, 200), ratios, seeded(0)).double().mean(dim=(1, 2))
    # Five standard deviations of 10 000 cells at 0.2.
    assert shares.tolist() == pytest.approx(ratios.tolist(), abs=5 * 0.004)
    assert shares[0] == 0 and shares[3] == 1


def test_bernoulli_probability_is_never_nothing(monkeypatch):
    monkeypatch.setattr(module, "uniform_noise", lambda shape, generator: torch.full(shape, 5e-11).double())
    assert bernoulli_mask((1, 2, 2), 0.0, seeded(0)).all()


def test_smallest_counts_equal_values_too():
    values = torch.tensor([[[2, 1, 1, 1]], [[0, 0, 0, 0]], [[3, 2, 1, 0]]])
    expected = [[[False, True, True, False]], [[True, True, True, False]], [[False, False, False, False]]]
    assert smallest(values, torch.tensor([2, 3, 0])).tolist() == expected


@pytest.mark.parametrize("make", [random_mask, bernoulli_mask])
@pytest.mark.parametrize(
    "shape, ratio, message",
    [
        ((1, 2, 0), 0.5, r"\[1, 2, 0\]"),
        ((1, -2, 3), 0.5, r"\[1, -2, 3\]"),
        ((2, 3), 0.5, r"\[2, 3\]"),
        ((1, 2, 3.5), 0.5, r"\[1, 2, 3.5\]"),
        ((1, 2, 3), -0.5, "ratio must be in 0..1, got -0.5"),
        ((1, 2, 3), 1.25, "got 1.25"),
        ((1, 2, 3), math.nan, "got nan"),
        ((2, 2, 3), torch.tensor([0.5, 1.25]), "got 1.25"),
        ((2, 2, 3), torch.tensor([0.5, 0.5, 0.5]), r"each of 2 items, got \[3\]"),
    ],
)
def test_bad_input(make, shape, ratio, message):
    with pytest.raises(ValueError, match=message):
        make(shape, ratio, seeded(0))


def test_generators_that_do_not_fit():
    with pytest.raises(ValueError, match="each of 3 items, got 2"):
        uniform_noise((3, 1, 1), [seeded(0), seeded(1)])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("make", [random_mask, bernoulli_mask, partial(span_mask, length=2)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_mask_lies_where_the_generator_is(make, device):
    mask = make((2, 3, 40), torch.tensor([0.0, 1.0], device=device), generator=torch.Generator("cuda").manual_seed(0))
    assert mask.device.type == "cuda" and mask[1].float().mean() > mask[0].float().mean()
