"""Train: fine-tune a codec's encoder, or train a codec from scratch.

    accelerate launch scripts/train_codec.py [CONFIG ...] [key=value ...]

CONFIG is a file in configs/ (without .yaml) or the path of one; several are laid over each other. The default is
`demo`. Run the same command again to resume. Works from any folder: paths in a configuration are meant from the
project, paths on the command line from here.
"""

import sys

from codec_ft.errors import told_to_the_user
from experiments.run import run_experiment
from experiments.tasks import read_config


def main(words: list[str]) -> None:
    """Run what the command line says."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    with told_to_the_user():
        run_experiment(read_config(words, default="demo"))


if __name__ == "__main__":
    main(sys.argv[1:])
