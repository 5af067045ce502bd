"""A data set of remixes: stems of different songs, from different places, mixed anew (Uhlich et al., 2017).

A separator can be run on such a set as on any other. So enhancement learns from what the separator makes of mixtures
that were never played, which nobody could know of a remix that is drawn during training.
"""

import hashlib
import json
import logging
import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from codec_ft.atomic import atomic_folder, remove_leftovers
from codec_ft.audio.files import AudioInfo, audio_info
from codec_ft.data.excerpts import draw_active, find_activity
from codec_ft.data.made import BuildReport, check_space, claim, description, prepare_split
from codec_ft.data.reader import ExcerptReader
from codec_ft.data.remix import Part, random_gain
from codec_ft.data.tracks import MIXTURE, Track, find_tracks
from codec_ft.data.workers import available_cores, worker_processes
from codec_ft.errors import UserError

logger = logging.getLogger(__name__)

# Raised whenever the same seed would sound different; sets of different versions are never mixed.
GENERATOR_VERSION = 1
PARTS_FILE = "parts.json"
"""Beside the audio of each remix: which tracks its stems are from, where they begin there, and their gains."""
MOST_TRACKS = 9999
FULL_SCALE = 2**15
PEAK = 0.95
"""Of full scale; what is left is for converters and lossy formats."""


@dataclass(frozen=True)
class Remix:
    """One track that is to be made: its name, and where each of its stems comes from."""

    name: str
    parts: dict[str, Part]


class RemixSource:
    """The training tracks of a data set, as what remixes are made from.

    Args:
        root: the data set.
        seconds: length of the remixes. Tracks that are shorter are left out, with a warning.
        gain_db: range of the random gain of each stem.

    Attributes:
        root: the data set.
        stems: those that all of its training tracks have, sorted.
        sample_rate: the commonest among the stems, in Hz; the others are resampled.
        channels: the commonest; the others are averaged or copied.

    Raises:
        UserError: there is no such data set, or too little in it: fewer than two tracks, fewer than two stems, or
            tracks that are all shorter; or a file is bad.
    """

    def __init__(self, root: Path, seconds: float, gain_db: tuple[float, float]) -> None:
        self.root, self.seconds, self.gain_db = root, seconds, gain_db
        tracks = find_tracks(root, "train")
        self.stems = sorted(set.intersection(*(set(track.stems) for track in tracks)))
        if len(self.stems) < 2:
            there = f"only {self.stems[0]}" if self.stems else "none"
            raise UserError(
                f"{root}: remixes need two or more stems that all training tracks have; there is {there}. Add them, or "
                "choose another data set."
            )
        infos = {track: [audio_info(track.stems[stem]) for stem in self.stems] for track in tracks}
        used = _long_enough(root, infos, seconds)
        headers = [info for track in used for info in infos[track]]
        self.sample_rate = _commonest([info.sample_rate for info in headers])
        self.channels = _commonest([info.channels for info in headers])
        self._fingerprint = _fingerprint(root, headers)
        self._tracks = len(used)
        self._activities = {stem: find_activity(used, stem, seconds) for stem in self.stems}
        self._cumulative = {
            stem: np.cumsum([len(activity.starts) for activity in found]) for stem, found in self._activities.items()
        }

    @property
    def description(self) -> dict[str, Any]:
        """What a set of remixes is made from, as far as this decides it; `source_made_by` if it was made here."""
        return {
            "seconds": self.seconds,
            "gain_db": list(self.gain_db),
            "source": self.root.resolve().name,
            "source_tracks": self._tracks,
            "source_files": self._fingerprint,
            "source_made_by": description(self.root),
        }

    def draw(self, seed: int, number: int) -> Remix:
        """Remix `number` of a seed: of every stem any place where it sounds, all being equally likely."""
        rng = np.random.default_rng([seed, number])
        parts = {}
        for stem in self.stems:
            activity, _, start = draw_active(self._activities[stem], self._cumulative[stem], rng)
            start = max(0.0, min(start, activity.duration - self.seconds))
            parts[stem] = Part(activity.track.stems[stem], start, random_gain(rng, self.gain_db))
        return Remix(remix_name(number), parts)


def remix_name(number: int) -> str:
    """What a remix's folder is called."""
    return f"remix {number:04d}"


def build_remix_set(
    source: Path,
    root: Path,
    *,
    tracks: int,
    seconds: float = 10.0,
    gain_db: tuple[float, float] = (-6.0, 6.0),
    seed: int = 0,
    jobs: int | None = None,
) -> BuildReport:
    """Mix stems of random training tracks anew and store them as `root/train/remix <number>/<name>.wav`.

    The mixture is the exact sum of the 16-bit stems, which are made quieter together where it would nearly clip. There
    is an empty `root/valid`, so that all tracks are for training. A track depends on the seed, its number and what it
    is made from only, so a larger set holds the smaller one. Run again, the call makes what is missing.

    Args:
        source: folder of the data set whose training tracks are used.
        root: folder of the new set; created.
        tracks: number of remixes.
        seconds: their length. Stems of tracks that are just as long always begin at their beginning.
        gain_db: range of the random gain of each stem.
        seed: another seed gives other remixes.
        jobs: worker processes; None takes one per core.

    Raises:
        UserError: a number is out of range, `root` lies in `source` or holds something else, `source` has too little
            (see `RemixSource`), or a track failed.
    """
    source, root = Path(source), Path(root)
    _check_arguments(tracks, seconds, gain_db, seed, jobs)
    if root.resolve().is_relative_to(source.resolve()):
        raise UserError(f"--out {root}: lies in the data set {source} itself. Choose another folder.")
    stock = RemixSource(source, float(seconds), gain_db)
    claim(root, {"generator": "remix", "version": GENERATOR_VERSION, "seed": seed, **stock.description})
    for split in ("train", "valid"):
        prepare_split(root / split)
    names = [remix_name(number) for number in range(tracks)]
    missing = [stock.draw(seed, i) for i, name in enumerate(names) if not (root / "train" / name).is_dir()]
    if missing:
        samples = round(seconds * stock.sample_rate) * stock.channels
        check_space(root, len(missing) * (len(stock.stems) + 1) * samples * 2)
        write = partial(_write_track, root / "train", stock.sample_rate, stock.channels, float(seconds))
        try:
            with worker_processes(min(jobs or available_cores(), len(missing))) as run:
                for _ in tqdm(run(write, missing), total=len(missing), desc="remixes", unit="track"):
                    pass
        finally:
            remove_leftovers(root / "train")
    return BuildReport(root, len(missing), tracks - len(missing))


def mix_16_bits(stems: dict[str, np.ndarray]) -> tuple[NDArray[np.int16], dict[str, NDArray[np.int16]], float]:
    """Round stems to 16 bits and add them up.

    Args:
        stems: name -> float [C, N], full scale being 1.

    Returns:
        (the mixture int16 [C, N], which is exactly the sum; the stems int16 [C, N]; the factor by which all were made
        quieter, 1 where no peak is above `PEAK`).
    """
    exact = {name: audio.astype(np.float64) for name, audio in stems.items()}
    together = np.sum(list(exact.values()), axis=0)
    peak = max(float(np.abs(audio).max()) for audio in (together, *exact.values()))
    # Rounding moves a stem by up to half a step, and the sum by as much for each of them.
    limit = PEAK * FULL_SCALE - len(stems) / 2
    factor = min(1.0, limit / (peak * FULL_SCALE)) if peak > 0 else 1.0
    steps = {name: np.rint(audio * (factor * FULL_SCALE)).astype(np.int16) for name, audio in exact.items()}
    mixture = np.stack(list(steps.values())).sum(axis=0, dtype=np.int32)
    return mixture.astype(np.int16), steps, factor


def _write_track(folder: Path, sample_rate: int, channels: int, seconds: float, remix: Remix) -> None:
    """Write one remix, all of it or nothing. Runs in a worker.

    Raises:
        UserError: a file cannot be read or written.
    """
    parts = remix.parts
    reader = ExcerptReader([part.path for part in parts.values()], sample_rate, channels, cache_mb=0.0)
    audio = {stem: reader.read([part.path], part.start_seconds, seconds) * part.gain for stem, part in parts.items()}
    mixture, stems, factor = mix_16_bits(audio)
    with atomic_folder(folder / remix.name) as made:
        for name, steps in ({MIXTURE: mixture} | stems).items():
            soundfile.write(made / f"{name}.wav", steps.T, sample_rate, subtype="PCM_16")
        facts = {
            stem: {
                "track": part.path.parent.name,
                "start_seconds": part.start_seconds,
                "gain_db": round(20 * math.log10(float(part.gain) * factor), 4),
            }
            for stem, part in parts.items()
        }
        (made / PARTS_FILE).write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_arguments(tracks: int, seconds: float, gain_db: tuple[float, float], seed: int, jobs: int | None) -> None:
    low, high = gain_db
    if not 1 <= tracks <= MOST_TRACKS:
        raise UserError(f"--tracks {tracks}: a set has 1 to {MOST_TRACKS} remixes.")
    if not 1.0 <= seconds < math.inf:
        raise UserError(f"--seconds {seconds:g}: a remix lasts a second or more.")
    if not -60.0 <= low <= high <= 60.0:
        raise UserError(f"--gain-db {low:g} {high:g}: must be a range from low to high, within -60 to 60 dB.")
    if seed < 0:
        raise UserError(f"--seed {seed}: a seed is a whole number, 0 or more.")
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: at least one process is needed.")


def _long_enough(root: Path, infos: dict[Track, list[AudioInfo]], seconds: float) -> list[Track]:
    """The tracks whose stems all last as long as a remix.

    Raises:
        UserError: there are fewer than two.
    """
    if len(infos) < 2:
        raise UserError(f"{root}: remixes need two or more training tracks; there is only one. Add tracks.")
    lengths = {track: min(info.seconds for info in found) for track, found in infos.items()}
    used = [track for track, length in lengths.items() if length >= seconds]
    if len(used) < 2:
        longest = sorted(lengths.values())[-2]
        raise UserError(
            f"--seconds {seconds:g}: remixes need two or more training tracks that last so long, but {root} has "
            f"{len(used)}. Ask for {math.floor(10 * longest) / 10:g} s or less."
        )
    if len(used) < len(infos):
        short = ", ".join(track.name for track in infos if track not in used)
        logger.warning("left out, because they are shorter than %g s: %s", seconds, short)
    return used


def _commonest(values: list[int]) -> int:
    """The most frequent value; of several, the largest."""
    counts = Counter(values)
    return max(counts, key=lambda value: (counts[value], value))


def _fingerprint(root: Path, headers: list[AudioInfo]) -> str:
    """Short hash of which files there are, and of their lengths, rates and channels."""
    lines = [f"{info.path.relative_to(root)} {info.frames} {info.sample_rate} {info.channels}" for info in headers]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
