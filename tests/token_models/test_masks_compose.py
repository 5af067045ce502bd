"""Compositions of masks: truth tables, known cells that are dropped, and shapes that do not fit."""

import math

import pytest
import torch

from token_models.masks.compose import all_of, any_of, behind_known, drop_known
from token_models.masks.structured import codebook_mask, periodic_mask, prefix_mask


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def grid(*rows: str) -> torch.Tensor:
    """One item, `#` for masked and `.` for known."""
    return torch.tensor([[[cell == "#" for cell in row] for row in rows]])


def test_truth_tables():
    a, b, c = grid("..##"), grid(".#.#"), grid("#..#")
    assert torch.equal(all_of(a, b), grid("...#")) and torch.equal(any_of(a, b), grid(".###"))
    assert torch.equal(all_of(a, b, c), grid("...#")) and torch.equal(any_of(a, b, c), grid("####"))
    assert torch.equal(all_of(a), a) and all_of(a) is not a and any_of(a) is not a


def test_prompts_of_vampnet():
    shape = (1, 3, 7)
    # Every third frame and the first two known, and of all others the first codebook.
    prompt = all_of(prefix_mask(shape, 2), periodic_mask(shape, 3), codebook_mask(shape, 1))
    assert torch.equal(prompt, grid(".......", "..#.##.", "..#.##."))
    # Of those frames, no codebook but the first.
    assert torch.equal(any_of(prompt, codebook_mask(shape, 1)), grid(".......", "#######", "#######"))


def test_dropout_of_nothing_and_of_everything():
    mask = grid("#.#.", "..##")
    before = mask.clone()
    assert torch.equal(drop_known(mask, 0.0, seeded(0)), mask)
    assert drop_known(mask, 1.0, seeded(0)).all()
    assert torch.equal(mask, before)


def test_dropout_in_one_direction():
    mask = torch.rand(3, 20, 500, generator=seeded(1)) < 0.5
    shares = torch.tensor([0.0, 0.3, 0.9])
    more = drop_known(mask, shares, seeded(2))
    assert (more | ~mask).all()
    for item, share in enumerate(shares.tolist()):
        # Five standard deviations of about 5000 cells.
        assert float(more[item][~mask[item]].double().mean()) == pytest.approx(share, abs=0.035)
    alone = drop_known(mask[1:2], 0.3, [seeded(5)])
    assert torch.equal(drop_known(mask, shares, [seeded(4), seeded(5), seeded(6)])[1:2], alone)


def test_behind_codebooks_that_are_known():
    fine = grid(".##.", "#...")
    assert torch.equal(behind_known(fine, 2), grid("....", "....", ".##.", "#..."))
    assert torch.equal(behind_known(fine, 0), fine)


def masks(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.bool)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: all_of(), "at least one mask"),
        (lambda: any_of(masks(1, 2, 3), masks(1, 2, 4)), r"\[1, 2, 3\] and \[1, 2, 4\]"),
        (lambda: all_of(masks(1, 2, 3), masks(2, 2, 3)), r"\[1, 2, 3\] and \[2, 2, 3\]"),
        (lambda: all_of(masks(2, 3)), r"torch.bool \[2, 3\]"),
        (lambda: all_of(masks(1, 2, 3).float()), r"torch.float32 \[1, 2, 3\]"),
        (lambda: drop_known(masks(1, 2, 3).int(), 0.5, seeded(0)), r"torch.int32 \[1, 2, 3\]"),
        (lambda: drop_known(masks(1, 2, 3), 1.5, seeded(0)), "share must be in 0..1, got 1.5"),
        (lambda: drop_known(masks(1, 2, 3), math.nan, seeded(0)), "got nan"),
        (lambda: drop_known(masks(2, 2, 3), torch.tensor([0.1]), seeded(0)), r"each of 2 items, got \[1\]"),
        (lambda: behind_known(masks(1, 2, 3).float(), 1), r"torch.float32 \[1, 2, 3\]"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
