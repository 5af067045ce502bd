"""Smooth random fields over time and frequency: the patches in which a separator errs one way or the other."""

import numpy as np
from scipy.signal import upfirdn

FINE_KNOTS = (3, 8)
"""Knots of the fine field, every so many (frames, bins): patches of some 70 ms x 90 Hz with 4096-sample windows at
44.1 kHz, the size of a note's attack or one partial."""
COARSE_KNOTS = (6, 8)
"""Knots of the coarse field, every so many knots of the fine one: patches of 0.4 s x 700 Hz, a note or a formant."""


SPLINE_POWER = 151 / 315
"""Mean variance of white noise of variance 1 on the knots of a cubic B-spline: the integral of its square."""


def _spline(factor: int) -> np.ndarray:
    """Cubic B-spline with knots `factor` samples apart, without the zeros at its ends, [4 factor - 1]."""
    distance = np.abs(np.arange(1 - 2 * factor, 2 * factor)) / factor
    inner = 2 / 3 - distance**2 + distance**3 / 2
    return np.where(distance < 1, inner, (2 - distance) ** 3 / 6).astype(np.float32)


def _n_knots(length: int, factor: int) -> int:
    """Knots needed for `length` samples."""
    return -(-length // factor) + 3


def _upsample(knots: np.ndarray, factor: int, length: int) -> np.ndarray:
    """Draw the spline through `_n_knots(length, factor)` knots along the last axis: `length` samples."""
    first = 3 * factor - 1  # from here on every sample has its four knots
    return upfirdn(_spline(factor), knots, up=factor, axis=-1)[..., first : first + length]


def smooth_field(n_fields: int, n_frames: int, n_bins: int, rng: np.random.Generator) -> np.ndarray:
    """Draw Gaussian fields that are smooth in time and frequency, half of the power in fine and half in coarse patches.

    Args:
        n_fields: number of independent fields.
        n_frames: frames.
        n_bins: bins.
        rng: where the randomness comes from.

    Returns:
        float32 [n_fields, n_frames, n_bins] of mean 0 and variance 1 (within 10 %, which vary along the knots).
    """
    fine = _n_knots(n_frames, FINE_KNOTS[0]), _n_knots(n_bins, FINE_KNOTS[1])
    coarse = _n_knots(fine[0], COARSE_KNOTS[0]), _n_knots(fine[1], COARSE_KNOTS[1])
    # Time is the last axis until the field has its full size in time: upfirdn is fast along the last axis only.
    patches = rng.standard_normal((n_fields, coarse[1], coarse[0]), dtype=np.float32)
    patches = _upsample(patches, COARSE_KNOTS[0], fine[0]).swapaxes(1, 2)
    patches = _upsample(np.ascontiguousarray(patches), COARSE_KNOTS[1], fine[1]).swapaxes(1, 2)
    # Both must end with variance 1/2: the coarse patches have been interpolated, the fine ones will be.
    knots = patches + rng.standard_normal(patches.shape, dtype=np.float32)
    knots *= np.float32(np.sqrt(0.5) / SPLINE_POWER)
    field = _upsample(knots, FINE_KNOTS[0], n_frames).swapaxes(1, 2)
    return _upsample(np.ascontiguousarray(field), FINE_KNOTS[1], n_bins)
