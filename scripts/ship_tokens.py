"""Make trained token models ready to ship: half-precision weights, measured, with a card.

python scripts/ship_tokens.py RUN token_models/weights/NAME
"""

from pathlib import Path
from typing import Annotated

import typer

from codec_ft.errors import told_to_the_user
from token_models.training.card import ship_token_models


def main(
    run: Annotated[Path, typer.Argument(help="folder of a finished training of token models")],
    folder: Annotated[Path, typer.Argument(help="where weights and card go")],
) -> None:
    """Write weights and card, and say where the card is."""
    with told_to_the_user():
        print(ship_token_models(run, folder))


if __name__ == "__main__":
    typer.run(main)
