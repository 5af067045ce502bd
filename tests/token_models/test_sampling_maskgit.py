"""Confidence re-masking on predictors whose outcome is known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_predictors import Recorder, by_neighbours, by_table, counting, oracle, random_grid

from token_models.sampling.choose import choose
from token_models.sampling.maskgit import maskgit
from token_models.sampling.noise import gumbel, item_generators
from token_models.sampling.ranks import lowest, ranks_by_item


def test_ranks_by_hand() -> None:
    mask = torch.tensor([[[1, 0, 1], [1, 1, 0]], [[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 1, 1]]]).bool()
    values = torch.tensor([0.5, 0.1, 0.5, -2.0, 3.0, -3.0])
    ranks = ranks_by_item(values, mask)
    assert ranks[mask].tolist() == [2, 1, 3, 0, 1, 0]
    assert (ranks[~mask] >= mask.flatten(1).sum(dim=1).repeat_interleave(torch.tensor([2, 6, 4]))).all()
    found = lowest(values, mask, torch.tensor([3, 4, 1]))
    assert found.nonzero().tolist() == [[0, 0, 0], [0, 0, 2], [0, 1, 1], [2, 1, 2]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1), items=st.integers(1, 4))
def test_ranks_are_those_of_sorting_each_item(seed: int, share: float, items: int) -> None:
    _, mask = random_grid(items, 3, 5, n_codes=4, share=share, seed=seed)
    values = torch.randint(4, (int(mask.sum()),), generator=torch.Generator().manual_seed(seed)).float()
    ranks, start = ranks_by_item(values, mask), 0
    for item in range(items):
        count = int(mask[item].sum())
        own = values[start : start + count].tolist()
        expected = sorted(range(count), key=own.__getitem__)
        assert ranks[item][mask[item]].argsort().tolist() == expected
        start += count


def test_the_counts_of_each_step_are_exact_for_each_item() -> None:
    mask = torch.zeros(3, 2, 50, dtype=torch.bool)
    mask[0], mask[1, 0, :10], mask[2, 1, 3:5] = True, True, True
    left: list[list[int]] = []
    maskgit(
        by_neighbours(7),
        torch.zeros_like(mask).long(),
        mask,
        steps=4,
        generators=item_generators([0, 1, 2]),
        on_step=lambda _, still: left.append(still.flatten(1).sum(dim=1).tolist()),
    )
    # cos(pi/8) = .924, cos(pi/4) = .707, cos(3 pi/8) = .383; the last item has fewer cells than there are steps.
    assert left == [[92, 9, 1], [70, 7, 0], [38, 3, 0], [0, 0, 0]]


def test_no_more_steps_than_cells() -> None:
    mask = torch.zeros(2, 1, 9, dtype=torch.bool)
    mask[0, 0, :3] = True
    predict = Recorder(by_neighbours(5))
    maskgit(predict, torch.zeros(2, 1, 9).long(), mask, steps=50, generators=item_generators([0, 1]))
    assert [int(asked.sum()) for asked in predict.masks] == [3, 2, 1]


def test_one_step_is_one_draw() -> None:
    codes, mask = random_grid(3, 4, 6, n_codes=8, share=0.6)
    predict = by_neighbours(8)
    filled = maskgit(predict, codes, mask, steps=1, generators=item_generators([3, 4, 5]), temperature=0.8)
    noise = gumbel(mask.flatten(1).sum(dim=1).tolist(), item_generators([3, 4, 5]), 8)
    drawn, _ = choose(predict(codes, mask), noise, temperature=0.8)
    assert torch.equal(filled[mask], drawn)
    assert torch.equal(filled[~mask], codes[~mask])


def test_without_noise_the_surest_cells_are_filled_first() -> None:
    sureness = torch.tensor([[1.0, 6.0, 3.0, 2.0], [8.0, 5.0, 7.0, 4.0]])
    table = torch.stack([sureness, torch.zeros_like(sureness)], dim=-1)
    order: list[list[int]] = []
    mask = torch.ones(1, 2, 4, dtype=torch.bool)
    maskgit(
        by_table(table),
        torch.zeros(1, 2, 4).long(),
        mask,
        steps=8,
        schedule="linear",
        generators=item_generators([0]),
        temperature=0.0,
        mask_temperature=0.0,
        on_step=lambda _, still: order.append((8 - sureness[~still[0]]).long().tolist()),
    )
    assert [sorted(step) for step in order] == [list(range(n + 1)) for n in range(8)]


def test_with_much_noise_any_cell_may_be_first() -> None:
    sureness = torch.tensor([[9.0, 1.0, 1.0, 1.0]])
    table = torch.stack([sureness, torch.zeros_like(sureness)], dim=-1)
    first: list[int] = []
    n_items = 400
    maskgit(
        by_table(table),
        torch.zeros(n_items, 1, 4).long(),
        torch.ones(n_items, 1, 4, dtype=torch.bool),
        steps=4,
        schedule="linear",
        generators=item_generators(range(n_items)),
        temperature=0.0,
        mask_temperature=1000.0,
        on_step=lambda _, still: first.extend((~still[:, 0]).nonzero()[:, 1].tolist() if not first else []),
    )
    counts = torch.tensor(first).bincount(minlength=4)
    assert len(first) == n_items
    assert ((counts - 100).abs() < 40).all()  # four standard deviations are 35


def test_the_noise_ends_with_the_steps() -> None:
    """In the first of two steps, `1 - r` is one half: as likely as softmax of twice the log-probability over it."""
    likely = torch.tensor([0.9, 0.6]).log()
    table = torch.stack([likely, (1 - likely.exp()).log()], dim=-1)[None]
    kept: list[int] = []
    n_items = 4000
    maskgit(
        by_table(table),
        torch.zeros(n_items, 1, 2).long(),
        torch.ones(n_items, 1, 2, dtype=torch.bool),
        steps=2,
        generators=item_generators(range(n_items)),
        temperature=0.0,
        mask_temperature=1.0,
        on_step=lambda _, still: kept.append(int((~still[:, 0, 0]).sum())),
    )
    share = 0.9**2 / (0.9**2 + 0.6**2)
    assert abs(kept[0] / n_items - share) < 4 * (share * (1 - share) / n_items) ** 0.5


def test_steps_let_later_codes_see_earlier_ones() -> None:
    codes, mask = torch.zeros(2, 3, 12).long(), torch.ones(2, 3, 12, dtype=torch.bool)
    codes[:, :, 0], mask[:, :, 0] = 4, False
    options = {"generators": item_generators([0, 1]), "temperature": 0.0, "mask_temperature": 0.0}
    stepwise = maskgit(counting(7), codes, mask, steps=33, schedule="linear", **options)
    assert torch.equal(stepwise, ((torch.arange(12) + 4) % 7).expand(2, 3, 12))
    at_once = maskgit(counting(7), codes, mask, steps=1, **options)
    assert (at_once[:, :, 1] == 5).all()
    assert (at_once[:, :, 2:] == 0).all()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batched_as_one_by_one(temperature: float) -> None:
    codes, mask = random_grid(5, 3, 8, n_codes=6, share=0.7, seed=8)
    mask[1], mask[2, :, 2:] = False, False
    codes[1], codes[2, :, 2:] = 3, 2
    predict, seeds = by_neighbours(6), [10, 11, 12, 13, 10]
    options = {"steps": 6, "temperature": temperature}
    together = maskgit(predict, codes, mask, generators=item_generators(seeds), **options)
    for b, seed in enumerate(seeds):
        own = slice(b, b + 1)
        alone = maskgit(predict, codes[own], mask[own], generators=item_generators([seed]), **options)
        assert torch.equal(together[own], alone)


def test_an_oracle_is_believed_and_what_was_given_stays() -> None:
    answer = torch.randint(9, (2, 4, 10), generator=torch.Generator().manual_seed(0))
    mask = random_grid(2, 4, 10, n_codes=9, share=0.8)[1]
    codes = answer.masked_fill(mask, -1)
    given_codes, given_mask = codes.clone(), mask.clone()
    filled = maskgit(oracle(answer, 9, 60.0), codes, mask, steps=5, generators=item_generators([0, 1]))
    assert torch.equal(filled, answer)
    assert torch.equal(codes, given_codes)
    assert torch.equal(mask, given_mask)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of 1 or more, got 0"),
        ({"temperature": -1.0}, "temperature must be zero or above"),
        ({"mask_temperature": -0.5}, "mask_temperature must be zero or above"),
        ({"schedule": "cosy"}, "no schedule 'cosy'"),
    ],
)
def test_senseless_options_are_refused_before_the_model_is_asked(wrong: dict, message: str) -> None:
    predict = Recorder(by_neighbours(5))
    codes, mask = random_grid(1, 2, 4, n_codes=5, share=1.0)
    with pytest.raises(ValueError, match=message):
        maskgit(predict, codes, mask, **{"steps": 3, "generators": item_generators([0]), **wrong})
    assert predict.n_calls == 0


@pytest.mark.parametrize("shape", [(7, 5), (8, 5, 1), (8,), (8, 0)])
def test_a_model_with_other_logits_is_refused(shape: tuple[int, ...]) -> None:
    codes, mask = random_grid(1, 2, 4, n_codes=5, share=1.0)
    with pytest.raises(ValueError, match=r"8 cells are masked: expected logits \[8, V\]"):
        maskgit(lambda *_: torch.zeros(shape), codes, mask, steps=2, generators=item_generators([0]))
