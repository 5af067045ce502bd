"""Where a data set's separated stems come from: separators, stand-ins and folders of files, behind one interface."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from codec_ft.audio.files import AudioFileError, read_audio
from codec_ft.data.tracks import MIXTURE, Track

Stems = Mapping[str, np.ndarray]
"""Stem -> float32 [C, N]."""


class StemSource(ABC):
    """Gives the separated stems of a track. Workers get a copy of it, so it is small and can be pickled.

    Attributes:
        name: of the folder in `separated/`, unless the user chooses another.
        stems: what it gives of every track.
        origin: what decides the result, as numbers and words: tracks of different origins are not mixed.
    """

    name: str
    stems: tuple[str, ...]
    origin: dict[str, str | int]

    def choose(self, tracks: Sequence[Track]) -> list[Track]:
        """The tracks that it has stems of, and a word about those that it has not."""
        return list(tracks)

    def prepare(self, folder: Path, tracks: Sequence[Track], jobs: int) -> None:
        """What has to be done once before the first track; `folder` is the one that the stems go to."""
        del folder, tracks, jobs

    @abstractmethod
    def separate(self, track: Track) -> tuple[Stems, int]:
        """A track's stems, of the mixture's length and channels, and their sample rate in Hz.

        Raises:
            UserError: a file is bad.
        """

    def finish(self, folder: Path, tracks: Sequence[Track]) -> None:
        """What is left to do after the last track, once."""
        del folder, tracks


def read_mixture(track: Track) -> tuple[np.ndarray, int]:
    """The mixture float32 [C, N], summed up where it has no file, and its sample rate in Hz.

    Raises:
        AudioFileError: a file is bad, or stems differ in rate, channels or length.
    """
    first, *others = track.paths(MIXTURE)
    mixture, rate = read_audio(first)
    for path in others:
        audio, other_rate = read_audio(path)
        if other_rate != rate or audio.shape != mixture.shape:
            raise AudioFileError.at(
                path,
                f"is {audio.shape[0]} x {audio.shape[1]} samples at {other_rate} Hz, but {first.name} is "
                f"{mixture.shape[0]} x {mixture.shape[1]} at {rate} Hz",
                "Export the stems alike, or add mixture.wav",
            )
        mixture = mixture + audio
    return mixture, rate
