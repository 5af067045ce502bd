import math

import pytest
import torch

from experiments.tokens.projection import multidimensional_scaling, neighbour_accuracy, principal_components


def rotation(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=torch.manual_seed(1)))[0]


def distances(points: torch.Tensor) -> torch.Tensor:
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


def test_the_axes_of_an_ellipsoid_in_any_position() -> None:
    """Points at +-4, +-2, +-1 on three axes: variances in the ratio 16 : 4 : 1."""
    axes = torch.diag(torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64))
    points = torch.cat([axes, -axes]) @ rotation(3) + 7.0
    found = principal_components(points)
    torch.testing.assert_close(found.explained, torch.tensor([16.0, 4.0, 1.0], dtype=torch.float64) / 21)
    expected = torch.tensor([[4.0, 0.0], [0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found.points.abs(), torch.cat([expected, expected]), atol=1e-12, rtol=0)
    torch.testing.assert_close(found.points[:3], -found.points[3:], atol=1e-12, rtol=0)


def test_points_that_are_all_the_same_have_no_axes() -> None:
    found = principal_components(torch.ones(5, 4))
    assert found.points.abs().max() == 0 and found.explained.abs().max() == 0


def test_scaling_finds_points_of_the_plane_again() -> None:
    """Distances in the plane, given in five dimensions, from a start that is off."""
    generator = torch.manual_seed(2)
    plane = torch.randn(40, 2, dtype=torch.float64, generator=generator)
    wanted = distances(torch.nn.functional.pad(plane, (0, 3)) @ rotation(5))
    start = plane + 0.3 * torch.randn(40, 2, dtype=torch.float64, generator=generator)
    found = multidimensional_scaling(wanted, start, steps=3000)
    assert found.stress < 0.01
    assert (distances(found.points) - wanted).abs().max() < 0.05
    torch.testing.assert_close(found.points.mean(dim=0), torch.zeros(2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_scaling_stays_where_nothing_can_be_better() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    found = multidimensional_scaling(distances(points), points)
    torch.testing.assert_close(distances(found.points), distances(points))
    assert found.stress < 1e-12


def test_a_tetrahedron_does_not_fit_into_the_plane() -> None:
    """Four points, all at distance 1: the best picture is a square, whose stress can be worked out.

    With the side s, the sum over the six pairs of (d - 1)^2 is 4 (s - 1)^2 + 2 (s sqrt 2 - 1)^2, least at
    s = (2 + sqrt 2) / 4, where it is 3 - 2 sqrt 2.
    """
    wanted = torch.ones(4, 4, dtype=torch.float64) - torch.eye(4, dtype=torch.float64)
    start = torch.tensor([[0.0, 0.0], [1.0, 0.1], [1.1, 1.0], [0.0, 0.9]], dtype=torch.float64)
    found = multidimensional_scaling(wanted, start, steps=2000)
    assert found.stress == pytest.approx(math.sqrt((3 - 2 * math.sqrt(2)) / 6), abs=2e-3)


def test_scaling_is_never_worse_than_where_it_starts() -> None:
    points = torch.randn(60, 8, dtype=torch.float64, generator=torch.manual_seed(3))
    wanted = distances(points)
    start = principal_components(points).points
    before = ((distances(start) - wanted).square().sum() / wanted.square().sum()).sqrt()
    stresses = [multidimensional_scaling(wanted, start, steps=n).stress for n in (1, 3, 10, 100)]
    assert float(before) > stresses[0] > stresses[1] > stresses[2] > stresses[3]


def test_points_on_top_of_each_other_are_no_trouble() -> None:
    found = multidimensional_scaling(torch.zeros(4, 4), torch.zeros(4, 2))
    assert found.stress == 0.0 and bool(torch.isfinite(found.points).all())


def test_neighbours_of_other_groups_decide() -> None:
    """Two labels far apart, in two groups each: always right; with shuffled labels in one group, always wrong."""
    points = torch.tensor([[0.0], [0.1], [0.2], [10.0], [10.1], [10.2]]).repeat(2, 1)
    labels = torch.tensor([0, 0, 0, 1, 1, 1]).repeat(2)
    groups = torch.arange(2).repeat_interleave(6)
    assert neighbour_accuracy(points, labels, groups, neighbours=3) == 1.0
    swapped = torch.cat([labels[:6], 1 - labels[:6]])
    assert neighbour_accuracy(points, swapped, groups, neighbours=3) == 0.0


def test_each_label_counts_the_same() -> None:
    """Nine points of one label are found, one of the other is not: half right, not nine tenths."""
    points = torch.cat([torch.zeros(10, 1), torch.zeros(10, 1)])
    labels = torch.tensor([0] * 9 + [1]).repeat(2)
    groups = torch.arange(2).repeat_interleave(10)
    points[9] = points[19] = 0.5
    points[18] = 0.5  # the neighbours of the rare label in the other group are one of each, and eight others
    assert neighbour_accuracy(points, labels, groups, neighbours=5) == 0.5


def test_one_group_alone_proves_nothing() -> None:
    found = neighbour_accuracy(torch.randn(12, 2), torch.arange(2).repeat(6), torch.zeros(12))
    assert math.isnan(found)
