"""Make the demo data set, or check any data set.

    python scripts/prepare_data.py demo
    python scripts/prepare_data.py check PATH

Works from any folder.
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codec_ft.errors import told_to_the_user

DEMO_ROOT = Path(__file__).resolve().parent.parent / "data" / "demo"

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
    from codec_ft.data.separators.kinds import SEPARATORS

    with told_to_the_user():
        build_demo_set(
            root, tracks={"train": train, "valid": valid, "test": test}, seconds=seconds, seed=seed, jobs=jobs
        )
        for separator in SEPARATORS if separators else ():
            build_separated(root, separator, seed=seed, jobs=jobs)
    print(f"The demo data set is in {root}.")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder of the data set.")],
    stem: Annotated[str | None, typer.Option(help="Only look at what training on this stem needs.")] = None,
    input: Annotated[str, typer.Option(help="With --stem: mixture, target or separated/<separator>.")] = "mixture",
    jobs: Annotated[int | None, typer.Option(min=1, help="Threads; by default one per core.")] = None,
) -> None:
    """Report what is in a data set and what is wrong with it; exit with 1 if something must be mended."""
    from codec_ft.data.check import check_dataset

    with told_to_the_user():
        report = check_dataset(path, stem=stem, input=input, jobs=jobs)
    Console().print(report.table())
    if report.errors:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
