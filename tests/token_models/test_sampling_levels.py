"""Codebook after codebook."""

import pytest
import torch
from torch import Tensor
from toy_predictors import Recorder, by_neighbours, random_grid

from token_models.sampling.levels import levels
from token_models.sampling.noise import item_generators


def test_a_codebook_is_finished_before_the_next_begins() -> None:
    mask = torch.ones(2, 3, 10, dtype=torch.bool)
    mask[1, 0] = False
    left: list[list[list[int]]] = []
    predict = Recorder(by_neighbours(5))
    levels(
        predict,
        torch.zeros(2, 3, 10).long(),
        mask,
        steps=[2, 1, 2],
        generators=item_generators([0, 1]),
        schedule="linear",
        on_step=lambda _, still: left.append(still.sum(dim=2).tolist()),
    )
    assert left == [
        [[5, 10, 10], [0, 10, 10]],
        [[0, 10, 10], [0, 10, 10]],
        [[0, 0, 10], [0, 0, 10]],
        [[0, 0, 5], [0, 0, 5]],
        [[0, 0, 0], [0, 0, 0]],
    ]
    # The model is shown what is known, and nothing else.
    assert torch.equal(predict.masks[0], mask)
    assert [asked.sum(dim=2).tolist() for asked in predict.masks[1:]] == left[:-1]


def test_a_codebook_that_is_known_takes_no_steps() -> None:
    codes, mask = random_grid(2, 3, 6, n_codes=5, share=1.0)
    codes[:, 1], mask[:, 1] = 2, False
    predict = Recorder(by_neighbours(5))
    filled = levels(predict, codes, mask, steps=[2, 7, 3], generators=item_generators([0, 1]))
    assert predict.n_calls == 5
    assert (filled[:, 1] == 2).all()
    assert (filled >= 0).all()


def test_a_code_depends_on_the_codebooks_before_it() -> None:
    """Each code is the one above it and one more, which only a finished codebook can say."""

    def predict(codes: Tensor, mask: Tensor) -> Tensor:
        above = torch.nn.functional.pad(codes.masked_fill(mask, -1), (0, 0, 1, 0), value=-1)[:, :-1]
        wanted = torch.where(above < 0, 3, above + 1)
        return 50.0 * torch.nn.functional.one_hot(wanted, 9)[mask].float()

    codes, mask = random_grid(1, 4, 5, n_codes=9, share=1.0)
    filled = levels(predict, codes, mask, steps=[1] * 4, generators=item_generators([0]))
    assert filled[0].tolist() == [[3] * 5, [4] * 5, [5] * 5, [6] * 5]


@pytest.mark.parametrize(("steps", "message"), [([1, 1], "each of 3 codebooks, got 2"), ([2, 0, 1], "steps must be")])
def test_steps_that_do_not_fit_are_refused_before_the_model_is_asked(steps: list[int], message: str) -> None:
    codes, mask = random_grid(1, 3, 4, n_codes=5, share=1.0)
    predict = Recorder(by_neighbours(5))
    with pytest.raises(ValueError, match=message):
        levels(predict, codes, mask, steps=steps, generators=item_generators([0]))
    assert predict.n_calls == 0
