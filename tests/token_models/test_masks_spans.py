"""Span masks against all ways in which spans can lie, and as runs of masked frames that are long enough."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from token_models.masks.spans import expected_shares, span_mask


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def covered(begins: tuple[int, ...], length: int, n_frames: int) -> set[int]:
    return {(begin + j) % n_frames for begin in begins for j in range(length)}


def runs(row: list[bool]) -> list[int]:
    """Lengths of the masked runs of a row that goes on at its begin."""
    if all(row):
        return [len(row)]
    known = row.index(False)
    turned = row[known:] + row[:known]
    return [len(list(run)) for masked, run in itertools.groupby(turned) if masked]


@pytest.mark.parametrize("n_frames, length", [(1, 1), (5, 1), (6, 2), (7, 3), (8, 8), (9, 4)])
def test_expected_shares_of_all_placements(n_frames, length):
    shares = expected_shares(n_frames, length).tolist()
    assert len(shares) == n_frames - length + 2 and shares[0] == 0.0 and shares[-1] == 1.0
    for n_spans, share in enumerate(shares):
        placements = list(itertools.combinations(range(n_frames), n_spans))
        total = sum(len(covered(begins, length, n_frames)) for begins in placements)
        assert share == pytest.approx(total / (len(placements) * n_frames), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(n_frames=st.integers(1, 900), data=st.data())
def test_expected_shares_equal_the_paper(n_frames, data):
    length = data.draw(st.integers(1, n_frames))
    shares = expected_shares(n_frames, length)
    n_spans = data.draw(st.integers(0, n_frames - length + 1))
    expected = 1 - Fraction(math.comb(n_frames - length, n_spans), math.comb(n_frames, n_spans))
    assert float(shares[n_spans]) == pytest.approx(float(expected), abs=1e-12)


def test_numbers_of_spans_by_hand():
    # Of 1, 2, 3, 4 spans of 3 in 5 frames: 0.6, 0.9, 1, 1, in expectation. A single one shows as it is, 3 of 5.
    ratios = torch.tensor([0.0, 0.5, 0.74, 0.76, 1.0])
    counts = span_mask((5, 200, 5), ratios, 3, seeded(0)).sum(dim=2)
    assert (counts[:3] == 3).all()
    # Two begins of five: in half of the cases side by side, which covers four frames, and else all five.
    assert set(counts[3].tolist()) == {4, 5} and float(counts[3].double().mean()) == pytest.approx(4.5, abs=0.2)
    assert (counts[4] == 5).all()


def test_items_and_codebooks_have_their_own():
    together = span_mask((2, 2, 50), torch.tensor([0.5, 0.3]), 3, [seeded(1), seeded(2)])
    assert torch.equal(span_mask((1, 2, 50), 0.5, 3, [seeded(1)])[0], together[0])
    assert torch.equal(span_mask((1, 2, 50), torch.tensor(0.3), 3, [seeded(2)])[0], together[1])
    assert not torch.equal(together[0, 0], together[0, 1])


@pytest.mark.parametrize(
    "shape, ratio, length, message",
    [
        ((1, 2, 0), 0.5, 1, r"\[1, 2, 0\]"),
        ((1, 2, 5), 0.5, 0, "length must be a whole number in 1..5, got 0"),
        ((1, 2, 5), 0.5, 6, "length .* got 6"),
        ((1, 2, 5), math.nan, 2, "ratio must be in 0..1, got nan"),
        ((1, 2, 5), 1.5, 2, "got 1.5"),
        ((2, 2, 5), torch.tensor([0.5] * 3), 2, r"each of 2 items, got \[3\]"),
    ],
)
def test_bad_input(shape, ratio, length, message):
    with pytest.raises(ValueError, match=message):
        span_mask(shape, ratio, length, seeded(0))
