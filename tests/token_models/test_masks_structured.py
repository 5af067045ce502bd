"""Masks with a plan, drawn by hand: `#` is masked, `.` is known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from token_models.masks.structured import codebook_mask, inpaint_mask, periodic_mask, prefix_mask, suffix_mask


def drawn(mask: torch.Tensor) -> list[list[str]]:
    return [["".join(".#"[cell] for cell in row) for row in item] for item in mask.int().tolist()]


def test_codebooks():
    assert drawn(codebook_mask((2, 3, 4), 1)) == [["....", "####", "####"]] * 2
    assert codebook_mask((1, 3, 4), 0).all() and not codebook_mask((1, 3, 4), 3).any()


@pytest.mark.parametrize(
    "period, width, offset, expected",
    [
        (3, 1, 0, ".##.##.##."),
        (3, 1, 1, "#.##.##.##"),
        (3, 1, -2, "#.##.##.##"),
        (4, 2, 3, ".##..##..#"),
        (4, 3, 0, "...#...#.."),
        (1, 1, 0, ".........."),
        (3, 5, 0, ".........."),
        (20, 1, 0, ".#########"),
        (20, 1, 12, "##########"),
    ],
)
def test_periods_by_hand(period, width, offset, expected):
    assert drawn(periodic_mask((1, 2, 10), period, width=width, offset=offset)) == [[expected] * 2]


def test_offsets_of_items():
    mask = periodic_mask((3, 1, 7), 3, offset=torch.tensor([0, 1, 2]))
    assert drawn(mask) == [[".##.##."], ["#.##.##"], ["##.##.#"]]


@settings(max_examples=60, deadline=None)
@given(
    n_frames=st.integers(1, 30),
    period=st.integers(1, 35),
    width=st.integers(1, 6),
    offsets=st.lists(st.integers(-40, 40), min_size=1, max_size=3),
)
def test_periods_equal_a_loop(n_frames, period, width, offsets):
    expected = torch.ones(len(offsets), 2, n_frames, dtype=torch.bool)
    for item, offset in enumerate(offsets):
        for begin in range(offset - 100 * period, n_frames, period):
            expected[item, :, max(0, begin) : max(0, begin + width)] = False
    mask = periodic_mask((len(offsets), 2, n_frames), period, width=width, offset=torch.tensor(offsets))
    assert torch.equal(mask, expected)


def test_prefix_suffix_and_both():
    assert drawn(prefix_mask((2, 2, 6), 2)) == [["..####"] * 2] * 2
    assert drawn(suffix_mask((1, 1, 6), 1)) == [["#####."]]
    assert drawn(inpaint_mask((1, 2, 6), 2, 1)) == [["..###."] * 2]
    assert not inpaint_mask((1, 2, 6), 2, 4).any() and inpaint_mask((1, 2, 6), 0, 0).all()
    assert not prefix_mask((1, 2, 6), 6).any() and suffix_mask((1, 2, 6), 0).all()


def test_results_can_be_written_to():
    # A view in which cells share memory would change in all codebooks at once.
    for mask in (codebook_mask((2, 2, 3), 0), periodic_mask((2, 2, 3), 5, offset=4), prefix_mask((2, 2, 3), 0)):
        mask[0, 0, 1] = False
        assert mask.sum() == 11


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: codebook_mask((1, 3, 4), 4), "first must be a whole number in 0..3, got 4"),
        (lambda: codebook_mask((1, 3, 4), -1), "got -1"),
        (lambda: codebook_mask((0, 3, 4), 1), r"\[0, 3, 4\]"),
        (lambda: periodic_mask((1, 3, 4), 0), "period must be a whole number of 1 or more, got 0"),
        (lambda: periodic_mask((1, 3, 4), 2.5), "period .* got 2.5"),
        (lambda: periodic_mask((1, 3, 4), 2, width=0), "width .* got 0"),
        (lambda: periodic_mask((1, 3, 4), 2, offset=0.5), "offset .* got 0.5"),
        (lambda: periodic_mask((3, 3, 4), 2, offset=torch.tensor([1, 2])), r"each of 3 items, got \[2\]"),
        (lambda: prefix_mask((1, 3, 4), 5), "n_kept must be a whole number in 0..4, got 5"),
        (lambda: suffix_mask((1, 3, 4), -1), "got -1"),
        (lambda: inpaint_mask((1, 3, 4), 5, 0), "prefix .* in 0..4, got 5"),
        (lambda: inpaint_mask((1, 3, 4), 3, 2), "suffix .* in 0..1, got 2"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
