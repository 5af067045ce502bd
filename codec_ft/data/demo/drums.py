"""Drum kits: every piece is synthesised per song, then struck where the score says.

Membranes are sines that drop in pitch over resonant modes; snares add filtered noise; cymbals and hats are dense
inharmonic partials under noise, full band to 16 kHz.
"""

from dataclasses import dataclass

import numpy as np
from scipy import signal

from codec_ft.data.demo.score import SAMPLE_RATE, Song
from codec_ft.data.demo.synth import Audio, band_noise, seconds_axis

# Left-right place and level of the pieces as the audience sees the kit.
PLACES: dict[str, tuple[float, float]] = {
    "kick": (0.0, 0.9),
    "snare": (0.06, 1.05),
    "rim": (0.1, 0.6),
    "clap": (-0.05, 0.85),
    "brush": (0.05, 0.6),
    "hat": (0.35, 0.52),
    "hat_open": (0.35, 0.52),
    "ride": (-0.4, 0.5),
    "crash": (-0.45, 0.62),
    "tom_high": (0.3, 0.7),
    "tom_mid": (-0.1, 0.75),
    "tom_low": (-0.4, 0.85),
    "shaker": (-0.3, 0.36),
    "tambourine": (0.45, 0.38),
    "conga": (-0.3, 0.5),
}


@dataclass(frozen=True)
class Kit:
    """The character of a kit: kick in Hz and seconds, snare body and wires, hats in seconds, top end in Hz."""

    kick_hz: float
    kick_decay: float
    kick_click: float
    snare_hz: float
    snare_decay: float
    snare_wires: float
    hat_decay: float
    top: float
    electronic: bool


KITS: dict[str, Kit] = {
    "studio": Kit(52, 0.16, 0.35, 190, 0.13, 0.9, 0.045, 15_000, False),
    "tight": Kit(60, 0.10, 0.45, 230, 0.09, 0.8, 0.035, 14_000, False),
    "rock": Kit(56, 0.18, 0.6, 175, 0.19, 1.0, 0.06, 14_500, False),
    "jazz": Kit(68, 0.22, 0.15, 210, 0.16, 0.7, 0.04, 13_000, False),
    "dusty": Kit(58, 0.14, 0.25, 185, 0.12, 0.8, 0.05, 8_500, False),
    "eight": Kit(46, 0.42, 0.15, 180, 0.14, 0.7, 0.04, 16_000, True),
    "nine": Kit(50, 0.20, 0.55, 200, 0.12, 0.9, 0.05, 16_000, True),
    "machine": Kit(54, 0.15, 0.5, 220, 0.10, 0.9, 0.03, 15_500, True),
}


def _decay(n: int, seconds: float) -> Audio:
    return np.exp(-seconds_axis(n) / seconds)


def _membrane(n: int, frequency: float, decay: float, drop: float, drop_time: float) -> Audio:
    """A sine that starts `drop` times higher and falls to `frequency` Hz within `drop_time` seconds."""
    t = seconds_axis(n)
    pitch = frequency * (1.0 + (drop - 1.0) * np.exp(-t / drop_time))
    return np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE) * np.exp(-t / decay)


def _metal(rng: np.random.Generator, n: int, low: float, partials: int, top: float) -> Audio:
    """A struck plate: inharmonic partials from `low` Hz up, over noise, RMS near 1."""
    frequencies = low * np.sort(rng.uniform(1.0, (0.85 * top) / low, partials))
    t = seconds_axis(n)
    wave = np.zeros(n)
    for frequency in frequencies:
        wave += np.sin(2 * np.pi * frequency * t + rng.uniform(0, 2 * np.pi))
    return wave / np.sqrt(partials / 2) * 0.55 + 0.75 * band_noise(rng, n, min(1.5 * low, 0.6 * top), top)


def _kick(kit: Kit, rng: np.random.Generator) -> Audio:
    n = int((kit.kick_decay * 5 + 0.05) * SAMPLE_RATE)
    tune = kit.kick_hz * rng.uniform(0.9, 1.12)
    body = _membrane(n, tune, kit.kick_decay * rng.uniform(0.8, 1.3), rng.uniform(3, 6), rng.uniform(0.012, 0.03))
    click = band_noise(rng, n, 1800, 7000) * _decay(n, 0.004) + 0.4 * _membrane(n, 900, 0.006, 2.0, 0.003)
    return np.tanh(1.6 * body) + kit.kick_click * 0.5 * click


def _snare(kit: Kit, rng: np.random.Generator) -> Audio:
    n = int((kit.snare_decay * 6 + 0.05) * SAMPLE_RATE)
    tune = kit.snare_hz * rng.uniform(0.88, 1.15)
    decay = kit.snare_decay * rng.uniform(0.8, 1.25)
    body = _membrane(n, tune, 0.6 * decay, 1.5, 0.015) + 0.6 * _membrane(n, tune * 1.72, 0.4 * decay, 1.3, 0.01)
    wires = band_noise(rng, n, 1200, 9000) * (0.7 * _decay(n, 0.25 * decay) + 0.3 * _decay(n, decay))
    wires += 0.35 * band_noise(rng, n, 5000, kit.top) * _decay(n, 0.7 * decay)
    return 0.8 * body + 0.42 * kit.snare_wires * wires


def _clap(kit: Kit, rng: np.random.Generator) -> Audio:
    n = int(0.35 * SAMPLE_RATE)
    bursts = np.zeros(n)
    for k in range(4):
        start = int((0.011 * k + rng.uniform(0, 0.002)) * SAMPLE_RATE)
        bursts[start:] += _decay(n - start, 0.006 if k < 3 else 0.07)
    return 0.5 * bursts * band_noise(rng, n, 800, 7500)


def _hat(kit: Kit, rng: np.random.Generator, decay: float) -> Audio:
    n = int(min(decay * 6 + 0.03, 1.2) * SAMPLE_RATE)
    wave = _metal(rng, n, rng.uniform(3500, 4800), 24 if not kit.electronic else 8, kit.top)
    wave = signal.sosfilt(signal.butter(2, 5500, "highpass", fs=SAMPLE_RATE, output="sos"), wave)
    return 0.6 * wave * (0.75 * _decay(n, decay) + 0.25 * _decay(n, decay * 0.3))


def _cymbal(kit: Kit, rng: np.random.Generator, decay: float, low: float, ping: float) -> Audio:
    n = int(min(decay * 4, 2.6) * SAMPLE_RATE)
    wash = _metal(rng, n, low, 32, kit.top) * _decay(n, decay)
    stick = _metal(rng, n, 2200, 6, 9000) * _decay(n, 0.06)
    rise = np.minimum(1.0, seconds_axis(n) / 0.003)
    return 0.4 * rise * ((1 - ping) * wash + ping * stick) * np.linspace(1.0, 0.0, n)


def _tom(kit: Kit, rng: np.random.Generator, frequency: float) -> Audio:
    n = int(0.7 * SAMPLE_RATE)
    tune = frequency * rng.uniform(0.92, 1.1)
    body = _membrane(n, tune, 0.18, 1.6, 0.03) + 0.3 * _membrane(n, tune * 1.59, 0.09, 1.4, 0.02)
    return body + 0.2 * band_noise(rng, n, 1000, 6000) * _decay(n, 0.01)


def _rim(kit: Kit, rng: np.random.Generator) -> Audio:
    n = int(0.12 * SAMPLE_RATE)
    wood = _membrane(n, 480 * rng.uniform(0.9, 1.1), 0.012, 1.0, 0.01) + _membrane(n, 1720, 0.009, 1.0, 0.01)
    return wood + 0.35 * band_noise(rng, n, 2500, 9000) * _decay(n, 0.006)


def _shaken(rng: np.random.Generator, kit: Kit, low: float, jingle: float) -> Audio:
    n = int(0.16 * SAMPLE_RATE)
    t = seconds_axis(n)
    grain = band_noise(rng, n, low, kit.top) + jingle * _metal(rng, n, 6000, 10, kit.top)
    return 0.6 * grain * np.minimum(1.0, t / 0.012) * np.exp(-np.maximum(t - 0.012, 0) / 0.03)


def _brush(kit: Kit, rng: np.random.Generator) -> Audio:
    n = int(0.3 * SAMPLE_RATE)
    t = seconds_axis(n)
    return 0.4 * band_noise(rng, n, 900, 8000) * np.minimum(1.0, t / 0.02) * np.exp(-t / 0.09)


def strike(piece: str, kit: Kit, rng: np.random.Generator) -> Audio:
    """Synthesise one stroke of a piece at full velocity, mono [n].

    Raises:
        KeyError: no such piece.
    """
    makers = {
        "kick": lambda: _kick(kit, rng),
        "snare": lambda: _snare(kit, rng),
        "clap": lambda: _clap(kit, rng),
        "rim": lambda: _rim(kit, rng),
        "brush": lambda: _brush(kit, rng),
        "hat": lambda: _hat(kit, rng, kit.hat_decay),
        "hat_open": lambda: _hat(kit, rng, kit.hat_decay * 5),
        "ride": lambda: _cymbal(kit, rng, 0.5, 3200, 0.5),
        "crash": lambda: _cymbal(kit, rng, 0.7, 1800, 0.1),
        "tom_high": lambda: _tom(kit, rng, 165),
        "tom_mid": lambda: _tom(kit, rng, 120),
        "tom_low": lambda: _tom(kit, rng, 85),
        "shaker": lambda: _shaken(rng, kit, 5000, 0.0),
        "tambourine": lambda: _shaken(rng, kit, 6000, 1.0),
        "conga": lambda: _tom(kit, rng, 250) * 0.7,
    }
    sound = makers[piece]()
    taper = min(len(sound), int(0.05 * SAMPLE_RATE))
    sound[-taper:] *= np.linspace(1.0, 0.0, taper)
    return sound


def render_drums(song: Song) -> Audio:
    """The song's drums as stereo audio [N, 2], before effects.

    Each piece has three takes, so repeated strokes differ; soft strokes are darker as well as quieter.
    """
    rng = song.spec.generator("drum sound")
    kit = KITS[song.kit]
    out = np.zeros((song.n_samples, 2))
    takes: dict[tuple[str, int, bool], Audio] = {}
    for number, hit in enumerate(song.drums):
        soft = hit.velocity < 0.55
        key = (hit.piece, number % 3 if hit.piece in ("snare", "hat") else 0, soft)
        if key not in takes:
            sound = strike(hit.piece, kit, rng)
            takes[key] = signal.lfilter([0.45], [1, -0.55], sound) if soft else sound
        place, level = PLACES[hit.piece]
        begin = int(hit.time * SAMPLE_RATE)
        sound = takes[key][: song.n_samples - begin]
        gain = level * hit.velocity**1.4
        angle = (place + 1.0) * np.pi / 4.0
        out[begin : begin + len(sound), 0] += gain * np.cos(angle) * sound
        out[begin : begin + len(sound), 1] += gain * np.sin(angle) * sound
    return out
