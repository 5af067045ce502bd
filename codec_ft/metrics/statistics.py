"""How sure a number is: intervals over tracks, paired tests between systems, and listeners' choices against chance.

A metric that is undefined on a track is NaN there; such tracks, and pairs with such a track, are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike, NDArray

FEWEST_PAIRS = 6
"""Pairs that differ, below which `paired_test` gives no p: with five the smallest one possible is 0.0625."""

# Up to here the counts of the exact distribution, 2^n in all, are whole numbers in float64.
_MOST_EXACT_PAIRS = 50


@dataclass(frozen=True)
class Interval:
    """A confidence interval; both ends are None where there is none."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class PairedTest:
    """Whether two systems differ.

    `n` pairs were compared; `difference` is the median over them of the first less the second, None without any pair.
    `p` is two-sided, None where no test makes sense. `words` says why there is none, or what p can be at the least.
    """

    n: int
    difference: float | None
    p: float | None
    words: str


@dataclass(frozen=True)
class BinomialTest:
    """How often one of two was chosen: its share, the share's confidence interval, and the two-sided p of chance."""

    share: float
    low: float
    high: float
    p: float


def bootstrap_interval(
    values: ArrayLike,
    statistic: Literal["mean", "median"],
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a mean or median over tracks (Efron and Tibshirani, 1993, chapter 13).

    Tracks are drawn with replacement, as many as there are; the interval holds the middle `level` of the statistics of
    `resamples` such draws. Equal numbers of tracks and seeds give equal draws, so that systems are resampled alike. One
    track says nothing about others: no interval. With fewer than about ten it is rather too narrow.

    Raises:
        ValueError: `values` is not one-dimensional, or `level` is not between 0 and 1.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"values must be one number per track: its shape is {list(values.shape)}")
    if not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1: it is {level}")
    known = np.sort(values[~np.isnan(values)])
    n = len(known)
    if n < 2:
        return Interval(None, None)
    drawn = known[_draws(n, resamples, seed)]  # [resamples, n], each row in order
    statistics = drawn.mean(axis=1) if statistic == "mean" else (drawn[:, (n - 1) // 2] + drawn[:, n // 2]) / 2
    low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(low), float(high))


@lru_cache(maxsize=16)
def _draws(n: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Which of `n` values are drawn, `[resamples, n]`; in order, so that medians need no search."""
    return np.sort(np.random.default_rng(seed).integers(n, size=(resamples, n)), axis=1)


def paired_test(a: ArrayLike, b: ArrayLike) -> PairedTest:
    """Wilcoxon's signed-rank test between two systems on the same tracks, two-sided.

    `a [n]` and `b [n]` are a metric's values track by track. Pairs without a difference are taken out, as Wilcoxon
    did; equal differences share their ranks. Up to 50 pairs p is exact, ties or not; for more it is the
    normal approximation. Below `FEWEST_PAIRS` pairs that differ, no outcome could be significant: there is no p.

    Raises:
        ValueError: the two are not one-dimensional and of one length.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"a and b must hold the same tracks: their shapes are {list(a.shape)} and {list(b.shape)}")
    differences = a - b
    differences = differences[~np.isnan(differences)]
    n, differing = len(differences), differences[differences != 0]
    if n == 0:
        return PairedTest(0, None, None, "no track on which both are defined")
    median, counted = float(np.median(differences)), _in_words(n, len(differing))
    if len(differing) == 0:
        return PairedTest(n, median, None, f"{counted}: nothing to test")
    # Every sign pattern of the differences is equally likely if the systems are alike: the two extremes of 2^n.
    least = f"p cannot be below {2.0 ** (1 - len(differing)):.2g}"
    if len(differing) < FEWEST_PAIRS:
        return PairedTest(n, median, None, f"{counted}: {least}, so there is no test")
    exact = len(differing) <= _MOST_EXACT_PAIRS
    p = _signed_rank_p(differing) if exact else scipy.stats.wilcoxon(differing).pvalue
    return PairedTest(n, median, float(p), f"{counted}: {least}")


def _in_words(n: int, differing: int) -> str:
    """ "6 pairs", "6 pairs, 1 of them equal"."""
    pairs = f"{n} pair" if n == 1 else f"{n} pairs"
    if differing == n:
        return pairs
    return f"{pairs}, all equal" if differing == 0 else f"{pairs}, {n - differing} of them equal"


def _signed_rank_p(differences: NDArray[np.float64]) -> float:
    """Exact two-sided p of the sum of the ranks of the positive differences.

    SciPy is exact with ties only by trying all signs, which takes seconds. Counting how many of the sign patterns lead
    to each sum takes one addition of arrays for each rank.
    """
    # Twice the rank is whole even where two differences share one.
    ranks = np.rint(2 * scipy.stats.rankdata(np.abs(differences))).astype(int)
    patterns = np.zeros(ranks.sum() + 1)
    patterns[0] = 1
    for rank in ranks:
        patterns[rank:] = patterns[rank:] + patterns[:-rank]
    positive = ranks[differences > 0].sum()
    tail = min(patterns[: positive + 1].sum(), patterns[positive:].sum())
    return min(1.0, 2.0 * tail / patterns.sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests made comparable with one threshold, in the order in which they come (Holm, 1979).

    The smallest of `m` is multiplied by `m`, the next by `m - 1` and so on; none gets smaller than one before it or
    larger than 1. Then the chance of even one false finding among those below 0.05 is at most 0.05.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted.tolist()


def binomial_test(successes: int, trials: int, *, level: float = 0.95) -> BinomialTest:
    """Two-sided binomial test of a forced choice between two against chance (Schaffer et al., 2022, section 4.4).

    The interval is that of Clopper and Pearson (1934), which goes with the test: at 0.95 it leaves 0.5 out exactly when
    p is below 0.05. Without any trial the share is NaN, the interval everything and p 1.

    Raises:
        ValueError: not `0 <= successes <= trials`.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be between 0 and the number of trials: {successes} of {trials}")
    if trials == 0:
        return BinomialTest(float("nan"), 0.0, 1.0, 1.0)
    test = scipy.stats.binomtest(successes, trials, 0.5)
    interval = test.proportion_ci(level, method="exact")
    return BinomialTest(successes / trials, float(interval.low), float(interval.high), float(test.pvalue))
