"""Train token models: masked transformers that write the codes of a stem.

    accelerate launch scripts/train_tokens.py [CONFIG ...] [key=value ...]

CONFIG is a file in configs/ (without .yaml) or the path of one; several are laid over each other. The default is
`tokens_demo`. Run the same command again to resume. Works from any folder: paths in a configuration are meant from the
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
        run_experiment(read_config(words, default="tokens_demo"))


if __name__ == "__main__":
    main(sys.argv[1:])
