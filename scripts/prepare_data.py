"""Make the demo data set, or remixes of any; separate a data set with any separator, code it, or check it.

    python scripts/prepare_data.py demo
    python scripts/prepare_data.py remix --tracks 96
    python scripts/prepare_data.py separate --with open_unmix_demo
    python scripts/prepare_data.py encode --stem bass --input separated/spectrogram
    python scripts/prepare_data.py check PATH

Works from any folder.
"""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from codec_ft.errors import UserError, told_to_the_user

if TYPE_CHECKING:  # the libraries take seconds to load, which --help should not
    from accelerate import PartialState

DEMO_ROOT = Path(__file__).resolve().parent.parent / "data" / "demo"
LONGEST_WAIT = timedelta(days=30)
"""Processes that finish early wait for the others: nobody knows how long a data set takes."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def demo(
    root: Annotated[Path, typer.Option(help="Folder of the data set.")] = DEMO_ROOT,
    train: Annotated[int, typer.Option(min=1, help="Training tracks.")] = 24,
    valid: Annotated[int, typer.Option(min=1, help="Validation tracks.")] = 4,
    test: Annotated[int, typer.Option(min=0, help="Test tracks.")] = 6,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of a track.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other music.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    separators: Annotated[bool, typer.Option(help="Also make the stems of the two stand-in separators.")] = True,
) -> None:
    """Compose and render the demo data set, and separate it with two stand-in separators.

    Run again, it makes what is missing and leaves the rest.
    """
    from codec_ft.data.demo.build import build_demo_set
    from codec_ft.data.separators.build import build_separated
    from codec_ft.data.separators.stand_ins.kinds import STAND_INS
    from codec_ft.data.separators.stand_ins.source import StandInSource
    from codec_ft.data.workers import available_cores

    with told_to_the_user():
        build_demo_set(
            root, tracks={"train": train, "valid": valid, "test": test}, seconds=seconds, seed=seed, jobs=jobs
        )
        for name in STAND_INS if separators else ():
            build_separated(root, StandInSource(name, seed=seed), jobs=jobs or available_cores())
    print(f"The demo data set is in {root}.")


@app.command()
def remix(
    tracks: Annotated[int, typer.Option(min=1, help="Remixes.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set whose training tracks are used.")] = DEMO_ROOT,
    out: Annotated[Path | None, typer.Option(help="Folder of the new set; by default ROOT_remix.")] = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="Length of a remix.")] = 10.0,
    gain_db: Annotated[tuple[float, float], typer.Option(help="Range of the random gain of each stem.")] = (-6.0, 6.0),
    seed: Annotated[int, typer.Option(min=0, help="Another seed makes other remixes.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
) -> None:
    """Mix stems of different training tracks anew, as more to learn from, with separators too.

    Every stem is from a random track and a random place where it sounds. The new set is for training alone. It has the
    commonest sample rate and number of channels of its sources; what differs is converted.

    Run again, it makes what is missing and leaves the rest; with more tracks, it adds to those that are there.
    """
    from codec_ft.data.remix_set import build_remix_set

    with told_to_the_user():
        out = out or root.resolve().with_name(f"{root.resolve().name}_remix")
        made = build_remix_set(root, out, tracks=tracks, seconds=seconds, gain_db=gain_db, seed=seed, jobs=jobs)
    print(f"{made}. Learn from them too with data.extra=[{out}]")


@app.command()
def separate(
    with_: Annotated[str, typer.Option("--with", help="Separator: a name, a run folder, demucs:NAME, or folder.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")] = DEMO_ROOT,
    name: Annotated[str | None, typer.Option(help="Write to separated/NAME; by default the separator's name.")] = None,
    source: Annotated[Path | None, typer.Option(help="With folder: where another program wrote its stems.")] = None,
    layout: Annotated[str | None, typer.Option(help='With folder: how they are named, "{track}/{stem}.wav".')] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the stand-ins' errors.")] = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
) -> None:
    """Fill separated/NAME/SPLIT/TRACK/STEM.wav of a data set, for `input=separated/NAME`.

    Separators: open_unmix_demo, which comes with this project; the run folder of a separator that was trained here;
    demucs:htdemucs and other models of the package demucs; spectrogram and waveform, stand-ins that degrade the true
    stems; and folder, for files that any other separator wrote.

    Run again, it makes what is missing and leaves the rest. With `accelerate launch` before it, the processes of all
    machines share out the tracks, each on its own GPU where there are any.
    """
    from codec_ft.data.separators.build import SeparatedSet, Shard
    from codec_ft.data.separators.named import make_source
    from codec_ft.data.workers import available_cores

    state = launched()
    with told_to_the_user():
        shard = Shard(state.process_index, state.num_processes)
        alone = shard.count == 1 and state.device.type == "cpu"
        if jobs is not None and jobs > 1 and state.device.type != "cpu":
            raise UserError(f"--jobs {jobs}: one process uses a GPU. Use accelerate launch to work on several GPUs.")
        jobs = jobs or (available_cores() if alone else 1)
        found = make_source(with_, root, folder=source, layout=layout, seed=seed, device=str(state.device))
        separated = SeparatedSet(root, found, name)
        with state.main_process_first():  # the first one calibrates and cleans up, the others find it done
            separated.prepare(jobs, shard)
        filled = separated.fill(jobs, shard)
        state.wait_for_everyone()
        if state.is_main_process:
            levels = separated.finish()
            table = Table("stem", "SDR-med, median (dB)", "uSDR, mean (dB)")
            for stem, row in levels.items():
                table.add_row(stem, *("-" if row[m] is None else f"{row[m]:.2f}" for m in ("sdr_med", "usdr")))
            if levels:
                Console().print(table)
            share = f" by the first of {shard.count} processes" * (shard.count > 1)
            print(f"{separated.folder}: {filled.made} tracks made{share}, {filled.skipped} were there already.")
            print(f"Train on them with input=separated/{separated.folder.name}")
    state.destroy_process_group()


@app.command()
def encode(
    stem: Annotated[list[str], typer.Option(help='A stem, "mixture", or "all" for the stems that every track has.')],
    input: Annotated[list[str], typer.Option(help="Also code this: mixture or separated/<separator>.")] = [],  # noqa: B006
    root: Annotated[Path, typer.Option(help="Folder of the data set.")] = DEMO_ROOT,
    codec: Annotated[str, typer.Option(help="Name or folder of the codec.")] = "demo",
    seconds: Annotated[
        float | None, typer.Option(min=0.01, help="Length of an excerpt, as data.seconds; 2 if left out.")
    ] = None,
    grid: Annotated[
        float | None,
        typer.Option(min=0.01, help="Seconds from one start to the next, as data.grid_seconds; 0.5 if left out."),
    ] = None,
    whole: Annotated[bool, typer.Option(help="Code tracks in one piece; excerpts may begin at any frame.")] = False,
    split: Annotated[list[str], typer.Option(help="Whose tracks: train, valid or test.")] = ["train"],  # noqa: B006
) -> None:
    """Store the latents and codes of excerpts in ROOT/encoded, for trainings with `data.encoded=true`.

    Of every track the excerpts that begin at the multiples of --grid are coded, each by itself as in training: the
    clean stems, and what is to be heard beside them. Or, with --whole, each track in one piece, from which training
    takes excerpts of any length.

    Run again, only what is missing or has changed is made. With `accelerate launch` before it, the processes of all
    machines share out the files, each on its own GPU where there are any.
    """
    from codec_ft.codecs.load import load_codec
    from codec_ft.data.separators.build import Shard
    from codec_ft.encoded.write import EncodedWriter

    state = launched()
    with told_to_the_user():
        if whole and (seconds is not None or grid is not None):
            raise UserError("--whole: a track in one piece has no --seconds and no --grid. Leave them out, or --whole.")
        if not whole:
            seconds, grid = seconds or 2.0, grid or 0.5
        shard = Shard(state.process_index, state.num_processes)
        writer = EncodedWriter(
            root,
            load_codec(codec).to(state.device),
            stems=stem,
            inputs=input,
            seconds=seconds,
            grid_seconds=grid,
            splits=split,
        )
        with state.main_process_first():  # the first one cleans up
            writer.prepare(shard)
        filled = writer.fill(shard)
        state.wait_for_everyone()
        if state.is_main_process:
            share = f" by the first of {shard.count} processes" * (shard.count > 1)
            megabytes = sum(file.path.stat().st_size for file in writer.files) / 1e6
            print(f"{writer.folder}: {filled.made} files made{share}, {filled.skipped} were there already.")
            print(
                f"Together they have {megabytes:.0f} MB. Train on them with codec={codec} data.encoded=true "
                + ("data.whole=true" if whole else f"data.seconds={seconds:g} data.grid_seconds={grid:g}")
            )
    state.destroy_process_group()


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    stem: Annotated[str | None, typer.Option(help="Only look at what training on this stem needs.")] = None,
    input: Annotated[list[str], typer.Option(help="With --stem: mixture, separated/<separator>, ...")] = ["mixture"],  # noqa: B006
    jobs: Annotated[int | None, typer.Option(min=1, help="Threads; by default one per core.")] = None,
) -> None:
    """Report what is in a data set and what is wrong with it; exit with 1 if something must be mended."""
    from codec_ft.data.check import check_dataset

    with told_to_the_user():
        report = check_dataset(path, stem=stem, input=input, jobs=jobs)
    Console().print(report.table())
    if report.errors:
        raise typer.Exit(1)


def launched() -> "PartialState":
    """The processes that `accelerate launch` started, or this one alone, and its device."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    # Without being told that there is no GPU, launched processes would not find each other.
    on_cpu = parse_flag_from_env("ACCELERATE_USE_CPU") or not torch.cuda.is_available()
    return PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)


if __name__ == "__main__":
    app()
