"""Noise of its own for each item, and the distribution it should have."""

import math
from collections.abc import Callable

import pytest
import torch
from scipy.stats import gumbel_r, kstest
from torch import Tensor

from token_models.sampling import noise
from token_models.sampling.noise import gumbel, item_generators, uniform


@pytest.mark.parametrize("width", [None, 6])
@pytest.mark.parametrize("make", [uniform, gumbel])
def test_an_item_draws_the_same_alone_and_among_others(make: Callable[..., Tensor], width: int | None) -> None:
    counts, seeds = [3, 0, 40, 1], [5, 6, 7, 5]
    together, alone = item_generators(seeds), item_generators(seeds)
    for _ in range(3):
        parts = make(counts, together, width).split(counts)
        for part, count, own in zip(parts, counts, alone, strict=True):
            assert torch.equal(part, make([count], [own], width))
    assert torch.equal(make([1], [together[0]], width), make([1], [alone[0]], width))


def test_equal_seeds_give_equal_noise_and_others_other() -> None:
    first, second, third = gumbel([9, 9, 9], item_generators([1, 1, 2])).split(9)
    assert torch.equal(first, second)
    assert not (first == third).any()


def test_gumbel_noise_has_its_distribution() -> None:
    assert kstest(gumbel([20_000], item_generators([0])).numpy(), gumbel_r.cdf).pvalue > 0.01
    assert kstest(uniform([20_000], item_generators([0])).numpy(), "uniform").pvalue > 0.01


def test_gumbel_noise_is_finite_at_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = torch.tensor([0.0, 1 - 2**-24])
    monkeypatch.setattr(noise, "uniform", lambda *_: ends.clone())
    lowest, highest = gumbel([2], item_generators([0])).tolist()
    assert -5 < lowest < -4
    assert highest == pytest.approx(24 * math.log(2), abs=1e-3)


def test_every_item_needs_a_generator() -> None:
    with pytest.raises(ValueError, match="2 items need a generator each, got 1"):
        uniform([3, 4], item_generators([0]))
