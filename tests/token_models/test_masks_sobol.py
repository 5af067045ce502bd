"""Sobol numbers against torch's engine, for any share of work between processes, and how evenly they lie."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.quasirandom import SobolEngine

from token_models.masks.sobol import sobol_numbers


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**40), first=st.just(0) | st.integers(1, 3000), count=st.integers(2, 100))
def test_equal_to_torchs_engine(seed, first, count):
    expected = SobolEngine(1, scramble=True, seed=seed).draw(first + count, dtype=torch.float64)[first:, 0]
    if first == 0:
        # torch rounds the very first number to float32, up to 1.
        assert float(sobol_numbers(seed, [0])) == pytest.approx(float(expected[0]), abs=2**-25)
        first, expected = 1, expected[1:]
    assert torch.equal(sobol_numbers(seed, range(first, first + len(expected))), expected)


def test_equal_to_torchs_engine_far_on():
    engine = SobolEngine(1, scramble=True, seed=3).fast_forward(10_000_000)
    assert torch.equal(sobol_numbers(3, range(10_000_000, 10_000_064)), engine.draw(64, dtype=torch.float64)[:, 0])


@pytest.mark.parametrize("n_processes, batch_size", [(1, 7), (2, 8), (4, 3), (8, 1)])
def test_processes_share_one_sequence(n_processes, batch_size):
    whole = sobol_numbers(1, range(96))
    drawn = {}
    for process in range(n_processes):
        for first in range(process * batch_size, 96, n_processes * batch_size):
            indices = range(first, min(first + batch_size, 96))
            drawn.update({(process, i): x for i, x in zip(indices, sobol_numbers(1, indices).tolist(), strict=True)})
    assert len(drawn) == 96 and len(set(drawn.values())) == 96
    assert [drawn[key] for key in sorted(drawn, key=lambda key: key[1])] == whole.tolist()


def test_resumed_at_any_item():
    whole = sobol_numbers(5, torch.arange(50))
    for stop in (1, 13, 32, 49):
        assert torch.equal(torch.cat([sobol_numbers(5, range(stop)), sobol_numbers(5, range(stop, 50))]), whole)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sobol_numbers(5, order), whole[order])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**63 - 1), level=st.integers(0, 8), block=st.integers(0, 10_000))
def test_one_in_each_part(seed, level, block):
    count = 2**level
    numbers = sobol_numbers(seed, range(block * count, (block + 1) * count))
    assert sorted((numbers * count).long().tolist()) == list(range(count))
    assert (numbers >= 0).all() and (numbers < 1).all()


def test_seeds_differ_and_chance_is_left_alone():
    state = torch.get_rng_state()
    assert (sobol_numbers(0, range(64)) != sobol_numbers(1, range(64))).sum() > 60
    assert torch.equal(torch.get_rng_state(), state)


def test_begins_anew_after_the_last_number():
    assert torch.equal(sobol_numbers(2, range(2**30, 2**30 + 5)), sobol_numbers(2, range(5)))


@pytest.mark.parametrize("indices", [[-1], [3, -2], [], [0.5], [[1]], [True]])
def test_bad_indices(indices):
    with pytest.raises(ValueError, match="indices must be whole numbers"):
        sobol_numbers(0, torch.tensor(indices))
