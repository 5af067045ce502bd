"""Guidance in closed form: with probabilities c and u, scale 2 gives c^2 / u."""

import math

import pytest
import torch
from torch import Tensor
from toy_predictors import Recorder, by_table

from token_models.sampling.guidance import guided
from token_models.sampling.predict import Predict

CODES = torch.zeros(2, 1, 4).long()
MASK = torch.tensor([[[1, 1, 1, 1]], [[1, 1, 0, 0]]]).bool()


def always(*probabilities: float) -> Predict:
    """The same for every cell; logits that are off by a constant, as a model's are."""
    return by_table(torch.tensor(probabilities).log() + 3)


def probabilities(predict: Predict, mask: Tensor) -> list[list[float]]:
    return predict(CODES, mask).softmax(dim=1).tolist()


def test_scale_two_by_hand() -> None:
    # c^2 / u = .25 / .8 and .25 / .2, which is 1 : 4
    predict = guided(always(0.5, 0.5), always(0.8, 0.2), MASK, scale=2.0)
    for found in probabilities(predict, MASK):
        assert found == pytest.approx([0.2, 0.8])


def test_scales_one_and_zero_are_the_two_models() -> None:
    conditional, unconditional = always(0.6, 0.3, 0.1), Recorder(always(0.2, 0.3, 0.5))
    assert guided(conditional, unconditional, MASK, scale=1.0) is conditional
    assert guided(conditional, unconditional, MASK, scale=1.0, final_scale=1.0) is conditional
    assert unconditional.n_calls == 0
    for found in probabilities(guided(conditional, unconditional, MASK, scale=0.0), MASK):
        assert found == pytest.approx([0.2, 0.3, 0.5])


def test_the_scale_follows_each_item_s_own_progress() -> None:
    predict = guided(always(0.5, 0.5), always(0.8, 0.2), MASK, scale=3.0, final_scale=1.0)
    now = torch.tensor([[[1, 0, 1, 0]], [[1, 1, 0, 0]]]).bool()
    half_open = [0.2, 0.8]  # scale 2
    all_open = [1 / 17, 16 / 17]  # scale 3: c^3 / u^2 = .125 / .64 and .125 / .04
    for found, expected in zip(probabilities(predict, now), [half_open] * 2 + [all_open] * 2, strict=True):
        assert found == pytest.approx(expected)


def test_what_either_holds_impossible_stays_so() -> None:
    conditional, unconditional = always(0.5, 0.5, 0.0, 0.0), always(0.5, 0.0, 0.5, 0.0)
    for scale in (0.5, 3.0):
        logits = guided(conditional, unconditional, MASK, scale=scale)(CODES, MASK)
        assert logits[:, 0].isfinite().all()
        assert (logits[:, 1:] == -math.inf).all()


@pytest.mark.parametrize("scales", [{"scale": -0.1}, {"scale": math.nan}, {"scale": 2.0, "final_scale": -1.0}])
def test_senseless_scales_are_refused(scales: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="scale must be zero or above"):
        guided(always(1.0), always(1.0), MASK, **scales)
