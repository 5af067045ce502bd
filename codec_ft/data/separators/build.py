"""Write the separated stems of a whole data set: `separated/<separator>/<split>/<track>/<stem>.wav`.

Beside the splits lies `calibration.json`: how strong the errors are, the published levels aimed at, and the levels
reached. Beside a track's stems lies `sdr_med.json`: how well each of them was "separated".
"""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from codec_ft.atomic import TEMPORARY_PREFIX, atomic_path
from codec_ft.audio.files import audio_info, read_audio, write_audio
from codec_ft.data.separators.calibrate import SEPARATORS, find_strength, median_sdr
from codec_ft.data.tracks import SEPARATED, Track, find_tracks, split_folders
from codec_ft.errors import UserError

STEMS = ("drums", "bass", "other", "vocals")
"""What MUSDB18 and the demo set are made of."""
CALIBRATION_TRACKS = 40
"""Tracks that calibration listens to at most. Their levels are 2 to 5 dB apart: few of them make a poor median."""
CALIBRATION_FRAMES = 6
"""Frames of 1 s that it hears of each, evenly spread over the track: an excerpt in one piece says less."""
CALIBRATION_MARGIN = 0.1
"""Seconds before and after such a frame that are degraded with it and not measured: longer than any window."""
CALIBRATION_FILE = "calibration.json"
SDR_FILE = "sdr_med.json"


class Calibration(BaseModel):
    """What `calibration.json` holds. All dictionaries go from stem to number; SDRs are medians in dB.

    Attributes:
        separator: name of the stand-in separator.
        note: says to whoever opens the file that nothing was separated.
        seed: seed of the errors.
        parameter: what the strength is called in the separator's formula.
        strength: strength of the errors.
        target_sdr_med: published levels.
        calibrated_sdr_med: levels reached on the excerpts used for calibration.
        reached_sdr_med: levels reached on all tracks.
        tracks: number of tracks behind `reached_sdr_med`.
    """

    model_config = ConfigDict(extra="forbid")

    separator: str
    note: str = "Made from the true stems by codec_ft.data.separators: a stand-in, no separator was run."
    seed: int
    parameter: str
    strength: dict[str, float]
    target_sdr_med: dict[str, float]
    calibrated_sdr_med: dict[str, float | None]
    reached_sdr_med: dict[str, float | None] = {}
    tracks: int = 0


@dataclass(frozen=True)
class SeparatedReport:
    """What `build_separated` did.

    Attributes:
        folder: `root/separated/<separator>`.
        made: tracks that were made now.
        skipped: tracks that were there.
        calibration: strengths, targets and levels reached.
    """

    folder: Path
    made: int
    skipped: int
    calibration: Calibration


def build_separated(
    root: Path, separator: str, *, seed: int = 0, jobs: int | None = None, stems: Sequence[str] = STEMS
) -> SeparatedReport:
    """Make the separated stems of every track of a data set with a stand-in separator.

    Run again, it reuses the calibration and makes only the tracks that are missing. Stopped at any moment, it leaves
    no half of a track.

    Args:
        root: folder of the data set (see `codec_ft.data.tracks`).
        separator: "spectrogram" or "waveform".
        seed: seed of the errors; with the separator and a track's name it determines the track.
        jobs: tracks made at a time, each by a process with one thread; None makes as many as there are CPU cores.
        stems: what the mixture consists of; each is degraded.

    Raises:
        UserError: no such separator or tracks; a track lacks a stem; stems differ in length, rate or channels; the
            folder holds stems of another seed; a file cannot be read or written.
    """
    if separator not in SEPARATORS:
        raise UserError(f"separator={separator}: no such stand-in separator. Use one of {', '.join(SEPARATORS)}.")
    unknown = [stem for stem in stems if stem not in SEPARATORS[separator].target_sdr]
    if unknown:
        raise UserError(f"stems={unknown[0]}: no published level to calibrate to. Use some of {', '.join(STEMS)}.")
    tracks = _find_all_tracks(Path(root), stems)
    folder = Path(root) / SEPARATED / separator
    calibration = _read_calibration(folder / CALIBRATION_FILE, seed, stems)
    missing = [track for track in tracks if not _finished(folder, track, stems)]
    if missing or calibration is None:
        with _workers(min(jobs or len(os.sched_getaffinity(0)), len(tracks))) as run:
            if calibration is None:
                calibration = _calibrate(separator, tracks, seed, stems, run)
                _write_calibration(folder / CALIBRATION_FILE, calibration)
            make = partial(_make_track, folder, separator, calibration.strength, seed, tuple(stems))
            for _ in tqdm(run(make, missing), desc=f"{separator}: separated stems", total=len(missing), unit="track"):
                pass
        levels = [json.loads((_track_folder(folder, track) / SDR_FILE).read_text()) for track in tracks]
        reached = {stem: _median([row[stem] for row in levels]) for stem in stems}
        calibration = calibration.model_copy(update={"reached_sdr_med": reached, "tracks": len(tracks)})
        _write_calibration(folder / CALIBRATION_FILE, calibration)
    return SeparatedReport(folder, len(missing), len(tracks) - len(missing), calibration)


def _find_all_tracks(root: Path, stems: Sequence[str]) -> list[Track]:
    """All tracks of all splits, each once, with stems that fit together."""
    found: dict[Path, Track] = {}
    for split in (split for split, folders in split_folders(root).items() if folders):
        for track in find_tracks(root, split, stems):
            found.setdefault(track.folder, track)  # in a small folder without splits, `test` is `valid`
    for track in found.values():
        first, *others = (audio_info(track.stems[stem]) for stem in stems)
        for other in others:
            for what in ("frames", "sample_rate", "channels"):
                if getattr(first, what) != getattr(other, what):
                    raise UserError(
                        f"{other.path}: {what} = {getattr(other, what)}, but {getattr(first, what)} in "
                        f"{first.path.name}. The stems of a track must be alike in these: export them again."
                    )
    return list(found.values())


def _calibrate(separator: str, tracks: Sequence[Track], seed: int, stems: Sequence[str], run: "Run") -> Calibration:
    """Calibrate on excerpts of up to `CALIBRATION_TRACKS` tracks, taken evenly from all."""
    kind = SEPARATORS[separator]
    count = min(CALIBRATION_TRACKS, len(tracks))
    chosen = [tracks[index * len(tracks) // count] for index in range(count)]

    def evaluate(strength: dict[str, float]) -> dict[str, float]:
        rows = run(partial(_excerpt_sdr, separator, strength, seed, tuple(stems)), chosen)
        levels = list(tqdm(rows, desc=f"{separator}: calibration", total=count, unit="track", leave=False))
        medians = {stem: _median([row[stem] for row in levels]) for stem in stems}
        return {stem: np.nan if level is None else level for stem, level in medians.items()}

    targets = {stem: kind.target_sdr[stem] for stem in stems}
    start = {stem: kind.start[stem] for stem in stems}
    strength, reached = find_strength(evaluate, start, targets, kind.slope)
    return Calibration(
        separator=separator,
        seed=seed,
        parameter=kind.parameter,
        strength=strength,
        target_sdr_med=targets,
        calibrated_sdr_med={stem: _median([level]) for stem, level in reached.items()},
    )


def _excerpt_sdr(
    separator: str, strength: dict[str, float], seed: int, stems: Sequence[str], track: Track
) -> dict[str, float | None]:
    """Degrade some frames of a track, strung together, always the same ones; give the median SDR of each stem."""
    info = audio_info(track.stems[stems[0]])
    piece = 1 + 2 * CALIBRATION_MARGIN
    if info.seconds < CALIBRATION_FRAMES * piece:
        true, rate = _read_stems(track, stems)
        measured = np.full(info.frames, True)
    else:
        starts = np.linspace(0.0, info.seconds - piece, CALIBRATION_FRAMES)
        pieces = [_read_stems(track, stems, start, piece) for start in starts]
        true = {stem: np.concatenate([audio[stem] for audio, _ in pieces], axis=1) for stem in stems}
        rate = info.sample_rate
        margin = round(CALIBRATION_MARGIN * rate)
        measured = np.tile(np.arange(round(piece * rate)) - margin, CALIBRATION_FRAMES)
        measured = (measured >= 0) & (measured < rate)
    estimates = SEPARATORS[separator].degrade(true, rate, strength, seed=seed, track=track.name)
    return {stem: _median([median_sdr(true[stem][:, measured], estimates[stem][:, measured], rate)]) for stem in stems}


def _make_track(
    folder: Path, separator: str, strength: dict[str, float], seed: int, stems: Sequence[str], track: Track
) -> None:
    """Write one track's separated stems: all of them or none."""
    final = _track_folder(folder, track)
    temporary = final.with_name(TEMPORARY_PREFIX + track.name)
    true, rate = _read_stems(track, stems)
    estimates = SEPARATORS[separator].degrade(true, rate, strength, seed=seed, track=track.name)
    sdr = {stem: _median([median_sdr(true[stem], estimates[stem], rate)]) for stem in stems}
    try:
        shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
        for stem in stems:
            # A separator's output can exceed full scale a little where its mixture does not.
            write_audio(temporary / f"{stem}.wav", np.clip(estimates[stem], -1.0, 1.0), rate)
        (temporary / SDR_FILE).write_text(json.dumps(sdr, indent=2) + "\n")
        shutil.rmtree(final, ignore_errors=True)  # made for fewer stems
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _read_stems(
    track: Track, stems: Sequence[str], start: float = 0.0, seconds: float | None = None
) -> tuple[dict[str, np.ndarray], int]:
    audio = {stem: read_audio(track.stems[stem], start=start, seconds=seconds) for stem in stems}
    return {stem: signal for stem, (signal, _) in audio.items()}, audio[stems[0]][1]


def _track_folder(folder: Path, track: Track) -> Path:
    return folder / track.split / track.name


def _finished(folder: Path, track: Track, stems: Sequence[str]) -> bool:
    return all(
        (_track_folder(folder, track) / name).is_file() for name in (*(f"{stem}.wav" for stem in stems), SDR_FILE)
    )


def _median(levels: Iterable[float | None]) -> float | None:
    """Median of the levels that are finite numbers; None, as JSON has no NaN, where there is none."""
    finite = [level for level in levels if level is not None and np.isfinite(level)]
    return round(float(np.median(finite)), 4) if finite else None


def _read_calibration(path: Path, seed: int, stems: Sequence[str]) -> Calibration | None:
    if not path.is_file():
        return None
    try:
        calibration = Calibration.model_validate_json(path.read_text())
    except ValidationError as error:
        reason = error.errors()[0]
        raise UserError(
            f"{path}: not a calibration ({reason['msg']}). Delete it, and it will be made again."
        ) from error
    if calibration.seed != seed or set(calibration.strength) != set(stems):
        raise UserError(
            f"{path.parent}: made with seed {calibration.seed} and stems {', '.join(calibration.strength)}, but now "
            f"seed {seed} and {', '.join(stems)} are asked for. Ask for the same, or delete the folder."
        )
    return calibration


def _write_calibration(path: Path, calibration: Calibration) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(calibration.model_dump_json(indent=2) + "\n")


Run = Callable[[Callable[[Track], Any], Sequence[Track]], Iterator[Any]]
"""Applies a function to tracks; gives the results in their order."""


@contextlib.contextmanager
def _workers(jobs: int) -> Iterator[Run]:
    """Give a `map` that works in `jobs` processes, or in this one if there is but one job."""
    if jobs == 1:
        yield map
        return
    # Spawned, not forked: a fork of a process that has run torch or BLAS threads can hang.
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_ignore_interrupts) as pool:
        try:
            yield pool.map
        except BrokenProcessPool as error:
            raise UserError("A worker process died, perhaps for want of memory. Run again with fewer jobs.") from error


def _ignore_interrupts() -> None:
    """Leave Ctrl-C to the parent: workers finish their track, and the pool is shut down in order."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
