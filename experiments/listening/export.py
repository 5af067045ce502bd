"""Write a listening test in the forms that were asked for, and what it is made of."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from codec_ft.atomic import atomic_path
from experiments.listening.forced_choice import Options, write_forced_choice
from experiments.listening.names import slug
from experiments.listening.reseval import write_reseval
from experiments.listening.trials import TestSet
from experiments.listening.webmushra import refuse_unsuitable, write_webmushra

Kind = Literal["forced_choice", "webmushra", "reseval"]
KINDS: tuple[Kind, ...] = ("forced_choice", "webmushra", "reseval")

STIMULI = "stimuli.json"


def export(
    test: TestSet, folder: Path, name: str, kinds: Sequence[Kind] = KINDS, options: Options | None = None
) -> list[str]:
    """Write the test into `<folder>/<kind>/`, and `stimuli.json`, which says what every trial is, beside it.

    Args:
        test: the trials.
        folder: other kinds that are there already are left as they are.
        name: of the test, in any words.
        kinds: which forms.
        options: of the forced-choice page.

    Returns:
        All notes on the test, a sentence each.

    Raises:
        UserError: a form does not take such a test, or the folder cannot be written to.
    """
    name = slug(name)
    if "webmushra" in kinds:
        refuse_unsuitable(test)  # before the other forms are written
    notes = list(test.notes)
    for kind in kinds:
        target = folder / kind
        if kind == "forced_choice":
            notes += write_forced_choice(test, target, name, options)
        elif kind == "webmushra":
            notes += write_webmushra(test, target, name)
        else:
            notes += write_reseval(test, target, name)
    about = {
        "name": name,
        "sample_rate": test.sample_rate,
        "seconds": round(test.seconds, 3),
        "loudness_lufs": round(test.loudness, 2),
        "conditions": test.conditions,
        "trials": [
            {
                "id": trial.id,
                "track": trial.track,
                "stem": trial.stem,
                "start": round(trial.start, 2),
                "gains_db": {condition: round(gain, 2) for condition, gain in trial.gains.items()},
            }
            for trial in test.trials
        ],
        "notes": notes,
    }
    with atomic_path(folder / STIMULI) as temporary:
        temporary.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return notes
