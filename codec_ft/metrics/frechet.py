"""Frechet audio distance: how far the embeddings of a whole set are from those of a reference set.

Both sets are described by the mean and the covariance of their embeddings, and the Frechet distance between two such
Gaussians is taken (Kilgour et al., 2019). It says nothing about a single file, and no number means anything without
the embedding, the reference set and the number of vectors: `words` says all of it in one line.

From few vectors the distance from other music comes out too large: n vectors in D dimensions that are drawn from the
reference itself are about `D / (4 n)` of its total variance away from it. Systems that were measured on different
numbers of vectors must not be compared. `frechet_infinity` extrapolates to infinitely many; it corrects for the number
of vectors, not for that of tracks, and a few tracks are a narrow view of music however many vectors they give.

Where the reference is the clean stems of the very tracks that were separated, both sets share what is accidental about
them. Then the distance has no such excess, and the extrapolation, which takes it away all the same, comes out too low,
for good systems even below zero: read the plain distance.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from codec_ft.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    "frechet_distance": Metric(
        "FAD",
        "",
        "down",
        "Frechet audio distance: between the Gaussians of the embeddings of all outputs and those of the reference "
        "set. Depends on the embedding and, for few vectors, on their number.",
        "Kilgour et al., 2019",
    ),
    "frechet_infinity": Metric(
        "FAD-inf",
        "",
        "down",
        "Frechet audio distance extrapolated to infinitely many vectors: the intercept of a line through the distances "
        "of random subsets against one over their size. For a reference of other tracks than those measured: against "
        "their own clean stems it is too low, and may be negative.",
        "Chong & Forsyth, 2020; Gui et al., 2024",
    ),
}
"""What this file measures."""

SMALL = 10
"""Fewer vectors than this times the dimensions are few: the excess is more than 1 / 40 of the total variance."""

SMALLEST_SUBSET = 4
"""The smallest subsets of the extrapolation hold one vector in so many. It takes so many times the dimensions, because
subsets of fewer vectors than dimensions, whose covariance is singular, no longer follow the line."""

N_SIZES = 8


@dataclass(frozen=True, eq=False)
class Gaussian:
    """Mean and covariance of embeddings.

    Attributes:
        n: vectors that were counted.
        mean: float64 `[D]`; zeros where there are none.
        covariance: float64 `[D, D]`, divided by `n - 1`; zeros where there are fewer than two.
    """

    n: int
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, embeddings: np.ndarray | Tensor) -> "Gaussian":
        """The Gaussian of `embeddings [n, D]`, of which there may be none.

        Raises:
            ValueError: they have another shape, or values that are not finite.
        """
        values = _checked(embeddings)
        n, dimension = values.shape
        mean = values.mean(axis=0) if n else np.zeros(dimension)
        centred = values - mean
        return cls(n, mean, centred.T @ centred / max(1, n - 1))

    @classmethod
    def merge(cls, parts: "Iterable[Gaussian]") -> "Gaussian":
        """The Gaussian of all vectors of several sets together, exactly as if they had been measured at once.

        Raises:
            ValueError: there is no part, or they have different dimensions.
        """
        parts = list(parts)
        if len({part.mean.shape for part in parts}) != 1:
            raise ValueError(f"expected sets of one dimension, got {[len(part.mean) for part in parts]}")
        n = sum(part.n for part in parts)
        mean = np.sum([part.n * part.mean for part in parts], axis=0) / max(1, n)
        scatter = np.zeros_like(parts[0].covariance)
        for part in parts:
            offset = part.mean - mean
            scatter += max(0, part.n - 1) * part.covariance + part.n * np.outer(offset, offset)
        return cls(n, mean, scatter / max(1, n - 1))


def frechet_distance(gaussian: Gaussian, reference: Gaussian) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians, as all that is called FAD is.

    `|m1 - m2|^2 + tr(S1) + tr(S2) - 2 tr((S1 S2)^.5)`, symmetric and never negative. NaN where either was made of
    fewer than two vectors.

    Raises:
        ValueError: they have different dimensions.
    """
    return _distance(gaussian, reference, _root(reference.covariance))


@dataclass(frozen=True)
class FrechetInfinity:
    """A Frechet distance extrapolated to infinitely many vectors.

    Attributes:
        value: the distance; NaN where it cannot be told.
        slope: what the distance of n vectors has too much, times n.
        r_squared: share of the variance of the distances that the line explains; 1 is a straight line.
        sizes: vectors of the subsets, from many to few.
        reason: why there is no value, empty where there is one.
    """

    value: float
    slope: float
    r_squared: float
    sizes: tuple[int, ...]
    reason: str = ""


def frechet_infinity(embeddings: np.ndarray | Tensor, reference: Gaussian, *, seed: int = 0) -> FrechetInfinity:
    """Extrapolate the distance of `embeddings [n, D]` from `reference` to infinitely many embeddings.

    A line is fitted through the distances of random subsets against one over their size (Chong & Forsyth, 2020, for
    images; Gui et al., 2024, for music). Sizes reach from n down to a quarter of it, evenly in one over the size; of
    each size as many disjoint subsets as there are give one mean. The reference is taken as it is: it should be large.

    Args:
        embeddings: `[n, D]`, `n >= 4 D`.
        reference: what they are measured against, of other tracks: against the same tracks the value is too low.
        seed: of the random subsets; the same seed gives the same number.

    Returns:
        The distance, NaN with a reason where there are too few embeddings.

    Raises:
        ValueError: the shapes do not fit, or values are not finite.
    """
    values = _checked(embeddings)
    n, dimension = values.shape
    least = max(2, SMALLEST_SUBSET * dimension)
    if n < least or reference.n < 2:
        reason = (
            f"{n} vectors are too few to extrapolate from: {least} or more are needed in {dimension} dimensions"
            if n < least
            else f"the reference holds {reference.n} vectors, which have no covariance"
        )
        return FrechetInfinity(math.nan, math.nan, math.nan, (), reason)
    root = _root(reference.covariance)
    random = np.random.default_rng(seed)
    sizes = tuple(dict.fromkeys(round(n / part) for part in np.linspace(1, SMALLEST_SUBSET, N_SIZES)))
    distances = []
    for size in sizes:
        order = random.permutation(n)
        subsets = [order[first : first + size] for first in range(0, n - size + 1, size)]
        distances.append(np.mean([_distance(Gaussian.of(values[chosen]), reference, root) for chosen in subsets]))
    inverse, spread = 1.0 / np.array(sizes), np.array(distances) - np.mean(distances)
    slope, value = np.polyfit(inverse, distances, 1)
    unexplained = np.square(distances - (value + slope * inverse)).sum()
    r_squared = 1.0 - unexplained / np.square(spread).sum() if spread.any() else 1.0
    return FrechetInfinity(float(value), float(slope), float(r_squared), sizes)


def is_small(n: int, dimension: int) -> bool:
    """Whether `n` vectors in D dimensions are so few that the plain distance says more about n than about the music."""
    return n < SMALL * dimension


def words(
    distance: float,
    *,
    embedding: str,
    dimension: int,
    reference: str,
    n: int,
    seconds: float,
    infinity: FrechetInfinity | None = None,
) -> str:
    """A distance with everything that it depends on, in one line.

    Args:
        distance: of `frechet_distance`.
        embedding: its name.
        dimension: D of the embedding.
        reference: what the reference set is, in words.
        n: vectors that were measured.
        seconds: their duration.
        infinity: the extrapolated distance, where it was computed.
    """
    line = (
        f"FAD {_number(distance)} (embedding: {embedding}, {dimension} dimensions; reference: {reference}; "
        f"N = {n} vectors from {seconds:.0f} s"
    )
    if is_small(n, dimension):
        line += f", which are few: less than {SMALL} x {dimension}"
    line += ")"
    if infinity is None:
        return line
    if infinity.reason:
        return f"{line}; no FAD-inf: {infinity.reason}"
    return f"{line}; FAD-inf {_number(infinity.value)} (straight line to R² = {infinity.r_squared:.2f})"


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4g}"


def _checked(embeddings: np.ndarray | Tensor) -> np.ndarray:
    """Embeddings as float64 `[n, D]`."""
    values = np.asarray(embeddings, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"embeddings must be [n, D], not of shape {list(values.shape)}")
    if not np.isfinite(values).all():
        raise ValueError(f"{int((~np.isfinite(values)).any(axis=1).sum())} of {len(values)} embeddings are not finite")
    return values


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a covariance `[D, D]`."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T


def _distance(gaussian: Gaussian, reference: Gaussian, reference_root: np.ndarray) -> float:
    if gaussian.mean.shape != reference.mean.shape:
        raise ValueError(
            f"the Gaussians have {len(gaussian.mean)} and {len(reference.mean)} dimensions: are they of one embedding?"
        )
    if min(gaussian.n, reference.n) < 2:
        return math.nan
    # S1 S2 and R S1 R, where R is the root of S2, have the same eigenvalues; but the second is symmetric, so that they
    # are real and exact where a root of S1 S2 does not even exist, as it may for fewer vectors than dimensions.
    values = np.linalg.eigvalsh(reference_root @ gaussian.covariance @ reference_root)
    # Of what is zero, rounding makes something that is small itself, but not its root.
    values = values[values > len(values) * np.finfo(np.float64).eps * values[-1]]
    offset = gaussian.mean - reference.mean
    total = offset @ offset + np.trace(gaussian.covariance) + np.trace(reference.covariance)
    return max(0.0, float(total - 2.0 * np.sqrt(values).sum()))
