"""What a MUSHRA test says: who listened carefully enough, and the mean scores (ITU-R BS.1534-3)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from codec_ft.errors import UserError
from experiments.listening.collected import Rating
from experiments.listening.webmushra import REFERENCE

SCREENING_SCORE = 90.0
SCREENING_SHARE = 0.15
"""A listener who gives the hidden reference less than 90 points in more than 15 % of the trials is left out."""


@dataclass(frozen=True)
class Score:
    """What listeners gave to a condition.

    Attributes:
        condition: its name.
        mean: of the listeners' own means, so that each counts once.
        low: lower end of its 95 % interval (Student's t over listeners); NaN for a single listener.
        high: upper end.
        median: of all ratings.
        listeners: how many.
        ratings: how many.
    """

    condition: str
    mean: float
    low: float
    high: float
    median: float
    listeners: int
    ratings: int


@dataclass(frozen=True)
class Scores:
    """All that ratings say.

    Attributes:
        conditions: best first.
        listeners: whose ratings were taken.
        failed: listeners whom the post-screening finds -> in which share of the trials they missed the reference.
        kept_failed: whether their ratings were taken as well.
    """

    conditions: tuple[Score, ...]
    listeners: tuple[str, ...]
    failed: dict[str, float]
    kept_failed: bool


def analyse_scores(ratings: Sequence[Rating], keep_failed: bool = False) -> Scores:
    """Screen the listeners and average.

    Raises:
        UserError: no listener is left.
    """
    failed = post_screening(ratings)
    taken = [rating for rating in ratings if keep_failed or rating.listener not in failed]
    if not taken:
        raise UserError(
            f"no ratings are left: all {len(failed)} listeners missed the hidden reference in more than "
            f"{SCREENING_SHARE:.0%} of their trials. Look at them with --keep-failed."
        )
    names = {rating.condition for rating in taken}
    scores = [mean_score([rating for rating in taken if rating.condition == name]) for name in names]
    return Scores(
        conditions=tuple(sorted(scores, key=lambda score: (-score.mean, score.condition))),
        listeners=tuple(sorted({rating.listener for rating in taken})),
        failed=failed,
        kept_failed=keep_failed,
    )


def post_screening(ratings: Sequence[Rating]) -> dict[str, float]:
    """Listeners who rated the hidden reference too low too often -> in which share of their trials."""
    found: dict[str, list[bool]] = {}
    for rating in ratings:
        if rating.condition == REFERENCE:
            found.setdefault(rating.listener, []).append(rating.score < SCREENING_SCORE)
    shares = {listener: sum(missed) / len(missed) for listener, missed in found.items()}
    return {listener: share for listener, share in shares.items() if share > SCREENING_SHARE}


def mean_score(ratings: Sequence[Rating]) -> Score:
    """Average the ratings of one condition."""
    by_listener: dict[str, list[float]] = {}
    for rating in ratings:
        by_listener.setdefault(rating.listener, []).append(rating.score)
    means = np.array([np.mean(scores) for scores in by_listener.values()])
    reach = float("nan")
    if len(means) > 1:
        reach = float(stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means)))
    mean = float(means.mean())
    return Score(
        condition=ratings[0].condition,
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        median=float(np.median([rating.score for rating in ratings])),
        listeners=len(means),
        ratings=len(ratings),
    )
