"""Mel filters against their closed form, log spectra against sines and impulses, distances against gains."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.spectral import (
    MEL_WINDOWS,
    amplitude_spectrogram,
    hz_to_mel,
    log_mel,
    log_mel_distance,
    log_spectral_distance,
    mel_bands,
    mel_filterbank,
    mel_to_hz,
)

RATE = 24000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sine(frequency: float, amplitude: float = 1.0, samples: int = RATE) -> torch.Tensor:
    time = torch.arange(samples, dtype=torch.float64) / RATE
    return (amplitude * torch.sin(2 * math.pi * frequency * time)).float()[None, None]


def test_slaney_scale():
    # 200/3 Hz per mel up to 1 kHz = 15 mel, then 27 mel for a factor of 6.4.
    for frequency, mel in [(0.0, 0.0), (200.0, 3.0), (1000.0, 15.0), (6400.0, 42.0), (6400.0 * 6.4, 69.0)]:
        assert hz_to_mel(frequency) == pytest.approx(mel)
        assert mel_to_hz(mel) == pytest.approx(frequency)


@pytest.mark.parametrize("sample_rate, n_fft, n_mels", [(24000, 2048, 80), (44100, 4096, 128), (16000, 512, 40)])
def test_filters_are_triangles_that_sum_to_one(sample_rate, n_fft, n_mels):
    filters = mel_filterbank(sample_rate, n_fft, n_mels)
    assert filters.shape == (n_mels, n_fft // 2 + 1)
    frequencies = torch.arange(n_fft // 2 + 1) * sample_rate / n_fft
    corners = [mel_to_hz(hz_to_mel(sample_rate / 2) * i / (n_mels + 1)) for i in range(n_mels + 2)]
    assert corners[0] == 0.0 and corners[-1] == pytest.approx(sample_rate / 2)

    between_peaks = (frequencies >= corners[1]) & (frequencies <= corners[-2])
    torch.testing.assert_close(filters.sum(0)[between_peaks], torch.ones(int(between_peaks.sum()), dtype=torch.float64))
    assert filters.min() == 0 and filters.max() <= 1
    for row, low, peak, high in zip(filters, corners, corners[1:], corners[2:], strict=False):
        assert not row[(frequencies <= low) | (frequencies >= high)].any()
        assert abs(frequencies[row.argmax()] - peak) <= sample_rate / n_fft
        for side in ((frequencies > low) & (frequencies < peak), (frequencies > peak) & (frequencies < high)):
            if side.sum() > 2:  # straight: the second difference vanishes
                assert row[side].diff().diff().abs().max() < 1e-9


@pytest.mark.parametrize("sample_rate", [8000, 16000, 24000, 44100, 48000])
@pytest.mark.parametrize("n_fft", MEL_WINDOWS)
def test_no_filter_of_the_distance_is_empty(sample_rate, n_fft):
    n_mels = mel_bands(sample_rate, n_fft)
    assert 1 <= n_mels <= 5 * n_fft / 32
    assert mel_filterbank(sample_rate, n_fft, n_mels).amax(dim=1).min() >= 0.5


@pytest.mark.parametrize("n_fft", [64, 512, 2048])
def test_a_sine_peaks_at_its_amplitude(n_fft):
    bin_number = n_fft // 8
    spectrum = amplitude_spectrogram(sine(bin_number * RATE / n_fft, 0.25), n_fft, n_fft // 4)
    middle = spectrum[0, 0, :, spectrum.shape[3] // 2]
    assert middle.argmax() == bin_number
    assert middle[bin_number].item() == pytest.approx(0.25, rel=1e-4)
    assert middle[bin_number - 1].item() == pytest.approx(0.125, rel=1e-3)  # Hann: half in each neighbour
    assert spectrum.shape[3] == 1 + RATE // (n_fft // 4)


def test_an_impulse_is_flat_and_centred_on_its_frame():
    audio = torch.zeros(1, 1, 1024)
    audio[..., 256] = 1.0
    spectrum = amplitude_spectrogram(audio, 128, 32)[0, 0]
    # The Hann window is 1 at its centre and sums to 64; amplitudes are 2 |X| / 64.
    torch.testing.assert_close(spectrum[:, 256 // 32], torch.full((65,), 2 / 64), rtol=1e-5, atol=0)
    assert spectrum[:, 256 // 32 + 2].abs().max() == 0


def test_log_mel_of_a_sine_and_of_silence():
    # Exactly bin 64: with Hann's halves in both neighbours a band sums to 2 at most, the nearest one to 1/2 or more.
    loud = log_mel(sine(750.0), RATE, n_fft=2048, hop_length=512, n_mels=80)
    assert loud.shape == (1, 1, 80, 1 + RATE // 512)
    corners = [mel_to_hz(hz_to_mel(RATE / 2) * i / 81) for i in range(82)]
    nearest = min(range(80), key=lambda m: abs(corners[m + 1] - 750.0))
    middle = loud[0, 0, :, 20]
    assert middle.argmax() == nearest
    assert -0.31 < middle[nearest] < 0.31
    quiet = log_mel(sine(750.0, amplitude=0.01), RATE, n_fft=2048, hop_length=512, n_mels=80)
    assert (quiet[0, 0, nearest, 20] - middle[nearest]).item() == pytest.approx(-2.0, abs=1e-4)
    assert (log_mel(torch.zeros(2, 1, 100), RATE) == -4.0).all()


@pytest.mark.parametrize("gain_db", [-6.0, 2.0])
def test_a_gain_is_its_own_distance(gain_db):
    audio = noise(2, 2, 6000)
    louder = audio * 10 ** (gain_db / 20)
    assert log_mel_distance(louder, audio, RATE).tolist() == pytest.approx([abs(gain_db) / 20] * 2, rel=1e-3)
    assert log_spectral_distance(louder, audio).tolist() == pytest.approx([abs(gain_db)] * 2, rel=1e-3)


def test_distances_from_silence():
    # An impulse at the centre of a window is 2 / sum(Hann) at all frequencies; silence is the floor.
    impulse, silence = torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)
    impulse[0, 0, 0] = 1.0
    expected_db = 20 * math.log10(2 / 1024 / 1e-4)
    assert log_spectral_distance(impulse, silence).item() == pytest.approx(expected_db, rel=1e-5)
    assert log_mel_distance(silence, silence, RATE).item() == 0.0


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(1, 3000), batch=st.integers(1, 3), channels=st.integers(1, 2), seed=st.integers(0, 99))
def test_distances_are_symmetric_zero_at_identity_and_batched(samples, batch, channels, seed):
    a, b = noise(batch, channels, samples, seed=seed), noise(batch, channels, samples, seed=seed + 100)
    for distance in (lambda x, y: log_mel_distance(x, y, RATE), log_spectral_distance):
        assert distance(a, a).tolist() == [0.0] * batch
        torch.testing.assert_close(distance(a, b), distance(b, a))
        singles = torch.cat([distance(a[i : i + 1], b[i : i + 1]) for i in range(batch)])
        torch.testing.assert_close(distance(a, b), singles, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 1e-12, 1e-6, 1e-4, 1.0])
def test_gradients_are_finite_down_to_silence(level):
    for target in (torch.zeros(2, 1, 4000), noise(2, 1, 4000, seed=1)):
        estimate = (level * noise(2, 1, 4000)).requires_grad_()
        loss = log_mel_distance(estimate, target, RATE).mean() + log_spectral_distance(estimate, target).mean()
        loss.backward()
        assert estimate.grad is not None and estimate.grad.isfinite().all()
        assert estimate.grad.abs().max() < 1e3


def test_equal_signals_have_zero_gradient():
    audio = noise(1, 1, 4000)
    estimate = audio.clone().requires_grad_()
    (log_mel_distance(estimate, audio, RATE) + log_spectral_distance(estimate, audio)).sum().backward()
    assert estimate.grad is not None and not estimate.grad.any()


def test_descent_on_the_distance_shortens_it():
    target, estimate = noise(1, 1, 4000), noise(1, 1, 4000, seed=1).requires_grad_()
    optimiser = torch.optim.Adam([estimate], lr=1e-2)
    distances = []
    for _ in range(40):
        loss = log_mel_distance(estimate, target, RATE).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        distances.append(loss.item())
    assert distances[-1] < 0.5 * distances[0]


def test_validation_in_inference_mode_does_not_spoil_later_training():
    sample_rate = 23456  # filters nobody has cached yet
    with torch.inference_mode():
        log_mel_distance(noise(1, 1, 900), noise(1, 1, 900, seed=1), sample_rate, windows=(96,))
    estimate = noise(1, 1, 900).requires_grad_()
    log_mel_distance(estimate, noise(1, 1, 900, seed=1), sample_rate, windows=(96,)).sum().backward()
    assert estimate.grad is not None and estimate.grad.any()


def test_autocast_does_not_change_the_distance():
    a, b = noise(1, 1, 3000), noise(1, 1, 3000, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = log_mel_distance(a, b, RATE)
    assert inside.dtype == torch.float32 and torch.equal(inside, log_mel_distance(a, b, RATE))


def test_bad_input():
    a = noise(2, 1, 500)
    for distance in (lambda x, y: log_mel_distance(x, y, RATE), log_spectral_distance):
        with pytest.raises(ValueError, match=r"\[2, 1, 500\].*\[2, 1, 499\]"):
            distance(a, a[..., :499])
        bad = a.clone()
        bad[1, 0, 7] = math.nan
        assert distance(a, bad).isnan().tolist() == [False, True]
