"""A stand-in for separators that write the waveform, such as Demucs (Rouard et al., 2023).

**Not a separator**: the true stem is edited. What a waveform model would get wrong is added to it, `k_i` times:

    estimate_i = stem_i + k_i (BLEED g m_i (mixture - stem_i) - LOSS h (1 - m_i) stem_i + hiss)

- bleed: some of the other stems, where this one is active. `m_i` is the stem's share of the mixture's power
  in a time-frequency cell, so nothing bleeds where the stem is silent;
- loss: some of the stem, where the others cover it;
- hiss: noise between 3 and 17 kHz that follows the stem's level and `g`, for waveform models add treble (Schaffer et
  al., 2022);
- `g` and `h` are smooth positive random fields of mean 1 (`noise.smooth_field`), which make both come and go.

The error is proportional to `k_i`: SDR falls by 20 dB per decade of it, and `k_i = 0` gives the stem itself. Its window
is short (46 ms) and the phase is the stem's, so transients stay sharp, and the full bandwidth is kept.
"""

import math

import numpy as np
from scipy.ndimage import correlate1d

from codec_ft.data.separators.stand_ins.noise import smooth_field
from codec_ft.data.separators.stand_ins.stft import edit_spectrum

WINDOW_SECONDS = 2048 / 44100
"""Window of the edits, 46 ms; the nearest power of two is taken at other sample rates. The hop is half of it."""
BLUR = np.array([0.25, 0.5, 0.25], dtype=np.float32)
"""Blur of the power over time and over frequency, so that the shares `m_i` do not follow single cells."""
BLEED = 0.25
"""Amplitude of the others in the error, relative to what they have in the mixture."""
LOSS = 0.15
"""Amplitude of the stem in the error, relative to itself."""
HISS = 0.004
"""Amplitude of the hiss in the error, relative to the stem's level: -37 dB at the usual strengths of 3 to 4."""
HISS_BAND_HZ = (3000.0, 17000.0)
"""Where the hiss lies; it is strongest in the middle."""
FIELD_SD = 0.5
"""Standard deviation of the log-amplitude of `g` and `h`: 4.3 dB."""
SILENCE = 1e-9
"""Power of a cell below which no stem has a share: 20 dB less than the rounding of 16-bit files."""

TARGET_SDR = {"vocals": 9.20, "bass": 10.39, "drums": 10.08, "other": 6.32}
"""Median SDR in dB on MUSDB18-HQ's test set of the fine-tuned HT Demucs, from Rouard et al. (2023); 9.0 on average."""
START_K = {"vocals": 4.0, "bass": 3.3, "drums": 3.4, "other": 4.4}
"""Where calibration starts: what it found on the demo set."""


def separate(
    stems: dict[str, np.ndarray], sample_rate: int, *, k: dict[str, float], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Degrade stems as a waveform separator would if it were given their sum.

    Args:
        stems: name -> float32 [C, N], all that is in the mixture; shapes are equal.
        sample_rate: in Hz.
        k: name -> strength of the error; 0 gives the stem itself.
        rng: where the errors come from.

    Returns:
        name -> float32 [C, N], the degraded stems.
    """
    names = list(stems)
    n_fft = 2 ** round(np.log2(WINDOW_SECONDS * sample_rate))
    low, high = (round(min(edge, sample_rate / 2) * n_fft / sample_rate) for edge in HISS_BAND_HZ)
    hiss_shape = np.hanning(high - low + 2)[1:-1].astype(np.float32)
    hiss_shape *= HISS / np.linalg.norm(math.sqrt(2) * hiss_shape)  # of the real and the imaginary part

    def unit_error(spectrum: np.ndarray) -> np.ndarray:
        n_stems, n_channels, n_frames, n_bins = spectrum.shape
        power = spectrum.real**2 + spectrum.imag**2
        level = np.sqrt(power.sum(axis=-1))[..., None]
        power = power.sum(axis=1)
        power = correlate1d(power, BLUR, axis=1, mode="nearest")
        power = correlate1d(power, BLUR, axis=2, mode="nearest")
        share = power / (power.sum(axis=0) + SILENCE)
        fields = np.exp(FIELD_SD * smooth_field(2 * n_stems, n_frames, n_bins, rng) - FIELD_SD**2 / 2)
        bleed = BLEED * fields[:n_stems] * share
        loss = LOSS * fields[n_stems:] * (1 - share)
        error = bleed[:, None] * spectrum.sum(axis=0) - (bleed + loss)[:, None] * spectrum
        noise = rng.standard_normal((n_stems, n_channels, n_frames, high - low, 2), dtype=np.float32)
        hiss = noise.view(np.complex64)[..., 0] * hiss_shape * level
        error[..., low:high] += fields[:n_stems, None, :, low:high] * hiss
        return error

    errors = edit_spectrum(list(stems.values()), n_fft, n_fft // 2, n_fft // 2 + 1, unit_error)
    return {name: stems[name] + np.float32(k[name]) * error for name, error in zip(names, errors, strict=True)}
