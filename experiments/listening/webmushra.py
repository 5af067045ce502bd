"""Write a test for webMUSHRA (Schoeffler et al., 2018): its configuration and its wavs, to be copied over its folder.

webMUSHRA shows the reference and, hidden among the conditions, the reference once more, the anchors and the systems;
each gets 0 to 100 points (ITU-R BS.1534). It refuses files of different rates, lengths or widths.
"""

from html import escape
from pathlib import Path
from typing import Any

import yaml

from codec_ft.atomic import atomic_folder
from codec_ft.audio.files import write_audio
from codec_ft.errors import UserError
from experiments.listening import stimuli
from experiments.listening.names import slugs
from experiments.listening.trials import TestSet, Trial

REFERENCE = "reference"
"""What webMUSHRA calls the hidden reference among the conditions in its results."""
LONGEST_SECONDS = 12.0
"""Longer excerpts cannot be kept in mind (ITU-R BS.1534-3); webMUSHRA refuses them."""
MOST_CONDITIONS = 12
"""With reference and anchors (ITU-R BS.1534-3); webMUSHRA refuses more."""
TRANSPARENT_LOSS = 0.5
"""Loudness in LU; an anchor that has lost less may be taken for the reference."""

INSTRUCTIONS = """
<p>You will hear short excerpts of music from which everything but one instrument was taken out by computer programs.
For each excerpt, compare every version with the reference, which is the instrument as it was recorded, and give it
points for its <b>quality</b>: 100 for a version that you cannot tell from the reference, 0 for one that is very bad.
One of the versions <em>is</em> the reference, and should get 100.</p>
<p>Use headphones, in a quiet room. You can switch between the versions while they play, and play them as often as you
like. There are {count} excerpts of {seconds:g} seconds.</p>
"""


def write_webmushra(test: TestSet, folder: Path, name: str) -> list[str]:
    """Write `configs/<name>.yaml` and the wavs it names, in `configs/resources/<name>/`, into `folder`.

    The anchors are ours, from a linear-phase filter at any sample rate, so webMUSHRA is told not to make its own.

    Args:
        test: the trials.
        folder: replaced if it is there; its `configs` is to be copied over that of webMUSHRA.
        name: of the test; letters, digits and hyphens.

    Returns:
        Notes on the anchors, a sentence each.

    Raises:
        UserError: webMUSHRA would not take the test (see `refuse_unsuitable`), or the folder cannot be written to.
    """
    refuse_unsuitable(test)
    keys = slugs(test.conditions, reserved=(REFERENCE, *stimuli.ANCHORS))
    notes: list[str] = []
    with atomic_folder(folder) as temporary:
        pages = []
        for trial in test.trials:
            files = _write_wavs(trial, test.sample_rate, keys, temporary, name, notes)
            pages.append(_mushra_page(trial, files))
        first = pages[0][REFERENCE]
        config = temporary / "configs" / f"{name}.yaml"
        config.write_text(
            _comment(name) + yaml.safe_dump(_config(test, name, first, pages), sort_keys=False, width=100)
        )
    return list(dict.fromkeys(notes))


def refuse_unsuitable(test: TestSet) -> None:
    """Refuse a test that webMUSHRA would stop at.

    Raises:
        UserError: its excerpts are too long, or its conditions too many.
    """
    if test.seconds > LONGEST_SECONDS:
        raise UserError(
            f"--seconds {test.seconds:g}: a MUSHRA test takes excerpts of {LONGEST_SECONDS:g} s at most "
            "(ITU-R BS.1534). Choose shorter ones, or another --kind."
        )
    count = max(len(trial.conditions) for trial in test.trials) + 1 + len(stimuli.ANCHORS)
    if count > MOST_CONDITIONS:
        raise UserError(
            f"{count} conditions with reference and anchors: a MUSHRA test takes {MOST_CONDITIONS} at most "
            "(ITU-R BS.1534). Name fewer with --condition, or choose another --kind."
        )


def _write_wavs(
    trial: Trial, sample_rate: int, keys: dict[str, str], root: Path, name: str, notes: list[str]
) -> dict[str, str]:
    """Write the wavs of a trial; condition -> its path as webMUSHRA needs it, relative to webMUSHRA's folder."""
    made = stimuli.anchors(trial.reference, sample_rate)
    if len(made) < len(stimuli.ANCHORS):
        lost = ", ".join(sorted(stimuli.ANCHORS.keys() - made.keys()))
        notes.append(f"{lost} left out: at {sample_rate} Hz there is nothing above it to take away.")
    before = stimuli.loudness(trial.reference, sample_rate)
    for anchor, audio in made.items():
        if before - stimuli.loudness(audio, sample_rate) < TRANSPARENT_LOSS:
            notes.append(f"{anchor} of {trial.stem} is hardly to be told from the reference: it has little treble.")
    clips = {
        REFERENCE: trial.reference,
        **{keys[condition]: audio for condition, audio in trial.conditions.items()},
        **made,
    }
    paths = {}
    for key, audio in clips.items():
        paths[key] = f"configs/resources/{name}/{trial.id}/{key}.wav"
        write_audio(root / paths[key], audio, sample_rate)
    return paths


def _mushra_page(trial: Trial, files: dict[str, str]) -> dict[str, Any]:
    return {
        "type": "mushra",
        "id": trial.id,
        "name": trial.stem.capitalize(),
        "content": f"How close to the reference is the quality of each version? You hear {escape(trial.stem)}.",
        "showWaveform": False,  # a picture of the reference draws eyes where ears should be
        "enableLooping": True,
        "reference": files[REFERENCE],
        "createAnchor35": False,
        "createAnchor70": False,
        "stimuli": {key: path for key, path in files.items() if key != REFERENCE},
    }


def _config(test: TestSet, name: str, volume: str, pages: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "testname": "Listening test",
        "testId": name,
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": False,
        "remoteService": "service/write.php",
        "pages": [
            {
                "type": "generic",
                "id": "welcome",
                "name": "Welcome",
                "content": INSTRUCTIONS.format(count=len(pages), seconds=test.seconds),
            },
            {
                "type": "volume",
                "id": "volume",
                "name": "Volume",
                "content": "Set a comfortable volume, and leave it as it is for the rest of the test.",
                "stimulus": volume,
                "defaultVolume": 0.5,
            },
            ["random", *pages],
            {
                "type": "finish",
                "name": "Thank you",
                "content": "Please answer two questions and send your results.",
                "popupContent": "Your results were sent. Thank you!",
                "showResults": False,
                "writeResults": True,
                "questionnaire": [
                    {"type": "number", "label": "Age", "name": "age", "min": 18, "max": 100, "default": 30},
                    {
                        "type": "likert",
                        "label": "Experience with listening tests or audio production",
                        "name": "experience",
                        "response": [
                            {"value": "none", "label": "None"},
                            {"value": "some", "label": "Some"},
                            {"value": "much", "label": "Much"},
                        ],
                    },
                ],
            },
        ],
    }


def _comment(name: str) -> str:
    return (
        f"# Copy the folder `configs` over that of webMUSHRA, and open webMUSHRA with ?config={name}.yaml\n"
        f"# Its results are read by: python scripts/listening_test.py analyse results/{name}/mushra.csv\n"
    )
