"""Intervals and tests against counts by hand, printed tables and simulation."""

import itertools
import math
import time

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from codec_ft.metrics.statistics import (
    FEWEST_PAIRS,
    BinomialTest,
    Interval,
    PairedTest,
    binomial_test,
    bootstrap_interval,
    holm,
    paired_test,
)

NAN = math.nan


def test_bootstrap_of_two_tracks_by_hand():
    # A draw of two from {2, 6} has the mean (and median) 2, 4, 4 or 6.
    for statistic in ("mean", "median"):
        assert bootstrap_interval([2.0, 6.0], statistic) == Interval(2.0, 6.0)
        assert bootstrap_interval([2.0, 6.0], statistic, level=0.4) == Interval(4.0, 4.0)


def test_bootstrap_of_a_median_of_three_by_hand():
    # The median of three draws from {1, 2, 3} is 1 in 7 of 27 cases (26 %), 2 in 13, 3 in 7.
    assert bootstrap_interval([3.0, 1.0, 2.0], "median", level=0.44) == Interval(2.0, 2.0)
    assert bootstrap_interval([3.0, 1.0, 2.0], "median", level=0.52) == Interval(1.0, 3.0)


def test_bootstrap_of_a_mean_is_nearly_normal():
    values = np.random.default_rng(1).normal(size=400)
    interval = bootstrap_interval(values, "mean", resamples=20000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_bootstrap_covers_the_truth_as_often_as_it_says(statistic):
    # 95 % with 40 tracks, less a little for so few; two standard errors of 400 trials are 2 %.
    random = np.random.default_rng(2)
    intervals = [bootstrap_interval(random.normal(3.0, 2.0, 40), statistic, resamples=500) for _ in range(400)]
    assert 0.91 <= np.mean([interval.low <= 3.0 <= interval.high for interval in intervals]) <= 0.97


@pytest.mark.parametrize("values", [[], [1.5], [NAN], [1.5, NAN]])
def test_one_track_has_no_interval(values):
    assert bootstrap_interval(values, "mean") == Interval(None, None)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=30),
    statistic=st.sampled_from(["mean", "median"]),
    scale=st.integers(1, 9),
    shift=st.integers(-9, 9),
    random=st.randoms(use_true_random=False),
)
def test_bootstrap_does_not_mind_order_undefined_tracks_and_units(values, statistic, scale, shift, random):
    interval = bootstrap_interval(values, statistic)
    assert min(values) <= interval.low <= interval.high <= max(values)
    shuffled = [*values, NAN]
    random.shuffle(shuffled)
    assert bootstrap_interval(shuffled, statistic) == interval
    other = bootstrap_interval([scale * value + shift for value in values], statistic)
    assert other.low == pytest.approx(scale * interval.low + shift)
    assert other.high == pytest.approx(scale * interval.high + shift)


def test_bootstrap_seeds():
    values = np.random.default_rng(3).normal(size=20)
    assert bootstrap_interval(values, "mean", seed=1) == bootstrap_interval(values, "mean", seed=1)
    assert bootstrap_interval(values, "mean", seed=1) != bootstrap_interval(values, "mean", seed=2)


def test_bootstrap_of_a_page_of_tables_takes_moments():
    values = np.random.default_rng(4).normal(size=(300, 50))
    began = time.process_time()
    for row in values:
        bootstrap_interval(row, "median")
    assert (time.process_time() - began) / len(values) < 2e-3


def test_bootstrap_refuses_nonsense():
    with pytest.raises(ValueError, match=r"one number per track: its shape is \[2, 1\]"):
        bootstrap_interval([[1.0], [2.0]], "mean")
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match=f"between 0 and 1: it is {level}"):
            bootstrap_interval([1.0, 2.0], "mean", level=level)


@pytest.mark.parametrize("n", [6, 8, 12, 50])
def test_one_always_better_than_the_other_is_the_smallest_p(n):
    better = np.arange(1.0, n + 1)
    test = paired_test(better, np.zeros(n))
    assert test == PairedTest(n, (n + 1) / 2, 2 / 2**n, f"{n} pairs: p cannot be below {2 / 2**n:.2g}")
    assert paired_test(np.zeros(n), better).p == test.p
    assert paired_test(np.zeros(n), better).difference == -test.difference


def test_the_table_of_critical_values():
    # n = 10: rank sums of up to 8 have a two-sided p below 0.05, 9 has not (Wilcoxon, 1945). Of the 1024 sets of
    # ranks 25 have a sum of at most 8 (1, 1, 1, 2, 2, 3, 4, 5, 6 sets of sum 0 to 8), and 8 a sum of 9.
    for negative, p in ((8, 2 * 25 / 1024), (9, 2 * 33 / 1024)):
        differences = np.arange(1.0, 11.0)
        differences[negative - 1] *= -1
        assert paired_test(differences, np.zeros(10)).p == pytest.approx(p, rel=1e-12)


def test_equal_differences_by_hand():
    # All share one rank, so the test is the sign test: 5 or 6 of 6 in 7 of 64 cases.
    assert paired_test([2.0, 2, 2, 2, 2, 1], [1.0, 1, 1, 1, 1, 2]).p == pytest.approx(2 * 7 / 64, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(differences=st.lists(st.integers(-4, 4).filter(bool), min_size=FEWEST_PAIRS, max_size=10))
def test_ties_against_all_sign_patterns(differences):
    ranks = scipy.stats.rankdata(np.abs(differences))
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=len(ranks))])
    positive = ranks[np.array(differences) > 0].sum()
    expected = min(1.0, 2 * min((sums <= positive).mean(), (sums >= positive).mean()))
    assert paired_test(differences, np.zeros(len(differences))).p == pytest.approx(expected, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(FEWEST_PAIRS, 80), seed=st.integers(0, 99), shift=st.floats(-1, 1))
def test_against_scipy(n, seed, shift):
    a, b = np.random.default_rng(seed).normal(size=(2, n))
    a += shift
    test = paired_test(a, b)
    assert test.n == n and test.difference == pytest.approx(np.median(a - b))
    assert test.p == pytest.approx(scipy.stats.wilcoxon(a, b).pvalue, rel=1e-9)
    assert test.p == pytest.approx(paired_test(b, a).p, rel=1e-9)


def test_undefined_and_equal_pairs_are_left_out():
    a = [1.0, 2, 3, 4, 5, 6, NAN, 1.0, 7.0]
    b = [0.0, 0, 0, 0, 0, 0, 2.0, NAN, 7.0]
    assert paired_test(a, b) == PairedTest(7, 3.0, 2 / 64, "7 pairs, 1 of them equal: p cannot be below 0.031")


def test_why_there_is_no_p():
    assert paired_test([], []) == PairedTest(0, None, None, "no track on which both are defined")
    assert paired_test([1.0, NAN], [NAN, 1.0]).words == "no track on which both are defined"
    few = paired_test([1.0, 2, 3, 4, 5], [0.0] * 5)
    assert few == PairedTest(5, 3.0, None, "5 pairs: p cannot be below 0.062, so there is no test")
    assert paired_test([1.0], [0.0]).words == "1 pair: p cannot be below 1, so there is no test"
    assert paired_test([4.0] * 9, [4.0] * 9) == PairedTest(9, 0.0, None, "9 pairs, all equal: nothing to test")
    with pytest.raises(ValueError, match=r"\[2\] and \[3\]"):
        paired_test([1.0, 2.0], [1.0, 2.0, 3.0])


def test_paired_test_finds_as_many_as_it_should():
    # Between equal systems p is below 0.05 in at most one case in twenty.
    random = np.random.default_rng(5)
    found = [paired_test(*random.normal(size=(2, 10))).p < 0.05 for _ in range(1000)]
    assert 0.03 < np.mean(found) < 0.065


def test_holm_by_hand():
    # In order: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which may not fall below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6, 0.2]) == pytest.approx([0.8, 0.8, 0.6])
    assert holm([0.9, 0.9]) == [1.0, 1.0]
    assert holm([0.03]) == [0.03] and holm([]) == []


@settings(max_examples=50, deadline=None)
@given(p_values=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p_values):
    adjusted = holm(p_values)
    for before, after in zip(p_values, adjusted, strict=True):
        assert before <= after <= min(1.0, len(p_values) * before) + 1e-12
    ranked = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert ranked == sorted(ranked)


def test_binomial_by_hand():
    # 9, 10, 0 or 1 of 10: 10 + 1 + 1 + 10 of 1024 sequences.
    assert binomial_test(9, 10).p == pytest.approx(22 / 1024, rel=1e-12)
    assert binomial_test(5, 10).p == pytest.approx(1.0) and binomial_test(5, 10).share == 0.5
    # All or none of n: the bound solves share^n = 0.025.
    assert binomial_test(10, 10).low == pytest.approx(0.025**0.1) and binomial_test(10, 10).high == 1.0
    assert binomial_test(0, 10).high == pytest.approx(1 - 0.025**0.1) and binomial_test(0, 10).low == 0.0
    assert binomial_test(10, 10, level=0.9).low == pytest.approx(0.05**0.1)
    # 8 of 20 in printed tables of Clopper and Pearson's limits
    assert (binomial_test(8, 20).low, binomial_test(8, 20).high) == pytest.approx((0.1912, 0.6395), abs=5e-5)


def test_binomial_without_trials():
    found = binomial_test(0, 0)
    assert math.isnan(found.share) and (found.low, found.high, found.p) == (0.0, 1.0, 1.0)


@settings(max_examples=60, deadline=None)
@given(trials=st.integers(1, 400), data=st.data())
def test_the_interval_and_the_test_agree(trials, data):
    successes = data.draw(st.integers(0, trials))
    found, opposite = binomial_test(successes, trials), binomial_test(trials - successes, trials)
    assert isinstance(found, BinomialTest) and found.low <= found.share <= found.high
    assert found.p == pytest.approx(opposite.p) and found.low == pytest.approx(1 - opposite.high)
    assume(abs(found.p - 0.05) > 1e-9)
    assert (found.p < 0.05) == (not found.low <= 0.5 <= found.high)


@pytest.mark.parametrize("successes, trials", [(-1, 3), (4, 3), (0, -1)])
def test_binomial_refuses_nonsense(successes, trials):
    with pytest.raises(ValueError, match=f"{successes} of {trials}"):
        binomial_test(successes, trials)
