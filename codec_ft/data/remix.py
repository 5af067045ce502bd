"""Mixtures made anew: the target with other stems of random tracks at random places (Uhlich et al., 2017)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codec_ft.audio.files import audio_info
from codec_ft.data.reader import ExcerptReader
from codec_ft.data.speed import UNCHANGED
from codec_ft.data.tracks import Track
from codec_ft.errors import UserError


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
        longest: seconds that an excerpt of a file may have; shorter files are left out.
        gain_db: range of the random gain of each stem.

    Raises:
        UserError: there is nothing to make a remix from, or a file is bad.
    """

    def __init__(self, tracks: Sequence[Track], stem: str, longest: float, gain_db: tuple[float, float]) -> None:
        self.gain_db = gain_db
        self._files: dict[str, list[tuple[Path, float]]] = {}
        for track in tracks:
            for name, path in track.stems.items():
                duration = audio_info(path).seconds
                if name != stem and duration >= longest:
                    self._files.setdefault(name, []).append((path, duration))
        if not self._files:
            raise UserError(
                f"data.remix_probability: no stem beside {stem} lasts {longest:g} s, so there is nothing to "
                "make remixes from. Set it to 0, or choose shorter excerpts."
            )

    @property
    def paths(self) -> list[Path]:
        """All files that may be drawn."""
        return [path for files in self._files.values() for path, _ in files]

    def draw(self, track: Track, rng: np.random.Generator, seconds: float) -> tuple[Part, ...]:
        """One part for each stem that `track` has beside the target, from a random track, place and gain.

        Args:
            track: the target's.
            rng: where the randomness comes from.
            seconds: how much of the files is heard, `longest` or less.
        """
        parts = []
        for name in sorted(set(track.stems) & set(self._files)):
            candidates = self._files[name]
            path, duration = candidates[int(rng.integers(len(candidates)))]
            start = rng.random() * (duration - seconds)
            parts.append(Part(path, start, random_gain(rng, self.gain_db)))
        return tuple(parts)

    def read(self, parts: Sequence[Part], reader: ExcerptReader, seconds: float, speed: int = UNCHANGED) -> np.ndarray:
        """The sum of some parts, each of which lasts `seconds` when it is played at `speed` percent: float32 [C, N].

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        total = np.zeros((reader.channels, round(seconds * reader.sample_rate)), dtype=np.float32)
        for part in parts:
            total += reader.read([part.path], part.start_seconds, seconds, speed) * part.gain
        return total


def random_gain(rng: np.random.Generator, range_db: tuple[float, float]) -> np.float32:
    """A factor that is drawn evenly, in dB, from a range."""
    return np.float32(10 ** (rng.uniform(*range_db) / 20))
