"""The demo set on disk: MUSDB18-HQ's layout, built by several processes, resumable, never half a track."""

import json
import multiprocessing
import os
import shutil
import signal
import threading
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

import soundfile
from tqdm import tqdm

from codec_ft.atomic import TEMPORARY_PREFIX, atomic_path
from codec_ft.data.demo.composer import compose
from codec_ft.data.demo.render import mix, render_song
from codec_ft.data.demo.score import SAMPLE_RATE, TrackSpec
from codec_ft.errors import UserError

# Raised whenever the same seed would sound different; sets of different versions are never mixed.
GENERATOR_VERSION = 1
DESCRIPTION_FILE = "dataset.json"
DEFAULT_TRACKS = {"train": 24, "valid": 4, "test": 6}
SHORTEST, LONGEST = 2.0, 600.0
# Each worker computes on one core; more threads in each would only fight for the same cores.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class BuildReport:
    """What a call of `build_demo_set` did: tracks made now and found finished, and where they are."""

    root: Path
    made: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.root}: {self.made} tracks made, {self.skipped} were there already"


def build_demo_set(
    root: Path,
    *,
    tracks: dict[str, int] | None = None,
    seconds: float = 20.0,
    seed: int = 0,
    jobs: int | None = None,
) -> BuildReport:
    """Compose, render and store the demo set as `root/<split>/<track>/{mixture,drums,bass,other,vocals}.wav`.

    Files are 44.1 kHz stereo, 16-bit PCM. A track depends on the seed, its split, its number and its length only, so
    a larger set holds the smaller one. Run again, the call makes what is missing.

    Args:
        root: folder of the set; created.
        tracks: number of tracks per split, by default 24 for train, 4 for valid, 6 for test.
        seconds: length of every track, 2 to 600.
        seed: another seed gives other songs.
        jobs: worker processes; None takes one per core.

    Raises:
        UserError: a number is out of range, `root` holds a set with other parameters, or a track failed.
    """
    root = Path(root)
    tracks = DEFAULT_TRACKS if tracks is None else tracks
    _check_arguments(tracks, seconds, seed, jobs)
    _claim(root, {"generator": "demo", "version": GENERATOR_VERSION, "seed": seed, "seconds": float(seconds)})
    specs = [TrackSpec(seed, split, index, float(seconds)) for split, count in tracks.items() for index in range(count)]
    for split in tracks:
        _prepare_split(root / split)
    missing = [spec for spec in specs if not _finished(root, spec)]
    if missing:
        _check_space(root, len(missing) * seconds)
        _render_all(root, missing, min(jobs or os.cpu_count() or 1, len(missing)))
    return BuildReport(root, len(missing), len(specs) - len(missing))


def _check_arguments(tracks: dict[str, int], seconds: float, seed: int, jobs: int | None) -> None:
    if not SHORTEST <= seconds <= LONGEST:
        raise UserError(f"seconds={seconds}: a demo track lasts {SHORTEST:g} to {LONGEST:g} seconds.")
    if seed < 0:
        raise UserError(f"seed={seed}: a seed is a whole number, 0 or more.")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs={jobs}: at least one process is needed.")
    for split, count in tracks.items():
        if not split or split.startswith(".") or "/" in split or "\\" in split:
            raise UserError(f"tracks: '{split}' cannot be a folder's name. Use names such as train, valid, test.")
        if not 0 <= count <= 999:
            raise UserError(f"tracks: {split}={count}, but a split has 0 to 999 tracks.")


def _check_space(root: Path, seconds: float) -> None:
    """Refuse at once what the disk has no room for: five 16-bit stereo files for every second of music."""
    needed, free = int(5 * seconds * SAMPLE_RATE * 4), shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"{root}: the tracks need {needed / 1e9:.2f} GB, but the disk has {free / 1e9:.2f} GB. "
            "Free some space, choose another folder, or make fewer or shorter tracks."
        )


def _claim(root: Path, parameters: dict[str, object]) -> None:
    """Write what the set is made from, or check that it is the same as last time."""
    path = root / DESCRIPTION_FILE
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(parameters, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text())
        differences = [
            f"{key} {found.get(key)} there, {value} now" for key, value in parameters.items() if found.get(key) != value
        ]
    except (ValueError, AttributeError) as error:
        raise UserError(f"{path}: not the description of a demo set. Delete it, or choose another folder.") from error
    if differences:
        raise UserError(
            f"{root}: holds a demo set made with other parameters ({'; '.join(differences)}). "
            "Choose another folder, delete this one, or use its parameters."
        )


def _prepare_split(folder: Path) -> None:
    """Create the split's folder and remove what a killed run left behind."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}). Choose another folder.") from error


def _remove_leftovers(folder: Path) -> None:
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover)


def _finished(root: Path, spec: TrackSpec) -> bool:
    """Whether the track's folder is there; it is renamed into place only when complete."""
    return any((root / spec.split).glob(f"{spec.index:03d} - *"))


def _write_track(root: Path, spec: TrackSpec) -> str:
    """Render one track into a temporary folder and rename it. Returns its name. Runs in a worker."""
    song = compose(spec)
    stems = render_song(song)
    folder = root / spec.split / song.title
    temporary = folder.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{folder.name}")
    try:
        temporary.mkdir()
        for name, audio in ({"mixture": mix(stems)} | stems).items():
            soundfile.write(temporary / f"{name}.wav", audio, SAMPLE_RATE, subtype="PCM_16")
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return song.title


def _start_worker(stop: Connection) -> None:
    """Leave Ctrl-C to the parent; end when the parent closes its end of the pipe or is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(stop,), daemon=True).start()


def _end_with(stop: Connection) -> None:
    wait([stop])
    os._exit(1)


def _render_all(root: Path, specs: list[TrackSpec], jobs: int) -> None:
    """Render tracks in `jobs` fresh processes with a progress bar.

    Workers are spawned, not forked: a fork of a process that has used threads may hang.
    """
    saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    context = multiprocessing.get_context("spawn")
    stop, alive = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker, initargs=(stop,))
    try:
        waiting = {pool.submit(_write_track, root, spec): spec for spec in specs}
        for future in tqdm(as_completed(waiting), total=len(waiting), desc="demo tracks", unit="track"):
            _check_result(root, waiting[future], future)
    except BaseException:
        # Workers end in the middle of their tracks; whole tracks are not waited for.
        alive.close()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        alive.close()
        stop.close()
        for split in {spec.split for spec in specs}:
            _remove_leftovers(root / split)
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_result(root: Path, spec: TrackSpec, future: Future[str]) -> None:
    """Turn a worker's failure into an error that names the track."""
    try:
        future.result()
    except BrokenProcessPool as error:
        raise UserError(
            f"{root / spec.split}: the process that rendered track {spec.index:03d}, or another one, was killed "
            "(out of memory?). Finished tracks are kept; run again, with fewer jobs if memory is short."
        ) from error
    except Exception as error:
        raise UserError(
            f"{root / spec.split}: track {spec.index:03d} (seed {spec.seed}) failed: "
            f"{type(error).__name__}: {error}. Finished tracks are kept; run again to go on."
        ) from error
