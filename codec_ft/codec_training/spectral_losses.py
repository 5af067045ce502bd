"""The reconstruction losses of the published codecs: EnCodec's and DAC's mel distances, and L1 of the waveform.

They are kept as published, with their own scales, filters and floors, because the weights in the recipes belong to
them. To compare codecs, take `codec_ft.metrics.spectral.log_mel_distance`, whose floor is one level at all scales.

Mel filters are Slaney's at every scale. Where a window is too short to tell the bands apart, some filters hold no
frequency bin at all: those are left out. As published they are constants, without a gradient, that dilute the mean.
"""

from functools import lru_cache

import torch
from torch import Tensor

from codec_ft.metrics.checks import check_same_audio_shape
from codec_ft.metrics.spectral import amplitude_spectrogram, hz_to_mel, mel_filterbank, mel_to_hz

DAC_SCALES = ((32, 5), (64, 10), (128, 20), (256, 40), (512, 80), (1024, 160), (2048, 320))
"""Window in samples and number of mel bands of DAC's loss; each window hops by a quarter of itself."""

ENCODEC_WINDOWS = (32, 64, 128, 256, 512, 1024, 2048)
"""Windows of EnCodec's loss in samples; each hops by a quarter of itself."""

ENCODEC_MELS = 64
"""Mel bands of EnCodec's loss at every scale."""

FLOOR = 1e-5
"""What both keep logarithms away from zero with."""


def waveform_l1(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the samples per item, `[B, C, N], [B, C, N] -> [B]`.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    check_same_audio_shape(estimate, target)
    return (estimate - target).abs().mean(dim=(1, 2))


def mel_l1(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """DAC's multi-scale mel loss per item, `[B, C, N], [B, C, N] -> [B]` (Kumar et al., 2023, section 3.4).

    At each of `DAC_SCALES` the mean over channels, bands and frames of `|log10 M(y) - log10 M(x)|`, summed over the
    scales. `M` are amplitudes through filters of unit area, at least 1e-5; the Hann window is not normalised. So a
    full-scale sine lies 100 to 130 dB above the floor at the longest window (the more, the lower it is), but only 40 to
    60 dB at the shortest, which therefore hears nothing but loud sounds.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    check_same_audio_shape(estimate, target)
    loss = torch.zeros(len(estimate), device=estimate.device)
    with torch.autocast(estimate.device.type, enabled=False):
        for n_fft, n_mels in DAC_SCALES:
            logs = []
            for audio in (estimate, target):
                amplitudes = amplitude_spectrogram(_in_full_precision(audio), n_fft, n_fft // 4)
                filters = _dac_filters(sample_rate, n_fft, n_mels, audio.device, amplitudes.dtype)
                logs.append((filters @ amplitudes).clamp(min=FLOOR).log10())
            loss = loss + (logs[0] - logs[1]).abs().mean(dim=(1, 2, 3))
    return loss


def mel_l1_l2(estimate: Tensor, target: Tensor, sample_rate: int, alpha: float = 1.0) -> Tensor:
    """EnCodec's multi-scale mel loss per item, `[B, C, N], [B, C, N] -> [B]` (Défossez et al., 2022, section 3.4).

    The paper's equation is `1/(|α| |s|) Σ_i ‖S_i(x) - S_i(y)‖₁ + α_i ‖S_i(x) - S_i(y)‖₂`, with 64-band mel spectrograms
    `S_i` of a normalised STFT, windows of `2^i` samples for i = 5...11, hops of a quarter, and `α_i = 1`. What it
    leaves open is as in the authors' training code (audiocraft, `losses/specloss.py`): `S_i` are powers, of a Hann
    window of unit energy; both norms are means over bands and frames, the second one of squares; and that one is taken
    of `log10(S_i + 1e-5)`, after Gritsenko et al. (2020). Here the scales are averaged.

    Args:
        estimate: what came out.
        target: what should have.
        sample_rate: in Hz.
        alpha: weight of the logarithmic term at every scale.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    check_same_audio_shape(estimate, target)
    loss = torch.zeros(len(estimate), device=estimate.device)
    with torch.autocast(estimate.device.type, enabled=False):
        for n_fft in ENCODEC_WINDOWS:
            powers = []
            for audio in (estimate, target):
                amplitudes = amplitude_spectrogram(_in_full_precision(audio), n_fft, n_fft // 4)
                filters = _encodec_filters(sample_rate, n_fft, audio.device, amplitudes.dtype)
                powers.append(filters @ amplitudes.square())
            linear = (powers[0] - powers[1]).abs().mean(dim=(1, 2, 3))
            logarithmic = ((powers[0] + FLOOR).log10() - (powers[1] + FLOOR).log10()).square().mean(dim=(1, 2, 3))
            loss = loss + (linear + alpha * logarithmic) / len(ENCODEC_WINDOWS)
    return loss


def _in_full_precision(audio: Tensor) -> Tensor:
    return audio if audio.dtype == torch.float64 else audio.float()


# Built outside inference mode, for a tensor made inside it could never again take part in a backward pass.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _dac_filters(sample_rate: int, n_fft: int, n_mels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Filters of unit area in Hz for `amplitude_spectrogram`, whose sine of amplitude 1 they see as `n_fft / 4`.

    That is the peak of a sine under a Hann window that is not normalised.
    """
    top = hz_to_mel(sample_rate / 2)
    corners = torch.tensor([mel_to_hz(top * i / (n_mels + 1)) for i in range(n_mels + 2)], dtype=torch.float64)
    filters = mel_filterbank(sample_rate, n_fft, n_mels) * 2 / (corners[2:] - corners[:-2])[:, None]
    return _without_empty(filters * n_fft / 4).to(device, dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _encodec_filters(sample_rate: int, n_fft: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Filters that peak at 1 for squares of `amplitude_spectrogram`, whose sine of amplitude 1 they see as `n_fft / 6`.

    That is the squared peak of a sine under a Hann window of unit energy.
    """
    return _without_empty(mel_filterbank(sample_rate, n_fft, ENCODEC_MELS) * n_fft / 6).to(device, dtype)


def _without_empty(filters: Tensor) -> Tensor:
    """The rows that hold a frequency bin; at Nyquist, the corner of the last one, rounding may leave 1e-17."""
    return filters[filters.amax(dim=1) > 1e-9]
