"""Make a trained enhancer ready to ship: half-precision weights, measured, with a card.

python scripts/ship_enhancer.py RUN codec_ft/finetune/weights/NAME
python scripts/ship_enhancer.py RUN codec_ft/finetune/weights/NAME --decoder DECODER_RUN
"""

from pathlib import Path
from typing import Annotated

import typer

from codec_ft.codec_training.enhancer_card import ship_enhancer
from codec_ft.errors import told_to_the_user


def main(
    run: Annotated[Path, typer.Argument(help="folder of a finished fine-tuning")],
    folder: Annotated[Path, typer.Argument(help="where weights and card go")],
    decoder: Annotated[
        Path | None, typer.Option(help="folder of a finished training of a decoder on what the enhancer predicts")
    ] = None,
) -> None:
    """Write weights and card, and say where the card is."""
    with told_to_the_user():
        print(ship_enhancer(run, folder, decoder))


if __name__ == "__main__":
    typer.run(main)
