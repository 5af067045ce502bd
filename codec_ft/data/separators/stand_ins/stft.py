"""Edit audio through its short-time spectrum, block by block, with all stems of a track at once."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

BLOCK_FRAMES = 128
"""Frames that are edited at a time: the memory needed does not grow with the length of a track."""


def edit_spectrum(
    signals: Sequence[np.ndarray],
    n_fft: int,
    hop: int,
    n_bins: int,
    edit: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Send signals through their spectrum: STFT, `edit`, inverse STFT. An `edit` that changes nothing changes nothing.

    The window is the square root of a Hann window before and after, so that edits fade in and out. Blocks of
    frames are edited one after the other; overlapping frames cross-fade them as they do any two neighbours.

    Args:
        signals: S stems of equal shape, float32 [C, N] each.
        n_fft: window length in samples.
        hop: samples from one frame to the next; half, a quarter, ... of `n_fft`.
        n_bins: the lowest so many bins go to `edit`; those above are zero in the result.
        edit: gives the edited spectrum, complex64 [S, C, T, n_bins], for the spectrum of T frames of the same shape.

    Returns:
        float32 [S, C, N].
    """
    n_channels, length = signals[0].shape
    n_frames = -(-length // hop) + n_fft // hop - 1
    before = n_fft - hop  # the first frames lie partly before the signal, so that every sample is in equally many
    padded = np.zeros((len(signals), n_channels, (n_frames - 1) * hop + n_fft), dtype=np.float32)
    for index, signal in enumerate(signals):
        padded[index, :, before : before + length] = signal
    frames = sliding_window_view(padded, n_fft, axis=-1)[:, :, ::hop]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    # Windows hann * hann that are hop apart would add up to n_fft / (2 hop).
    window = np.sqrt(hann * 2 * hop / n_fft).astype(np.float32)
    edited = np.zeros_like(padded)
    for first in range(0, n_frames, BLOCK_FRAMES):
        block = frames[:, :, first : first + BLOCK_FRAMES]
        spectrum = edit(fft.rfft(block * window)[..., :n_bins])
        pieces = fft.irfft(spectrum, n=n_fft)
        pieces *= window
        _overlap_add(edited[..., first * hop :], pieces, hop)
    return edited[..., before : before + length]


def _overlap_add(target: np.ndarray, pieces: np.ndarray, hop: int) -> None:
    """Add frames [S, C, T, n_fft], each `hop` after the one before, to the beginning of `target` [S, C, >= ...]."""
    *leading, n_frames, n_fft = pieces.shape
    for offset in range(0, n_fft, hop):
        # The parts of all frames at this offset lie side by side without overlap.
        row = np.ascontiguousarray(pieces[..., offset : offset + hop]).reshape(*leading, n_frames * hop)
        target[..., offset : offset + n_frames * hop] += row
