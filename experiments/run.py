"""One experiment from its configuration to its page."""

import itertools
import sys
import time
from pathlib import Path

import torch
from accelerate import Accelerator

from codec_ft.codec_training.decoder_report import report_decoder
from codec_ft.codec_training.decoder_task import DecoderStep, DecoderTask
from codec_ft.codec_training.report import report_codec
from codec_ft.codec_training.task import CodecTask
from codec_ft.data.check import check_dataset
from codec_ft.data.tracks import MIXTURE, split_folders
from codec_ft.errors import UserError, told_to_the_user
from codec_ft.separation.report import report_separator
from codec_ft.separation.task import SeparatorTask
from codec_ft.training.checkpoint import load_checkpoint
from codec_ft.training.config import ExperimentConfig
from codec_ft.training.device import make_accelerator
from codec_ft.training.loop import TrainResult, train
from codec_ft.training.run_folder import RunFolder, open_run, run_path
from codec_ft.training.stem_config import StemConfig
from codec_ft.training.stem_results import report
from codec_ft.training.stem_task import StemTask
from codec_ft.training.task import Task
from experiments.report.page import write_page
from experiments.tasks import make_task, read_config
from token_models.training.config import TokenTrainingConfig


def run_command(words: list[str], *, default: str, usage: str | None) -> None:
    """Run what a command line says, see `read_config`; `-h` shows how it is used."""
    if {"-h", "--help"} & set(words):
        print(usage)
        return
    with told_to_the_user():
        run_experiment(read_config(words, default=default))


def run_experiment(config: ExperimentConfig) -> RunFolder:
    """Check the data, train or resume, make samples and the table, and write the page.

    Raises:
        UserError: anything that the user can mend.
    """
    accelerator = make_accelerator(config.train)
    with accelerator.main_process_first():  # the first one scans the files, the others find its cache
        if accelerator.is_main_process:
            check_data(config)
        # What does not fit together is told before a folder is made for it.
        task = None if RunFolder(run_path(config)).finished else make_task(config)
        run = open_run(config)
    page = run.path / "index.html"
    if task is None:
        accelerator.end_training()
        if accelerator.is_main_process and not page.is_file():  # killed after the results, before their page
            write_page(run.path)
        say(accelerator, f"{run.path} is finished. Its page: {page}")
        return run
    say(accelerator, f"{run.path} on {accelerator.num_processes} x {accelerator.device.type}")
    result = train(task, run, config.train, accelerator, workers=config.data.workers)
    # The processes part here: the others cannot wait for the report for as long as it may take.
    accelerator.end_training()
    if not result.finished:
        say(accelerator, f"Stopped at step {result.step} of {config.train.steps}. The same command goes on from there.")
    elif accelerator.is_main_process:
        finish(task, run, config, result, accelerator)
        say(accelerator, f"Done. Open {page}")
    return run


def say(accelerator: Accelerator, text: str) -> None:
    """A line for the person at the terminal, from one process."""
    if accelerator.is_main_process:
        print(text, file=sys.stderr)


def check_data(config: ExperimentConfig) -> None:
    """The check of `scripts/prepare_data.py check`, for what this configuration reads.

    Raises:
        UserError: the data have errors.
    """
    data = config.data
    reads_all = data.remix_probability > 0 or config.stem == "all"
    stem = None if reads_all else config.stem
    splits = {data.root: {"train", "valid", data.report_split}}
    sources = ["target"]
    if isinstance(config, StemConfig):
        sources = [config.input, *config.train_inputs, *config.context]
        if config.data.scope != "set":
            splits = {data.root: {"train"}}
        splits |= {root: {"train"} for root in config.data.extra}
    for root, wanted in splits.items():
        check_dataset(root, splits=sorted(wanted), stem=stem, input=list(dict.fromkeys(sources))).raise_if_errors()
    if isinstance(config, TokenTrainingConfig):
        for root, other in itertools.product(splits, set(config.learn) - {config.stem, MIXTURE}):
            beside = sources if config.hears else ["target"]
            check_dataset(root, splits=["train"], stem=other, input=list(dict.fromkeys(beside))).raise_if_errors()


def finish(task: Task, run: RunFolder, config: ExperimentConfig, result: TrainResult, accelerator: Accelerator) -> None:
    """Export the best weights, write samples and results of them, and the page."""
    module, words, validation = load_best(task, run.path, accelerator.device)
    task.export(module, run.path)
    outcome = report_samples(task, module, run.samples, words, accelerator.device)
    run.finish(
        {
            "status": "finished",
            "steps": result.step,
            "seconds": round(result.seconds, 1),
            "finished_at": time.strftime("%Y-%m-%d %H:%M"),
            "processes": accelerator.num_processes,
            "device": accelerator.device.type,
            "parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
            "checkpoint": words,
            "validation": validation,
            "data": config.data.root.name,
            **count_tracks(task, config),
            **outcome,
        }
    )
    write_page(run.path)


def count_tracks(task: Task, config: ExperimentConfig) -> dict[str, int]:
    """How many tracks were learnt from, and on how many the best checkpoint was chosen."""
    folders = split_folders(config.data.root)
    counts = {split: len(folders[split]) for split in ("train", "valid")}
    if isinstance(task, StemTask):
        counts = {split: len(task.tracks(split)) for split in counts}
        counts["train"] += sum(len(split_folders(root)["train"]) for root in task.config.data.extra)
    return {f"{split}_tracks": count for split, count in counts.items()}


def load_best(task: Task, folder: Path, device: torch.device) -> tuple[torch.nn.Module, str, dict[str, float]]:
    """The main module with the best weights of a run, in `eval()`, what they are in words, and their validation.

    Raises:
        UserError: there is no such checkpoint, or it is broken, or of something else.
    """
    task.to(device)
    state = load_checkpoint(folder / "checkpoints" / "best.pt")
    module = task.phases[task.main]
    try:
        module.load_state_dict(state["module"])
    except RuntimeError:
        raise UserError(
            f"{folder}: its checkpoint does not fit its configuration; another version of the project has made it. "
            "Train again, with another run=."
        ) from None
    return module.to(device).eval(), f"best, step {state['step']}", state["metrics"]


def report_samples(task: Task, module: torch.nn.Module, samples: Path, words: str, device: torch.device) -> dict:
    """Samples of the report split and the table of them, by the kind of trainer."""
    if isinstance(task, DecoderTask):
        assert isinstance(module, DecoderStep)
        return report_decoder(task, module, samples, words, device)
    if isinstance(task, CodecTask):
        return report_codec(task, module, samples, words, device)
    if isinstance(task, SeparatorTask):
        return report_separator(task, module, samples, words, device)
    assert isinstance(task, StemTask)
    return report(task, module, samples, words, device)
