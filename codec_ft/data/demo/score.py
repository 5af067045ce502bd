"""What a song is before it sounds: sections, chords, notes, hits and syllables, all in seconds and MIDI numbers."""

import zlib
from dataclasses import dataclass

import numpy as np

SAMPLE_RATE = 44_100
STEMS = ("drums", "bass", "other", "vocals")
KEY_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True)
class TrackSpec:
    """All that a track depends on: the set's seed, the split, the track's number in it, and its length in seconds."""

    seed: int
    split: str
    index: int
    seconds: float

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator of this track for one purpose, independent of every other track and purpose."""
        return np.random.default_rng(
            [self.seed, zlib.crc32(self.split.encode()), self.index, zlib.crc32(purpose.encode())]
        )


@dataclass(frozen=True)
class Note:
    """A pitched note: start and duration in seconds, MIDI pitch, velocity in (0, 1]."""

    start: float
    duration: float
    pitch: float
    velocity: float


@dataclass(frozen=True)
class Hit:
    """A stroke on one piece of the drum kit: time in seconds, velocity in (0, 1]."""

    time: float
    piece: str
    velocity: float


@dataclass(frozen=True)
class Syllable:
    """A sung syllable: the vowel starts at `start`, its consonant just before. `consonant` may be empty."""

    start: float
    duration: float
    pitch: float
    velocity: float
    consonant: str
    vowel: str


@dataclass(frozen=True)
class Chord:
    """A chord by its root (pitch class 0-11) and the semitones above it, root first."""

    root: int
    intervals: tuple[int, ...]


@dataclass(frozen=True)
class Section:
    """A stretch of bars in which the same stems play. `energy` in [0, 1] moves velocity and density."""

    name: str
    first_bar: int
    n_bars: int
    stems: frozenset[str]
    energy: float


@dataclass(frozen=True)
class Part:
    """The notes of one instrument."""

    instrument: str
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Singer:
    """A voice: `tract` scales the formants (1: table value), `breath` and `vibrato` are strengths in [0, 1]."""

    female: bool
    lowest: int
    tract: float
    breath: float
    vibrato: float
    effort: float


@dataclass(frozen=True)
class Song:
    """A whole score, ready to be rendered."""

    spec: TrackSpec
    style: str
    key: int
    mode: str
    tempo: float
    sections: tuple[Section, ...]
    kit: str
    drums: tuple[Hit, ...]
    bass: Part
    other: tuple[Part, ...]
    singer: Singer
    vocals: tuple[Syllable, ...]
    harmony: tuple[Syllable, ...]

    @property
    def title(self) -> str:
        """The track's folder name, such as "000 - funk in E minor, 98 bpm"."""
        return f"{self.spec.index:03d} - {self.style} in {KEY_NAMES[self.key]} {self.mode}, {self.tempo:.0f} bpm"

    @property
    def n_samples(self) -> int:
        """Length of the track in samples."""
        return round(self.spec.seconds * SAMPLE_RATE)
