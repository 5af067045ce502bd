"""Bass instruments: plucked, picked, slapped and upright strings, subtractive synths, a sub and FM."""

import numpy as np
from scipy import signal

from codec_ft.data.demo.score import SAMPLE_RATE, Song
from codec_ft.data.demo.synth import (
    Audio,
    Voice,
    band_noise,
    envelope,
    frequency_modulation,
    play_notes,
    saw,
    seconds_axis,
    square,
    string,
    swept_lowpass,
)


def draw_bass(name: str, rng: np.random.Generator) -> Voice:
    """An instrument of the kind `name` with parameters drawn once per song."""
    tone, body = float(rng.uniform(0.7, 1.5)), float(rng.uniform(0.8, 1.3))

    def fingered(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        wave = string(f, n, sustain=1.1 * body, damping=6.0, brightness=700 * tone * velocity, pluck=0.22, slope=1.8)
        touch = band_noise(noise, n, 300, 3000) * np.exp(-seconds_axis(n) / 0.006)
        return wave + 0.02 * velocity * touch

    def picked(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        wave = string(f, n, sustain=0.9 * body, damping=3.0, brightness=1800 * tone * velocity, pluck=0.12, slope=1.5)
        touch = band_noise(noise, n, 1500, 7000) * np.exp(-seconds_axis(n) / 0.004)
        return np.tanh(1.6 * wave) + 0.05 * velocity * touch

    def slap(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        wave = string(f, n, sustain=0.6 * body, damping=2.0, brightness=3000 * tone * velocity, pluck=0.08, slope=1.3)
        clack = band_noise(noise, n, 2000, 9000) * np.exp(-seconds_axis(n) / 0.008)
        return np.tanh(1.3 * wave) + 0.12 * velocity**2 * clack

    def upright(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        wave = string(f, n, sustain=0.55 * body, damping=12.0, brightness=420 * tone * velocity, pluck=0.3, slope=2.0)
        thump = band_noise(noise, n, 80, 900) * np.exp(-seconds_axis(n) / 0.02)
        return wave * envelope(n, 0.008, 2.0, 0.4) + 0.04 * thump

    wave_kind = int(rng.integers(3))
    peak, fall, q = float(rng.uniform(600, 2600)), float(rng.uniform(0.06, 0.4)), float(rng.uniform(0.8, 2.5))

    def synth(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        source = (saw(f, n), square(f, n), 0.6 * saw(f, n) + 0.6 * square(f / 2 if f > 60 else f, n, 0.4))[wave_kind]
        cutoff = 140.0 + f + peak * velocity * np.exp(-seconds_axis(n) / fall)
        return swept_lowpass(source, cutoff, q) * envelope(n, 0.004, 0.5, 0.7)

    def reese(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        source = saw(f * 1.004, n, 0.1) + saw(f * 0.996, n, 0.6) + 0.7 * np.sin(2 * np.pi * f * seconds_axis(n))
        sweep = 350.0 * tone + 250.0 * np.sin(2 * np.pi * 0.6 * seconds_axis(n)) + 500 * velocity
        return swept_lowpass(0.6 * source, sweep, 0.9) * envelope(n, 0.01, 1.0, 0.8)

    drop, drive = float(rng.uniform(6, 24)), float(rng.uniform(1.2, 3.5))

    def sub(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        t = seconds_axis(n)
        bent = f * (1.0 + (2.0 ** (drop / 12.0) - 1.0) * np.exp(-t / 0.018))
        wave = np.sin(2 * np.pi * np.cumsum(bent) / SAMPLE_RATE) * envelope(n, 0.003, 0.9 * body, 0.15)
        return np.tanh(drive * wave) / np.tanh(drive)

    ratio, depth = float(rng.choice((1.0, 2.0, 3.0, 0.5))), float(rng.uniform(1.5, 4.0))

    def fm(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        index = depth * velocity * (0.15 + np.exp(-seconds_axis(n) / (0.12 * body)))
        return frequency_modulation(f, n, ratio, index) * envelope(n, 0.003, 0.6, 0.6)

    def dub(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        wave = string(f, n, sustain=0.9 * body, damping=25.0, brightness=260 * tone, pluck=0.4, slope=2.2)
        return wave * envelope(n, 0.01, 1.5, 0.5)

    return {
        "fingered": fingered,
        "picked": picked,
        "slap": slap,
        "upright": upright,
        "synth": synth,
        "reese": reese,
        "sub": sub,
        "fm": fm,
        "dub": dub,
    }[name]


def render_bass(song: Song) -> Audio:
    """The song's bass line as mono audio [N], before effects."""
    rng = song.spec.generator("bass sound")
    voice = draw_bass(song.bass.instrument, rng)
    dry = play_notes(song.bass.notes, voice, song.n_samples, rng, release=float(rng.uniform(0.02, 0.07)))
    # Nothing musical lives below the lowest string, but pitch drops and clicks leave rumble there.
    return signal.sosfilt(signal.butter(2, 28.0, "highpass", fs=SAMPLE_RATE, output="sos"), dry)
