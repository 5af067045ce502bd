"""Spectral convergence and log-magnitude distance against gains, silence, and auraloss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.spectral import amplitude_spectrogram
from codec_ft.metrics.stft_distance import (
    POWER_OF_UNIT_RMS,
    STFT_WINDOWS,
    log_magnitude_distance,
    spectral_convergence,
    stft_distance,
)

RATE = 16000
DISTANCES = (spectral_convergence, log_magnitude_distance, stft_distance)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dbfs(audio: torch.Tensor, level: float) -> torch.Tensor:
    """Scale audio to an RMS level in dB re 1."""
    return audio * 10 ** (level / 20) / audio.square().mean().sqrt()


@pytest.mark.parametrize("gain", [0.5, 0.9, 1.0, 3.0])
def test_a_gain_is_its_own_distance(gain):
    target = noise(2, 2, 8000)
    assert spectral_convergence(gain * target, target, RATE).tolist() == pytest.approx([abs(1 - gain)] * 2, abs=1e-5)
    logs = log_magnitude_distance(gain * target, target, RATE).tolist()
    assert logs == pytest.approx([abs(math.log(gain))] * 2, rel=2e-3)  # the few bins below -80 dB do not follow
    total = stft_distance(gain * target, target, RATE).tolist()
    assert total == pytest.approx([abs(1 - gain) + log for log in logs], abs=1e-5)


def test_equals_auraloss():
    freq = pytest.importorskip("auraloss.freq")
    # Silent ends, where auraloss' reflected padding and zeros are the same.
    target = torch.nn.functional.pad(noise(1, 2, 9000, seed=1), (1024, 1024))
    estimate = torch.nn.functional.pad(0.8 * noise(1, 2, 9000, seed=1) + 0.3 * noise(1, 2, 9000, seed=2), (1024, 1024))
    expected = []
    for n_fft in STFT_WINDOWS:
        # Its window is not scaled: a full-scale sine peaks at n_fft / 4, and so our floor lies at that times 1e-4.
        loss = freq.STFTLoss(n_fft, n_fft // 4, n_fft, eps=(1e-4 * n_fft / 4) ** 2, output="full")
        expected.append(torch.stack(loss(estimate, target)[:3]))
    total, ratio, log = torch.stack(expected).mean(dim=0).tolist()
    assert spectral_convergence(estimate, target, RATE).item() == pytest.approx(ratio, rel=1e-4)  # it floors here, too
    assert log_magnitude_distance(estimate, target, RATE).item() == pytest.approx(log, rel=1e-5)
    assert stft_distance(estimate, target, RATE).item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("n_fft", STFT_WINDOWS)
def test_the_power_of_a_frame_is_its_level(n_fft):
    for audio in (noise(1, 1, 60000), torch.sin(torch.arange(60000) * 0.7)[None, None]):
        spectrum = amplitude_spectrogram(audio, n_fft, n_fft // 4)[..., 4:-4]
        level = (spectrum.square().sum(dim=2).mean() / POWER_OF_UNIT_RMS).sqrt().item()
        assert level == pytest.approx(audio.square().mean().sqrt().item(), rel=0.01)


@pytest.mark.parametrize("level, expected", [(-20.0, 100.0), (-40.0, 10.0), (-60.0, 1.0)])
def test_sound_where_the_target_is_silent(level, expected):
    estimate = dbfs(noise(1, 2, 40000), level)
    silence = torch.zeros_like(estimate)
    assert spectral_convergence(estimate, silence, RATE).item() == pytest.approx(expected, rel=0.02)
    assert 0 <= log_magnitude_distance(estimate, silence, RATE).item() < math.log(1e4)
    assert stft_distance(estimate, silence, RATE).isfinite().all()


def test_silent_estimate_and_two_silences():
    target, silence = noise(1, 1, 5000), torch.zeros(1, 1, 5000)
    assert spectral_convergence(silence, target, RATE).item() == pytest.approx(1.0, abs=1e-6)
    assert [distance(silence, silence, RATE).item() for distance in DISTANCES] == [0.0, 0.0, 0.0]


def test_the_level_of_both_does_not_matter_down_to_the_floor():
    target, estimate = dbfs(noise(1, 1, 40000), 0.0), dbfs(noise(1, 1, 40000, seed=1), -6.0)
    at = {level: 10 ** (level / 20) for level in (-20.0, -59.0, -80.0)}
    ratios = {level: spectral_convergence(gain * estimate, gain * target, RATE).item() for level, gain in at.items()}
    assert ratios[-59.0] == pytest.approx(ratios[-20.0], rel=1e-5)
    assert ratios[-80.0] == pytest.approx(0.1 * ratios[-20.0], rel=0.02)  # 20 dB below the floor


@settings(max_examples=12, deadline=None)
@given(samples=st.integers(1, 4000), batch=st.integers(1, 3), channels=st.integers(1, 2), seed=st.integers(0, 99))
def test_identity_symmetry_and_order_of_items(samples, batch, channels, seed):
    a, b = noise(batch, channels, samples, seed=seed), 2 * noise(batch, channels, samples, seed=seed + 100)
    order = torch.arange(batch).flip(0)
    for distance in DISTANCES:
        assert distance(a, a, RATE).tolist() == [0.0] * batch
        torch.testing.assert_close(distance(a[order], b[order], RATE), distance(a, b, RATE)[order])
    torch.testing.assert_close(log_magnitude_distance(a, b, RATE), log_magnitude_distance(b, a, RATE))


def test_the_convergence_is_not_symmetric():
    a = noise(1, 1, 4000)
    assert spectral_convergence(2 * a, a, RATE).item() == pytest.approx(1.0, abs=1e-5)
    assert spectral_convergence(a, 2 * a, RATE).item() == pytest.approx(0.5, abs=1e-5)


def test_bad_input():
    a = noise(2, 1, 500)
    for distance in DISTANCES:
        with pytest.raises(ValueError, match=r"\[2, 1, 500\].*\[2, 1, 499\]"):
            distance(a, a[..., :499], RATE)
