"""A singer: a source and a filter.

The source is one pulse per glottal period, and breath noise; the filter is a set of formants that glide from one
vowel to the next. Each pulse is the minimum-phase response of source tilt and formants at that moment, placed with
sub-sample accuracy. Consonants are filtered noise, silence with a burst, or voiced sounds with formants of their own.
Formants: Peterson and Barney, "Control methods used in a study of the vowels", JASA 1952.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal

from codec_ft.data.demo.score import SAMPLE_RATE, Singer, Song, Syllable
from codec_ft.data.demo.synth import Audio, Index, band_noise, hertz, seconds_axis

Spectra = NDArray[np.complexfloating]

HOP = 256  # samples from one frame of the voice's course to the next: 6 ms
PULSE_SIZE = 2048  # samples of the response to one glottal pulse: 46 ms, in which the narrowest formant dies away
FRACTIONS = 16  # places between two samples at which a pulse may begin
SILENCE = 2e-3  # amplitude of voice and breath below which a frame is not rendered

# First three formants in Hz: (men, women).
VOWEL_FORMANTS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "a": ((730, 1090, 2440), (850, 1220, 2810)),
    "e": ((530, 1840, 2480), (610, 2330, 2990)),
    "i": ((270, 2290, 3010), (310, 2790, 3310)),
    "o": ((570, 840, 2410), (590, 920, 2710)),
    "u": ((300, 870, 2240), (370, 950, 2670)),
    "ae": ((660, 1720, 2410), (860, 2050, 2850)),
    "er": ((490, 1350, 1690), (500, 1640, 1960)),
}
UPPER_FORMANTS = ((3400.0, 4500.0), (4000.0, 5100.0))
BANDWIDTHS = np.array([75.0, 95.0, 140.0, 220.0, 350.0])
PEAKS_DB = np.array([25.0, 19.0, 18.0, 16.0, 12.0])


@dataclass(frozen=True)
class Consonant:
    """How a consonant is made.

    `voiced` is the voice's amplitude during it, `formants` its place of articulation (Hz, men). Noise: `band` in Hz,
    `level` relative to the vowel; for stops it is a burst of `burst` seconds after a closure, else it lasts throughout.
    """

    seconds: float
    voiced: float = 0.0
    formants: tuple[float, float, float] = (500.0, 1500.0, 2500.0)
    band: tuple[float, float] = (1000.0, 8000.0)
    level: float = 0.0
    burst: float = 0.0
    nasal: bool = False


CONSONANTS: dict[str, Consonant] = {
    "s": Consonant(0.11, 0.0, (320, 1700, 2600), (5200, 12000), 0.22),
    "sh": Consonant(0.11, 0.0, (320, 1800, 2300), (2300, 7000), 0.24),
    "f": Consonant(0.09, 0.0, (340, 1100, 2100), (1500, 13000), 0.07),
    "th": Consonant(0.08, 0.0, (320, 1300, 2500), (2500, 13000), 0.06),
    "h": Consonant(0.07, 0.0, (500, 1500, 2500), (700, 6000), 0.09),
    "z": Consonant(0.08, 0.3, (320, 1700, 2600), (5000, 12000), 0.13),
    "v": Consonant(0.06, 0.35, (300, 1100, 2100), (1500, 9000), 0.04),
    "p": Consonant(0.09, 0.0, (300, 900, 2200), (400, 4000), 0.30, 0.012),
    "t": Consonant(0.09, 0.0, (300, 1750, 2650), (3000, 11000), 0.32, 0.018),
    "k": Consonant(0.10, 0.0, (300, 2000, 2300), (1400, 5500), 0.32, 0.025),
    "ch": Consonant(0.12, 0.0, (300, 1800, 2400), (2400, 8000), 0.30, 0.06),
    "b": Consonant(0.06, 0.12, (250, 850, 2200), (300, 3000), 0.16, 0.007),
    "d": Consonant(0.06, 0.12, (250, 1700, 2600), (2500, 8000), 0.18, 0.010),
    "g": Consonant(0.07, 0.10, (250, 1950, 2300), (1300, 4500), 0.18, 0.014),
    "m": Consonant(0.08, 0.45, (260, 1000, 2200), nasal=True),
    "n": Consonant(0.08, 0.45, (260, 1500, 2500), nasal=True),
    "ng": Consonant(0.08, 0.42, (260, 2000, 2600), nasal=True),
    "l": Consonant(0.07, 0.6, (360, 1200, 2700)),
    "r": Consonant(0.07, 0.6, (380, 1200, 1600)),
    "w": Consonant(0.07, 0.55, (310, 700, 2200)),
    "y": Consonant(0.07, 0.55, (280, 2200, 2900)),
}


@dataclass
class _Tracks:
    """What the voice does over time, one value per frame of HOP samples: F frames."""

    pitch: Audio  # [F] MIDI
    voice: Audio  # [F] amplitude of the pulses
    breath: Audio  # [F] amplitude of the noise
    formants: Audio  # [F, 3] Hz
    nasal: Audio  # [F] 0 to 1


def vowel_formants(vowel: str, singer: Singer) -> Audio:
    """The three lowest formants of a singer's vowel in Hz, [3]."""
    return np.array(VOWEL_FORMANTS[vowel][singer.female]) * singer.tract


def _paint(syllables: Sequence[Syllable], singer: Singer, rng: np.random.Generator, n_samples: int) -> _Tracks:
    """Write the syllables as steps on the time axis, then let lips, tongue and larynx smooth them."""
    n_frames = n_samples // HOP + 2
    rate = SAMPLE_RATE / HOP
    first = vowel_formants(syllables[0].vowel, singer)
    tracks = _Tracks(
        np.full(n_frames, syllables[0].pitch, dtype=float),
        np.zeros(n_frames),
        np.zeros(n_frames),
        np.tile(first, (n_frames, 1)),
        np.zeros(n_frames),
    )
    vibrato = np.zeros(n_frames)
    scale = singer.tract * (1.15 if singer.female else 1.0)
    for number, syllable in enumerate(syllables):
        begin = int(syllable.start * rate)
        following = syllables[number + 1] if number + 1 < len(syllables) else None
        until = syllable.start + syllable.duration
        legato = following is not None and following.start - until < 0.06
        if following is not None and legato:
            until = following.start
        end = min(n_frames, int(until * rate))
        consonant = CONSONANTS.get(syllable.consonant)
        opening = begin
        if consonant is not None:
            opening = max(0, int((syllable.start - consonant.seconds) * rate))
            tracks.voice[opening:begin] = consonant.voiced * syllable.velocity
            tracks.breath[opening:begin] = 0.0
            tracks.nasal[opening:begin] = consonant.nasal
            tracks.formants[opening:begin] = np.array(consonant.formants) * scale
        tracks.pitch[opening:] = syllable.pitch
        tracks.voice[begin:end] = syllable.velocity
        tracks.breath[begin:end] = syllable.velocity
        tracks.voice[end:] = tracks.breath[end:] = 0.0
        tracks.formants[begin:] = vowel_formants(syllable.vowel, singer)
        held = np.arange(end - begin) / rate
        vibrato[begin:end] = np.clip((held - 0.25) / 0.35, 0.0, 1.0)
        if held.size > 8:
            # A note swells a little and then relaxes.
            tracks.voice[begin:end] *= 1.0 - 0.25 * (held / held[-1]) ** 2
    tracks.pitch = ndimage.gaussian_filter1d(tracks.pitch, 0.022 * rate)
    tracks.voice = ndimage.gaussian_filter1d(tracks.voice, 0.010 * rate)
    tracks.breath = ndimage.gaussian_filter1d(tracks.breath, 0.014 * rate)
    tracks.nasal = ndimage.gaussian_filter1d(tracks.nasal, 0.008 * rate)
    tracks.formants = ndimage.gaussian_filter1d(tracks.formants, 0.018 * rate, axis=0)
    wander = ndimage.gaussian_filter1d(rng.standard_normal(n_frames), 0.15 * rate)
    wobble_rate = rng.uniform(4.8, 6.2) * (1.0 + 0.04 * wander / (wander.std() + 1e-9))
    wobble = np.sin(2 * np.pi * np.cumsum(wobble_rate) / rate)
    depth = ndimage.gaussian_filter1d(vibrato, 0.05 * rate) * 0.55 * singer.vibrato
    tracks.pitch += depth * wobble + 0.12 * wander / (wander.std() + 1e-9)
    tracks.voice *= 1.0 + 0.08 * depth * wobble
    return tracks


def _responses(tracks: _Tracks, frames: Index, singer: Singer) -> Spectra:
    """Minimum-phase spectra [len(frames), PULSE_SIZE // 2 + 1] of source tilt, formants and nasal zero.

    A formant is a pair of poles in front of a wider pair of zeros: a peak that leaves the rest of the spectrum alone.
    """
    turn = np.exp(-2j * np.pi * np.arange(PULSE_SIZE // 2 + 1) / PULSE_SIZE).astype(np.complex64)
    f0 = hertz(tracks.pitch[frames])
    formants = np.empty((len(frames), 5))
    formants[:, :3] = tracks.formants[frames]
    formants[:, 3:] = np.array(UPPER_FORMANTS[singer.female]) * singer.tract
    # Singers open the jaw until the first formant clears the fundamental.
    formants[:, 0] = np.maximum(formants[:, 0], 1.05 * f0)
    loudness = np.clip(tracks.voice[frames], 0.05, 1.0)
    corner = 120.0 + 430.0 * singer.effort * loudness
    glottal = np.exp(-2 * np.pi * corner / SAMPLE_RATE)[:, None].astype(np.float32)
    soft = np.exp(-2 * np.pi * (3500.0 + 5000.0 * singer.effort) / SAMPLE_RATE).astype(np.float32)
    # Tilt: -12 dB per octave from the glottis, +6 from the lips, and softer still at the top.
    response = (
        (1.0 - 0.98 * turn) / ((1.0 - glottal * turn) ** 2 * (1.0 - soft * turn)) * (1.0 - glottal) * (1.0 - soft)
    )
    for k in range(5):
        peak = PEAKS_DB[k] - (6.0 if k == 0 else 9.0) * tracks.nasal[frames] * (k < 3)
        response *= _bell(turn, formants[:, k], BANDWIDTHS[k] * (1.0 + 0.5 * tracks.nasal[frames]), peak)
    return response * _bell(
        turn, np.full(len(frames), 850.0), np.full(len(frames), 120.0), -14.0 * tracks.nasal[frames]
    )


def _bell(turn: Spectra, frequency: Audio, bandwidth: Audio, gain_db: Audio) -> Spectra:
    """Response of a resonance (gain > 0) or its inverse (gain < 0), minimum phase, [F, bins]."""
    ratio = 10.0 ** (np.abs(gain_db) / 20.0)
    angle = 2 * np.pi * frequency / SAMPLE_RATE
    narrow = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
    wide = np.exp(-np.pi * bandwidth * ratio / SAMPLE_RATE)

    def polynomial(radius: Audio) -> Spectra:
        first = (-2.0 * radius * np.cos(angle))[:, None].astype(np.float32)
        second = (radius**2)[:, None].astype(np.float32)
        return 1.0 + turn * (first + second * turn)

    if np.all(gain_db <= 0.0):
        return polynomial(narrow) / polynomial(wide)
    return polynomial(wide) / polynomial(narrow)


def _pulses(tracks: _Tracks, responses: Spectra, row: Index, rng: np.random.Generator, n_samples: int) -> Audio:
    """Add one response per glottal period, [n_samples]. `row` maps a frame to its response (-1: none)."""
    frame_axis = np.arange(len(tracks.pitch)) * HOP
    frequency = hertz(np.interp(np.arange(n_samples), frame_axis, tracks.pitch))
    cycles = np.cumsum(frequency / SAMPLE_RATE)
    last = np.flatnonzero(np.diff(np.floor(cycles)) > 0)
    step = frequency[last + 1] / SAMPLE_RATE
    # Where inside the sample interval the period begins, and the larynx' own unsteadiness (jitter).
    place = last + 1.0 - (cycles[last + 1] % 1.0) / step + rng.normal(0.0, 0.006, len(last)) / step
    frame = np.clip((place / HOP).astype(int), 0, len(row) - 1)
    keep = (row[frame] >= 0) & (place > 0)
    place, frame = place[keep], frame[keep]
    whole = np.floor(place).astype(int)
    fraction = ((place - whole) * FRACTIONS).astype(int)
    bins = np.arange(PULSE_SIZE // 2 + 1)
    delays = np.exp(-2j * np.pi * np.arange(FRACTIONS)[:, None] / FRACTIONS * bins / PULSE_SIZE).astype(np.complex64)
    gain = tracks.voice[frame] * (1.0 + rng.normal(0.0, 0.03, len(frame)))
    out = np.zeros(n_samples + PULSE_SIZE, dtype=np.float32)
    fade = np.ones(PULSE_SIZE, dtype=np.float32)
    fade[PULSE_SIZE // 2 :] = np.hanning(PULSE_SIZE)[PULSE_SIZE // 2 :]
    for first in range(0, len(frame), 512):
        part = slice(first, first + 512)
        waves = fft.irfft(responses[row[frame[part]]] * delays[fraction[part]], PULSE_SIZE) * fade
        waves *= gain[part, None].astype(np.float32)
        for begin, wave in zip(whole[part].tolist(), waves, strict=True):
            out[begin : begin + PULSE_SIZE] += wave[: len(out) - begin]
    return out[:n_samples].astype(float)


def _breath(tracks: _Tracks, responses: Spectra, active: Index, rng: np.random.Generator, n_samples: int) -> Audio:
    """Noise through the formants, overlap-added frame by frame, [n_samples]."""
    size = 4 * HOP
    shape = np.abs(responses[:, :: PULSE_SIZE // size])
    phases = np.exp(2j * np.pi * rng.uniform(size=shape.shape)).astype(np.complex64)
    # The lips' and glottis' tilt is for pulses; turbulence is brighter.
    bright = np.minimum(1.0, np.arange(shape.shape[1]) / 60.0) ** 0.5
    grains = fft.irfft(shape * bright * phases, size) * np.hanning(size) * tracks.breath[active][:, None] * size**0.5
    out = np.zeros((len(tracks.pitch) + 4) * HOP)
    for frame, grain in zip(active.tolist(), grains, strict=True):
        out[frame * HOP : frame * HOP + size] += grain
    return out[size // 2 : size // 2 + n_samples]


def _consonant_noise(syllables: Sequence[Syllable], rng: np.random.Generator, n_samples: int) -> Audio:
    """Hiss of the fricatives and bursts of the stops, relative to a vowel of RMS 1, [n_samples]."""
    out = np.zeros(n_samples)
    for syllable in syllables:
        consonant = CONSONANTS.get(syllable.consonant)
        if consonant is None or consonant.level == 0.0:
            continue
        seconds = consonant.burst * 3 if consonant.burst else consonant.seconds * 1.1
        n = int(seconds * SAMPLE_RATE)
        t = seconds_axis(n)
        if consonant.burst:
            shape = np.exp(-t / consonant.burst)
            begin = int((syllable.start - consonant.burst * 1.5) * SAMPLE_RATE)
        else:
            shape = np.sin(np.pi * np.minimum(1.0, t / seconds)) ** 0.6
            begin = int((syllable.start - consonant.seconds) * SAMPLE_RATE)
        noise = band_noise(rng, n, *consonant.band) * shape * consonant.level * syllable.velocity
        skipped = max(0, -begin)
        begin = max(0, begin)
        noise = noise[skipped : skipped + n_samples - begin]
        out[begin : begin + len(noise)] += noise
    return out


def sing_syllables(syllables: Sequence[Syllable], singer: Singer, rng: np.random.Generator, n_samples: int) -> Audio:
    """Sing a line: mono audio [n_samples], RMS 0.1 where the voice sounds. No syllables: silence."""
    if not syllables:
        return np.zeros(n_samples)
    tracks = _paint(syllables, singer, rng, n_samples)
    active = np.flatnonzero(tracks.voice + tracks.breath > SILENCE)
    row = np.full(len(tracks.pitch), -1)
    row[active] = np.arange(len(active))
    responses = _responses(tracks, active, singer)
    voice = _pulses(tracks, responses, row, rng, n_samples)
    sounding = np.abs(voice) > 1e-4 * np.abs(voice).max()
    voice /= np.sqrt(np.mean(voice[sounding] ** 2))
    breath = _breath(tracks, responses, active, rng, n_samples)
    breath *= 1.0 / (np.sqrt(np.mean(breath[sounding] ** 2)) + 1e-9)
    breathiness = 0.012 + 0.07 * singer.breath
    mix = voice + breathiness * breath + 1.7 * _consonant_noise(syllables, rng, n_samples)
    return 0.1 * signal.sosfilt(signal.butter(2, 90, "highpass", fs=SAMPLE_RATE, output="sos"), mix)


def render_vocals(song: Song) -> tuple[Audio, Audio]:
    """The lead voice and the harmony, both mono [N], before effects. The harmony is silent in most songs."""
    lead = sing_syllables(song.vocals, song.singer, song.spec.generator("lead voice"), song.n_samples)
    harmony = sing_syllables(song.harmony, song.singer, song.spec.generator("harmony voice"), song.n_samples)
    return lead, 0.5 * harmony
