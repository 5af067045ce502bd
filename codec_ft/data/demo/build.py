"""The demo set on disk: MUSDB18-HQ's layout, built by several processes, resumable, never half a track."""

from functools import partial
from pathlib import Path

import soundfile
from tqdm import tqdm

from codec_ft.atomic import atomic_folder, remove_leftovers
from codec_ft.data.demo.composer import compose
from codec_ft.data.demo.render import mix, render_song
from codec_ft.data.demo.score import SAMPLE_RATE, TrackSpec
from codec_ft.data.made import BuildReport, check_space, claim, prepare_split
from codec_ft.data.workers import available_cores, worker_processes
from codec_ft.errors import UserError

# Raised whenever the same seed would sound different; sets of different versions are never mixed.
GENERATOR_VERSION = 1
DEFAULT_TRACKS = {"train": 24, "valid": 4, "test": 6}
SHORTEST, LONGEST = 2.0, 600.0  # seconds


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
    claim(root, {"generator": "demo", "version": GENERATOR_VERSION, "seed": seed, "seconds": float(seconds)})
    specs = [TrackSpec(seed, split, index, float(seconds)) for split, count in tracks.items() for index in range(count)]
    for split in tracks:
        prepare_split(root / split)
    missing = [spec for spec in specs if not _finished(root, spec)]
    if missing:
        # Five 16-bit stereo files for every second of music.
        check_space(root, int(5 * len(missing) * seconds * SAMPLE_RATE * 4))
        _render_all(root, missing, min(jobs or available_cores(), len(missing)))
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


def _finished(root: Path, spec: TrackSpec) -> bool:
    """Whether the track's folder is there; it is renamed into place only when complete."""
    return any((root / spec.split).glob(f"{spec.index:03d} - *"))


def _render_all(root: Path, specs: list[TrackSpec], jobs: int) -> None:
    try:
        with worker_processes(jobs) as run:
            for _ in tqdm(run(partial(_write_track, root), specs), total=len(specs), desc="demo tracks", unit="track"):
                pass
    finally:
        for split in {spec.split for spec in specs}:
            remove_leftovers(root / split)


def _write_track(root: Path, spec: TrackSpec) -> None:
    """Render one track and write its folder, all of it or nothing. Runs in a worker.

    Raises:
        UserError: names the track, whatever went wrong.
    """
    try:
        song = compose(spec)
        stems = render_song(song)
        with atomic_folder(root / spec.split / song.title) as folder:
            for name, audio in ({"mixture": mix(stems)} | stems).items():
                soundfile.write(folder / f"{name}.wav", audio, SAMPLE_RATE, subtype="PCM_16")
    except Exception as error:
        raise UserError(
            f"{root / spec.split}: track {spec.index:03d} (seed {spec.seed}) failed: "
            f"{type(error).__name__}: {error}. Finished tracks are kept; run again to go on."
        ) from error
