"""Centroid, bandwidth and flatness of sines and noise in closed form, and against librosa."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.spectral import amplitude_spectrogram
from codec_ft.metrics.stft_distance import log_amplitude
from codec_ft.metrics.timbre import (
    FrameTimbre,
    bandwidth_error,
    centroid_error,
    flatness_error,
    frame_timbre,
    timbre_errors,
)

RATE = 16000
BIN = RATE / 2048
ERRORS = (centroid_error, bandwidth_error, flatness_error)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sine(bins: float, amplitude: float = 0.5, samples: int = 2 * RATE) -> torch.Tensor:
    time = torch.arange(samples, dtype=torch.float64) / RATE
    return (amplitude * torch.sin(2 * math.pi * bins * BIN * time)).float()[None, None]


def timbre_of(audio: torch.Tensor) -> FrameTimbre:
    amplitudes = amplitude_spectrogram(audio, 2048, 512).mT
    return frame_timbre(amplitudes, log_amplitude(amplitudes), RATE)


def test_a_sine():
    # Hann: half the amplitude in either neighbour, so the variance is half a bin squared.
    timbre = timbre_of(sine(128))
    assert timbre.centroid[0, 0, 20].item() == pytest.approx(128 * BIN, rel=1e-4)
    assert timbre.bandwidth[0, 0, 20].item() == pytest.approx(BIN / math.sqrt(2), rel=0.02)
    # Three bins stand out of 1025 at the floor: the logarithms of 1/2, 1/4, 1/4 against the mean of their squares.
    geometric = (20 * math.log10(0.5 * 0.25 * 0.25) - 80 * 1022) / 1025
    arithmetic = 10 * math.log10((0.25 + 2 * 0.0625 + 1022 * 1e-8) / 1025)
    assert timbre.flatness[0, 0, 20].item() == pytest.approx(geometric - arithmetic, abs=0.05)


def test_white_noise():
    # The logarithm of an exponentially distributed power is on average Euler's constant below that of its mean.
    timbre = timbre_of(noise(1, 1, 20 * RATE))
    inner = slice(4, -4)
    assert timbre.flatness[..., inner].mean().item() == pytest.approx(-10 * 0.5772157 / math.log(10), abs=0.05)
    assert timbre.centroid[..., inner].mean().item() == pytest.approx(RATE / 4, rel=0.01)
    assert timbre.bandwidth[..., inner].mean().item() == pytest.approx(RATE / 2 / math.sqrt(12), rel=0.01)


def test_features_equal_librosa():
    feature = pytest.importorskip("librosa").feature
    audio = torch.cat(
        [noise(1, 2, 9000).cumsum(dim=2) * 0.1, sine(77.3, samples=6000).expand(1, 2, -1)], dim=2
    ).double()
    timbre, magnitudes = timbre_of(audio), amplitude_spectrogram(audio, 2048, 512)[0].numpy()
    audible = np.where(magnitudes > 1e-4, magnitudes, 0.0)
    expected = {
        "centroid": feature.spectral_centroid(S=audible, sr=RATE),
        "bandwidth": feature.spectral_bandwidth(S=audible, sr=RATE),
        "flatness": 10 * np.log10(feature.spectral_flatness(S=magnitudes, amin=1e-8)),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(timbre, name)[0].numpy(), value[:, 0], rtol=1e-9)


def test_an_octave_is_1200_cents():
    low, high = sine(100), sine(200)
    assert centroid_error(high, low, RATE).item() == pytest.approx(1200, abs=5)
    assert centroid_error(low, high, RATE).item() == pytest.approx(1200, abs=5)
    # Away from the ends, where it is cut, a sine is as wide as the window makes it, whatever its pitch.
    assert timbre_errors(timbre_of(high), timbre_of(low), RATE).bandwidth[..., 4:-4].max() < 1


def test_dull_noise_is_darker_narrower_and_less_flat():
    target = noise(1, 2, RATE)
    spectrum = torch.fft.rfft(target)
    spectrum[..., spectrum.shape[2] // 2 :] = 0  # nothing above a quarter of the rate
    estimate = torch.fft.irfft(spectrum, RATE)
    assert centroid_error(estimate, target, RATE).item() == pytest.approx(1200, rel=0.03)
    assert bandwidth_error(estimate, target, RATE).item() == pytest.approx(1200, rel=0.05)
    # Half the bins at -80 dB, and only half the power: of the levels in dB the mean counts, of the powers the sum.
    level = 10 * math.log10(target.square().mean() * 6 / 2048)
    loss = (level - 2.507 + 80) / 2 - 10 * math.log10(2)
    assert flatness_error(estimate, target, RATE).item() == pytest.approx(loss, rel=0.03)


def test_frames_count_where_both_are_active():
    hz = torch.tensor([100.0, 200.0, 400.0, 800.0])
    db = torch.tensor([-1.0, -2.0, -3.0, -4.0])
    target = FrameTimbre(hz, hz, db, torch.tensor([True, True, False, False]))
    estimate = FrameTimbre(2 * hz, hz / 4, db - 3, torch.tensor([True, False, True, False]))
    errors = timbre_errors(estimate, target, RATE)
    for error, value in zip(errors, (1200.0, 2400.0, 3.0), strict=True):
        assert error[0].item() == pytest.approx(value) and error[1:].isnan().all()


def test_below_a_bin_counts_as_a_bin():
    active = torch.ones(1, dtype=torch.bool)
    narrow = FrameTimbre(torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([-9.0]), active)
    wide = FrameTimbre(torch.tensor([2 * BIN]), torch.tensor([4 * BIN]), torch.tensor([-9.0]), active)
    errors = timbre_errors(narrow, wide, RATE)
    assert [error.item() for error in errors] == pytest.approx([1200, 2400, 0])


@pytest.mark.parametrize("level, active", [(-49.5, True), (-50.5, False)])
def test_the_gate_is_at_minus_50_dbfs(level, active):
    audio = sine(100, amplitude=math.sqrt(2) * 10 ** (level / 20))
    assert (timbre_of(audio).active[0, 0, 4:-4] == active).all()


def test_silence_has_no_timbre():
    audio, silence = noise(1, 1, 6000), torch.zeros(1, 1, 6000)
    timbre = timbre_of(silence)
    assert not timbre.active.any() and not timbre.centroid.any() and not timbre.bandwidth.any()
    assert timbre.flatness.abs().max() < 1e-4
    for error in ERRORS:
        for pair in [(audio, silence), (silence, audio), (silence, silence)]:
            assert error(*pair, RATE).isnan().all()


@settings(max_examples=12, deadline=None)
@given(samples=st.integers(1, 5000), batch=st.integers(1, 3), channels=st.integers(1, 2), seed=st.integers(0, 99))
def test_identity_symmetry_and_order_of_items(samples, batch, channels, seed):
    a, b = noise(batch, channels, samples, seed=seed), noise(batch, channels, samples, seed=seed + 100).cumsum(dim=2)
    order = torch.arange(batch).flip(0)
    for error in ERRORS:
        assert not error(a, a, RATE).nan_to_num().any()
        forth, back = error(a, b, RATE), error(b, a, RATE)
        torch.testing.assert_close(forth, back, equal_nan=True, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(error(a[order], b[order], RATE), forth[order], equal_nan=True, rtol=1e-4, atol=1e-2)


def test_a_gain_moves_neither_centroid_nor_bandwidth():
    audio = noise(1, 1, 9000)
    assert centroid_error(0.5 * audio, audio, RATE).item() < 1
    assert bandwidth_error(0.5 * audio, audio, RATE).item() < 1


def test_what_nobody_hears_does_not_count():
    tone = sine(100)
    rounded = (tone * 2**15).round() / 2**15
    assert centroid_error(rounded + 1e-5 * torch.randn_like(tone), tone, RATE).item() < 1
    assert bandwidth_error(rounded + 1e-5 * torch.randn_like(tone), tone, RATE).item() < 1


def test_bad_input():
    a = noise(2, 1, 500)
    for error in ERRORS:
        with pytest.raises(ValueError, match=r"\[2, 1, 500\].*\[2, 1, 499\]"):
            error(a, a[..., :499], RATE)
