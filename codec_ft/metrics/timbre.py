"""Errors of timbre: where the spectrum of each frame has its centre, how wide it is, and how noise-like.

The features are those of librosa's `spectral_centroid`, `spectral_bandwidth` and `spectral_flatness`, of spectra
with a window of 2048 samples and a hop of 512 (thesis, section 9.2, asks for them), with one change: amplitudes below
-80 dB re full scale do not count. There are so many of them that the dither of a 16-bit file would move a tone of
110 Hz and amplitude 0.05 to 191 Hz and make it 1084 Hz wide instead of 17 (measured).

Frames are compared one by one, each channel by itself, where *both* signals are active, that is above `ACTIVE_DB`:
the timbre of silence means nothing. Where no frame is left the errors are NaN.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from codec_ft.metrics.checks import check_same_audio_shape
from codec_ft.metrics.metric import Metric
from codec_ft.metrics.spectral import AMPLITUDE_FLOOR, amplitude_spectrogram
from codec_ft.metrics.stft_distance import POWER_OF_UNIT_RMS, log_amplitude

METRICS: dict[str, Metric] = {
    "centroid_error": Metric(
        "centroid error",
        "cents",
        "down",
        "Mean absolute error of the amplitude-weighted spectral centroid over frames in which estimate and target are "
        "above -50 dBFS (window 2048, hop 512). Undefined without such frames.",
        "thesis, section 9.2; librosa",
    ),
    "bandwidth_error": Metric(
        "bandwidth error",
        "cents",
        "down",
        "Mean absolute error of the spectral bandwidth, the amplitude-weighted standard deviation about the centroid, "
        "over the same frames. Amplitudes below -80 dB do not count in either.",
        "thesis, section 9.2; librosa",
    ),
    "flatness_error": Metric(
        "flatness error",
        "dB",
        "down",
        "Mean absolute error of the spectral flatness, the geometric over the arithmetic mean of the power spectrum, "
        "over the same frames. Floor at -80 dB.",
        "thesis, section 9.2; librosa",
    ),
}
"""What this file measures."""

TIMBRE_WINDOW = 2048
"""Window length in samples; it hops by a quarter of itself."""

ACTIVE_DB = -50.0
"""RMS level in dBFS, under the Hann window, above which a frame of a channel is active. The frequencies of even white
noise of this level are mostly above `AMPLITUDE_FLOOR`."""

DB_PER_NEPER = 20.0 / math.log(10.0)
"""A difference of 1 between natural logarithms of amplitudes, in decibels."""


class FrameTimbre(NamedTuple):
    """Features of frames, each `[..., T]`: centroid and bandwidth in Hz, flatness in dB (0 is flat), active or not."""

    centroid: Tensor
    bandwidth: Tensor
    flatness: Tensor
    active: Tensor


class TimbreErrors(NamedTuple):
    """Absolute errors of frames, each `[..., T]`, NaN in frames that do not count: cents, cents, dB."""

    centroid: Tensor
    bandwidth: Tensor
    flatness: Tensor


def frame_timbre(amplitudes: Tensor, log_amplitudes: Tensor, sample_rate: int) -> FrameTimbre:
    """Features of each frame of an amplitude spectrogram `[..., T, F]`, given with its `log_amplitude`.

    Amplitudes below `AMPLITUDE_FLOOR` count as zero in centroid and bandwidth, and as the floor in the flatness, where
    the empty band above a codec's cut-off would otherwise decide. Silent frames are at 0 Hz, 0 Hz wide, and flat.
    """
    frequencies = torch.linspace(
        0.0, sample_rate / 2, amplitudes.shape[-1], device=amplitudes.device, dtype=amplitudes.dtype
    )
    audible = functional.threshold(amplitudes, AMPLITUDE_FLOOR, 0.0)
    total = audible.sum(dim=-1).clamp(min=AMPLITUDE_FLOOR)
    centroid = audible @ frequencies / total
    # About the centroid, not as a difference of moments, which for narrow spectra would leave nothing but rounding.
    distance = frequencies - centroid[..., None]
    bandwidth = (torch.linalg.vecdot(distance.square_(), audible) / total).sqrt()
    mean_power = amplitudes.clamp(min=AMPLITUDE_FLOOR).square_().mean(dim=-1)
    flatness = DB_PER_NEPER * (log_amplitudes.mean(dim=-1) - 0.5 * mean_power.log())
    power = torch.linalg.vector_norm(amplitudes, dim=-1).square()
    active = power > POWER_OF_UNIT_RMS * 10.0 ** (ACTIVE_DB / 10.0)
    return FrameTimbre(centroid, bandwidth, flatness, active)


def timbre_errors(estimate: FrameTimbre, target: FrameTimbre, sample_rate: int) -> TimbreErrors:
    """Absolute errors of each frame, `[..., T]`; NaN where either signal is inactive.

    Centroids and bandwidths below the resolution of the transform, one bin, count as one bin.
    """
    resolution = sample_rate / TIMBRE_WINDOW
    skipped = ~(estimate.active & target.active)

    def cents(frequency: Tensor, reference: Tensor) -> Tensor:
        ratio = frequency.clamp(min=resolution) / reference.clamp(min=resolution)
        return 1200.0 * ratio.log2().abs()

    return TimbreErrors(
        cents(estimate.centroid, target.centroid).masked_fill(skipped, torch.nan),
        cents(estimate.bandwidth, target.bandwidth).masked_fill(skipped, torch.nan),
        (estimate.flatness - target.flatness).abs().masked_fill(skipped, torch.nan),
    )


def _errors(estimate: Tensor, target: Tensor, sample_rate: int) -> TimbreErrors:
    """Absolute errors of frames of audio, `[B, C, N], [B, C, N] -> [B, C, T]`."""
    check_same_audio_shape(estimate, target)
    spectra = [amplitude_spectrogram(audio, TIMBRE_WINDOW, TIMBRE_WINDOW // 4).mT for audio in (estimate, target)]
    features = [frame_timbre(amplitudes, log_amplitude(amplitudes), sample_rate) for amplitudes in spectra]
    return timbre_errors(features[0], features[1], sample_rate)


def centroid_error(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean absolute error of the spectral centroid in cents per item, `[B, C, N], [B, C, N] -> [B]`.

    Over the frames of all channels in which both are active; NaN where there are none.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    return _errors(estimate, target, sample_rate).centroid.nanmean(dim=(1, 2))


def bandwidth_error(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean absolute error of the spectral bandwidth in cents per item, `[B, C, N], [B, C, N] -> [B]`.

    Over the frames of all channels in which both are active; NaN where there are none.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    return _errors(estimate, target, sample_rate).bandwidth.nanmean(dim=(1, 2))


def flatness_error(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean absolute error of the spectral flatness in dB per item, `[B, C, N], [B, C, N] -> [B]`.

    Over the frames of all channels in which both are active; NaN where there are none. The sample rate does not
    matter.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    return _errors(estimate, target, sample_rate).flatness.nanmean(dim=(1, 2))
