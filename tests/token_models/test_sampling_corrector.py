"""The corrector: what a model doubts, and what becomes of it."""

import math

import pytest
import torch
from torch import Tensor
from toy_predictors import Recorder, by_table, counting, knows_by_half, oracle, random_grid

from token_models.sampling.config import CorrectorConfig, SamplingConfig
from token_models.sampling.corrector import correct, least_likely, present_log_probabilities
from token_models.sampling.noise import item_generators
from token_models.sampling.predict import Predict
from token_models.sampling.sample import sample

ANSWER = torch.randint(8, (2, 3, 10), generator=torch.Generator().manual_seed(0))
WHOLE = torch.ones(2, 3, 10, dtype=torch.bool)


def greedily(predict: Predict, codes: Tensor, mask: Tensor) -> Tensor:
    return codes.masked_scatter(mask, predict(codes, mask).argmax(dim=1))


def test_groups_part_the_cells_of_each_item_evenly() -> None:
    _, mask = random_grid(3, 4, 11, n_codes=5, share=0.6)
    mask[2] = False
    mask[2, 0, :2] = True
    predict = Recorder(by_table(torch.zeros(4, 11, 5)))
    present_log_probabilities(
        predict, torch.zeros(3, 4, 11).long(), mask, groups=4, generators=item_generators([0, 1, 2])
    )
    assert torch.equal(torch.stack(predict.masks).sum(dim=0), mask.long())
    sizes = torch.stack(predict.masks).flatten(2).sum(dim=2)
    assert (sizes.amax(dim=0) - sizes.amin(dim=0)).max() <= 1
    assert sizes[:, 2].sum() == 2


def test_the_probabilities_are_those_of_the_codes_that_stand_there() -> None:
    table = torch.tensor([0.5, 0.3, 0.2]).log().expand(1, 4, 3)
    codes = torch.tensor([[[0, 1, 2, 1]]])
    mask = torch.tensor([[[1, 1, 1, 0]]]).bool()
    for groups in (1, 2, 3, 9):
        found = present_log_probabilities(by_table(table), codes, mask, groups=groups, generators=item_generators([5]))
        assert found.exp().tolist() == pytest.approx([0.5, 0.3, 0.2])


@pytest.mark.parametrize(("share", "n_cells"), [(0.01, 1), (0.1, 1), (0.26, 3), (0.5, 5), (1.0, 10)])
def test_the_least_likely_are_a_share_of_each_item(share: float, n_cells: int) -> None:
    mask = torch.zeros(2, 1, 12, dtype=torch.bool)
    mask[0, 0, 1:11] = True
    values = -torch.arange(10.0)
    values[9] = -math.inf
    assert least_likely(values, mask, share).nonzero().tolist() == [[0, 0, t] for t in range(11 - n_cells, 11)]


def test_implanted_mistakes_are_mended_and_only_where_the_mask_was() -> None:
    predict = oracle(ANSWER, 8)
    mask = WHOLE.clone()
    mask[:, 2] = False
    codes = ANSWER.clone()
    for cell in ((0, 0, 3), (0, 1, 9), (1, 1, 0)):
        codes[cell] = (ANSWER[cell] + 1) % 8
    codes[:, 2, 5] = 99
    doubted: list[Tensor] = []

    def refill(codes: Tensor, mask: Tensor) -> Tensor:
        doubted.append(mask)
        return greedily(predict, codes, mask)

    before = codes.clone()
    mended = correct(predict, codes, mask, refill, share=0.1, groups=3, generators=item_generators([0, 1]))
    assert torch.equal(mended[:, :2], ANSWER[:, :2])
    assert torch.equal(mended[:, 2], before[:, 2])
    assert torch.equal(codes, before)
    assert doubted[0].flatten(1).sum(dim=1).tolist() == [2, 2]
    assert not (doubted[0] & ~mask).any()


def test_a_mistake_against_its_context_is_found_and_mended() -> None:
    codes = (torch.arange(12) % 7).expand(1, 2, 12).clone()
    right = codes.clone()
    codes[0, 1, 6] = 2
    mask = torch.ones_like(codes, dtype=torch.bool)
    predict = counting(7)
    # Seen from there the code behind the mistake does not fit either. By confidence the first of them is mended first.
    mended = correct(
        predict,
        codes,
        mask,
        lambda codes, mask: sample(predict, codes, mask, SamplingConfig(temperature=0, mask_temperature=0), [0]),
        share=2 / 24,
        groups=24,
        generators=item_generators([0]),
    )
    assert torch.equal(mended, right)


def test_passes_mend_what_one_step_could_not_know() -> None:
    predict = Recorder(knows_by_half(ANSWER, 8))
    options = {"steps": 1, "temperature": 0.0}
    blind = torch.full_like(ANSWER, -1)
    at_once = sample(predict, blind, WHOLE, SamplingConfig(**options), [0, 1])
    assert not (at_once == ANSWER).any()
    assert predict.n_calls == 1
    for passes, right in ((1, 0.5), (2, 1.0), (3, 1.0)):
        corrector = CorrectorConfig(passes=passes, share=0.5, groups=3)
        predict.masks.clear()
        found = sample(predict, blind, WHOLE, SamplingConfig(**options, corrector=corrector), [0, 1])
        assert (found == ANSWER).float().mean() == right
        assert predict.n_calls == 1 + passes * (3 + 1)


def test_steps_of_its_own() -> None:
    predict = Recorder(oracle(ANSWER, 8))
    config = SamplingConfig(steps=2, corrector=CorrectorConfig(passes=1, share=0.5, groups=3, steps=5))
    sample(predict, torch.zeros_like(ANSWER), WHOLE, config, [0, 1])
    assert predict.n_calls == 2 + 3 + 5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share": 0.0}, "share must be above 0"),
        ({"share": 1.5}, "share must be above 0"),
        ({"groups": 0}, "groups must be at least 1, got 0"),
    ],
)
def test_senseless_options_are_refused(wrong: dict[str, float], message: str) -> None:
    predict = Recorder(oracle(ANSWER, 8))
    with pytest.raises(ValueError, match=message):
        correct(
            predict,
            ANSWER,
            WHOLE,
            lambda codes, _: codes,
            **{"share": 0.1, "groups": 4, "generators": item_generators([0, 1]), **wrong},
        )
    assert predict.n_calls == 0


@pytest.mark.parametrize("code", [-1, 8])
def test_codes_that_the_model_does_not_have_are_refused(code: int) -> None:
    codes = ANSWER.clone()
    codes[1, 1, 4] = code
    with pytest.raises(ValueError, match=r"codes to judge must lie in 0\.\.7"):
        present_log_probabilities(oracle(ANSWER, 8), codes, WHOLE, groups=1, generators=item_generators([0, 1]))
