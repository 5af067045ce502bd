"""What a listener hears: faded excerpts of one loudness, low-pass anchors, and the tones of the headphone check."""

from collections.abc import Iterable

import numpy as np
import torch
from scipy import signal

from codec_ft.metrics.loudness import GATE_LUFS, integrated_loudness

FADE_SECONDS = 0.02
"""Length of the fades at both ends of an excerpt: long enough not to click, too short to be noticed."""
PEAK_LIMIT_DB = -1.0
"""Highest peak of any stimulus in dBFS: leaves room for the peaks between samples."""
ANCHORS = {"anchor35": 3500.0, "anchor70": 7000.0}
"""The low and the mid anchor of ITU-R BS.1534-3: name -> highest frequency that they keep, in Hz."""
TRANSITION_HZ = 500.0
"""From the pass band to the stop band. BS.1534-3 wants the low anchor 25 dB down at 4 kHz and 50 dB at 4.5 kHz."""
STOP_BAND_DB = 70.0


def loudness(audio: np.ndarray, sample_rate: int) -> float:
    """Integrated loudness of audio [C, N] in LUFS (ITU-R BS.1770-4); -70 for silence (see `integrated_loudness`)."""
    return integrated_loudness(torch.from_numpy(np.ascontiguousarray(audio, dtype=np.float64)), sample_rate)


def fade(audio: np.ndarray, sample_rate: int, seconds: float = FADE_SECONDS) -> np.ndarray:
    """Fade audio [C, N] in and out with raised cosines: float32 [C, N]."""
    count = min(round(seconds * sample_rate), audio.shape[1] // 2)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(count) / max(count, 1))
    shaped = audio.astype(np.float32).copy()
    shaped[:, :count] *= rise
    shaped[:, audio.shape[1] - count :] *= rise[::-1]
    return shaped


def with_loudness(audio: np.ndarray, sample_rate: int, target: float) -> tuple[np.ndarray, float]:
    """Bring audio [C, N] to a loudness.

    Args:
        audio: not silent.
        sample_rate: in Hz.
        target: in LUFS.

    Returns:
        (float32 [C, N], the gain in dB).

    Raises:
        ValueError: the audio is silent: no gain makes it audible.
    """
    before = loudness(audio, sample_rate)
    if before <= GATE_LUFS:
        raise ValueError("audio is silent: it has no loudness to change")
    gain = target - before
    return (audio * 10 ** (gain / 20)).astype(np.float32), gain


def common_gain(clips: Iterable[np.ndarray]) -> float:
    """The gain in dB, 0 or less, that brings all peaks below `PEAK_LIMIT_DB`: one for all keeps them equally loud."""
    peak = max((float(np.abs(clip).max(initial=0.0)) for clip in clips), default=0.0)
    return min(0.0, PEAK_LIMIT_DB - 20 * np.log10(peak)) if peak > 0 else 0.0


def low_pass(audio: np.ndarray, sample_rate: int, cutoff: float, transition: float = TRANSITION_HZ) -> np.ndarray:
    """Take out what lies above `cutoff` with a linear-phase filter, whose delay is taken out as well.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        cutoff: highest frequency in Hz that is kept (ripple below 0.01 dB).
        transition: width in Hz of the slope above it, below which everything is 70 dB down.

    Returns:
        float32 [C, N].

    Raises:
        ValueError: the slope does not end below half the sample rate.
    """
    if cutoff + transition >= sample_rate / 2:
        raise ValueError(f"a low-pass at {cutoff:g} Hz needs a sample rate above {2 * (cutoff + transition):g} Hz")
    taps, beta = signal.kaiserord(STOP_BAND_DB, transition / (sample_rate / 2))
    taps += 1 - taps % 2  # odd: the delay is a whole number of samples
    kernel = signal.firwin(taps, cutoff + transition / 2, window=("kaiser", beta), fs=sample_rate)
    padded = np.pad(audio, ((0, 0), (taps // 2, taps // 2)))
    return signal.fftconvolve(padded, kernel[None], mode="valid", axes=1).astype(np.float32)


def anchors(reference: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
    """The anchors of a reference [C, N] that its sample rate allows, by name.

    They keep the reference's level, as BS.1534 has it: an anchor is the reference less its treble, not a louder bass.
    """
    possible = {name: hz for name, hz in ANCHORS.items() if hz + TRANSITION_HZ < sample_rate / 2}
    return {name: low_pass(reference, sample_rate, hz) for name, hz in possible.items()}


def under_noise(reference: np.ndarray, sample_rate: int) -> np.ndarray:
    """A reference [C, N] and white noise as loud, together as loud as the reference: float32 [C, N].

    For attention checks: nobody takes it for the reference or prefers it, on any loudspeaker. An anchor will not do,
    since a bass hardly loses anything to a low-pass filter.

    Raises:
        ValueError: the reference is silent.
    """
    level = loudness(reference, sample_rate)
    noise = np.random.default_rng(0).standard_normal(reference.shape)
    noise, _ = with_loudness(noise, sample_rate, level)
    mixed, _ = with_loudness(fade(reference + noise, sample_rate), sample_rate, level)
    return mixed * np.float32(10 ** (common_gain([mixed]) / 20))


def headphone_tones(sample_rate: int, seconds: float = 1.0) -> dict[str, np.ndarray]:
    """The three tones of the headphone check, float32 [2, N] each (Woods et al., 2017).

    One of them is 6 dB softer: "soft". Another, "opposed", has opposite phase in the two channels. On headphones it is
    as loud as the third, "loud"; in front of loudspeakers the channels cancel, and it seems the softest.
    """
    count = round(seconds * sample_rate)
    tone = 0.1 * np.sin(2 * np.pi * 200.0 * np.arange(count) / sample_rate)
    tone = fade(tone[None], sample_rate, seconds=min(0.1, seconds / 4))
    loud = np.concatenate([tone, tone])
    return {"loud": loud, "soft": loud * np.float32(10 ** (-6 / 20)), "opposed": np.concatenate([tone, -tone])}
