"""Which of two conditions listeners chose: shares, exact tests, and what they are worth."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from codec_ft.errors import UserError
from codec_ft.metrics.statistics import binomial_test, holm
from experiments.listening.collected import Answer

ALL_STEMS = ""


@dataclass(frozen=True)
class Preference:
    """How two conditions compare.

    Attributes:
        first: a condition.
        second: the other one.
        stem: of which stem; "" is all of them.
        wins: how often `first` was chosen.
        trials: how often the two were compared.
        share: wins / trials.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided binomial test of share = 1/2, all trials taken as independent (Schaffer et al., 2022).
        p_holm: the same, corrected for the number of rows in its table.
        participants: how many people compared them.
        leaning_first: how many of them chose `first` more often than not.
        leaning_second: how many chose `second` more often.
        p_participants: two-sided sign test over these two numbers, for which each person counts once.
    """

    first: str
    second: str
    stem: str
    wins: int
    trials: int
    share: float
    low: float
    high: float
    p: float
    p_holm: float
    participants: int
    leaning_first: int
    leaning_second: int
    p_participants: float

    @property
    def winner_first(self) -> "Preference":
        """The same, turned so that `first` is the one that was chosen more often."""
        if 2 * self.wins >= self.trials:
            return self
        return replace(
            self,
            first=self.second,
            second=self.first,
            wins=self.trials - self.wins,
            share=1 - self.share,
            low=1 - self.high,
            high=1 - self.low,
            leaning_first=self.leaning_second,
            leaning_second=self.leaning_first,
        )


@dataclass(frozen=True)
class Preferences:
    """All that forced choices say.

    Attributes:
        question: "nearer" or "quality".
        overall: a row per pair of conditions.
        by_stem: a row per pair and stem; empty where there is one stem only.
        participants: whose answers were taken.
        failed: participants who failed a check -> which ones.
        kept_failed: whether their answers were taken as well.
        trials: comparisons that were taken.
    """

    question: str
    overall: tuple[Preference, ...]
    by_stem: tuple[Preference, ...]
    participants: tuple[str, ...]
    failed: dict[str, tuple[str, ...]]
    kept_failed: bool
    trials: int


def analyse_preferences(answers: Sequence[Answer], keep_failed: bool = False) -> Preferences:
    """Count and test.

    Args:
        answers: of any number of participants; those to attention checks only tell who failed.
        keep_failed: also take the answers of participants who failed a check.

    Raises:
        UserError: the answers are to two different questions, or none is left.
    """
    questions = sorted({answer.question for answer in answers})
    if len(questions) != 1:
        raise UserError(
            f"answers to different questions ({', '.join(questions)}): analyse their CSVs one after another."
        )
    failed = {answer.participant: answer.failed for answer in answers if answer.failed}
    taken = [a for a in answers if a.kind == "comparison" and (keep_failed or a.participant not in failed)]
    if not taken:
        raise UserError(
            f"no answers are left: all {len(failed)} participants failed a check. Look at them with --keep-failed."
        )
    stems = sorted({answer.stem for answer in taken})
    pairs = sorted({answer.pair for answer in taken})
    by_stem = [
        compare([a for a in taken if a.pair == pair and a.stem == stem], stem)
        for stem in stems
        for pair in pairs
        if any(a.pair == pair and a.stem == stem for a in taken)
    ]
    return Preferences(
        question=questions[0],
        overall=_corrected([compare([a for a in taken if a.pair == pair]) for pair in pairs]),
        by_stem=_corrected(by_stem) if len(stems) > 1 else (),
        participants=tuple(sorted({answer.participant for answer in taken})),
        failed=failed,
        kept_failed=keep_failed,
        trials=len(taken),
    )


def compare(answers: Sequence[Answer], stem: str = ALL_STEMS) -> Preference:
    """Test one pair; `answers` are all about it. The result is not yet corrected for other pairs."""
    first, second = answers[0].pair
    chosen = Counter(answer.choice for answer in answers)
    test = binomial_test(chosen[first], len(answers))
    balance: Counter[str] = Counter()
    for answer in answers:
        balance[answer.participant] += 1 if answer.choice == first else -1
    leaning_first = sum(value > 0 for value in balance.values())
    leaning_second = sum(value < 0 for value in balance.values())
    return Preference(
        first=first,
        second=second,
        stem=stem,
        wins=chosen[first],
        trials=len(answers),
        share=test.share,
        low=test.low,
        high=test.high,
        p=test.p,
        p_holm=test.p,
        participants=len(balance),
        leaning_first=leaning_first,
        leaning_second=leaning_second,
        p_participants=binomial_test(leaning_first, leaning_first + leaning_second).p,
    )


def _corrected(rows: Sequence[Preference]) -> tuple[Preference, ...]:
    corrected = holm([row.p for row in rows])
    return tuple(replace(row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True))
