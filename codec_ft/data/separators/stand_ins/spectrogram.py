"""A stand-in for separators that mask the mixture's spectrogram, such as Spleeter (Hennequin et al., 2020).

**Not a separator**: the masks are made from the true stems. What a U-Net would get wrong is put in by hand.

The mask of stem `i` in a time-frequency cell is its share of the power, which Spleeter's networks are trained towards,

    mask_i = P_i exp(sigma_i n_i + b_i) / (P_i exp(sigma_i n_i + b_i) + sum over the others of P_j)

- `P_i` is the power of the true stem, blurred over time and frequency: a network's view of it is not sharp;
- `n_i` is a smooth random field (`noise.smooth_field`), the same in all channels: where it is low, notes and partials
  of the stem are lost, where it is high, those of the others bleed in;
- `b_i` is a constant of the track: a network makes some sources louder and others quieter throughout.

A little of the mixture leaks into every stem, nothing above 11 025 Hz is let through (Spleeter's networks see
1024 of 2049 bins), and the phase is the mixture's. Each stem has an error of its own, so the estimates do not quite
add up to the mixture, and each stem's level can be calibrated for itself.
"""

import numpy as np
from scipy.ndimage import correlate1d

from codec_ft.data.separators.stand_ins.noise import smooth_field
from codec_ft.data.separators.stand_ins.stft import edit_spectrum

WINDOW_SECONDS = 4096 / 44100
"""Spleeter's window, 93 ms; the nearest power of two is taken at other sample rates. The hop is a quarter of it."""
BANDWIDTH_HZ = 11025.0
"""What Spleeter's published models let through."""
BLUR_FRAMES = np.array([0.054, 0.242, 0.408, 0.242, 0.054], dtype=np.float32)
"""Gaussian blur of the power over time, standard deviation 1 frame (23 ms): it smears transients."""
BLUR_BINS = np.array([0.019, 0.227, 0.508, 0.227, 0.019], dtype=np.float32)
"""Gaussian blur over frequency, standard deviation 0.8 bins (9 Hz): less, for networks do resolve partials."""
LEAK = 0.02
"""Least share of the mixture in every stem: -34 dB, heard where a stem rests."""
BIAS_SD = 0.3
"""Standard deviation of a track's log-power bias per stem: 1.3 dB."""
SILENCE = 1e-9
"""Power of a cell below which no stem is told from another: 20 dB less than the rounding of 16-bit files."""

TARGET_SDR = {"vocals": 6.55, "bass": 5.10, "drums": 5.93, "other": 4.24}
"""Median SDR in dB on MUSDB18's test set, soft masks, from the table of Hennequin et al. (2020)."""
START_SIGMA = {"vocals": 2.6, "bass": 2.5, "drums": 1.9, "other": 2.8}
"""Where calibration starts: what it found on the demo set."""


def separate(
    stems: dict[str, np.ndarray], sample_rate: int, *, sigma: dict[str, float], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Degrade stems as a spectrogram separator would if it were given their sum.

    Args:
        stems: name -> float32 [C, N], all that is in the mixture; shapes are equal.
        sample_rate: in Hz.
        sigma: name -> standard deviation of the log-power error; 0 leaves a blurred ideal mask.
        rng: where the errors come from.

    Returns:
        name -> float32 [C, N], the degraded stems.
    """
    names = list(stems)
    n_fft = 2 ** round(np.log2(WINDOW_SECONDS * sample_rate))
    n_bins = min(n_fft // 2, int(BANDWIDTH_HZ / sample_rate * n_fft))
    strength = np.array([sigma[name] for name in names], dtype=np.float32)[:, None, None]
    bias = rng.normal(0.0, BIAS_SD, size=(len(names), 1, 1)).astype(np.float32)

    def mask_mixture(spectrum: np.ndarray) -> np.ndarray:
        mixture = spectrum.sum(axis=0)
        power = spectrum.real**2 + spectrum.imag**2
        power = correlate1d(power, BLUR_FRAMES, axis=2, mode="nearest")
        power = correlate1d(power, BLUR_BINS, axis=3, mode="nearest")
        power += SILENCE
        n_stems, _, n_frames, _ = spectrum.shape
        error = smooth_field(n_stems, n_frames, n_bins, rng)
        error *= strength
        error += bias
        others = power.sum(axis=0) - power
        power *= np.exp(error)[:, None]
        mask = power / (power + others)
        mask *= 1 - LEAK
        mask += LEAK
        return mask * mixture

    estimates = edit_spectrum(list(stems.values()), n_fft, n_fft // 4, n_bins, mask_mixture)
    return dict(zip(names, estimates, strict=True))
