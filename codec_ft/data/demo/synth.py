"""Sound sources shared by the instruments: oscillators, envelopes, swept filters, strings, and a note player.

All audio is mono float64 of shape [N] at 44.1 kHz unless said otherwise.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import fft, signal

from codec_ft.data.demo.score import SAMPLE_RATE, Note

Audio = NDArray[np.floating]
Index = NDArray[np.signedinteger]
Pitch = TypeVar("Pitch", float, Audio)
Voice = Callable[[float, int, float, np.random.Generator], Audio]
"""An instrument: (frequency in Hz, length in samples, velocity, generator) -> audio [N]."""

VELOCITY_LAYERS = (0.45, 0.7, 0.95)
"""Velocities at which each pitch is rendered; a note takes the nearest, scaled to its own velocity."""


def hertz(pitch: Pitch) -> Pitch:
    """Frequency in Hz of MIDI pitches, A4 = 440 Hz."""
    return 440.0 * 2.0 ** ((pitch - 69.0) / 12.0)


def seconds_axis(n: int) -> Audio:
    """Times of `n` samples in seconds, [n]."""
    return np.arange(n) / SAMPLE_RATE


def saw(frequency: float, n: int, phase: float = 0.0) -> Audio:
    """Band-limited sawtooth in [-1, 1] (polynomial correction of the step, PolyBLEP)."""
    step = frequency / SAMPLE_RATE
    position = (phase + step * np.arange(n)) % 1.0
    wave = 2.0 * position - 1.0
    after = position < step
    x = position[after] / step
    wave[after] -= 2.0 * x - x * x - 1.0
    before = position > 1.0 - step
    x = (position[before] - 1.0) / step
    wave[before] -= x * x + 2.0 * x + 1.0
    return wave


def square(frequency: float, n: int, width: float = 0.5) -> Audio:
    """Band-limited pulse wave as the difference of two sawtooths."""
    return 0.7 * (saw(frequency, n) - saw(frequency, n, width))


def envelope(n: int, attack: float, decay: float, sustain: float) -> Audio:
    """Rises for `attack` seconds, then falls exponentially with time constant `decay` to `sustain`; [n]."""
    t = seconds_axis(n)
    return np.minimum(t / max(attack, 1e-4), 1.0) * (
        sustain + (1.0 - sustain) * np.exp(-np.maximum(t - attack, 0.0) / decay)
    )


def swept_lowpass(audio: Audio, cutoff: Audio, resonance: float = 0.8, bands: int = 6) -> Audio:
    """Lowpass whose `cutoff` in Hz [N] moves: a crossfade between static filters spaced over its range.

    `resonance` is the filters' Q. Far cheaper than a filter that changes at every sample, and free of clicks.
    """
    low, high = float(cutoff.min()), float(min(cutoff.max(), 0.45 * SAMPLE_RATE))
    if high < low * 1.05:
        return signal.sosfilt(resonant_lowpass(low, resonance), audio)
    grid = np.geomspace(low, high, bands)
    position = np.clip(np.log(cutoff / low) / np.log(high / low), 0.0, 1.0) * (bands - 1)
    out = np.zeros_like(audio)
    for k, frequency in enumerate(grid):
        weight = np.maximum(0.0, 1.0 - np.abs(position - k))
        if weight.any():
            out += weight * signal.sosfilt(resonant_lowpass(frequency, resonance), audio)
    return out


def resonant_lowpass(frequency: float, q: float) -> Audio:
    """Second-order sections of a lowpass with quality `q` (R. Bristow-Johnson's cookbook)."""
    w = 2.0 * np.pi * min(frequency, 0.45 * SAMPLE_RATE) / SAMPLE_RATE
    alpha, cosine = np.sin(w) / (2.0 * q), np.cos(w)
    b = np.array([(1 - cosine) / 2, 1 - cosine, (1 - cosine) / 2])
    a = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    return np.concatenate([b / a[0], a / a[0]])[None]


def string(
    frequency: float,
    n: int,
    *,
    sustain: float,
    damping: float,
    brightness: float,
    pluck: float,
    inharmonicity: float = 0.0,
    slope: float = 1.0,
) -> Audio:
    """A plucked or struck string: a waveguide loop solved in closed form in the frequency domain.

    Args:
        frequency: fundamental in Hz.
        n: length in samples.
        sustain: seconds in which the fundamental falls by 1/e.
        damping: how much faster high partials die, in 1/s per kHz squared.
        brightness: Hz above which the excitation falls off.
        pluck: place of the pluck as a share of the string's length.
        inharmonicity: stiffness B in f_k = k f_0 sqrt(1 + B k^2).
        slope: fall of the excitation above `brightness`, as a power of frequency.

    The spectrum is taken on a circle slightly outside the unit circle, so that what rings beyond `n`
    does not fold back audibly.
    """
    size = fft.next_fast_len(n + 1024, real=True)
    f = fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    partial = f / frequency
    if inharmonicity > 0.0:
        partial = np.sqrt((np.sqrt(1.0 + 4.0 * inharmonicity * partial**2) - 1.0) / (2.0 * inharmonicity))
    shrink = 1e-3 ** (1.0 / size)
    period = 1.0 / frequency
    gain = shrink ** (SAMPLE_RATE * period) * np.exp(-period * (1.0 / sustain + damping * (f / 1000.0) ** 2))
    turn = np.exp(-2j * np.pi * partial)
    excitation = (1.0 - np.exp(-2j * np.pi * pluck * partial)) / (1.0 + (f / brightness) ** 2) ** (slope / 2.0)
    excitation /= 1.0 + (f / 16_000.0) ** 8
    wave = fft.irfft(excitation / (1.0 - gain * turn), size)[:n] / shrink ** np.arange(n)
    return wave / (np.abs(wave).max() + 1e-9)


def frequency_modulation(frequency: float, n: int, ratio: float, index: Audio) -> Audio:
    """Two-operator FM: a sine at `frequency` whose phase a sine at `ratio` times it moves by `index` radians [n]."""
    turn = 2.0 * np.pi * frequency * seconds_axis(n)
    return np.sin(turn + index * np.sin(ratio * turn))


def band_noise(rng: np.random.Generator, n: int, low: float, high: float) -> Audio:
    """White noise between `low` and `high` Hz (second-order slopes), RMS near 1."""
    top = min(high, 0.48 * SAMPLE_RATE)
    sos = signal.butter(2, [low, top], "bandpass", fs=SAMPLE_RATE, output="sos")
    return signal.sosfilt(sos, rng.standard_normal(n)) * np.sqrt(0.5 * SAMPLE_RATE / (top - low))


def play_notes(notes: Sequence[Note], voice: Voice, n_samples: int, rng: np.random.Generator, release: float) -> Audio:
    """Render notes of one instrument to mono audio [n_samples].

    Works like a sampler: each pitch is rendered once per velocity layer, as long as its longest note, and every
    note cuts what it needs from it and fades out over `release` seconds.
    """
    out = np.zeros(n_samples)
    fade_length = max(8, int(release * SAMPLE_RATE))
    fade = np.exp(-5.0 * np.arange(fade_length) / fade_length) * np.linspace(1.0, 0.0, fade_length)
    lengths: dict[tuple[float, int], int] = {}
    for note in notes:
        key = (note.pitch, _layer(note.velocity))
        lengths[key] = max(lengths.get(key, 0), int(note.duration * SAMPLE_RATE) + fade_length)
    samples = {
        key: voice(hertz(key[0]), length, VELOCITY_LAYERS[key[1]], rng) for key, length in sorted(lengths.items())
    }
    for note in notes:
        begin, held = int(note.start * SAMPLE_RATE), int(note.duration * SAMPLE_RATE)
        sound = samples[note.pitch, _layer(note.velocity)][: held + fade_length].copy()
        sound[held:] *= fade[: len(sound) - held]
        room = min(len(sound), n_samples - begin)
        out[begin : begin + room] += note.velocity * sound[:room]
    return out


def _layer(velocity: float) -> int:
    """Index of the nearest velocity layer."""
    return int(np.argmin([abs(velocity - layer) for layer in VELOCITY_LAYERS]))
