"""Change the sample rate of audio: soxr at its high quality, with a length that can be told beforehand."""

import math

import numpy as np
import soxr

CONTEXT_SECONDS = 0.05
"""Audio wanted on both sides of an excerpt: soxr's filter is shorter than this at every usual rate (8-192 kHz)."""


def resampled_length(n_samples: int, rate_in: int, rate_out: int) -> int:
    """Samples that `n_samples` at `rate_in` become at `rate_out`: the nearest whole number, halves rounded up."""
    return (2 * n_samples * rate_out + rate_in) // (2 * rate_in)


def common_step(rate_in: int, rate_out: int) -> int:
    """Smallest number of input samples that lasts a whole number of output samples (441 for 44 100 -> 16 000 Hz)."""
    return rate_in // math.gcd(rate_in, rate_out)


def resample(audio: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample audio from `rate_in` to `rate_out` Hz.

    Args:
        audio: float [C, N].
        rate_in: sample rate of `audio` in Hz.
        rate_out: sample rate wanted in Hz.

    Returns:
        float32 [C, resampled_length(N, rate_in, rate_out)].
    """
    if audio.ndim != 2:
        raise ValueError(f"audio must be [C, N], not of shape {audio.shape}")
    if rate_in <= 0 or rate_out <= 0:
        raise ValueError(f"sample rates must be positive, not {rate_in} and {rate_out}")
    audio = np.asarray(audio, dtype=np.float32)
    length = resampled_length(audio.shape[1], rate_in, rate_out)
    if rate_in == rate_out or length == 0:
        return audio[:, :length]
    out = soxr.resample(audio.T, rate_in, rate_out, quality="HQ").T
    if out.shape[1] < length:  # soxr rounds halves either way; zeros are what it takes to follow the end
        padded = np.pad(audio, ((0, 0), (0, rate_in // rate_out + 1)))
        out = soxr.resample(padded.T, rate_in, rate_out, quality="HQ").T
    return np.ascontiguousarray(out[:, :length])
