"""Separated stems that another program wrote: any folder of audio files, matched with the tracks of a data set."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from codec_ft.audio.files import AudioFileError, audio_info, read_audio
from codec_ft.data.layouts import MUSDB_LAYOUT, find_named, plain_name
from codec_ft.data.separators.sources import Stems, StemSource, read_mixture
from codec_ft.data.tracks import Track
from codec_ft.errors import UserError

logger = logging.getLogger(__name__)

LENGTH_TOLERANCE = 0.5
"""Seconds by which a file may be longer or shorter than its mixture: separators pad and cut at the end."""
SHOWN = 5
"""Names that a message lists."""


class FolderSource(StemSource):
    """Files that another separator wrote for the mixtures of a data set.

    Args:
        folder: where they lie.
        tracks: the data set's tracks.
        layout: pattern of their paths, see `codec_ft.data.layouts.find_named`.

    Raises:
        UserError: the folder is not there, the layout cannot work, nothing fits it, or a track lacks a stem that
            others have.
    """

    def __init__(self, folder: Path, tracks: Sequence[Track], layout: str = MUSDB_LAYOUT):
        self.folder = folder
        self.name = folder.resolve().name
        self.origin: dict[str, str | int] = {"folder": self.name, "layout": layout}
        found: dict[tuple[str, str], dict[str, Path]] = {}
        for file in find_named(folder, [layout]):
            found.setdefault((file.split, file.track), {})[file.stem] = file.path
        self._files: dict[str, dict[str, Path]] = {}
        self._missing = []
        for track in tracks:
            names = ((split, plain_name(track.name)) for split in (track.split, ""))
            files = next((found.pop(name) for name in names if name in found), None)
            if files is None:
                self._missing.append(f"{track.split}/{track.name}")
            else:
                self._files[f"{track.split}/{track.name}"] = files
        self._extra = ["/".join(filter(None, name)) for name in found]
        if not self._files:
            raise UserError(
                f"{folder}: none of its tracks ({_some(self._extra)}) is one of the data set ({_some(self._missing)}). "
                "Check --source and --layout."
            )
        self.stems = tuple(sorted(set().union(*self._files.values())))
        for name, files in self._files.items():
            if lacking := [stem for stem in self.stems if stem not in files]:
                raise UserError(
                    f"{folder}: {name} has no {lacking[0]}, which other tracks have. Separate it again, or remove it."
                )

    def choose(self, tracks: Sequence[Track]) -> list[Track]:
        """See `StemSource.choose`."""
        if self._missing:
            logger.warning("%s has nothing for %d tracks: %s", self.folder, len(self._missing), _some(self._missing))
        if self._extra:
            logger.warning(
                "%s has %d tracks that the data set has not: %s", self.folder, len(self._extra), _some(self._extra)
            )
        return [track for track in tracks if f"{track.split}/{track.name}" in self._files]

    def separate(self, track: Track) -> tuple[Stems, int]:
        """See `StemSource.separate`: resampled, and cut or padded by up to `LENGTH_TOLERANCE`."""
        mixture, rate = read_mixture(track)
        files = self._files[f"{track.split}/{track.name}"]
        return {stem: _read(path, rate, mixture.shape) for stem, path in files.items()}, rate


def _read(path: Path, rate: int, shape: tuple[int, ...]) -> np.ndarray:
    """A file at the rate and in the shape [C, N] of its mixture."""
    channels, length = shape
    difference = audio_info(path).seconds - length / rate
    if abs(difference) > LENGTH_TOLERANCE:
        raise AudioFileError.at(
            path,
            f"is {abs(difference):.2f} s {'longer' if difference > 0 else 'shorter'} than its mixture",
            f"Separate the track again, or check --layout; up to {LENGTH_TOLERANCE:g} s are cut or padded",
        )
    audio, _ = read_audio(path, sample_rate=rate, channels=channels)
    if audio.shape[1] != length:
        word = "cut" if audio.shape[1] > length else "padded"
        logger.warning("%s: %s by %d samples at its end", path, word, abs(audio.shape[1] - length))
    return np.pad(audio[:, :length], ((0, 0), (0, max(0, length - audio.shape[1]))))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
