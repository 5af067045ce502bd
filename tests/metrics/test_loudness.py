"""Loudness errors of sines and gains whose loudness the standard gives."""

import math

import pytest
import torch

from codec_ft.metrics.loudness import GATE_LUFS, integrated_loudness, loudness_error

RATE = 48000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_standards_sine():
    # BS.1770: a full-scale sine of 997 Hz in one channel is -3.01 LUFS; two channels have twice its power.
    sine = torch.sin(2 * math.pi * 997 / RATE * torch.arange(RATE, dtype=torch.float64))[None]
    assert integrated_loudness(sine, RATE) == pytest.approx(-3.01, abs=0.05)
    assert integrated_loudness(sine.repeat(2, 1), RATE) == pytest.approx(0.0, abs=0.05)
    assert integrated_loudness(0.1 * sine, RATE) == pytest.approx(-23.01, abs=0.05)


@pytest.mark.parametrize("gain_db", [-12.0, 0.0, 3.0])
@pytest.mark.parametrize("samples", [1, 500, int(0.4 * RATE), RATE + 7])
def test_a_gain_is_its_own_error_at_any_length(gain_db, samples):
    target = noise(2, 2, samples) * 3
    estimate = target * 10 ** (gain_db / 20)
    assert loudness_error(estimate, target, RATE).tolist() == pytest.approx([gain_db] * 2, abs=1e-4)
    assert loudness_error(target, estimate, RATE).tolist() == pytest.approx([-gain_db] * 2, abs=1e-4)


def test_silence_is_the_gate():
    audio, silence = noise(1, 2, RATE), torch.zeros(1, 2, RATE)
    loudness = integrated_loudness(audio[0], RATE)
    assert -30 < loudness < -10
    assert integrated_loudness(silence[0], RATE) == integrated_loudness(1e-5 * audio[0], RATE) == GATE_LUFS == -70.0
    assert loudness_error(silence, audio, RATE).item() == pytest.approx(-70 - loudness)
    assert loudness_error(audio, silence, RATE).item() == pytest.approx(70 + loudness)
    assert loudness_error(silence, silence, RATE).item() == 0.0


def test_quiet_parts_are_gated_out():
    # BS.1770's gate at -10 LU: the mean over all of it would be 6 LU lower.
    loud = noise(1, 4 * RATE)
    padded = torch.cat([loud, 1e-2 * noise(1, 12 * RATE)], dim=1)
    assert integrated_loudness(padded, RATE) == pytest.approx(integrated_loudness(loud, RATE), abs=0.25)


def test_order_of_items():
    target = noise(3, 1, RATE // 2)
    estimate = target * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    errors = loudness_error(estimate, target, RATE)
    assert errors.tolist() == pytest.approx([0.0, 6.0206, 12.0412], abs=1e-4)
    assert loudness_error(estimate.flip(0), target.flip(0), RATE).tolist() == errors.flip(0).tolist()


def test_bad_input():
    a = noise(1, 1, 500)
    with pytest.raises(ValueError, match=r"\[1, 1, 500\].*\[1, 1, 499\]"):
        loudness_error(a, a[..., :499], RATE)
    with pytest.raises(ValueError, match="NaN"):
        loudness_error(a * math.nan, a, RATE)
    with pytest.raises(ValueError, match="five channels"):
        loudness_error(noise(1, 6, RATE), noise(1, 6, RATE), RATE)
