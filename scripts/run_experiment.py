"""The experiments, each by its ID: list them, show one, run them, and write the table of their results.

    python scripts/run_experiment.py list
    python scripts/run_experiment.py show N3.song
    python scripts/run_experiment.py run N3.song [key=value ...]
    python scripts/run_experiment.py run all
    python scripts/run_experiment.py table
    accelerate launch scripts/run_experiment.py run N3.song

ID is a file of configs/experiments/ and, after a dot, one of its variants; N3 means all of its variants, N all whose
names begin so, and all means all. --scale demo takes minutes on two CPU cores, --scale full is the published size; A1
to A6 have one size. Each ID gets a run folder of its own: one that is finished says so and does nothing, one that was
stopped goes on. Several IDs run one after the other, each in a process of its own, and one that fails does not stop the
others. Works from any folder: paths in a configuration are meant from the project, those on the command line from here.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from codec_ft.errors import UserError, told_to_the_user
from experiments.registry.card import ScaleName

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

IDs = Annotated[list[str], typer.Argument(help="IDs, and key=value to change what they say", metavar="ID")]
AnyIDs = Annotated[list[str] | None, typer.Argument(help="IDs (all), and the key=value of the runs", metavar="ID")]
ScaleOption = Annotated[ScaleName, typer.Option("--scale", help="minutes on a CPU, or as published")]


@app.command("list")
def list_experiments() -> None:
    """Tell all IDs and what they are."""
    from experiments.registry.catalogue import read_catalogue
    from experiments.registry.describe import list_catalogue

    with told_to_the_user():
        print(list_catalogue(read_catalogue()))


@app.command()
def show(words: IDs, scale: ScaleOption = "demo") -> None:
    """Tell what an experiment is, what the thesis found, how that is checked and, of a single ID, all settings."""
    from experiments.registry.catalogue import choose, groups_of
    from experiments.registry.describe import describe_config, describe_group
    from experiments.registry.resolve import resolve

    with told_to_the_user():
        names, overrides = _split(words)
        chosen = choose(names)
        configs = [resolve(experiment, overrides, scale) for experiment in chosen]
        for group, members in groups_of(chosen):
            print(describe_group(group, members, scale), end="\n\n")
        if len(configs) == 1:
            print(describe_config(configs[0]))


@app.command()
def run(
    words: IDs,
    scale: ScaleOption = "demo",
    launch: Annotated[
        str | None,
        typer.Option(
            help='command that starts each experiment, such as "accelerate launch" with its options; default: Python'
        ),
    ] = None,
) -> None:
    """Run experiments, or go on with them."""
    from experiments.registry.before import check_before
    from experiments.registry.catalogue import choose
    from experiments.registry.queue import Queued, run_queue, summary
    from experiments.registry.resolve import resolve
    from experiments.registry.resolve import run as run_here
    from experiments.registry.state import forget_failure

    with told_to_the_user():
        names, overrides = _split(words)
        # All are read first: a mistake in the last should not cost the time of the others.
        queued = [Queued(experiment, resolve(experiment, overrides, scale)) for experiment in choose(names)]
        check_before(queued, overrides, scale)
        if len(queued) == 1 and launch is None:
            forget_failure(queued[0].config)
            run_here(queued[0].config)
            return
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError(
                'several processes cannot share several IDs; give the launcher as --launch "accelerate launch ..."'
            )
        outcome = run_queue(queued, overrides, scale, shlex.split(launch) if launch else [sys.executable])
    print("\n".join(summary(outcome)), file=sys.stderr)
    if outcome.failed or outcome.left:
        raise typer.Exit(1)


@app.command()
def table(
    words: AnyIDs = None,
    scale: ScaleOption = "demo",
    out: Annotated[Path, typer.Option(help="the file")] = Path("RESULTS.md"),
) -> None:
    """Write the table of results from the run folders, beside what the thesis found.

    Beside it lie its numbers, as .json. Runs that do not lie here are told from there, if their settings are the same.
    """
    from experiments.registry.catalogue import EVERYTHING, choose
    from experiments.results_table.make import make_table

    with told_to_the_user():
        names, overrides = _split(words or [])
        print(make_table(choose(names or [EVERYTHING]), out, scale=scale, overrides=overrides))


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """IDs, and `key=value` words."""
    return [word for word in words if "=" not in word], [word for word in words if "=" in word]


if __name__ == "__main__":
    app()
