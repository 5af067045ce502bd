"""Trials: an excerpt of the reference and of every condition, all of one rate, length and loudness."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from tqdm import tqdm

from codec_ft.audio.files import audio_info
from codec_ft.data.excerpts import THRESHOLD_DB, active_starts
from codec_ft.data.scan import BLOCKS_PER_SECOND
from codec_ft.errors import UserError
from experiments.evaluation.align import Aligned, Note, group_notes, read_aligned
from experiments.evaluation.layout import Item
from experiments.evaluation.systems import Comparison
from experiments.listening import stimuli
from experiments.listening.names import slug

Choice = Literal["loudest", "random"]

MOST_CHANNELS = 2
LOUD_STEP = 10.0
"""Decibels by which an estimate may be raised more than its reference before a note says so."""


@dataclass(frozen=True)
class Trial:
    """An excerpt and what the conditions made of it.

    Attributes:
        id: a short name that can be part of a file name, unique in the test.
        track: where the excerpt is from.
        stem: what it is.
        start: where it begins, in seconds.
        reference: float32 [C, N].
        conditions: condition -> float32 [C, N], as loud as the reference.
        gains: the gain in dB that each of them got, "reference" among them.
    """

    id: str
    track: str
    stem: str
    start: float
    reference: np.ndarray
    conditions: Mapping[str, np.ndarray]
    gains: Mapping[str, float]

    @property
    def clips(self) -> list[np.ndarray]:
        """All of its audio."""
        return [self.reference, *self.conditions.values()]


@dataclass(frozen=True)
class TestSet:
    """The trials of a test.

    Attributes:
        trials: of one rate, length and number of channels.
        sample_rate: in Hz.
        loudness: of every stimulus in LUFS, after the common gain.
        notes: a sentence each on what was changed or left out.
    """

    __test__ = False  # its name is no invitation to pytest

    trials: tuple[Trial, ...]
    sample_rate: int
    loudness: float
    notes: tuple[str, ...]

    @property
    def conditions(self) -> list[str]:
        """All conditions, in the order of their first appearance."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.conditions))

    @property
    def stems(self) -> list[str]:
        """All stems, in the order of their first appearance."""
        return list(dict.fromkeys(trial.stem for trial in self.trials))

    @property
    def seconds(self) -> float:
        """Length of every stimulus."""
        return self.trials[0].reference.shape[1] / self.sample_rate


def make_trials(
    comparison: Comparison,
    *,
    count: int,
    seconds: float,
    seed: int = 0,
    loudness: float = -23.0,
    choose: Choice = "loudest",
    conditions: Sequence[str] = (),
    sample_rate: int | None = None,
    align: bool = False,
) -> TestSet:
    """Cut the trials of a test out of a comparison.

    Stems take turns, and so do tracks, in an order that the seed decides; a track gives a second excerpt when all have
    given one. The same comparison and seed give the same trials.

    Args:
        comparison: references and systems.
        count: trials wanted; fewer, with a note, where there is not enough music.
        seconds: length of an excerpt.
        seed: another one takes other tracks.
        loudness: of every stimulus, in LUFS (BS.1770). Where that would clip, all get one common gain.
        choose: "loudest" takes the excerpt in which the target's RMS is highest, "random" any that is not silent.
        conditions: systems that take part; () is all that are judged, and the floors where that is only one.
        sample_rate: in Hz; None is that of the first reference.
        align: take constant delays out (see `read_aligned`); else whoever switches hears a jump.

    Raises:
        UserError: fewer than two conditions, no excerpt that can be used, or a file that cannot be read.
    """
    chosen = choose_conditions(comparison, conditions)
    wanted = replace(comparison, systems=tuple(system for system in comparison.systems if system.name in chosen))
    queue = deque((item, 0) for item in _in_turn(comparison.items, seed))
    trials: list[Trial] = []
    notes: list[str] = []
    changes: list[Note] = []
    with tqdm(total=count, desc="trials", unit="trial", leave=False, disable=None) as progress:
        while queue and len(trials) < count:
            item, turn = queue.popleft()
            width = audio_info(wanted.references.files[item][0]).channels
            aligned = read_aligned(wanted, item, sample_rate, min(width, MOST_CHANNELS), align=align)
            sample_rate = aligned.sample_rate
            changes += aligned.notes
            starts = _starts(aligned, seconds, choose, seed, item)
            if turn >= len(starts):
                notes += [] if turn else [_why_none(aligned, seconds, item)]
                continue
            queue.append((item, turn + 1))
            trial = _cut(aligned, item, starts[turn], seconds, loudness, len(trials) + 1)
            if isinstance(trial, str):
                notes.append(trial)
                continue
            trials.append(trial)
            progress.update()
    if not trials:
        raise UserError(f"{comparison.references.source}: no excerpt can be used. {' '.join(notes[-3:])}")
    assert sample_rate is not None
    if len(trials) < count:
        notes.append(f"{len(trials)} trials instead of {count}: there is no more music that does not overlap.")
    changed = group_notes(list(dict.fromkeys(changes)))  # a track that gives two excerpts is read twice
    return _equal(trials, sample_rate, loudness, [*comparison.notes, *changed, *notes])


def choose_conditions(comparison: Comparison, names: Sequence[str] = ()) -> list[str]:
    """The systems that take part: those named; or all that are judged, and the floors where that is only one.

    Raises:
        UserError: a name is unknown, or fewer than two are left.
    """
    known = {system.name: system.role for system in comparison.systems}
    for name in names:
        if name not in known:
            raise UserError(f"--condition {name}: no such system. There are {', '.join(known)}.")
    chosen = list(dict.fromkeys(names)) or [name for name, role in known.items() if role in ("input", "system")]
    if not names and len(chosen) == 1:
        chosen = [name for name, role in known.items() if role != "ceiling"]
    if len(chosen) < 2:
        raise UserError(
            f"{', '.join(chosen) or 'nothing'}: a listening test compares two systems at least. "
            "Give a second folder, or references with a mixture."
        )
    return chosen


def _in_turn(items: Sequence[Item], seed: int) -> list[Item]:
    """The items with stems taking turns, the tracks of each in an order that the seed decides."""
    rng = np.random.default_rng(seed)
    stems = list(dict.fromkeys(stem for _, stem in items))
    queues = [[item for item in items if item[1] == stem] for stem in stems]
    shuffled = [[queue[i] for i in rng.permutation(len(queue))] for queue in queues]
    longest = max(len(queue) for queue in shuffled)
    return [queue[turn] for turn in range(longest) for queue in shuffled if turn < len(queue)]


def _starts(aligned: Aligned, seconds: float, choose: Choice, seed: int, item: Item) -> list[float]:
    """Where excerpts of an item may begin, best first, none overlapping another."""
    levels = block_levels(aligned.reference, aligned.sample_rate)
    duration = aligned.reference.shape[1] / aligned.sample_rate
    starts, loud = active_starts(levels, duration, seconds)
    if choose == "loudest":
        order = np.argsort(-loud, kind="stable")
    else:
        words = [seed, *"/".join(item).encode()]
        order = np.random.default_rng(words).permutation(len(starts))
    found: list[float] = []
    for start in starts[order]:
        if all(abs(start - other) >= seconds for other in found):
            found.append(float(start))
    return found


def block_levels(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """RMS level of every tenth of a second of audio [C, N] in dBFS, the last one perhaps shorter."""
    blocks = -(-audio.shape[1] * BLOCKS_PER_SECOND // sample_rate)
    edges = np.arange(blocks) * sample_rate // BLOCKS_PER_SECOND
    power = np.square(audio, dtype=np.float64).mean(axis=0)
    sizes = np.diff(np.append(edges, audio.shape[1]))
    return 10 * np.log10(np.maximum(np.add.reduceat(power, edges) / sizes, 1e-13))


def _why_none(aligned: Aligned, seconds: float, item: Item) -> str:
    track, stem = item
    duration = aligned.reference.shape[1] / aligned.sample_rate
    if duration < seconds:
        return f"{track}: left out, its {duration:.1f} s are shorter than the {seconds:g} s of an excerpt."
    return f"{track}: left out, its {stem} is silent (below {THRESHOLD_DB:g} dBFS) throughout."


def _cut(aligned: Aligned, item: Item, start: float, seconds: float, target: float, number: int) -> Trial | str:
    """Cut a trial out of an item; a sentence where one of the conditions is silent there."""
    track, stem = item
    rate = aligned.sample_rate
    first, count = round(start * rate), round(seconds * rate)
    clips = {"reference": aligned.reference, **aligned.estimates}
    made: dict[str, np.ndarray] = {}
    gains: dict[str, float] = {}
    for name, audio in clips.items():
        excerpt = stimuli.fade(audio[:, first : first + count], rate)
        try:
            made[name], gains[name] = stimuli.with_loudness(excerpt, rate, target)
        except ValueError:
            return f"{track}: the excerpt at {start:g} s is left out, {name} is silent in it."
    reference = made.pop("reference")
    return Trial(f"{number:02d}-{slug(stem)}", track, stem, start, reference, made, gains)


def _equal(trials: Sequence[Trial], sample_rate: int, loudness: float, notes: Sequence[str]) -> TestSet:
    """Give all trials one number of channels, and the one gain that keeps them all below full scale."""
    told = list(notes)
    channels = max(len(trial.reference) for trial in trials)
    if any(len(trial.reference) != channels for trial in trials):
        told.append("Some tracks are mono, others stereo: mono is played on both channels.")
    gain = stimuli.common_gain(clip for trial in trials for clip in trial.clips)
    if gain < 0:
        told.append(
            f"All stimuli are {-gain:.1f} dB softer than {loudness:g} LUFS, so that none of them clips: they stay "
            f"equally loud, at {loudness + gain:.1f} LUFS."
        )
    for trial in trials:
        for name, own in trial.gains.items():
            extra = own - trial.gains["reference"]
            if extra > LOUD_STEP:
                told.append(
                    f"{trial.track}, {trial.stem} at {trial.start:g} s: {name} was {extra:.0f} dB softer than the "
                    "reference and is raised by as much; its noise is, too."
                )
    factor = np.float32(10 ** (gain / 20))

    def finish(clip: np.ndarray) -> np.ndarray:
        return np.broadcast_to(clip, (channels, clip.shape[1])) * factor

    finished = [
        replace(
            trial,
            reference=finish(trial.reference),
            conditions={name: finish(clip) for name, clip in trial.conditions.items()},
            gains={name: own + gain for name, own in trial.gains.items()},
        )
        for trial in trials
    ]
    return TestSet(tuple(finished), sample_rate, loudness + gain, tuple(told))
