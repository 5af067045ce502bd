"""Everything that is neither drums, bass nor voice: keys, guitars, pads, organ, brass, mallets and synths."""

import numpy as np
from scipy import signal

from codec_ft.data.demo.effects import chorus, pan
from codec_ft.data.demo.score import SAMPLE_RATE, Part, Song
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

# How long a note rings after its key is let go, in seconds.
RELEASES = {"strings": 0.35, "warm_pad": 0.5, "piano": 0.18, "vibraphone": 0.5, "muted_guitar": 0.03, "clavinet": 0.03}
WIDE = {"strings", "warm_pad", "super_saw", "organ", "electric_piano"}


def _strings_voice(tone: float, body: float) -> dict[str, Voice]:
    """Instruments that are a string with a body around it."""

    def piano(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        settings = dict(sustain=2.2 * (220 / f) ** 0.5 * body, damping=0.9, brightness=900 * tone * velocity + 2 * f)
        stiff = 2.5e-4 * (f / 220) ** 1.2
        wave = string(f * 0.9996, n, pluck=0.12, inharmonicity=stiff, slope=2.2, **settings)
        wave += string(f * 1.0005, n, pluck=0.13, inharmonicity=stiff, slope=2.2, **settings)
        return 0.5 * wave + 0.02 * band_noise(noise, n, 150, 1500) * np.exp(-seconds_axis(n) / 0.02)

    def plucked(sustain: float, damping: float, brightness: float, place: float, slope: float) -> Voice:
        def voice(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
            bright = brightness * tone * (0.4 + 0.7 * velocity)
            wave = string(f, n, sustain=sustain * body, damping=damping, brightness=bright, pluck=place, slope=slope)
            return wave + 0.03 * band_noise(noise, n, 1500, 8000) * np.exp(-seconds_axis(n) / 0.004)

        return voice

    def distorted_guitar(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        wave = string(f, n, sustain=2.5 * body, damping=1.2, brightness=2500 * tone, pluck=0.14, slope=1.2)
        return np.tanh(4.0 * wave) * 0.6

    return {
        "piano": piano,
        "acoustic_guitar": plucked(0.9, 1.2, 3200, 0.16, 1.2),
        "nylon_guitar": plucked(0.6, 3.0, 1500, 0.22, 1.6),
        "clean_guitar": plucked(1.2, 1.5, 2400, 0.18, 1.4),
        "archtop_guitar": plucked(0.5, 4.0, 1100, 0.25, 1.6),
        "muted_guitar": plucked(0.09, 4.0, 2600, 0.15, 1.3),
        "clavinet": plucked(0.5, 1.0, 3800, 0.07, 1.1),
        "distorted_guitar": distorted_guitar,
    }


def _struck_voices(tone: float, body: float) -> dict[str, Voice]:
    """Tines and bars: modes of their own decay, or frequency modulation."""

    def electric_piano(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        t = seconds_axis(n)
        bark = frequency_modulation(f, n, 1.0, 1.8 * tone * velocity * np.exp(-t / 0.6))
        tine = np.sin(2 * np.pi * f * 14.0 * t) * np.exp(-t / 0.05) if f * 14 < 16_000 else 0.0
        return (bark + 0.12 * velocity * tine) * envelope(n, 0.002, 0.9 * body, 0.1)

    def bars(ratios: tuple[float, ...], levels: tuple[float, ...], decay: float) -> Voice:
        def voice(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
            t = seconds_axis(n)
            wave = np.zeros(n)
            for ratio, level in zip(ratios, levels, strict=True):
                if f * ratio < 15_000:
                    wave += level * np.sin(2 * np.pi * f * ratio * t) * np.exp(-t * ratio**0.8 / (decay * body))
            return wave + 0.04 * band_noise(noise, n, 800, 5000) * np.exp(-t / 0.005)

        return voice

    return {
        "electric_piano": electric_piano,
        "vibraphone": bars((1.0, 4.0, 9.2), (1.0, 0.25, 0.08 * tone), 1.4),
        "marimba": bars((1.0, 3.93, 9.24), (1.0, 0.3, 0.12 * tone), 0.35),
    }


def _synth_voices(tone: float, body: float) -> dict[str, Voice]:
    """Oscillators under filters: pads, strings, brass, leads, plucks and an organ."""

    def stack(f: float, n: int, spread: float, voices: int, noise: np.random.Generator) -> Audio:
        detune = np.linspace(-spread, spread, voices)
        return sum(saw(f * (1.0 + d), n, noise.uniform()) for d in detune) / np.sqrt(voices)

    def strings(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        cutoff = np.full(n, 1800.0 * tone + f)
        return swept_lowpass(stack(f, n, 0.006, 4, noise), cutoff) * envelope(n, 0.18, 1.0, 0.9)

    def warm_pad(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        cutoff = 500.0 * tone + f + 500.0 * (1.0 - np.exp(-seconds_axis(n) / 0.8))
        return swept_lowpass(stack(f, n, 0.009, 3, noise), cutoff, 0.9, 4) * envelope(n, 0.3, 1.0, 0.9)

    def super_saw(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        cutoff = 1500.0 + 3500.0 * tone * velocity * np.exp(-seconds_axis(n) / 0.5)
        return swept_lowpass(stack(f, n, 0.012, 6, noise), cutoff) * envelope(n, 0.006, 0.6, 0.7)

    def pluck(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        cutoff = 300.0 + f + 4000.0 * tone * velocity * np.exp(-seconds_axis(n) / 0.09)
        return swept_lowpass(square(f, n, 0.35), cutoff, 1.4) * envelope(n, 0.002, 0.3 * body, 0.0)

    def brass(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        rise = 1.0 - np.exp(-seconds_axis(n) / 0.05)
        cutoff = 300.0 + f + 2600.0 * tone * velocity * rise * envelope(n, 0.001, 0.4, 0.6)
        return swept_lowpass(stack(f, n, 0.004, 3, noise), cutoff, 1.0) * envelope(n, 0.03, 0.5, 0.75)

    def lead(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        t = seconds_axis(n)
        source = 0.6 * square(f, n, 0.42) + 0.5 * saw(f * 1.003, n)
        return (
            swept_lowpass(source, np.full(n, 1800.0 * tone + 2 * f), 1.2)
            * envelope(n, 0.02, 0.6, 0.8)
            * (1.0 + 0.15 * np.sin(2 * np.pi * 5.2 * t))
        )

    bars = np.array([0.8, 0.6, 1.0, 0.7, 0.5 * tone, 0.35 * tone, 0.2 * tone, 0.15 * tone])

    def organ(f: float, n: int, velocity: float, noise: np.random.Generator) -> Audio:
        t = seconds_axis(n)
        wave = np.zeros(n)
        for level, ratio in zip(bars, (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0), strict=True):
            if f * ratio < 9000:
                wave += level * np.sin(2 * np.pi * f * ratio * t)
        rotor = 1.0 + 0.18 * np.sin(2 * np.pi * 6.4 * t)
        return np.tanh(0.35 * wave * rotor) * envelope(n, 0.006, 1.0, 1.0)

    return {
        "strings": strings,
        "warm_pad": warm_pad,
        "super_saw": super_saw,
        "pluck": pluck,
        "brass": brass,
        "lead": lead,
        "organ": organ,
    }


def draw_instrument(name: str, rng: np.random.Generator) -> Voice:
    """An instrument by name, with a tone and a body of its own.

    Raises:
        KeyError: no such instrument.
    """
    tone, body = float(rng.uniform(0.65, 1.5)), float(rng.uniform(0.8, 1.3))
    return (_strings_voice(tone, body) | _struck_voices(tone, body) | _synth_voices(tone, body))[name]


def _render_part(part: Part, song: Song, number: int) -> Audio:
    """One part in stereo [N, 2], at its own place, with RMS 0.1 over its active samples."""
    rng = song.spec.generator(f"other sound {number}")
    voice = draw_instrument(part.instrument, rng)
    mono = play_notes(part.notes, voice, song.n_samples, rng, RELEASES.get(part.instrument, 0.08))
    if part.instrument == "distorted_guitar":
        mono = signal.sosfilt(signal.butter(4, 4200, fs=SAMPLE_RATE, output="sos"), np.tanh(1.5 * mono))
    mono = signal.sosfilt(signal.butter(2, 110, "highpass", fs=SAMPLE_RATE, output="sos"), mono)
    active = np.abs(mono) > 1e-3
    mono = mono * (0.1 / (np.sqrt(np.mean(mono[active] ** 2)) + 1e-9) if active.any() else 0.0)
    if part.instrument in WIDE or rng.random() < 0.25:
        return chorus(mono, rate=float(rng.uniform(0.3, 1.2)), depth=float(rng.uniform(0.001, 0.003)))
    return pan(mono, float(rng.uniform(-0.6, 0.6)))


def render_other(song: Song) -> Audio:
    """All parts of the stem "other" as stereo audio [N, 2], before the stem's effects."""
    out = np.zeros((song.n_samples, 2))
    for number, part in enumerate(song.other):
        out += (1.0, 0.55, 0.6)[number % 3] * _render_part(part, song, number)
    return out
