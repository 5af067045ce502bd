"""Where to cut: excerpts of tracks in which the target is not silent."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codec_ft.data.scan import BLOCKS_PER_SECOND, FileScan, scan_files
from codec_ft.data.tracks import Track, input_paths
from codec_ft.errors import UserError

logger = logging.getLogger(__name__)

THRESHOLD_DB = -50.0
"""RMS level in dBFS up to which a stem counts as silent."""


@dataclass(frozen=True)
class Excerpt:
    """A range of a track, in seconds."""

    track: Track
    start_seconds: float
    seconds: float

    @property
    def name(self) -> str:
        """How messages and pages call it: "track @ 12.3 s"."""
        return f"{self.track.name} @ {self.start_seconds:.1f} s"


@dataclass(frozen=True)
class Activity:
    """Where in a track excerpts may begin.

    Attributes:
        track: the track.
        duration: seconds that all files of the pair have.
        starts: seconds at which excerpts with an audible target begin, ascending, on a grid of 0.1 s or another one.
        levels_db: the target's level in each of these excerpts, in dBFS.
    """

    track: Track
    duration: float
    starts: np.ndarray
    levels_db: np.ndarray


def draw_active(
    activities: Sequence[Activity], cumulative: np.ndarray, rng: np.random.Generator, *, exact: bool = False
) -> tuple[Activity, int, float]:
    """Draw a moment from which on a stem sounds; all such moments of all tracks are equally likely.

    Args:
        activities: where the tracks' excerpts may begin.
        cumulative: number of starts up to and with each track.
        rng: where the randomness comes from.
        exact: excerpts begin exactly at the `starts`. Otherwise these are a tenth of a second apart, and every sample
            within it may be the first.

    Returns:
        The track's activity, its place in `activities`, and the start in seconds.
    """
    draw = int(rng.integers(cumulative[-1]))
    which = int(np.searchsorted(cumulative, draw, side="right"))
    block = draw - (int(cumulative[which - 1]) if which else 0)
    start = float(activities[which].starts[block])
    return activities[which], which, start if exact else start + rng.random() / BLOCKS_PER_SECOND


def grid_starts(duration: float, seconds: float, grid_seconds: float) -> np.ndarray:
    """The multiples of a grid, in seconds, at which excerpts within `duration` may begin; empty where it is too short.

    The last excerpt may end a little behind `duration`, by less than a sample: numbers of seconds are rounded.
    """
    return np.arange(max(0, int(np.floor((duration - seconds) / grid_seconds + 1e-6)) + 1)) * grid_seconds


def active_starts(
    levels_db: np.ndarray,
    duration: float,
    seconds: float,
    threshold_db: float = THRESHOLD_DB,
    grid_seconds: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the excerpts in which a stem is not silent.

    Args:
        levels_db: RMS level of every tenth of a second, in dBFS.
        duration: seconds within which excerpts must lie.
        seconds: length of the excerpts.
        threshold_db: RMS level in dBFS that an excerpt must have.
        grid_seconds: what the starts are multiples of; None stands for a tenth of a second.

    Returns:
        Starts in seconds, and the excerpts' RMS levels in dBFS; empty for a silent stem and
        where `duration` is too short.
    """
    if grid_seconds is None:
        n_starts = int(np.floor((duration - seconds) * BLOCKS_PER_SECOND + 1e-6)) + 1
        starts = np.arange(max(0, n_starts)) / BLOCKS_PER_SECOND
    else:
        starts = grid_starts(duration, seconds, grid_seconds)
    if not len(starts):
        return np.empty(0), np.empty(0)
    energy = np.concatenate([[0.0], np.cumsum(10 ** (levels_db / 10))])
    first = np.floor(starts * BLOCKS_PER_SECOND + 1e-6).astype(int)
    ends = np.ceil((starts + seconds) * BLOCKS_PER_SECOND - 1e-6).astype(int)
    last = np.minimum(np.maximum(ends, first + 1), len(levels_db))
    power = np.maximum(energy[last] - energy[first], 0.0) / np.maximum(last - first, 1)
    levels = 10 * np.log10(np.maximum(power, 1e-13))
    active = levels > threshold_db
    return starts[active], levels[active]


def find_activity(
    tracks: Sequence[Track],
    stem: str,
    seconds: float,
    *,
    source: str | Sequence[str] = "target",
    threshold_db: float = THRESHOLD_DB,
    grid_seconds: float | None = None,
    jobs: int | None = None,
) -> list[Activity]:
    """Find for every track where excerpts with an audible target begin.

    Tracks whose target is silent throughout, and tracks shorter than the excerpts, are left out, with a warning.

    Args:
        tracks: tracks of one or more data sets.
        stem: the target.
        seconds: length of the excerpts.
        source: the input of the pair, or several of them (see `input_paths`), which must be long enough as well.
        threshold_db: RMS level in dBFS that the target must have in an excerpt.
        grid_seconds: what the starts are multiples of; None stands for a tenth of a second.
        jobs: threads for reading files that were never read before.

    Raises:
        UserError: no track is left, or a file is bad.
    """
    if not tracks:
        raise UserError("no tracks to take excerpts from. Check the data set's folder.")
    targets = [track.paths(stem) for track in tracks]
    sources = [source] if isinstance(source, str) else source
    inputs = [[path for name in sources for path in input_paths(track, stem, name)] for track in tracks]
    files: dict[Path, list[Path]] = {}  # of each data set, which keeps what is known of its files
    for track, target, inputs_of_track in zip(tracks, targets, inputs, strict=True):
        files.setdefault(track.root, []).extend([*target, *inputs_of_track])
    scans = {path: scan for root, paths in files.items() for path, scan in scan_files(paths, root, jobs).items()}

    found: list[Activity] = []
    silent: list[str] = []
    short: list[str] = []
    for track, target, inputs_of_track in zip(tracks, targets, inputs, strict=True):
        duration = min(scans[path].seconds for path in [*target, *inputs_of_track])
        starts, levels = active_starts(_sum_levels(target, scans), duration, seconds, threshold_db, grid_seconds)
        if len(starts):
            found.append(Activity(track, duration, starts, levels))
        else:
            (short if duration < seconds else silent).append(track.name)
    if silent:
        logger.warning("left out, because %s is silent throughout: %s", stem, ", ".join(silent))
    if short:
        logger.warning("left out, because they are shorter than %g s: %s", seconds, ", ".join(short))
    if not found:
        split, where = tracks[0].split, ", ".join(map(str, files))
        reasons = [f"{stem} is silent in {len(silent)}"] * bool(silent)
        reasons += [f"{len(short)} are shorter than the {seconds:g} s of an excerpt"] * bool(short)
        raise UserError(
            f"{where}: none of the {len(tracks)} {split} tracks can be used: {' and '.join(reasons)}. "
            "Choose another stem or shorter excerpts, or add tracks."
        )
    return found


def activity_at(
    excerpt: Excerpt, stem: str, *, source: str | Sequence[str] = "target", threshold_db: float = THRESHOLD_DB
) -> Activity:
    """The activity of a track at one place: its only start is that of the excerpt.

    Raises:
        UserError: the target is silent there, or a file is bad or ends before.
    """
    track, start, seconds = excerpt.track, excerpt.start_seconds, excerpt.seconds
    (activity,) = find_activity([track], stem, seconds, source=source, threshold_db=threshold_db)
    # Levels are known for every tenth of a second.
    nearest = int(np.abs(activity.starts - start).argmin())
    if abs(activity.starts[nearest] - start) > 1 / BLOCKS_PER_SECOND or start > activity.duration - seconds + 1e-6:
        raise UserError(
            f"{track.folder}: {stem} is silent at {start:.1f} s, or a file ends before {start + seconds:.1f} s. "
            "Choose another excerpt."
        )
    return replace(activity, starts=np.array([start]), levels_db=activity.levels_db[nearest : nearest + 1])


def fixed_excerpts(
    tracks: Sequence[Track],
    stem: str,
    seconds: float,
    per_track: int,
    *,
    source: str | Sequence[str] = "target",
    threshold_db: float = THRESHOLD_DB,
    grid_seconds: float | None = None,
) -> list[Excerpt]:
    """Choose the excerpts of a validation: always the same, spread over each track, where the target is loudest.

    Each track is cut into `per_track` sections of equal length (fewer where they would be shorter than an excerpt)
    and each section gives the excerpt with the highest RMS of the target, so excerpts do not overlap. A section in
    which the target is silent gives none. The other arguments are those of `find_activity`.

    Raises:
        UserError: no track can be used, or a file is bad.
    """
    excerpts = []
    for activity in find_activity(
        tracks, stem, seconds, source=source, threshold_db=threshold_db, grid_seconds=grid_seconds
    ):
        sections = max(1, min(per_track, int(activity.duration / seconds + 1e-6)))
        length = activity.duration / sections
        for section in range(sections):
            low, high = section * length, (section + 1) * length - seconds
            inside = (activity.starts >= low - 1e-6) & (activity.starts <= high + 1e-6)
            if inside.any():
                start = activity.starts[inside][np.argmax(activity.levels_db[inside])]
                excerpts.append(Excerpt(activity.track, float(start), seconds))
    return excerpts


def _sum_levels(paths: Sequence[Path], scans: dict[Path, FileScan]) -> np.ndarray:
    """Levels in dBFS of the sum of files, whose powers are taken to add up."""
    levels = [scans[path].levels_db() for path in paths]
    n = min(len(level) for level in levels)
    return 10 * np.log10(sum(10 ** (level[:n] / 10) for level in levels))
