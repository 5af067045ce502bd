"""Schedules at points known by hand, and counts against exact fractions, step after step."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from token_models.masks.schedule import SCHEDULES, masked_counts


def all_counts(schedule: str, n_masked: list[int], steps: int) -> list[list[int]]:
    """Of each item, its counts after each step."""
    counts = [masked_counts(schedule, torch.tensor(n_masked), step, steps) for step in range(steps)]
    return torch.stack(counts, dim=1).tolist()


@pytest.mark.parametrize(
    "schedule, expected",
    [
        ("cosine", [1.0, math.sqrt(3) / 2, math.sqrt(0.5), 0.5, 0.0]),
        ("linear", [1.0, 2 / 3, 0.5, 1 / 3, 0.0]),
        ("square", [1.0, 8 / 9, 0.75, 5 / 9, 0.0]),
    ],
)
def test_shares_by_hand(schedule, expected):
    progress = torch.tensor([0.0, 1 / 3, 0.5, 2 / 3, 1.0], dtype=torch.float64)
    before = progress.clone()
    shares = SCHEDULES[schedule](progress)
    assert shares.tolist() == pytest.approx(expected, abs=1e-15)
    assert (shares >= 0).all() and torch.equal(progress, before)
    assert (SCHEDULES[schedule](torch.ones(2, 3)) < 1e-15).all() and SCHEDULES[schedule](torch.ones(2, 3)).shape == (
        2,
        3,
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_concave(schedule):
    shares = SCHEDULES[schedule](torch.linspace(0, 1, 101, dtype=torch.float64))
    assert (shares.diff() < 0).all() and (shares.diff(n=2) < 1e-12).all()


def test_counts_by_hand():
    # cos of 22.5, 45 and 67.5 degrees: 0.924, 0.707, 0.383.
    assert all_counts("cosine", [100, 10, 3, 1, 0], 4) == [
        [92, 70, 38, 0],
        [9, 7, 3, 0],
        [2, 1, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
    ]
    assert all_counts("square", [100, 5], 4) == [[93, 75, 43, 0], [4, 3, 2, 0]]
    # One cell has to be left for the last step, though floor(0.157 * 6) is 0.
    assert all_counts("cosine", [6], 10) == [[5, 4, 3, 2, 1, 0, 0, 0, 0, 0]]
    assert all_counts("cosine", [12], 10)[0][-3:] == [3, 1, 0]
    assert all_counts("linear", [7], 1) == [[0]]


def test_counts_are_not_spoilt_by_rounding():
    # In floating point, (1 - 9/10) * 1000 is below 100.
    assert all_counts("linear", [10, 1000], 10) == [list(range(9, -1, -1)), list(range(900, -1, -100))]


SHARES = {"linear": lambda r: 1 - r, "square": lambda r: 1 - r * r}


@settings(max_examples=60, deadline=None)
@given(schedule=st.sampled_from(list(SHARES)), n_masked=st.integers(0, 100_000), steps=st.integers(1, 72))
def test_counts_equal_the_recursion_in_fractions(schedule, n_masked, steps):
    expected, before = [], n_masked
    for step in range(steps):
        wanted = max(1, math.floor(SHARES[schedule](Fraction(step + 1, steps)) * n_masked))
        before = 0 if step == steps - 1 else max(0, min(wanted, before - 1))
        expected.append(before)
    assert all_counts(schedule, [n_masked], steps) == [expected]


@settings(max_examples=30, deadline=None)
@given(
    schedule=st.sampled_from(list(SCHEDULES)),
    n_masked=st.lists(st.integers(0, 300), min_size=1, max_size=5),
    steps=st.integers(1, 40),
)
def test_every_step_fills_something(schedule, n_masked, steps):
    of_items = all_counts(schedule, n_masked, steps)
    for start, counts in zip(n_masked, of_items, strict=True):
        filled = [before - after for before, after in zip([start, *counts], counts, strict=False)]
        assert counts[-1] == 0 and sum(filled) == start
        if start >= steps:
            assert min(filled) >= 1
        else:
            assert filled == [1] * start + [0] * (steps - start)
    assert of_items == [all_counts(schedule, [start], steps)[0] for start in n_masked]


def test_counts_leave_their_input():
    n_masked = torch.tensor([5, 9], dtype=torch.int32)
    counts = masked_counts("cosine", n_masked, 0, 2)
    assert counts.tolist() == [3, 6] and counts.dtype == torch.int64 and n_masked.tolist() == [5, 9]


@pytest.mark.parametrize(
    "schedule, n_masked, step, steps, message",
    [
        ("cubic", [3], 0, 2, "'cubic'; there are cosine, linear, square"),
        ("cosine", [3], 0, 0, "steps must be a whole number of 1 or more, got 0"),
        ("cosine", [3], 2, 2, "step must be a whole number in 0..1, got 2"),
        ("cosine", [3], -1, 2, "step must .* got -1"),
        ("cosine", [3, -1], 0, 2, "n_masked must .*-1"),
        ("cosine", [3.0], 0, 2, "n_masked must"),
        ("cosine", [[3]], 0, 2, "n_masked must"),
    ],
)
def test_bad_counts(schedule, n_masked, step, steps, message):
    with pytest.raises(ValueError, match=message):
        masked_counts(schedule, torch.tensor(n_masked), step, steps)


@pytest.mark.parametrize("schedule", SCHEDULES.values())
@pytest.mark.parametrize("progress", [-0.1, 1.5, math.nan])
def test_bad_progress(schedule, progress):
    with pytest.raises(ValueError, match=f"progress must be in 0..1, got {progress}"):
        schedule(torch.tensor([0.5, progress], dtype=torch.float64))
