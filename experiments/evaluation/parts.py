"""Finished tracks of an evaluation that was stopped: the same command goes on after them."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from codec_ft.atomic import atomic_path
from codec_ft.data.workers import ParallelMap
from experiments.evaluation.results import RESULTS, Measured
from experiments.evaluation.settings import Settings
from experiments.evaluation.systems import Comparison

FOLDER = "unfinished"
VERSION = 1
"""Another number means that what was measured by the code before is not used."""


def measure_all(comparison: Comparison, settings: Settings, folder: Path, run: ParallelMap) -> Iterator[Measured]:
    """Measure track by track, in order, keeping each in `folder/unfinished`; those that are there are only read."""
    parts = [comparison.of_track(track) for track in comparison.tracks]
    yield from run(partial(_measure_or_read, settings, folder / FOLDER), parts)


def is_evaluation(folder: Path) -> bool:
    """Whether an evaluation wrote `folder`, to its end or not; nothing of anybody else's may be replaced."""
    if (folder / FOLDER).is_dir():
        return True
    try:
        results = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(results, dict) and results.get("kind") == "evaluation"


def forget_parts(folder: Path) -> None:
    """Remove what was kept; the results have it all now."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)


def _measure_or_read(settings: Settings, kept: Path, part: Comparison) -> Measured:
    path = kept / f"{_key(part, settings)}.pickle"
    if path.is_file():
        # Written by this very function, into the user's own folder: as trustworthy as the code.
        measured = pickle.loads(path.read_bytes())
        assert isinstance(measured, Measured)
        return measured
    # Here, because codecs and metrics take seconds to import: the workers need them, the process that asks does not.
    from experiments.evaluation.measure import measure_track

    measured = measure_track(part, settings)
    with atomic_path(path) as temporary:
        temporary.write_bytes(pickle.dumps(measured))
    return measured


def _key(part: Comparison, settings: Settings) -> str:
    """A name that changes with anything that changes the numbers: the settings, and every file's size and age."""
    facts: list[object] = [VERSION, settings]
    for system in (part.references, *part.systems):
        facts += [system.name, system.role]
        for item, paths in sorted(system.files.items()):
            stamps = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
            facts += [item, stamps]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
