"""What lies in a run folder, read forgivingly: a page is wanted most when a run went wrong."""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import soundfile as sf
import yaml

from codec_ft.atomic import TEMPORARY_PREFIX
from codec_ft.errors import UserError

CLIPS = ("input", "output", "target", "quantized_input", "quantized_target")
"""The names under which a sample's excerpts are written, in the order in which the page shows them."""

Curves = dict[str, dict[str, list[tuple[int, float]]]]


@dataclass
class Clip:
    """One wav of a sample.

    Attributes:
        name: file name without suffix, e.g. `quantized_target`.
        path: the wav.
        sample_rate: Hz.
        seconds: duration.
    """

    name: str
    path: Path
    sample_rate: int
    seconds: float


@dataclass
class Sample:
    """The excerpts of one track that are heard side by side, with what `sample.json` says about them."""

    name: str
    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    clips: list[Clip] = field(default_factory=list)

    def missing(self, expected: Sequence[str] = CLIPS) -> list[str]:
        """Which of the expected excerpts cannot be played."""
        present = {clip.name for clip in self.clips}
        return [name for name in expected if name not in present]


@dataclass
class Run:
    """Everything that the page is made of; `notes` says, one sentence each, what is missing or broken."""

    path: Path
    config_text: str
    config: dict[str, Any]
    curves: Curves
    last_step: int | None
    results: dict[str, Any]
    samples: list[Sample]
    notes: list[str]

    @property
    def name(self) -> str:
        """The folder's name, made printable."""
        return printable(self.path.resolve().name)

    @property
    def finished(self) -> bool:
        """Whether the training says that it ran to its end."""
        return self.results.get("status") == "finished"


def read_run(run_dir: Path, *, trained: bool = True) -> Run:
    """Read a run folder; whatever is missing, broken or half-written becomes a note instead of an error.

    Args:
        run_dir: the folder.
        trained: whether a training wrote it; without one, curves are not expected, and samples only where they are.

    Raises:
        UserError: `run_dir` is not a folder, or holds nothing that a run writes.
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"{run_dir}: no such run folder. Give the folder that a training wrote, e.g. runs/<id>-<hash>.")
    marks = ("config.yaml", "metrics.jsonl", "results.json", "samples")
    if not any((run_dir / mark).exists() for mark in marks):
        raise UserError(f"{run_dir}: not a run folder: it holds none of {', '.join(marks)}. Give the run's own folder.")

    notes: list[str] = []
    config_text, config = _read_config(run_dir / "config.yaml", notes)
    curves, last_step = _read_curves(run_dir / "metrics.jsonl", notes) if trained else ({}, None)
    results = _read_results(run_dir / "results.json", notes)
    expects_samples = trained or (run_dir / "samples").is_dir()
    samples = read_samples(run_dir / "samples", notes) if expects_samples else []
    return Run(run_dir, config_text, config, curves, last_step, results, samples, notes)


def printable(name: str) -> str:
    """A file name as text that UTF-8 can hold: undecodable bytes become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


def finite(value: object) -> float | None:
    """`value` as a float when it is a finite number, else None (booleans are no numbers)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def mapping(value: object) -> dict[str, Any]:
    """`value` if it is a mapping, else an empty one, so that a damaged file leaves gaps and not a traceback."""
    return value if isinstance(value, dict) else {}


def result_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The systems of `results.json`: its `rows` that are mappings."""
    rows = results.get("rows")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _read_config(path: Path, notes: list[str]) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        config = yaml.safe_load(text)
    except FileNotFoundError:
        notes.append("config.yaml is missing, so the page cannot say what was trained.")
        return "", {}
    except yaml.YAMLError as error:
        notes.append(f"config.yaml cannot be parsed ({str(error).splitlines()[0]}); it is shown as it is.")
        return text, {}
    return text, mapping(config)


def _read_curves(path: Path, notes: list[str]) -> tuple[Curves, int | None]:
    """Values by metric and split; a step that was logged twice (a resumed run) keeps its later value."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        notes.append("metrics.jsonl is missing, so there are no loss curves.")
        return {}, None
    values: dict[str, dict[str, dict[int, float]]] = {}
    steps: list[int] = []
    broken = 0
    not_finite: dict[str, list[int]] = {}
    for line in filter(str.strip, lines):
        try:
            record = mapping(json.loads(line))
        except ValueError:
            record = {}
        step = finite(record.pop("step", None))
        if step is None:
            broken += 1
            continue
        steps.append(int(step))
        split = str(record.pop("split", "train"))
        for name, value in record.items():
            number = finite(value)
            if number is not None:
                values.setdefault(name, {}).setdefault(split, {})[int(step)] = number
            elif value is None or isinstance(value, float):
                not_finite.setdefault(name, []).append(int(step))
    if broken:
        notes.append(f"{broken} unreadable line{'s' * (broken > 1)} of metrics.jsonl left out of the curves.")
    for name, at in not_finite.items():
        notes.append(f"{name} was not a finite number at {len(at)} logged step(s), first at step {min(at)}.")
    curves = {
        name: {split: sorted(points.items()) for split, points in splits.items()} for name, splits in values.items()
    }
    return curves, max(steps, default=None)


def _read_results(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        results = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        notes.append("results.json is missing: the training has not finished, so there is no table of results yet.")
        return {}
    except ValueError:
        notes.append("results.json cannot be parsed; run the evaluation again to get the table of results.")
        return {}
    return mapping(results)


def read_samples(folder: Path, notes: list[str]) -> list[Sample]:
    """The excerpts in a folder of samples, a folder each; what is missing or cannot be played is told to `notes`."""
    if not folder.is_dir():
        notes.append("No samples folder: nothing was rendered to listen to yet.")
        return []
    samples = []
    tracks = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for track in sorted(tracks, key=lambda path: natural(path.name)):
        sample = Sample(printable(track.name), track, _read_facts(track, notes))
        wavs = [path for path in track.glob("*.wav") if not path.name.startswith(TEMPORARY_PREFIX)]
        for path in sorted(wavs, key=_clip_rank):
            try:
                info = sf.info(os.fsencode(path))  # As bytes: a file name need not be UTF-8.
            except (sf.LibsndfileError, OSError):
                notes.append(f"{sample.name}: {printable(path.name)} cannot be read as audio; it is left out.")
                continue
            if info.frames == 0:
                notes.append(f"{sample.name}: {printable(path.name)} holds no audio; it is left out.")
                continue
            sample.clips.append(Clip(printable(path.stem), path, info.samplerate, info.frames / info.samplerate))
        if sample.clips:
            samples.append(sample)
        else:
            notes.append(f"{sample.name}: no wav files to play.")
    if not tracks:
        notes.append("The samples folder is empty: nothing was rendered to listen to yet.")
    return samples


def _read_facts(track: Path, notes: list[str]) -> dict[str, Any]:
    try:
        return mapping(json.loads((track / "sample.json").read_text(encoding="utf-8", errors="replace")))
    except FileNotFoundError:
        notes.append(f"{printable(track.name)}: sample.json is missing, so its numbers are not shown.")
    except ValueError:
        notes.append(f"{printable(track.name)}: sample.json cannot be parsed, so its numbers are not shown.")
    return {}


def _clip_rank(path: Path) -> tuple[int, list[tuple[int, int, str]]]:
    return (CLIPS.index(path.stem) if path.stem in CLIPS else len(CLIPS), natural(path.stem))


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key that puts `track 10` after `track 2`."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part.lower()) for part in re.split(r"(\d+)", name)]
