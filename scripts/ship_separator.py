"""Make a trained separator ready to ship: half-precision weights, measured, with a card.

python scripts/ship_separator.py RUN codec_ft/data/separators/weights/NAME --data data/demo --data data/codec
"""

from pathlib import Path
from typing import Annotated

import typer

from codec_ft.errors import told_to_the_user
from codec_ft.separation.card import ship_separator


def main(
    run: Annotated[Path, typer.Argument(help="folder of a finished separator training")],
    folder: Annotated[Path, typer.Argument(help="where weights and card go")],
    data: Annotated[list[Path], typer.Option(help="data sets on which the separator is measured")],
) -> None:
    """Write weights and card, and say where the card is."""
    with told_to_the_user():
        print(ship_separator(run, folder, data))


if __name__ == "__main__":
    typer.run(main)
