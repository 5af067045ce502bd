"""The published reconstruction losses against gains, scipy's spectra, and finite differences."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from codec_ft.codec_training import spectral_losses
from codec_ft.codec_training.spectral_losses import DAC_SCALES, ENCODEC_WINDOWS, mel_l1, mel_l1_l2, waveform_l1

RATES = [8000, 16000, 24000, 44100, 48000]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Triangles of height 1 between corners that Slaney's scale spaces evenly, `[n_mels, bins]`; and their widths."""
    mels = np.linspace(0, 15 + 27 * np.log(sample_rate / 2 / 1000) / np.log(6.4), n_mels + 2)
    corners = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rows = [np.interp(bins, corners[i : i + 3], [0, 1, 0]) for i in range(n_mels)]
    return np.stack(rows), corners[2:] - corners[:-2]


def spectrum(audio: Tensor, n_fft: int, scaling: str) -> np.ndarray:
    """Magnitudes by scipy, `[bins, T]`."""
    return np.abs(
        scipy.signal.stft(
            audio[0, 0].double().numpy(), 1.0, "hann", n_fft, n_fft * 3 // 4, padded=False, scaling=scaling
        )[2]
    )


def test_waveform_l1_by_hand() -> None:
    estimate = torch.tensor([[[1.0, -1.0, 0.5, 0.0]], [[2.0, 2.0, 2.0, 2.0]]])
    target = torch.tensor([[[1.0, 1.0, 0.0, 0.5]], [[2.0, 2.0, 2.0, 2.0]]])
    assert waveform_l1(estimate, target).tolist() == [0.75, 0.0]


@pytest.mark.parametrize("n_fft, n_mels", DAC_SCALES)
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_dacs_loss_at_one_scale(sample_rate: int, n_fft: int, n_mels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral_losses, "DAC_SCALES", ((n_fft, n_mels),))
    estimate, target = 0.1 * noise(1, 1, 4096), 0.01 * noise(1, 1, 4096, seed=1)
    filters, widths = mel_filters(sample_rate, n_fft, n_mels)
    filters = filters * 2 / widths[:, None]  # of unit area in Hz
    # "spectrum" divides by the sum of the window, n_fft / 2.
    logs = [
        np.log10(np.maximum(filters @ spectrum(audio, n_fft, "spectrum") * n_fft / 2, 1e-5))
        for audio in (estimate, target)
    ]
    expected = np.abs(logs[0] - logs[1]).mean()
    assert mel_l1(estimate, target, sample_rate).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("n_fft", ENCODEC_WINDOWS)
@pytest.mark.parametrize("sample_rate", [24000, 44100])
def test_encodecs_loss_at_one_scale(sample_rate: int, n_fft: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral_losses, "ENCODEC_WINDOWS", (n_fft,))
    estimate, target = 0.1 * noise(1, 1, 4096), 0.01 * noise(1, 1, 4096, seed=1)
    filters = mel_filters(sample_rate, n_fft, 64)[0]
    filters = filters[filters.max(axis=1) > 1e-9]
    # "psd" divides by the root of the window's energy.
    a, b = (filters @ spectrum(audio, n_fft, "psd") ** 2 for audio in (estimate, target))
    linear, logarithmic = np.abs(a - b).mean(), ((np.log10(a + 1e-5) - np.log10(b + 1e-5)) ** 2).mean()
    assert mel_l1_l2(estimate, target, sample_rate, alpha=0.0).item() == pytest.approx(linear, rel=1e-4)
    assert mel_l1_l2(estimate, target, sample_rate).item() == pytest.approx(linear + logarithmic, rel=1e-4)


@pytest.mark.parametrize("sample_rate", RATES)
def test_no_filter_is_empty_and_no_bin_unheard(sample_rate: int) -> None:
    cpu = torch.device("cpu")
    for n_fft, n_mels in DAC_SCALES:
        dac = spectral_losses._dac_filters(sample_rate, n_fft, n_mels, cpu, torch.float32)
        encodec = spectral_losses._encodec_filters(sample_rate, n_fft, cpu, torch.float32)
        # All of the published ones, but for one or none at 48 kHz, a rate that DAC was not made for.
        assert len(dac) == n_mels or (sample_rate > 44100 and len(dac) == n_mels - 1)
        assert len(encodec) == 64 or n_fft <= 256
        for filters in (dac, encodec):
            assert (filters.amax(dim=1) > 1e-6).all()
            assert (filters.amax(dim=0)[2:-2] > 0).all()


@pytest.mark.parametrize("sample_rate", RATES)
@pytest.mark.parametrize("gain", [0.5, 10.0])
def test_a_gain_counts_once_per_scale_in_dacs_loss(sample_rate: int, gain: float) -> None:
    target = 100 * noise(2, 1, 8000)  # so loud that nothing falls below the floor
    found = mel_l1(gain * target, target, sample_rate)
    assert found.tolist() == pytest.approx([7 * abs(math.log10(gain))] * 2, rel=1e-4)


@pytest.mark.parametrize("gain", [0.5, 10.0])
def test_a_gain_in_encodecs_loss(gain: float) -> None:
    target = 100 * noise(2, 1, 8000)
    # Powers change by the square of the gain, of which the logarithmic term squares the logarithm.
    logarithmic = mel_l1_l2(gain * target, target, 24000, alpha=3.0) - mel_l1_l2(gain * target, target, 24000, alpha=1)
    loud = mel_l1_l2(gain * target, target, 24000)
    assert (logarithmic / loud).max() < 1e-2  # the linear term is of the size of the power, 10 000
    quiet = [mel_l1_l2(gain * target / 100, target / 100, 24000, alpha=alpha) for alpha in (0.0, 2.0)]
    assert (quiet[1] - quiet[0]).tolist() == pytest.approx([2 * (2 * math.log10(gain)) ** 2] * 2, rel=1e-2)


def test_dacs_short_windows_hear_loud_sounds_only() -> None:
    silence = torch.zeros(1, 1, 8000)
    whisper = 1e-5 * noise(1, 1, 8000)  # -100 dB
    per_scale = []
    for scale in DAC_SCALES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(spectral_losses, "DAC_SCALES", (scale,))
            per_scale.append(mel_l1(whisper, silence, 16000).item())
    assert per_scale[:4] == [0.0] * 4 and per_scale[-1] > 0.1
    assert sum(per_scale) == pytest.approx(mel_l1(whisper, silence, 16000).item(), rel=1e-5)


@pytest.mark.parametrize("loss", [mel_l1, mel_l1_l2])
@pytest.mark.parametrize("length", [1, 31, 1000, 4097])
def test_equal_audio_of_any_length_has_no_distance(loss, length: int) -> None:
    audio = 0.1 * noise(2, 2, length)
    assert loss(audio, audio, 16000).tolist() == [0.0, 0.0]
    assert (loss(2 * audio, audio, 16000) > 0).all()


@pytest.mark.parametrize("loss", [mel_l1, mel_l1_l2])
def test_items_do_not_mix(loss) -> None:
    estimate, target = 0.1 * noise(3, 1, 3000), 0.1 * noise(3, 1, 3000, seed=1)
    alone = torch.cat([loss(estimate[i : i + 1], target[i : i + 1], 24000) for i in range(3)])
    torch.testing.assert_close(loss(estimate, target, 24000), alone)


@pytest.mark.parametrize("loss", [mel_l1, mel_l1_l2])
@pytest.mark.parametrize("estimate_level, target_level", [(0.0, 0.0), (0.0, 0.1), (0.1, 0.0), (1e-8, 0.0), (1e-3, 0.1)])
def test_gradients_are_finite_at_silence(loss, estimate_level: float, target_level: float) -> None:
    estimate = (estimate_level * noise(1, 1, 3000)).requires_grad_()
    loss(estimate, target_level * noise(1, 1, 3000, seed=1), 16000).sum().backward()
    assert estimate.grad is not None and estimate.grad.isfinite().all()


@pytest.mark.parametrize("loss", [mel_l1, mel_l1_l2])
def test_gradients_agree_with_finite_differences(loss) -> None:
    estimate = noise(1, 1, 40, dtype=torch.float64).requires_grad_()
    target = noise(1, 1, 40, seed=1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda audio: loss(audio, target, 16000), estimate, eps=1e-7, atol=1e-4)


@pytest.mark.parametrize("loss", [mel_l1, mel_l1_l2])
def test_autocast_and_half_precision_change_nothing(loss) -> None:
    estimate, target = (0.1 * noise(1, 1, 3000, seed=seed).bfloat16() for seed in (0, 1))
    expected = loss(estimate.float(), target.float(), 16000)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(estimate, target, 16000)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("loss", [mel_l1, mel_l1_l2])
def test_training_goes_on_after_a_first_call_in_inference_mode(loss) -> None:
    estimate = noise(1, 1, 500).requires_grad_()
    with torch.inference_mode():
        loss(estimate, estimate, 11025)
    loss(estimate, noise(1, 1, 500, seed=1), 11025).sum().backward()


@pytest.mark.parametrize("loss", [mel_l1, mel_l1_l2, lambda estimate, target, rate: waveform_l1(estimate, target)])
def test_different_shapes_are_refused(loss) -> None:
    with pytest.raises(ValueError, match=r"estimate is \[1, 1, 100\], target is \[1, 1, 99\]"):
        loss(torch.zeros(1, 1, 100), torch.zeros(1, 1, 99), 16000)
