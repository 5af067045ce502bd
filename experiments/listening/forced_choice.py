"""A two-way forced-choice test as a page that runs from a folder: no server, no network, results as a CSV.

A listener hears two versions of an excerpt, switches between them while they play, and chooses one (Schaffer et al.,
2022, section 4.4); beside them, if nearness is asked for, the reference. Every page holds the stimuli as FLAC in
base64: a page opened from the disk may not read files, so nothing else allows decoding them beforehand, which is what
it takes to switch between them without a gap or a shift. Stimuli that are too big for one file lie beside it, each in
a script of its own, which a page may load.
"""

import base64
import io
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from codec_ft.atomic import atomic_folder
from experiments.listening import stimuli
from experiments.listening.names import blind
from experiments.listening.templates import environment
from experiments.listening.trials import TestSet

Question = Literal["nearer", "quality"]

SINGLE_FILE_BYTES = 30_000_000
"""Up to here stimuli are part of the page, which can then be sent as one file; browsers open that in a second."""


@dataclass(frozen=True)
class Options:
    """How the test is run.

    Attributes:
        question: "nearer" asks which version is nearer to the reference, "quality" which one sounds better, without
            the reference (as Schaffer et al. did).
        comparisons: pairs that a participant compares, drawn at random; None is all of them.
        attention_checks: additional pairs with an obvious answer: the reference against the reference under noise.
        headphone_questions: questions of the headphone check (Woods et al., 2017), of which all but one must be
            answered correctly; 0 leaves it out.
        tone_seconds: length of its tones.
        listen_seconds: for how long each version must have been heard before one can be chosen.
        contact: whom participants send their results to, in words.
        seed: decides which excerpts the attention checks are made of.
    """

    question: Question = "nearer"
    comparisons: int | None = None
    attention_checks: int = 2
    headphone_questions: int = 6
    tone_seconds: float = 1.0
    listen_seconds: float = 2.0
    contact: str = "the person who asked you to take part"
    seed: int = 0


def write_forced_choice(test: TestSet, folder: Path, name: str, options: Options | None = None) -> list[str]:
    """Write `index.html` into `folder`, and the stimuli into `audio/` beside it where they are too big for one file.

    Args:
        test: the trials; every pair of a trial's conditions is compared.
        folder: replaced if it is there.
        name: of the test; letters, digits and hyphens.
        options: how the test is run.

    Returns:
        Notes, a sentence each.

    Raises:
        UserError: the folder cannot be written to.
    """
    options = options or Options()
    page = _Page(name, test.sample_rate)
    pairs = [page.compare(trial.id, trial.stem, trial.reference, trial.conditions, options) for trial in test.trials]
    comparisons = list(itertools.chain.from_iterable(pairs))
    for trial in test.trials:
        page.tracks[trial.id] = trial.track
    checks = _attention_checks(test, page, options)
    data: dict[str, Any] = {
        "id": f"{name}-{blind(name, repr(options), *sorted(page.encoded))}",
        "question": options.question,
        "comparisons": comparisons,
        "checks": checks,
        "each": min(options.comparisons or len(comparisons), len(comparisons)),
        "volume": page.add(name, "volume", test.trials[0].reference),
        "headphones": _headphone_check(page, options),
        "listen": min(options.listen_seconds, test.seconds),
        "rate": test.sample_rate,
        # Not a secret, only out of sight: it names the conditions in the CSV, and is not decoded before.
        "key": base64.b64encode(json.dumps(page.key).encode()).decode(),
    }
    embedded = sum(map(len, page.encoded.values())) <= SINGLE_FILE_BYTES
    html = (
        environment()
        .get_template("forced_choice.html.j2")
        .render(
            data=data,
            stems=test.stems,
            question=options.question,
            contact=options.contact,
            minutes=_minutes(data["each"] + len(checks), test.seconds, options),
            audio=page.encoded if embedded else {},
        )
    )
    notes: list[str] = []
    with atomic_folder(folder) as temporary:
        (temporary / "index.html").write_text(html, encoding="utf-8")
        if not embedded:
            (temporary / "audio").mkdir()
            for hidden, text in page.encoded.items():
                (temporary / "audio" / f"{hidden}.js").write_text(f'stimulus("{hidden}","{text}");\n')
            notes.append(f"{folder}: the stimuli are too big for one file; pass the folder on as a whole.")
    return notes


class _Page:
    """The stimuli of a page under blinded names, and the key that tells what they are.

    Attributes:
        encoded: blinded name -> FLAC in base64.
        names: blinded name -> condition.
        tracks: trial -> track.
        right: attention check -> the blinded name that is the right answer.
    """

    def __init__(self, test: str, sample_rate: int) -> None:
        self.test, self.sample_rate = test, sample_rate
        self.encoded: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.tracks: dict[str, str] = {}
        self.right: dict[str, str] = {}

    @property
    def key(self) -> dict[str, dict[str, str]]:
        """What is needed to write the CSV."""
        return {"names": self.names, "tracks": self.tracks, "right": self.right}

    def add(self, trial: str, condition: str, audio: np.ndarray) -> str:
        """Add a stimulus [C, N] and return its blinded name."""
        encoded = flac_base64(audio, self.sample_rate)
        hidden = blind(self.test, trial, condition, encoded)
        self.encoded[hidden] = encoded
        self.names[hidden] = condition
        return hidden

    def compare(
        self, trial: str, stem: str, reference: np.ndarray, conditions: Mapping[str, np.ndarray], options: Options
    ) -> list[dict[str, Any]]:
        """Every pair of a trial's conditions as the page wants it."""
        shown = self.add(trial, "reference", reference) if options.question == "nearer" else None
        hidden = [self.add(trial, condition, audio) for condition, audio in conditions.items()]
        return [
            {"kind": "comparison", "trial": trial, "stem": stem, "reference": shown, "pair": list(pair)}
            for pair in itertools.combinations(hidden, 2)
        ]


def flac_base64(audio: np.ndarray, sample_rate: int) -> str:
    """Audio [C, N] as 16-bit FLAC in base64: lossless, half of a wav, and decoded by every browser."""
    encoded = io.BytesIO()
    soundfile.write(encoded, audio.T, sample_rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(encoded.getvalue()).decode()


def _attention_checks(test: TestSet, page: _Page, options: Options) -> list[dict[str, Any]]:
    """Pairs of a reference and the same under noise, from trials that the seed decides."""
    checks: list[dict[str, Any]] = []
    order = np.random.default_rng(options.seed).permutation(len(test.trials))
    for i in range(options.attention_checks):
        trial = test.trials[order[i % len(order)]]
        name = f"check-{i + 1}-{trial.id}"
        conditions = {"reference": trial.reference, "noise": stimuli.under_noise(trial.reference, test.sample_rate)}
        [check] = page.compare(name, trial.stem, trial.reference, conditions, options)
        checks.append(check | {"kind": "attention"})
        page.right[name] = check["pair"][0]
        page.tracks[name] = trial.track
    return checks


def _headphone_check(page: _Page, options: Options) -> dict[str, Any] | None:
    if not options.headphone_questions:
        return None
    tones = stimuli.headphone_tones(page.sample_rate, options.tone_seconds)
    hidden = {name: page.add("headphones", name, tone) for name, tone in tones.items()}
    return {
        "tones": [hidden["loud"], hidden["opposed"], hidden["soft"]],
        "soft": 2,  # its place in `tones`
        "questions": options.headphone_questions,
        "pass": max(1, options.headphone_questions - 1),
        "gap": options.tone_seconds / 2,
    }


def _minutes(count: int, seconds: float, options: Options) -> int:
    """How long the test takes, roughly: each excerpt about twice per version, and a while to decide."""
    versions = 3 if options.question == "nearer" else 2
    headphones = options.headphone_questions * (4 * options.tone_seconds + 3)
    return max(1, round((count * (seconds * versions * 0.7 + 6) + headphones + 60) / 60))
