import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from experiments.tokens.occurrence import count_codes, divergences, jensen_shannon


def test_codes_are_counted_per_codebook() -> None:
    codes = torch.tensor([[0, 1, 1, 3], [2, 2, 2, 2]], dtype=torch.int16)
    assert count_codes(codes, 4).tolist() == [[1, 2, 0, 1], [0, 0, 4, 0]]


def test_divergence_equals_the_square_of_scipys_distance() -> None:
    generator = torch.manual_seed(0)
    counts, others = torch.randint(0, 50, (2, 5, 64), generator=generator)
    expected = [jensenshannon(a.numpy(), b.numpy(), base=2) ** 2 for a, b in zip(counts, others, strict=True)]
    assert jensen_shannon(counts, others).tolist() == pytest.approx(expected)


def test_divergence_from_none_to_one_bit() -> None:
    some = torch.tensor([3, 1, 0, 0])
    assert float(jensen_shannon(some, 10 * some)) == pytest.approx(0.0, abs=1e-12)
    assert float(jensen_shannon(some, torch.tensor([0, 0, 5, 1]))) == pytest.approx(1.0)
    assert math.isnan(float(jensen_shannon(some, torch.zeros(4, dtype=torch.int64))))


def test_only_opposite_halves_are_compared() -> None:
    """One source changes its codes from half to half, the other keeps to one of them."""
    changing = torch.tensor([[[4, 0]], [[0, 4]]])  # [2, K, V]
    steady = torch.tensor([[[4, 0]], [[4, 0]]])
    found = divergences({"changing": changing, "steady": steady})
    assert float(found["changing", "changing"]) == pytest.approx(1.0)
    assert float(found["steady", "steady"]) == pytest.approx(0.0)
    assert float(found["changing", "steady"]) == pytest.approx(0.5)  # mean of none and one bit
    assert len(found) == 3


def test_sources_with_the_same_codes_differ_as_little_as_one_from_itself() -> None:
    generator = torch.manual_seed(1)
    halves = {name: torch.stack([draw(generator), draw(generator)]) for name in ("a", "b")}
    found = {pair: float(divergence) for pair, divergence in divergences(halves).items()}
    assert found["a", "b"] == pytest.approx((found["a", "a"] + found["b", "b"]) / 2, rel=0.1)
    assert found["a", "b"] > 0.05  # chance alone, with few frames


def draw(generator: torch.Generator) -> torch.Tensor:
    """Counts [1, 256] of 1000 codes, all equally likely."""
    return count_codes(torch.randint(0, 256, (1, 1000), generator=generator), 256)
