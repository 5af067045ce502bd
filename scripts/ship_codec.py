"""Make a trained codec ready to ship: half-precision weights, measured, with a card.

python scripts/ship_codec.py runs/codec_demo-... codec_ft/codecs/weights/demo --data data/codec --data data/demo
"""

from pathlib import Path
from typing import Annotated

import typer

from codec_ft.codec_training.card import ship
from codec_ft.errors import told_to_the_user


def main(
    run: Annotated[Path, typer.Argument(help="folder of a finished codec training")],
    folder: Annotated[Path, typer.Argument(help="where weights and card go")],
    data: Annotated[list[Path], typer.Option(help="data sets on whose test split the codec is measured")],
    against: Annotated[str | None, typer.Option(help="a codec to compare it with, a name or a folder")] = None,
) -> None:
    """Write weights and card, and say where the card is."""
    with told_to_the_user():
        print(ship(run, folder, data, against))


if __name__ == "__main__":
    typer.run(main)
