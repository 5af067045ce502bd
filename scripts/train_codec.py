"""Train: fine-tune a codec's encoder, or train a codec from scratch.

    accelerate launch scripts/train_codec.py [CONFIG ...] [key=value ...]

CONFIG is a file in configs/ (without .yaml) or the path of one; several are laid over each other. The default is
`demo`. Run the same command again to resume. Works from any folder: paths in a configuration are meant from the
project, paths on the command line from here.
"""

import sys

from experiments.run import run_command

if __name__ == "__main__":
    run_command(sys.argv[1:], default="demo", usage=__doc__)
