"""Mixtures made anew: the target with other stems of random tracks at random places (Uhlich et al., 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codec_ft.audio.files import audio_info
from codec_ft.data.reader import ExcerptReader
from codec_ft.data.tracks import Track


@dataclass(frozen=True)
class Part:
    """One stem in a remix: a file, the second at which it begins, and the factor it is multiplied by."""

    path: Path
    start_seconds: float
    gain: np.float32


class Remixer:
    """Draws what stands beside the target in a remix.

    Args:
        tracks: where the stems come from.
        stem: the target, which is never among them.
        seconds: length of the excerpts; shorter files are left out.
        gain_db: range of the random gain of each stem.
    """

    def __init__(self, tracks: Sequence[Track], stem: str, seconds: float, gain_db: tuple[float, float]) -> None:
        self.seconds = seconds
        self.gain_db = gain_db
        self._files: dict[str, list[tuple[Path, float]]] = {}
        for track in tracks:
            for name, path in track.stems.items():
                duration = audio_info(path).seconds
                if name != stem and duration >= seconds:
                    self._files.setdefault(name, []).append((path, duration))

    @property
    def paths(self) -> list[Path]:
        """All files that may be drawn."""
        return [path for files in self._files.values() for path, _ in files]

    def draw(self, track: Track, rng: np.random.Generator) -> tuple[Part, ...]:
        """One part for each stem that `track` has beside the target, from a random track, place and gain."""
        parts = []
        for name in sorted(set(track.stems) & set(self._files)):
            candidates = self._files[name]
            path, duration = candidates[int(rng.integers(len(candidates)))]
            start = rng.random() * (duration - self.seconds)
            parts.append(Part(path, start, random_gain(rng, self.gain_db)))
        return tuple(parts)

    def read(self, parts: Sequence[Part], reader: ExcerptReader) -> np.ndarray:
        """The sum of some parts: float32 [C, N].

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        total = np.zeros((reader.channels, round(self.seconds * reader.sample_rate)), dtype=np.float32)
        for part in parts:
            total += reader.read([part.path], part.start_seconds, self.seconds) * part.gain
        return total


def random_gain(rng: np.random.Generator, range_db: tuple[float, float]) -> np.float32:
    """A factor that is drawn evenly, in dB, from a range."""
    return np.float32(10 ** (rng.uniform(*range_db) / 20))
