"""Write the separated stems of a whole data set: `separated/<separator>/<split>/<track>/<stem>.wav`.

Beside the splits lies `calibration.json`: how strong the errors are, the published levels aimed at, and the levels
reached. Beside a track's stems lies `sdr_med.json`: how well each of them was "separated".
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from codec_ft.atomic import atomic_folder, remove_leftovers
from codec_ft.audio.files import audio_info, write_audio
from codec_ft.data.separators.calibrate import (
    CALIBRATION_FILE,
    Calibration,
    calibrate,
    finite_median,
    median_sdr,
    read_calibration,
    read_stems,
    write_calibration,
)
from codec_ft.data.separators.kinds import SEPARATORS
from codec_ft.data.tracks import SEPARATED, Track, find_tracks, split_folders
from codec_ft.data.workers import available_cores, worker_processes
from codec_ft.errors import UserError

STEMS = ("drums", "bass", "other", "vocals")
"""What MUSDB18 and the demo set are made of."""
SDR_FILE = "sdr_med.json"


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
    if seed < 0 or (jobs is not None and jobs < 1):
        raise UserError(f"seed={seed}, jobs={jobs}: a seed is 0 or more, and there is at least one job.")
    tracks = _find_all_tracks(Path(root), stems)
    folder = Path(root) / SEPARATED / separator
    calibration = read_calibration(folder / CALIBRATION_FILE, seed, stems)
    remove_leftovers(folder)
    missing = [track for track in tracks if not _finished(folder, track, stems)]
    if missing or calibration is None:
        with worker_processes(min(jobs or available_cores(), len(tracks))) as run:
            if calibration is None:
                calibration = calibrate(separator, tracks, seed, stems, run)
                write_calibration(folder / CALIBRATION_FILE, calibration)
            make = partial(_make_track, folder, separator, calibration.strength, seed, tuple(stems))
            for _ in tqdm(run(make, missing), desc=f"{separator}: separated stems", total=len(missing), unit="track"):
                pass
        levels = [json.loads((_track_folder(folder, track) / SDR_FILE).read_text()) for track in tracks]
        reached = {stem: finite_median([row[stem] for row in levels]) for stem in stems}
        calibration = calibration.model_copy(update={"reached_sdr_med": reached, "tracks": len(tracks)})
        write_calibration(folder / CALIBRATION_FILE, calibration)
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


def _make_track(
    folder: Path, separator: str, strength: dict[str, float], seed: int, stems: Sequence[str], track: Track
) -> None:
    """Write one track's separated stems: all of them or none."""
    true, rate = read_stems(track, stems)
    estimates = SEPARATORS[separator].degrade(true, rate, strength, seed=seed, track=track.name)
    sdr = {stem: finite_median([median_sdr(true[stem], estimates[stem], rate)]) for stem in stems}
    with atomic_folder(_track_folder(folder, track)) as made:  # replaces one that was made for fewer stems
        for stem in stems:
            # A separator's output can exceed full scale a little where its mixture does not.
            write_audio(made / f"{stem}.wav", np.clip(estimates[stem], -1.0, 1.0), rate)
        (made / SDR_FILE).write_text(json.dumps(sdr, indent=2) + "\n")


def _track_folder(folder: Path, track: Track) -> Path:
    return folder / track.split / track.name


def _finished(folder: Path, track: Track, stems: Sequence[str]) -> bool:
    return all(
        (_track_folder(folder, track) / name).is_file() for name in (*(f"{stem}.wav" for stem in stems), SDR_FILE)
    )
