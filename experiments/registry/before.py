"""What must be there before experiments are run: the runs that they go on from, and the data sets of their cards."""

from collections.abc import Sequence

from codec_ft.config import flatten, to_dict
from codec_ft.errors import UserError
from codec_ft.training.run_folder import RunFolder
from codec_ft.training.stem_config import StemConfig
from experiments.registry.card import ScaleName
from experiments.registry.queue import Queued
from experiments.registry.resolve import runs_before
from experiments.registry.state import state_of


def check_before(queued: Sequence[Queued], overrides: Sequence[str], scale: ScaleName) -> None:
    """Refuse experiments that would stop for want of others, before any is run.

    Args:
        queued: what is to be run, in this order.
        overrides: the `key=value` words with which the configurations were made.
        scale: likewise.

    Raises:
        UserError: a run that one of them goes on from is neither finished nor before it in the queue, or a data set of
            its card is not there; tells the command that makes it.
    """
    earlier: set[str] = set()
    for entry in queued:
        name, config, card = entry.experiment.id, entry.config, entry.experiment.card
        if state_of(config).kind != "finished":
            values = set(map(str, flatten(to_dict(config)).values()))
            for other, run in runs_before(entry.experiment, overrides, scale).items():
                folder = config.runs / run
                if run in values and other not in earlier and not RunFolder(folder).finished:
                    same = " with the same key=value words" if overrides else ""
                    raise UserError(
                        f"{name}: goes on from {other}, and {folder} is not there or not finished. Run that "
                        f"first{same}: python scripts/run_experiment.py run {other}"
                    )
            roots = [config.data.root, *config.data.extra] if isinstance(config, StemConfig) else []
            missing = [str(root) for root in roots if not root.is_dir()]
            if missing and card is not None and card.before and scale == "demo":
                raise UserError(f"{name}: {', '.join(missing)} is not there. It needs before it: {card.before}.")
        earlier.add(name)
