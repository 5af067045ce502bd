"""Run experiments by their IDs.

    python scripts/run_experiment.py ID [ID ...] [key=value ...]

ID is a file in configs/experiments/ (without .yaml), a letter for all that begin with it, or the path of a YAML file.
Each ID gets a run folder of its own; one that is finished says so and does nothing. Works from any folder: paths in a
configuration are meant from the project, paths on the command line from here.
"""

import sys

from codec_ft.errors import told_to_the_user
from experiments.registry import choose_experiments, list_experiments, read_experiment, run


def main(words: list[str]) -> None:
    """Run what the command line says."""
    with told_to_the_user():
        overrides = [word for word in words if "=" in word]
        names = [word for word in words if "=" not in word]
        if not names or {"-h", "--help"} & set(words):
            print(f"{__doc__}\n{list_experiments()}")
            return
        # All are read first: a mistake in the last should not cost the time of the others.
        for config in [read_experiment(path, overrides) for path in choose_experiments(names)]:
            run(config)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("Stopped.")
