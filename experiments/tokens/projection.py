"""Pictures of high-dimensional points in the plane, PCA and MDS, and how well groups of points are told apart."""

from dataclasses import dataclass

import torch
from torch import Tensor

STRESS_TOLERANCE = 1e-5
"""Relative fall of the stress at which MDS stops."""


@dataclass(frozen=True)
class Principal:
    """Points on their principal axes, `[n, d]`, and the share of the variance along every axis, `[min(n, D)]`."""

    points: Tensor
    explained: Tensor


def principal_components(points: Tensor, dimensions: int = 2) -> Principal:
    """Principal component analysis of `points [n, D]`, by singular values (Pearson, 1901).

    The sign of an axis means nothing; it is chosen so that the point farthest out is on its positive side. Shares are
    zero where all points are the same.
    """
    centred = points.double() - points.double().mean(dim=0)
    left, singular, _ = torch.linalg.svd(centred, full_matrices=False)
    projected = (left * singular)[:, :dimensions]
    farthest = projected.gather(0, projected.abs().argmax(dim=0, keepdim=True))
    variance = singular.square()
    return Principal(projected * torch.where(farthest < 0, -1.0, 1.0), variance / variance.sum().clamp(min=1e-300))


@dataclass(frozen=True)
class Scaled:
    """Points in the plane, `[n, d]`, and the stress that is left: 0 where all distances are kept, below 1."""

    points: Tensor
    stress: float


def multidimensional_scaling(distances: Tensor, start: Tensor, steps: int = 300) -> Scaled:
    """Metric multidimensional scaling by majorisation (SMACOF; de Leeuw, 1977).

    Moves points until their distances come as near as they can to `distances`, in the sum of squares. No step makes
    the stress larger. Classical scaling of Euclidean distances would be the same picture as PCA; this is not, though
    PCA is a good start.

    Args:
        distances: `[n, n]`, symmetric, zeros on the diagonal.
        start: points to start from, `[n, d]`.
        steps: at most so many.

    Returns:
        The points, centred, and Kruskal's stress-1, `sqrt(sum (d - d')^2 / sum d^2)`.
    """
    wanted, points = distances.double(), start.double() - start.double().mean(dim=0)
    total = wanted.square().sum().clamp(min=1e-300)
    present = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    stress = (present - wanted).square().sum()
    for _ in range(steps):
        # Guttman's transform: each point moves to the mean of where the others would like to have it.
        ratio = torch.where(present > 0, wanted / present, 0.0)
        points = (ratio.sum(dim=1, keepdim=True) * points - ratio @ points) / len(points)
        present = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
        before, stress = stress, (present - wanted).square().sum()
        if before - stress <= STRESS_TOLERANCE * before:
            break
    return Scaled(points, float((stress / total).sqrt()))


def neighbour_accuracy(points: Tensor, labels: Tensor, groups: Tensor, neighbours: int = 5) -> float:
    """Share of points whose nearest points in *other* groups mostly have their label.

    Args:
        points: `[n, D]`.
        labels: `[n]`, whole numbers from 0.
        groups: `[n]`, e.g. the track of each point: near points of the same track prove nothing.
        neighbours: how many vote; a tie goes to the smaller label.

    Returns:
        Between 0 and 1, the mean over the labels of the share in each; NaN where there is only one group.
    """
    distances = torch.cdist(points.double(), points.double())
    distances = distances.masked_fill(groups[:, None] == groups[None, :], torch.inf)
    valid = torch.isfinite(distances).sum(dim=1) >= neighbours
    nearest = distances.topk(min(neighbours, len(points)), largest=False).indices
    votes = torch.nn.functional.one_hot(labels[nearest], int(labels.max()) + 1).sum(dim=1)
    right = (votes.argmax(dim=1) == labels).double()
    shares = [right[valid & (labels == label)].mean() for label in labels.unique()]
    return float(torch.stack(shares).mean())
