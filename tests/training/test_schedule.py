"""The learning rate at points that can be computed by hand."""

import math

import pytest
from pydantic import ValidationError

from codec_ft.training.config import OptimizerConfig
from codec_ft.training.schedule import learning_rate


def rates(steps: int, **options: object) -> list[float]:
    config = OptimizerConfig.model_validate({"learning_rate": 0.8, **options})
    return [learning_rate(step, steps, config) for step in range(steps)]


def test_constant() -> None:
    assert rates(3) == [0.8, 0.8, 0.8]


def test_warm_up_rises_in_equal_steps_to_the_peak() -> None:
    assert rates(6, warmup_steps=3) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_linear_decay_ends_at_its_share_of_the_peak() -> None:
    assert rates(5, decay="linear") == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert rates(6, decay="linear", warmup_steps=1, final_ratio=0.5) == pytest.approx([0.4, 0.8, 0.7, 0.6, 0.5, 0.4])


def test_cosine_decay() -> None:
    # cos(0), cos(60), cos(90), cos(120), cos(180 degrees) at 0, 1/3, 1/2, 2/3 and 1 of the way
    assert rates(4, decay="cosine") == pytest.approx([0.8, 0.8 * 0.75, 0.8 * 0.25, 0.0])
    halfway = rates(5, decay="cosine", final_ratio=0.1)[2]
    assert halfway == pytest.approx(0.8 * 0.55)


def test_noam_falls_with_the_root_of_the_steps_from_the_peak_on() -> None:
    found = rates(400, decay="noam", warmup_steps=99)
    assert found[:100] == pytest.approx([0.8 * (step + 1) / 100 for step in range(100)])
    assert max(found) == found[99] == pytest.approx(0.8) and found[399] == pytest.approx(0.4)
    assert found == rates(1000, decay="noam", warmup_steps=99)[:400], "whatever the last step"
    for wrong in ({}, {"warmup_steps": 9, "final_ratio": 0.1}):
        with pytest.raises(ValueError, match="noam decay"):
            rates(4, decay="noam", **wrong)


def test_exponential_decay_loses_the_same_share_at_every_step() -> None:
    assert rates(4, decay="exponential", final_ratio=1 / 8) == pytest.approx([0.8, 0.4, 0.2, 0.1])
    with pytest.raises(ValidationError, match="needs a final_ratio above zero"):
        rates(4, decay="exponential")


@pytest.mark.parametrize("decay", ["constant", "linear", "cosine"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 5), (3, 2), (3, 3)])
def test_short_trainings_have_a_rate_for_every_step(decay: str, steps: int, warmup: int) -> None:
    found = rates(steps, decay=decay, warmup_steps=warmup)
    assert all(math.isfinite(rate) and 0 <= rate <= 0.8 for rate in found) and found[0] > 0
