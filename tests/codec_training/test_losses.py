"""The codec's own loss, by hand."""

import math

import pytest
import torch

from codec_ft.codec_training.losses import log_noise_to_signal

WAVE = torch.sin(torch.arange(800.0) / 7).reshape(1, 1, 800)


@pytest.mark.parametrize("error, best, expected", [(0.1, 0.0, -2.0), (1.0, 0.0, 0.0), (10.0, 0.0, 2.0)])
def test_it_is_minus_a_tenth_of_the_signal_to_noise_ratio_in_db(error: float, best: float, expected: float) -> None:
    found = log_noise_to_signal(WAVE * (1 + error), WAVE, best=best)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(expected, abs=1e-4)


def test_best_is_a_floor() -> None:
    assert log_noise_to_signal(WAVE, WAVE).item() == pytest.approx(-2.0)  # log10 of 0.01
    assert log_noise_to_signal(0.9 * WAVE, WAVE).item() == pytest.approx(math.log10(0.01 + 0.01), abs=1e-4)


def test_loud_and_quiet_items_count_alike() -> None:
    target = torch.cat([WAVE, 0.05 * WAVE])
    found = log_noise_to_signal(0.5 * target, target)
    assert found.shape == (2,)
    assert found.tolist() == pytest.approx([math.log10(0.25 + 0.01)] * 2, abs=1e-4)


def test_silent_targets_count_as_minus_50_db() -> None:
    silence = torch.zeros(1, 1, 100)
    assert log_noise_to_signal(silence, silence).item() == pytest.approx(-2.0)
    # A mean square of 1e-5 over a silent target counts as a ratio of one.
    assert log_noise_to_signal(torch.full((1, 1, 100), 1e-5**0.5), silence).item() == pytest.approx(math.log10(1.01))


@pytest.mark.parametrize("estimate", [torch.zeros(1, 1, 100), torch.full((1, 1, 100), 1e-8), torch.ones(1, 1, 100)])
def test_gradients_are_finite_at_silence(estimate: torch.Tensor) -> None:
    estimate = estimate.clone().requires_grad_()
    log_noise_to_signal(estimate, torch.zeros(1, 1, 100)).sum().backward()
    assert estimate.grad is not None and estimate.grad.isfinite().all()
    # d/de of log10(e^2 / 1e-5 + 0.01) over 100 samples.
    value = float(estimate.detach()[0, 0, 0])
    expected = 2 * value / 1e-5 / 100 / (value**2 / 1e-5 + 0.01) / math.log(10)
    assert estimate.grad.flatten().tolist() == pytest.approx([expected] * 100, rel=1e-3)
