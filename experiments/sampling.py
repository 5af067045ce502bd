"""Samples of a run that has been trained: its own again, of another track, or of any audio file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codec_ft.atomic import atomic_path
from codec_ft.audio.files import audio_info, read_audio
from codec_ft.command_line import check_alike, check_device
from codec_ft.config import load_config, peek
from codec_ft.data.dataset import Batch, collate
from codec_ft.data.excerpts import Excerpt
from codec_ft.data.tracks import SPLITS, Track, context_names, find_tracks, split_folders
from codec_ft.errors import UserError
from codec_ft.training.config import ExperimentConfig
from codec_ft.training.run_folder import RunFolder
from codec_ft.training.samples import write_sample
from codec_ft.training.stem_sample import excerpt_folder, other_floors, save_sample, separate_sample
from codec_ft.training.stem_task import StemTask
from codec_ft.training.task import Task
from experiments.report.page import write_page
from experiments.run import load_best, report_samples
from experiments.tasks import PROJECT, SCHEMAS, make_task


def load_run(folder: Path, decode: str | None, device: str) -> tuple[ExperimentConfig, Task, torch.nn.Module, str]:
    """Configuration, trainer, module with the best weights, and what these are in words.

    Raises:
        UserError: the folder is no run, or has no checkpoint yet, or nothing but codes can be decoded, or there is no
            such device.
    """
    path = RunFolder(folder).config
    task_name = peek([path], [], "task") if path.is_file() else None
    if task_name not in SCHEMAS:
        raise UserError(f"{folder}: is not the folder of a run. Give one that a training has made, such as runs/demo.")
    check_device(device)
    schema = SCHEMAS[task_name]
    if decode is not None and "decode" not in schema.model_fields:
        raise UserError(f"--decode {decode}: {folder} writes nothing but codes. Leave it out.")
    overrides = [f"decode={decode}"] if decode else []
    config = load_config(schema, [path], overrides, root=PROJECT)
    task = make_task(config)
    module, words, _ = load_best(task, folder, torch.device(device))
    return config, task, module, words


def sample_report(folder: Path, *, decode: str | None, device: str) -> Path:
    """Make the samples and the results of the run's report split again, and its page."""
    _, task, module, words = load_run(folder, decode, device)
    run = RunFolder(folder)
    outcome = report_samples(task, module, run.samples, words, torch.device(device))
    if run.finished:
        results: dict[str, Any] = json.loads(run.results.read_text())
        with atomic_path(run.results) as temporary:
            temporary.write_text(json.dumps({**results, **outcome}, indent=1))
    return write_page(folder)


def sample_track(
    folder: Path, name: str, *, start: float, seconds: float | None, decode: str | None, device: str
) -> Path:
    """Make the sample of an excerpt of a track of the run's data set, and the page.

    Raises:
        UserError: there is no such track, or it is shorter.
    """
    config, task, module, words = load_run(folder, decode, device)
    task = _drawing_a_stem(folder, task)
    track = _find(config.data.root, name)
    length = audio_info(track.paths(config.stem)[0]).seconds
    if start >= length:
        raise UserError(f"--start {start:g}: {name} is only {length:.1f} s long.")
    seconds = min(seconds or length, length - start)
    excerpt = Excerpt(track, start, seconds)

    def read(source: str) -> Batch:
        return collate([task.reading([excerpt], source)[0]]).to(device)

    floors = {floor: read(source).input for floor, source in other_floors(task.config).items()}
    sample = separate_sample(task, module, read(task.config.input), floors)
    target = excerpt_folder(RunFolder(folder).samples, excerpt)
    save_sample(target, sample, task, excerpt, words)
    write_page(folder)
    return target


def sample_file(
    folder: Path,
    audio: Path,
    *,
    context: Sequence[Path] = (),
    start: float,
    seconds: float | None,
    decode: str | None,
    device: str,
) -> Path:
    """Draw the run's stem out of any audio file; there is no target to compare with.

    Args:
        folder: of the run.
        audio: the input.
        context: what it hears beside the input, as it was trained, in the same order: the same music, equally long.
        start: where the excerpt begins, seconds.
        seconds: its length; to the end if None.
        decode: "codes" or "latents"; None for the run's own choice.
        device: where to compute.

    Raises:
        UserError: a file cannot be read, some of the context is missing or given for nothing, or lengths differ.
    """
    config, task, module, words = load_run(folder, decode, device)
    task = _drawing_a_stem(folder, task)
    rate = task.codec.sample_rate
    files = heard_files(folder, task.config.context, audio, context)
    waves = [read_audio(path, sample_rate=rate, start=start, seconds=seconds, channels=1)[0] for path in files.values()]
    length = min(wave.shape[-1] for wave in waves)
    batch = {name: torch.from_numpy(wave[None, :, :length]).to(device) for name, wave in zip(files, waves, strict=True)}
    beside = [wave for name, wave in batch.items() if name != "input"]
    separation = task.separate(module, batch["input"], torch.cat(beside, dim=1) if beside else None)
    target = RunFolder(folder).samples / audio.stem
    written = {
        **batch,
        **{name: step.audio for name, step in separation.steps.items()},
        "output": separation.output,
        "quantized_input": separation.quantized_input,
    }
    write_sample(
        target,
        {name: wave[0] for name, wave in written.items()},
        rate,
        {
            "track": audio.name,
            "start": start,
            "seconds": length / rate,
            "stem": config.stem,
            "input": "file",
            "context": [path.name for path in context],
            "checkpoint": words,
        },
    )
    write_page(folder)
    return target


def heard_files(folder: Path, trained_with: Sequence[str], audio: Path, context: Sequence[Path]) -> dict[str, Path]:
    """The files that are heard, by what samples call them, the input first.

    Raises:
        UserError: they are not what the run was trained with, or not equally long.
    """
    if context and not trained_with:
        raise UserError(f"--context {context[0]}: {folder} hears nothing beside its input. Leave it out.")
    if len(context) != len(trained_with):
        what = f"{', '.join(trained_with)} beside its input"
        how = "--context FILE" if len(trained_with) == 1 else "a --context FILE for each, in this order"
        raise UserError(f"{folder}: hears {what}. Give that of the same music with {how}.")
    check_alike(audio, context)
    return {"input": audio, **dict(zip(context_names(trained_with), context, strict=True))}


def _drawing_a_stem(folder: Path, task: Task) -> StemTask:
    if not isinstance(task, StemTask):
        raise UserError(
            f"{folder}: draws no single stem out of a mixture. Give the run of a fine-tuning; a separator is applied "
            "by scripts/prepare_data.py separate --with RUN."
        )
    return task


def _find(root: Path, name: str) -> Track:
    folders = split_folders(root)
    for split in SPLITS:
        if any(folder.name == name for folder in folders[split]):
            return next(track for track in find_tracks(root, split) if track.name == name)
    known = sorted(folder.name for split in SPLITS for folder in folders[split])
    raise UserError(f"--track {name!r}: no such track in {root}. There are {len(known)}, for example {known[0]!r}.")
