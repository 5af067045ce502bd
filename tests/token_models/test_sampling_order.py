"""Halton order in exact fractions, and sampling in it."""

import pytest
import torch
from plain_sampler import plain_halton
from torch import Tensor
from toy_predictors import by_neighbours, by_table, random_grid

from token_models.sampling.choose import choose
from token_models.sampling.noise import gumbel, item_generators
from token_models.sampling.order import halton, halton_order


def test_the_order_by_hand() -> None:
    # Points: (0, 0) (1/2, 1/3) (1/4, 2/3) (3/4, 1/9) (1/8, 4/9) (5/8, 7/9)
    assert halton_order(2, 3).tolist() == [[0, 4, 2], [3, 1, 5]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (4, 27), (3, 26), (9, 31), (5, 54), (14, 10)])
def test_the_order_in_exact_fractions(shape: tuple[int, int]) -> None:
    order = halton_order(*shape)
    assert order.flatten().argsort().tolist() == [k * shape[1] + t for k, t in plain_halton(*shape)]


@pytest.mark.parametrize("shape", [(4, 575), (14, 173), (9, 862), (32, 1500)])
def test_each_cell_has_one_turn(shape: tuple[int, int]) -> None:
    assert torch.equal(halton_order(*shape).flatten().sort().values, torch.arange(shape[0] * shape[1]))


def test_the_first_cells_are_spread_evenly() -> None:
    """Of the first 72 of 8 x 90 cells, each ninth of the frames has 8 and each half of the codebooks 36, nearly."""
    first = halton_order(8, 90) < 72
    by_time = first.sum(dim=0).view(9, 10).sum(dim=1)
    by_book = first.sum(dim=1).view(2, 4).sum(dim=1)
    assert (by_time - 8).abs().max() <= 1
    assert (by_book - 36).abs().max() <= 1
    chance = torch.randperm(720, generator=torch.Generator().manual_seed(0)).view(8, 90) < 72
    assert (chance.sum(dim=0).view(9, 10).sum(dim=1) - 8).abs().max() > 1


def test_a_grid_without_cells_has_no_order() -> None:
    with pytest.raises(ValueError, match=r"got \[0, 5\]"):
        halton_order(0, 5)


def test_cells_are_filled_in_their_turn_whatever_the_confidence() -> None:
    table = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0)) * 10
    codes, mask = random_grid(2, 3, 10, n_codes=4, share=0.7)
    still_masked: list[Tensor] = []
    halton(
        by_table(table),
        codes,
        mask,
        steps=5,
        generators=item_generators([0, 1]),
        schedule="linear",
        on_step=lambda _, still: still_masked.append(still),
    )
    order = halton_order(3, 10)
    for step, still in enumerate(still_masked):
        for item in range(2):
            turns = sorted(order[mask[item]].tolist())
            n_left = int((1 - (step + 1) / 5) * len(turns) + 1e-6)
            expected = set(turns[len(turns) - n_left :])
            assert set(order[still[item]].tolist()) == expected


def test_each_step_draws_for_the_cells_it_fills_alone() -> None:
    codes, mask = torch.zeros(1, 2, 3).long(), torch.ones(1, 2, 3, dtype=torch.bool)
    filled = halton(by_neighbours(5), codes, mask, steps=3, generators=item_generators([9]), schedule="linear")
    generators = item_generators([9])
    for cells in ([(0, 0), (1, 1)], [(0, 2), (1, 0)], [(0, 1), (1, 2)]):
        places = [tuple(place) for place in mask[0].nonzero().tolist()]
        logits = dict(zip(places, by_neighbours(5)(codes, mask), strict=True))
        drawn, _ = choose(torch.stack([logits[cell] for cell in cells]), gumbel([2], generators, 5), temperature=1.0)
        codes, mask = codes.clone(), mask.clone()
        for cell, code in zip(cells, drawn, strict=True):
            codes[0][cell], mask[0][cell] = code, False
    assert torch.equal(filled, codes)


def test_wrong_temperatures_are_refused() -> None:
    codes, mask = random_grid(1, 2, 3, n_codes=4, share=1.0)
    with pytest.raises(ValueError, match="temperature must be zero or above"):
        halton(by_neighbours(4), codes, mask, steps=2, generators=item_generators([0]), temperature=-1.0)
