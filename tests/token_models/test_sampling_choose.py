"""Filters against hand-worked examples, slow loops and transformers' own; draws against the probabilities they have."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from plain_sampler import plain_filters
from scipy.stats import chisquare
from torch import Tensor
from transformers import TopKLogitsWarper, TopPLogitsWarper, TypicalLogitsWarper

from token_models.sampling.choose import choose, draw, top_k, top_p, typical
from token_models.sampling.noise import gumbel, item_generators

HALVES = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()
"""Surprises of 1, 2, 3 and 3 bits, and an entropy of 1.75: the second code is the most typical, then the first."""
FILTERS = {"top_k": top_k, "top_p": top_p, "typical": typical}


def kept(logits: Tensor) -> list[int]:
    return logits.isfinite().nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("mass", "codes"), [(0.2, [1]), (0.3, [0, 1]), (0.7, [0, 1]), (0.8, [0, 1, 2, 3])])
def test_typical_by_hand(mass: float, codes: list[int]) -> None:
    assert kept(typical(HALVES, mass)) == codes


@pytest.mark.parametrize(("p", "codes"), [(0.4, [0]), (0.6, [0, 1]), (0.7, [0, 1]), (0.8, [0, 1, 2, 3])])
def test_top_p_by_hand(p: float, codes: list[int]) -> None:
    assert kept(top_p(HALVES, p)) == codes


@pytest.mark.parametrize(
    ("k", "codes"), [(1, [0]), (2, [0, 1]), (3, [0, 1, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_top_k_by_hand(k: int, codes: list[int]) -> None:
    assert kept(top_k(HALVES, k)) == codes


@pytest.mark.parametrize("name", FILTERS)
def test_what_is_kept_stays_as_it_is_and_what_was_given_too(name: str) -> None:
    logits = torch.randn(5, 7, 11, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    filtered = FILTERS[name](logits, 3 if name == "top_k" else 0.4)
    assert torch.equal(logits, before)
    stays = filtered.isfinite()
    assert torch.equal(filtered[stays], logits[stays])
    assert stays.any(dim=-1).all()
    assert not stays.all(dim=-1).any()


@settings(max_examples=100, deadline=None)
@given(
    logits=st.lists(st.integers(-4, 4) | st.floats(-6, 6, width=32) | st.just(-math.inf), min_size=1, max_size=9),
    k=st.none() | st.integers(1, 9),
    p=st.none() | st.floats(0.01, 1),
    mass=st.none() | st.floats(0.01, 1),
)
def test_as_by_slow_loops(logits: list[float], k: int | None, p: float | None, mass: float | None) -> None:
    assume(max(logits) > -math.inf)
    expected = plain_filters(logits, k, p, mass)
    for nudge in (-1e-4, 1e-4):  # where a sum of probabilities is the mass itself, rounding decides
        moved = [None if m is None else m if m == 1 else min(m + nudge, 0.99999) for m in (p, mass)]
        assume([x > -math.inf for x in plain_filters(logits, k, *moved)] == [x > -math.inf for x in expected])
    deviations = sorted(abs(x - y) for i, x in enumerate(logits) for y in logits[:i] if x > -math.inf and y > -math.inf)
    assume(mass is None or all(gap > 1e-3 or gap == 0 for gap in deviations))
    filtered = torch.tensor(logits, dtype=torch.float32)
    for chosen, value in ((top_k, k), (top_p, p), (typical, mass)):
        if value is not None:
            filtered = chosen(filtered, value)
    assert filtered.tolist() == pytest.approx(expected)


def test_as_by_another_library() -> None:
    logits = 2 * torch.randn(300, 40, generator=torch.Generator().manual_seed(1))
    for value in (1, 5, 40):
        assert torch.equal(top_k(logits, value), TopKLogitsWarper(value)(None, logits))
    for value in (0.05, 0.5, 0.95):
        assert torch.equal(top_p(logits, value), TopPLogitsWarper(value)(None, logits))
        assert torch.equal(typical(logits, value), TypicalLogitsWarper(value)(None, logits))


@pytest.mark.parametrize("name", FILTERS)
def test_no_code_is_preferred_for_its_number(name: str) -> None:
    logits = torch.randint(-2, 3, (200, 8), generator=torch.Generator().manual_seed(2)).float()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    value = 3 if name == "top_k" else 0.437
    assert torch.equal(FILTERS[name](logits[:, order], value), FILTERS[name](logits, value)[:, order])


@pytest.mark.parametrize("name", ["top_p", "typical"])
def test_all_of_the_probability_is_every_code_however_rare(name: str) -> None:
    logits = torch.tensor([[0.0, -60.0, -80.0]])
    assert torch.equal(FILTERS[name](logits, 1.0), logits)


@pytest.mark.parametrize(("name", "value"), [("top_k", 0), ("top_p", 0.0), ("top_p", 1.1), ("typical", -0.1)])
def test_senseless_filters_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be .* got {value}"):
        FILTERS[name](HALVES, value)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_draws_have_the_probabilities_of_the_temperature(temperature: float) -> None:
    n_draws = 20_000
    noise = gumbel([n_draws], item_generators([4]), 4)
    codes, _ = choose(HALVES.expand(n_draws, 4), noise, temperature=temperature)
    expected = (HALVES / temperature).softmax(dim=0).double()
    assert chisquare(codes.bincount(minlength=4), n_draws * expected / expected.sum()).pvalue > 0.01


def test_draws_are_from_what_the_filters_keep() -> None:
    n_draws = 20_000
    noise = gumbel([n_draws], item_generators([5]), 4)
    codes, _ = choose(HALVES.expand(n_draws, 4), noise, temperature=1.0, filters=[lambda logits: top_k(logits, 2)])
    counts = codes.bincount(minlength=4)
    assert counts[2:].tolist() == [0, 0]
    assert chisquare(counts[:2], [n_draws * 2 / 3, n_draws / 3]).pvalue > 0.01


def test_confidence_is_the_model_s_own_whatever_is_drawn_from() -> None:
    noise = torch.zeros(1, 4)
    only_second = [lambda logits: typical(logits, 0.2)]
    for temperature, added in ((1.0, noise), (0.1, noise), (0.0, None)):
        codes, confidence = choose(HALVES[None] + 7, added, temperature=temperature, filters=only_second)
        assert codes.tolist() == [1]
        assert confidence.tolist() == pytest.approx([math.log(0.25)])


def test_greedy_takes_the_likeliest_and_draws_no_noise() -> None:
    logits = torch.randn(1, 3, 4, 9, generator=torch.Generator().manual_seed(6))
    mask = torch.ones(1, 3, 4, dtype=torch.bool)
    generators = item_generators([0])
    before = generators[0].get_state()
    codes, _ = draw(logits[mask], mask, generators, temperature=0.0)
    assert torch.equal(codes, logits[mask].argmax(dim=1))
    assert torch.equal(generators[0].get_state(), before)


def test_an_impossible_code_is_never_drawn() -> None:
    logits = torch.tensor([-math.inf, 0.0, -math.inf]).expand(5000, 3)
    codes, confidence = choose(logits, gumbel([5000], item_generators([7]), 3), temperature=100.0)
    assert (codes == 1).all()
    assert (confidence == 0).all()


@pytest.mark.parametrize("bad", [[math.nan, 0.0], [math.inf, 0.0], [-math.inf, -math.inf]])
def test_logits_that_are_no_distribution_are_refused(bad: list[float]) -> None:
    logits = torch.tensor([[0.0, 1.0], bad, [1.0, 0.0]])
    for temperature, noise in ((0.0, None), (1.0, torch.zeros(3, 2))):
        with pytest.raises(ValueError, match="logits of 1 of 3 cells are no distribution"):
            choose(logits, noise, temperature=temperature)


@pytest.mark.parametrize("temperature", [-0.1, math.nan, math.inf])
def test_senseless_temperatures_are_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be zero or above"):
        choose(HALVES[None], torch.zeros(1, 4), temperature=temperature)


def test_noise_must_fit_the_temperature() -> None:
    with pytest.raises(ValueError, match="temperature is 1"):
        choose(HALVES[None], None, temperature=1.0)
    with pytest.raises(ValueError, match="temperature is 0"):
        choose(HALVES[None], torch.zeros(1, 4), temperature=0.0)
