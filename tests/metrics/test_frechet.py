"""Frechet distances of Gaussians whose distance has a closed form, or that scipy's root of a matrix knows."""

import math
import pickle

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.frechet import (
    FrechetInfinity,
    Gaussian,
    frechet_distance,
    frechet_infinity,
    is_small,
    words,
)


def gaussian(mean: list[float], covariance: np.ndarray) -> Gaussian:
    return Gaussian(1000, np.array(mean), np.asarray(covariance, dtype=np.float64))


def random_gaussian(dimension: int, seed: int, rank: int | None = None) -> Gaussian:
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((dimension, rank or dimension))
    return gaussian(list(random.standard_normal(dimension)), mixing @ mixing.T)


def test_mean_and_covariance_by_hand():
    found = Gaussian.of(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]]))
    assert (found.n, found.mean.tolist()) == (3, [2.0, 2.0])
    np.testing.assert_allclose(found.covariance, [[4.0, 3.0], [3.0, 3.0]])
    assert found.mean.dtype == found.covariance.dtype == np.float64


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 99))
def test_merged_parts_are_the_whole(cuts, seed):
    values = np.random.default_rng(seed).standard_normal((40, 3)) * [1.0, 10.0, 0.1] + [0.0, 50.0, -3.0]
    parts = [Gaussian.of(part) for part in np.split(values, sorted(cuts))]  # some are empty, some a single vector
    found = Gaussian.merge(parts[::-1])
    assert found.n == 40
    np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(values, rowvar=False), rtol=1e-10, atol=1e-12)
    one_by_one = parts[0]
    for part in parts[1:]:
        one_by_one = Gaussian.merge([one_by_one, part])
    np.testing.assert_allclose(one_by_one.covariance, found.covariance, rtol=1e-10, atol=1e-12)


def test_single_values_in_closed_form():
    # In one dimension: (m1 - m2)^2 + (s1 - s2)^2.
    assert frechet_distance(gaussian([3.0], [[4.0]]), gaussian([-1.0], [[25.0]])) == pytest.approx(16.0 + 9.0)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-5, 5)] * 2, *[st.floats(0, 4)] * 2), min_size=1, max_size=6))
def test_diagonal_gaussians_in_closed_form(axes):
    means, other_means, deviations, other_deviations = (np.array(values) for values in zip(*axes, strict=True))
    found = frechet_distance(
        gaussian(list(means), np.diag(deviations**2)), gaussian(list(other_means), np.diag(other_deviations**2))
    )
    expected = ((means - other_means) ** 2 + (deviations - other_deviations) ** 2).sum()
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("dimension", [2, 17, 64])
def test_the_root_of_scipy_says_the_same(dimension):
    a, b = random_gaussian(dimension, 1), random_gaussian(dimension, 2)
    root = scipy.linalg.sqrtm(a.covariance @ b.covariance)
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root.real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances():
    # One lives on the first two axes, the other on the next two: nothing overlaps, so the traces add up.
    a = gaussian([0.0] * 5, np.diag([1.0, 2.0, 0.0, 0.0, 0.0]))
    b = gaussian([0.0] * 5, np.diag([0.0, 0.0, 3.0, 4.0, 0.0]))
    assert frechet_distance(a, b) == pytest.approx(10.0)
    # Turned together, they are as far from each other.
    turn = scipy.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    turned = [gaussian([0.0] * 5, turn @ g.covariance @ turn.T) for g in (a, b)]
    assert frechet_distance(*turned) == pytest.approx(10.0)
    fewer = Gaussian.of(np.random.default_rng(1).standard_normal((30, 200)))
    assert frechet_distance(fewer, fewer) == pytest.approx(0.0, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_a_distance_is_symmetric_and_zero_to_oneself(dimension, rank, seed):
    a, b = random_gaussian(dimension, seed, rank), random_gaussian(dimension, seed + 1)
    scale = np.trace(a.covariance) + np.trace(b.covariance)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6, abs=1e-9 * scale)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-9 * scale)
    assert frechet_distance(a, b) >= 0.0


def test_one_vector_has_no_distance():
    whole = random_gaussian(3, 0)
    for few in (Gaussian.of(np.empty((0, 3))), Gaussian.of(np.ones((1, 3)))):
        assert math.isnan(frechet_distance(few, whole)) and math.isnan(frechet_distance(whole, few))


TRUTH = 64 * 0.25**2 + 64 * (1.0 - 1.2) ** 2
"""Between N(0, 1) and N(0.25, 1.2^2) in 64 dimensions."""


def sample(n: int, seed: int) -> np.ndarray:
    return 0.25 + 1.2 * np.random.default_rng(seed).standard_normal((n, 64))


def test_few_vectors_are_too_far_and_the_extrapolation_is_nearer():
    reference = gaussian([0.0] * 64, np.eye(64))
    for n in (400, 800):
        plain = np.array([frechet_distance(Gaussian.of(sample(n, seed)), reference) for seed in range(6)])
        beyond = [frechet_infinity(sample(n, seed), reference) for seed in range(6)]
        assert (plain > TRUTH + 1.0).all()
        # The excess is about D / (4 n) of the variance, and so is what the slope says of it.
        excess = 64 * 1.2**2 * 64 / (4 * n)
        assert plain.mean() - TRUTH == pytest.approx(excess, rel=0.25)
        assert np.mean([found.slope / n for found in beyond]) == pytest.approx(excess, rel=0.25)
        errors = np.array([found.value - TRUTH for found in beyond])
        assert math.sqrt((errors**2).mean()) < math.sqrt(((plain - TRUTH) ** 2).mean()) / 4
        assert all(found.r_squared > 0.95 and not found.reason for found in beyond)


def test_against_the_same_tracks_the_plain_distance_is_right():
    clean = sample(400, 0)
    louder = 1.05 * clean
    reference = Gaussian.of(clean)
    # Between N(m, S) and N(1.05 m, 1.05^2 S), whatever m and S the tracks happen to have.
    truth = 0.05**2 * (reference.mean @ reference.mean + np.trace(reference.covariance))
    plain, beyond = frechet_distance(Gaussian.of(louder), reference), frechet_infinity(louder, reference)
    assert plain == pytest.approx(truth)
    assert beyond.value < -1.0, "it takes away an excess that is not there"


def test_the_extrapolation_is_a_number_of_its_seed():
    reference, values = gaussian([0.0] * 64, np.eye(64)), sample(320, 0)
    found = frechet_infinity(values, reference, seed=3)
    assert found == frechet_infinity(torch.from_numpy(values), reference, seed=3)
    assert found.value != frechet_infinity(values, reference, seed=4).value
    assert (found.sizes[0], found.sizes[-1]) == (320, 80)
    assert list(found.sizes) == sorted(set(found.sizes), reverse=True)


def test_too_few_vectors_to_extrapolate_from():
    reference = gaussian([0.0] * 64, np.eye(64))
    found = frechet_infinity(sample(255, 0), reference)
    assert math.isnan(found.value) and found.sizes == ()
    assert found.reason == "255 vectors are too few to extrapolate from: 256 or more are needed in 64 dimensions"
    assert frechet_infinity(sample(256, 0), reference).reason == ""
    assert "reference holds 1 vec" in frechet_infinity(sample(256, 0), Gaussian.of(sample(1, 0))).reason


def test_vectors_that_are_all_equal():
    reference = gaussian([0.0, 0.0], np.eye(2))
    assert frechet_distance(Gaussian.of(np.ones((50, 2))), reference) == pytest.approx(2.0 + 2.0)
    found = frechet_infinity(np.ones((50, 2)), reference)
    assert found.value == pytest.approx(4.0) and found.slope == pytest.approx(0.0, abs=1e-9)


def test_a_line_names_all_that_a_distance_depends_on():
    line = words(3.21456, embedding="demo latents", dimension=64, reference="clean drums", n=900, seconds=9.0)
    assert line == (
        "FAD 3.215 (embedding: demo latents, 64 dimensions; reference: clean drums; N = 900 vectors from 9 s)"
    )
    few = {"embedding": "VGGish", "dimension": 128, "reference": "clean bass of 6 tracks", "n": 120, "seconds": 115.2}
    line = words(7.0, **few, infinity=FrechetInfinity(5.4321, 100.0, 0.987, (120, 30)))
    assert line == (
        "FAD 7 (embedding: VGGish, 128 dimensions; reference: clean bass of 6 tracks; N = 120 vectors from 115 s, "
        "which are few: less than 10 x 128); FAD-inf 5.432 (straight line to R² = 0.99)"
    )
    nothing = frechet_infinity(np.zeros((120, 128)), gaussian([0.0] * 128, np.eye(128)))
    assert words(math.nan, **few, infinity=nothing).endswith(
        "; no FAD-inf: 120 vectors are too few to extrapolate from: 512 or more are needed in 128 dimensions"
    )
    assert words(math.nan, **few).startswith("FAD undefined (")
    assert is_small(639, 64) and not is_small(640, 64)


def test_gaussians_go_between_processes():
    before = Gaussian.of(sample(10, 0))
    after = pickle.loads(pickle.dumps(before))
    assert after.n == 10 and np.array_equal(after.covariance, before.covariance)


def test_bad_input():
    with pytest.raises(ValueError, match=r"\[n, D\].*\[3\]"):
        Gaussian.of(np.zeros(3))
    with pytest.raises(ValueError, match="1 of 2 embeddings are not finite"):
        Gaussian.of(np.array([[0.0, math.nan], [0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        Gaussian.merge([random_gaussian(2, 0), random_gaussian(3, 0)])
    with pytest.raises(ValueError, match="2 and 3 dimensions"):
        frechet_distance(random_gaussian(2, 0), random_gaussian(3, 0))
    with pytest.raises(ValueError, match="64 and 2 dimensions"):
        frechet_infinity(sample(256, 0), random_gaussian(2, 0))
