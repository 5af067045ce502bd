"""Separated stems that another program wrote: any folder of audio files, matched with the tracks of a data set."""

import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from codec_ft.audio.files import AudioFileError, audio_info, read_audio
from codec_ft.data.separators.sources import Stems, StemSource, read_mixture
from codec_ft.data.tracks import AUDIO_SUFFIXES, Track
from codec_ft.errors import UserError

logger = logging.getLogger(__name__)

PATTERN = "{track}/{stem}.wav"
PLACEHOLDERS = {"{split}": "split", "{track}": "track", "{stem}": "stem"}
LENGTH_TOLERANCE = 0.5
"""Seconds by which a file may be longer or shorter than its mixture: separators pad and cut at the end."""
SHOWN = 5
"""Names that a message lists."""


class FolderSource(StemSource):
    """Files that another separator wrote for the mixtures of a data set.

    Args:
        folder: where they lie.
        tracks: the data set's tracks.
        pattern: a path below the folder with `{track}` and `{stem}`, and `{split}` if a split's name is part of it;
            `*` stands for anything within a name. Any audio format is found where the pattern ends without a suffix.

    Raises:
        UserError: the pattern cannot work, nothing fits it, or a track lacks a stem that others have.
    """

    def __init__(self, folder: Path, tracks: Sequence[Track], pattern: str = PATTERN):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder. Give the one that the separator wrote to.")
        self.folder = folder
        self.name = folder.resolve().name
        self.origin: dict[str, str | int] = {"folder": self.name, "pattern": pattern}
        found = _find(folder, pattern)
        self._files: dict[str, dict[str, Path]] = {}
        self._missing = []
        for track in tracks:
            names = ((split, _plain(track.name)) for split in (track.split, ""))
            files = next((found.pop(name) for name in names if name in found), None)
            if files is None:
                self._missing.append(f"{track.split}/{track.name}")
            else:
                self._files[f"{track.split}/{track.name}"] = files
        self._extra = ["/".join(filter(None, name)) for name in found]
        if not self._files:
            raise UserError(
                f"{folder}: none of its tracks ({_some(self._extra)}) is one of the data set ({_some(self._missing)}). "
                "Check --source and --pattern."
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
            f"Separate the track again, or check --pattern; up to {LENGTH_TOLERANCE:g} s are cut or padded",
        )
    audio, _ = read_audio(path, sample_rate=rate, channels=channels)
    if audio.shape[1] != length:
        word = "cut" if audio.shape[1] > length else "padded"
        logger.warning("%s: %s by %d samples at its end", path, word, abs(audio.shape[1] - length))
    return np.pad(audio[:, :length], ((0, 0), (0, max(0, length - audio.shape[1]))))


def _find(folder: Path, pattern: str) -> dict[tuple[str, str], dict[str, Path]]:
    """Files by (split or "", track) and stem."""
    expression = _expression(pattern)
    found: dict[tuple[str, str], dict[str, Path]] = {}
    example = None
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        example = example or path.relative_to(folder).as_posix()
        match = expression.fullmatch(path.relative_to(folder).as_posix())
        if match is None:
            continue
        parts = match.groupdict(default="")
        stems = found.setdefault((parts.get("split", ""), _plain(parts["track"])), {})
        stem = parts["stem"].lower()
        if stem in stems:
            raise UserError(f"{path}: fits the same track and stem as {stems[stem]}. Remove one of them.")
        stems[stem] = path
    if not found:
        there = f"there is {example}" if example else f"there are no audio files ({', '.join(AUDIO_SUFFIXES)})"
        raise UserError(f"{folder}: no file fits {pattern}; {there}. Describe the files with --pattern.")
    return found


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression over relative paths.

    Raises:
        UserError: a placeholder is unknown, missing, or there twice.
    """
    unknown = [word for word in re.findall(r"\{[^}]*\}", pattern) if word not in PLACEHOLDERS]
    twice = [word for word in PLACEHOLDERS if pattern.count(word) > 1]
    absent = [word for word in ("{track}", "{stem}") if word not in pattern]
    if wrong := [*unknown, *twice, *absent]:
        problem = "is missing" if wrong[0] in absent else "cannot be used" if wrong[0] in unknown else "is there twice"
        raise UserError(f"--pattern {pattern}: {wrong[0]} {problem}. A pattern looks like {PATTERN}")
    # A stem's name is the shorter one where both are in one name: songs have all kinds of names.
    pieces = {"{split}": "(?P<split>[^/]+?)", "{track}": "(?P<track>[^/]+)", "{stem}": "(?P<stem>[^/]+?)", "*": "[^/]*"}
    words = re.split(r"(\{split\}|\{track\}|\{stem\}|\*)", pattern)
    text = "".join(pieces.get(word, re.escape(word)) for word in words)
    return re.compile(text if Path(pattern).suffix.lower() in AUDIO_SUFFIXES else text + r"\.[^./]+")


def _plain(name: str) -> str:
    """A name as it is compared: file systems spell accents in two ways."""
    return unicodedata.normalize("NFC", name)


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
