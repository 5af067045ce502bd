"""Distances between spectrograms; the multi-scale mel distance is also the codec's training loss.

All spectra here are amplitudes in which a sine of amplitude 1 peaks at 1 whatever the window, so that the
floor of the logarithms, 1e-4, is the same -80 dB re full scale at every scale: above the rounding noise
of 16-bit audio, and far below what is heard beside music.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

from codec_ft.metrics.checks import check_same_audio_shape
from codec_ft.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    "log_mel_distance": Metric(
        "log-mel distance",
        "log10",
        "down",
        "Mean absolute difference of log10 mel amplitudes, averaged over windows of 2048 to 64 samples; 0.1 is a "
        "mean difference of 2 dB. Floor at -80 dB.",
        "Kumar et al., DAC, 2023",
    ),
    "log_spectral_distance": Metric(
        "LSD",
        "dB",
        "down",
        "Root mean square over frequency of the difference of the spectra in dB, averaged over frames "
        "(window 2048, hop 512). Floor at -80 dB.",
        "Gray and Markel, 1976",
    ),
}
"""What this file measures."""

MEL_WINDOWS = (2048, 1024, 512, 256, 128, 64)
"""Window lengths of the multi-scale mel distance, in samples; each hops by a quarter of itself."""

LSD_WINDOW = 2048
"""Window length of the log-spectral distance, in samples; it hops by a quarter of itself."""

AMPLITUDE_FLOOR = 1e-4
"""Amplitudes below this (-80 dB re a full-scale sine) count as this much before a logarithm is taken."""

# Slaney's mel scale is a straight line up to 1 kHz (15 mel) and logarithmic above: 27 mel are a factor of 6.4.
_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_KNEE_HZ, _KNEE_MEL = 1000.0, 15.0
_LOG_MEL_PER_NEPER = 27.0 / math.log(6.4)


def hz_to_mel(frequency: float) -> float:
    """Frequency in Hz -> mel, on Slaney's scale (Auditory Toolbox, 1998)."""
    if frequency < _KNEE_HZ:
        return frequency / _LINEAR_HZ_PER_MEL
    return _KNEE_MEL + _LOG_MEL_PER_NEPER * math.log(frequency / _KNEE_HZ)


def mel_to_hz(mel: float) -> float:
    """The inverse of `hz_to_mel`: mel -> frequency in Hz."""
    if mel < _KNEE_MEL:
        return mel * _LINEAR_HZ_PER_MEL
    return _KNEE_HZ * math.exp((mel - _KNEE_MEL) / _LOG_MEL_PER_NEPER)


def mel_filterbank(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Triangular mel filters from 0 Hz to Nyquist, `[n_mels, n_fft // 2 + 1]` in float64.

    The `n_mels + 2` corners are equally spaced in mel. Filter `m` rises from corner `m` to 1 at corner
    `m + 1` and falls to 0 at corner `m + 2`, so neighbours sum to 1 between the first and the last peak.
    """
    top = hz_to_mel(sample_rate / 2)
    corners = torch.tensor([mel_to_hz(top * i / (n_mels + 1)) for i in range(n_mels + 2)], dtype=torch.float64)
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft
    low, peak, high = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    rising = (frequencies - low) / (peak - low)
    falling = (high - frequencies) / (high - peak)
    return torch.minimum(rising, falling).clamp(min=0.0)


def mel_bands(sample_rate: int, n_fft: int) -> int:
    """How many mel bands a window of `n_fft` samples can tell apart, at most `5 * n_fft / 32`.

    The narrowest filters, those below 1 kHz, must be at least one FFT bin wide on either side: then every filter
    holds a bin at half its height or more, and none is empty. The upper limit is that of DAC (Kumar et al., 2023).
    """
    bin_width = sample_rate / n_fft
    resolved = int(hz_to_mel(sample_rate / 2) * _LINEAR_HZ_PER_MEL / bin_width) - 1
    return max(1, min(5 * n_fft // 32, resolved))


# Built outside inference mode, for a tensor made inside it could never again take part in a backward pass.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def amplitude_window(n_fft: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Hann window `[n_fft]`, scaled so that a sine of amplitude 1 has a spectral peak of 1."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    return (2.0 * window / window.sum()).to(device=device, dtype=dtype)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`mel_filterbank` on a device, made once."""
    return mel_filterbank(sample_rate, n_fft, n_mels).to(device=device, dtype=dtype)


def amplitude_spectrogram(audio: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Amplitudes of the short-time Fourier transform of `audio [B, C, N]`: `[B, C, n_fft // 2 + 1, T]`.

    `T = 1 + N // hop_length`; frame `t` is centred on sample `t * hop_length`, with zeros beyond the ends
    (not a reflection, which audio shorter than half a window does not have).
    """
    batch, channels, _ = audio.shape
    spectrum = torch.stft(
        audio.flatten(0, 1),
        n_fft,
        hop_length,
        window=amplitude_window(n_fft, audio.device, audio.dtype),
        center=True,
        pad_mode="constant",
        return_complex=True,
    )
    return spectrum.abs().unflatten(0, (batch, channels))


def log_mel(audio: Tensor, sample_rate: int, n_fft: int = 2048, hop_length: int = 512, n_mels: int = 80) -> Tensor:
    """Log10 mel amplitudes of `audio [B, C, N]`: `[B, C, n_mels, T]` with `T = 1 + N // hop_length`.

    Nothing is below `log10(AMPLITUDE_FLOOR) = -4`, the value of silence. Computed in float32 (float64 for
    float64 audio) whatever autocast says: in half precision quiet bands would fall out of range.
    """
    with torch.autocast(audio.device.type, enabled=False):
        audio = audio if audio.dtype == torch.float64 else audio.float()
        amplitudes = amplitude_spectrogram(audio, n_fft, hop_length)
        mel = mel_filters(sample_rate, n_fft, n_mels, audio.device, audio.dtype) @ amplitudes
        return mel.clamp(min=AMPLITUDE_FLOOR).log10()


def log_mel_distance(
    estimate: Tensor, target: Tensor, sample_rate: int, windows: tuple[int, ...] = MEL_WINDOWS
) -> Tensor:
    """Multi-scale log-mel distance per item, `[B, C, N], [B, C, N] -> [B]`; as a training loss, take its mean.

    For each window: the mean over channels, bands and frames of the absolute difference of `log_mel`
    (`mel_bands` bands, hop of a quarter window); then the mean over windows. The unit is a power of ten of
    amplitude: 0.1 is a mean difference of 2 dB. The form is that of DAC (Kumar et al., 2023). Differentiable;
    below the floor, and so at silence, the gradient is zero.

    A NaN sample gives NaN for its item: a training loop checks its loss and knows the names of the files.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    check_same_audio_shape(estimate, target)
    per_window = []
    for n_fft in windows:
        hop_length, n_mels = n_fft // 4, mel_bands(sample_rate, n_fft)
        difference = log_mel(estimate, sample_rate, n_fft, hop_length, n_mels) - log_mel(
            target, sample_rate, n_fft, hop_length, n_mels
        )
        per_window.append(difference.abs().mean(dim=(1, 2, 3)))
    return torch.stack(per_window).mean(dim=0)


def log_spectral_distance(
    estimate: Tensor, target: Tensor, n_fft: int = LSD_WINDOW, hop_length: int = LSD_WINDOW // 4
) -> Tensor:
    """Log-spectral distance (LSD) in dB per item, `[B, C, N], [B, C, N] -> [B]`.

    Per frame the root mean square over frequencies of the difference in dB of the amplitude spectra, floored at
    `AMPLITUDE_FLOOR`; then the mean over frames and channels (Gray and Markel, 1976).

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    check_same_audio_shape(estimate, target)
    decibels = [
        20.0 * amplitude_spectrogram(audio, n_fft, hop_length).clamp(min=AMPLITUDE_FLOOR).log10()
        for audio in (estimate, target)
    ]
    difference = decibels[0] - decibels[1]  # [B, C, n_fft // 2 + 1, T]
    # A norm, not sqrt(mean(square)): its gradient is zero, not NaN, where both spectra agree.
    per_frame = torch.linalg.vector_norm(difference, dim=2) / math.sqrt(difference.shape[2])
    return per_frame.mean(dim=(1, 2))
