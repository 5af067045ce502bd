"""Write a test for ReSEval (Morrison et al., 2022), which runs it on one's own machine or on Amazon Mechanical Turk.

ReSEval takes a configuration and a folder with one folder per condition, in which files of one name belong together.
A pairwise and an ABX test compare exactly two conditions, so there is one of each for every pair.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from codec_ft.atomic import atomic_folder
from codec_ft.audio.files import write_audio
from experiments.listening import stimuli
from experiments.listening.names import slugs
from experiments.listening.trials import TestSet, Trial

REFERENCE = "reference"
"""The folder that ReSEval's ABX test plays as X."""

PARTICIPANTS = 20
TRIALS_EACH = 25
"""Schaffer et al. (2022), section 4.4: 20 participants, each of whom compares 25 pairs."""

WELCOME = """# **Welcome!**

We compare computer programs that take one instrument out of a piece of music. You will hear short excerpts and answer
one question about each.

### **Privacy**
This survey is anonymous: nothing is collected that could identify you.

### **Consent**
By pressing **I Agree** you confirm that you want to take part. You may stop at any time.

### **Contact**
If you have questions, please write to <contact>.
"""
QUESTIONS = {
    "ab": "Listen to both recordings of {stems}. Then select the one that sounds better: the one that is more natural, "
    "with less noise, fewer clicks, and less of other instruments.",
    "abx": "Listen to the reference (top), which is a recording of {stems}, and to the two versions below it. Then "
    "select the version that is closer to the reference.",
    "mushra": "Listen to all recordings of {stems}. Then rate the quality of each from 0 (very bad) to 100 "
    "(excellent): how natural it is, how free of noise, clicks and other instruments.",
}


def write_reseval(test: TestSet, folder: Path, name: str) -> list[str]:
    """Write configurations `<test>.yaml` and their folders `<test>/<condition>/<trial>.wav` into `folder`.

    Args:
        test: the trials.
        folder: replaced if it is there.
        name: of the test; letters, digits and hyphens.

    Returns:
        Notes on what was left out, a sentence each.

    Raises:
        UserError: the folder cannot be written to.
    """
    keys = slugs(test.conditions, reserved=(REFERENCE, *stimuli.ANCHORS))
    notes: list[str] = []
    with atomic_folder(folder) as temporary:
        for first, second in itertools.combinations(test.conditions, 2):
            trials = [trial for trial in test.trials if {first, second} <= trial.conditions.keys()]
            if not trials:
                notes.append(f"{first} and {second} have no stem in common: no pairwise test of them.")
                continue
            pair = {keys[first]: first, keys[second]: second}
            for kind in ("ab", "abx"):
                _write_test(trials, test.sample_rate, pair, kind, temporary, f"{name}-{kind}-{'-'.join(pair)}")
        common = [name for name in test.conditions if all(name in trial.conditions for trial in test.trials)]
        if left := [name for name in test.conditions if name not in common]:
            notes.append(f"{', '.join(left)}: left out of ReSEval's MUSHRA test, which wants all stems of each system.")
        if common:
            _write_test(
                test.trials, test.sample_rate, {keys[n]: n for n in common}, "mushra", temporary, f"{name}-mushra"
            )
    return notes


def _write_test(
    trials: Sequence[Trial], sample_rate: int, conditions: Mapping[str, str], kind: str, root: Path, name: str
) -> None:
    """Write one configuration and its folder; `conditions` are folder -> system."""
    for trial in trials:
        clips: dict[str, np.ndarray] = {key: trial.conditions[system] for key, system in conditions.items()}
        if kind in ("abx", "mushra"):
            clips[REFERENCE] = trial.reference
        if kind == "mushra":
            clips |= stimuli.anchors(trial.reference, sample_rate)
        for key, audio in clips.items():
            write_audio(root / name / key / f"{trial.id}.wav", audio, sample_rate)
    stems = " or ".join(dict.fromkeys(trial.stem for trial in trials))
    comment = (
        "# To see it on this machine: python -m reseval.create "
        f"{name}.yaml {name} --local\n# Fill in the contact in the welcome text, and check countries and payment.\n"
    )
    config = yaml.safe_dump(_config(name, kind, stems, len(trials)), sort_keys=False, width=100)
    (root / f"{name}.yaml").write_text(comment + config, encoding="utf-8")


def _config(name: str, kind: str, stems: str, count: int) -> dict[str, Any]:
    return {
        "name": name,
        "test": kind,
        "datatype": "audio",
        "storage": "aws",
        "database": "aws",
        "server": "aws",
        "crowdsource": {
            "platform": "mturk",
            "title": "A short listening test",
            "description": "Listen to short excerpts of music and judge how they sound.",
            "keywords": "audio, music, listening, headphones",
            # Schaffer et al. (2022), section 4.4.
            "filter": {"countries": ["US"], "approved_tasks": 20, "approval_rating": 97},
            "payment": {"base": 0.2, "completion": 2.8},
            "duration": {"total": 7 * 86400, "assignment": 3600, "autoapprove": 2 * 86400},
        },
        "participants": PARTICIPANTS,
        "samples_per_participant": min(TRIALS_EACH, count),
        "random_seed": 0,
        "welcome_text": WELCOME,
        "prescreen_questions": [],
        "listening_test": {
            "instructions": "## **Instructions**\nPut on headphones and set a comfortable volume. Listen, then select "
            "how many tones you heard.",
            "num_questions": 3,
            "retries": 1,
        },
        "survey_instructions": f"## **Instructions**\n{QUESTIONS[kind].format(stems=stems)}",
        "followup_questions": [
            {
                "name": "Remarks",
                "type": "free-response",
                "text": "Was there anything that kept you from hearing the recordings well?",
                "placeholder": "No",
            }
        ],
    }
