"""Train token models: masked transformers that write the codes of a stem.

    accelerate launch scripts/train_tokens.py [CONFIG ...] [key=value ...]

CONFIG is a file in configs/ (without .yaml) or the path of one; several are laid over each other. The default is
`tokens_demo`. Run the same command again to resume. Works from any folder: paths in a configuration are meant from the
project, paths on the command line from here.
"""

import sys

from experiments.run import run_command

if __name__ == "__main__":
    run_command(sys.argv[1:], default="tokens_demo", usage=__doc__)
