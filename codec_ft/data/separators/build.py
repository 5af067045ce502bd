"""Write the separated stems of a whole data set: `separated/<name>/<split>/<track>/<stem>.wav`.

Beside the splits lies `origin.json`, which says what the stems were made by; beside a track's stems lies
`levels.json`, which says how well each of them was separated.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch
from tqdm import tqdm

from codec_ft.atomic import atomic_folder, atomic_path, remove_leftovers
from codec_ft.audio.files import read_audio, write_audio
from codec_ft.data.separators.sources import StemSource
from codec_ft.data.tracks import SEPARATED, Track, find_tracks, split_folders
from codec_ft.data.workers import worker_processes
from codec_ft.errors import UserError
from codec_ft.metrics.waveform import sdr_med, usdr

LEVELS_FILE = "levels.json"
ORIGIN_FILE = "origin.json"

Levels = dict[str, dict[str, float | None]]
"""Stem -> metric (`sdr_med`, `usdr`) -> dB; None where the stem is silent."""


@dataclass(frozen=True)
class Shard:
    """One of `count` processes that share out the tracks: it takes every `count`-th one, from `index` on."""

    index: int = 0
    count: int = 1


@dataclass(frozen=True)
class Filled:
    """What a process did: tracks that it made, and tracks of its own that were there."""

    made: int
    skipped: int


class SeparatedSet:
    """The separated stems of a data set, from one source.

    Each process calls `prepare`, the first one (of shard 0) before the others; then `fill`; and when all have, one
    calls `finish`. Run again, only what is missing is made. Stopped at any moment, there is no half of a track.

    Attributes:
        folder: `root/separated/<name>`.
        tracks: those that the source has stems of.
    """

    def __init__(self, root: Path, source: StemSource, name: str | None = None):
        name = name or source.name
        if Path(name).name != name or name.startswith("."):
            raise UserError(f"--name {name}: must be the plain name of a folder in {Path(root) / SEPARATED}.")
        self.source = source
        self.folder = Path(root) / SEPARATED / name
        self.tracks = source.choose(all_tracks(root))

    def prepare(self, jobs: int = 1, shard: Shard = Shard()) -> None:
        """Do what has to be done once.

        Raises:
            UserError: the folder holds stems from elsewhere.
        """
        path = self.folder / ORIGIN_FILE
        if path.is_file():
            try:
                there = json.loads(path.read_text())
            except ValueError as error:
                raise UserError(f"{path}: broken. Delete {self.folder}, and it is made anew.") from error
            if there != self.source.origin:
                raise UserError(
                    f"{self.folder}: was made by {_words(there)}, not by {_words(self.source.origin)}. Choose another "
                    "--name, or delete the folder."
                )
        if shard.index == 0:
            remove_leftovers(self.folder)
        self.source.prepare(self.folder, self.tracks, jobs)
        if shard.index == 0 and not path.is_file():
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(self.source.origin, indent=1) + "\n")

    def fill(self, jobs: int = 1, shard: Shard = Shard()) -> Filled:
        """Make the shard's tracks that are missing, `jobs` at a time in processes with one thread each.

        Raises:
            UserError: a file cannot be read or written.
        """
        mine = self.tracks[shard.index :: shard.count]
        missing = [track for track in mine if not self.finished(track)]
        if missing:
            with worker_processes(min(jobs, len(missing))) as run:
                made = run(partial(_make_track, self.folder, self.source), missing)
                share = f" {shard.index + 1}/{shard.count}" * (shard.count > 1)
                for _ in tqdm(made, desc=f"{self.folder.name}{share}", total=len(missing), unit="track"):
                    pass
        return Filled(len(missing), len(mine) - len(missing))

    def finished(self, track: Track) -> bool:
        """Whether all of a track's stems are there."""
        names = (*(f"{stem}.wav" for stem in self.source.stems), LEVELS_FILE)
        return all((_track_folder(self.folder, track) / name).is_file() for name in names)

    def finish(self) -> Levels:
        """How well the stems are separated over all tracks: the median of `sdr_med`, the mean of `usdr`."""
        self.source.finish(self.folder, self.tracks)
        return over_tracks([read_levels(self.folder, track) for track in self.tracks])


def build_separated(root: Path, source: StemSource, *, name: str | None = None, jobs: int = 1) -> tuple[Filled, Levels]:
    """Make the separated stems of a data set in this process and its workers.

    Raises:
        UserError: see `SeparatedSet`.
    """
    separated = SeparatedSet(root, source, name)
    separated.prepare(jobs)
    return separated.fill(jobs), separated.finish()


def all_tracks(root: Path) -> list[Track]:
    """The tracks of all splits, each once: in a small folder without splits, `test` is `valid`.

    Raises:
        UserError: there are none.
    """
    found: dict[Path, Track] = {}
    for split in (split for split, folders in split_folders(root).items() if folders):
        for track in find_tracks(root, split):
            found.setdefault(track.folder, track)
    return list(found.values())


def read_levels(folder: Path, track: Track) -> Levels:
    """What `levels.json` says of a track; empty where it is not made."""
    path = _track_folder(folder, track) / LEVELS_FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def measure_levels(track: Track, stems: Mapping[str, np.ndarray], rate: int) -> Levels:
    """`sdr_med` and `usdr` of separated stems [C, N] against those of the track, which may have others."""
    levels: Levels = {}
    for stem, estimate in stems.items():
        if stem not in track.stems:
            continue
        target, _ = read_audio(track.stems[stem], sample_rate=rate, channels=len(estimate))
        length = min(target.shape[1], estimate.shape[1])
        heard, wanted = (torch.from_numpy(audio[None, :, :length].copy()) for audio in (estimate, target))
        levels[stem] = {
            "sdr_med": _finite(float(sdr_med(heard, wanted, rate))),
            "usdr": _finite(float(usdr(heard, wanted))) if wanted.any() else None,
        }
    return levels


def over_tracks(found: Sequence[Levels]) -> Levels:
    """The median over tracks of `sdr_med` and the mean of `usdr`, of the tracks in which a stem sounds."""

    def of(stem: str, metric: str, way: Callable[[list[float]], float]) -> float | None:
        values = [value for levels in found if stem in levels and (value := levels[stem][metric]) is not None]
        return _finite(way(values)) if values else None

    stems = dict.fromkeys(stem for levels in found for stem in levels)
    return {stem: {"sdr_med": of(stem, "sdr_med", median), "usdr": of(stem, "usdr", mean)} for stem in stems}


def _make_track(folder: Path, source: StemSource, track: Track) -> None:
    """Write one track's separated stems: all of them or none."""
    stems, rate = source.separate(track)
    with atomic_folder(_track_folder(folder, track)) as made:  # replaces one that was made for fewer stems
        for stem, audio in stems.items():
            # A separator's output can exceed full scale a little where its mixture does not.
            write_audio(made / f"{stem}.wav", np.clip(audio, -1.0, 1.0), rate)
        (made / LEVELS_FILE).write_text(json.dumps(measure_levels(track, stems, rate), indent=1) + "\n")


def _track_folder(folder: Path, track: Track) -> Path:
    return folder / track.split / track.name


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _words(origin: Mapping[str, str | int]) -> str:
    return ", ".join(f"{key} {str(value)[:40]}" for key, value in origin.items())
