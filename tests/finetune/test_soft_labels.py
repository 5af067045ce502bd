"""Labels that are spread over near codes: by hand, and what must hold for all codebooks."""

import gc
import math
import weakref

import pytest
import torch
from given_codebooks import KINDS, cosine, euclidean
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec_ft.codecs.residual import ResidualCodec
from codec_ft.finetune.losses import soft_labels as module
from codec_ft.finetune.losses.soft_labels import code_spacing, layer_labels, soft_labels

CLOCK = torch.tensor([[math.cos(hour * math.pi / 6), math.sin(hour * math.pi / 6)] for hour in (0, 1, 3, 6)])
"""Codes at 30, 60, 90 and 180 degrees from each other."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_spacing_by_hand() -> None:
    # Nearest others at distances 1, 1, 2 and 5; the median of an even number is the lower of the middle two.
    codec = euclidean(torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0], [5.0, 5.0]]))
    assert code_spacing(codec, 0) == pytest.approx(1)
    codec = euclidean(torch.tensor([[0.0, 0.0], [3.0, 0.0], [6.0, 0.0], [9.0, 0.0]]))
    assert code_spacing(codec, 0) == pytest.approx(9)


def test_spacing_of_angles_by_hand() -> None:
    # Nearest others at 30, 30, 60 and 90 degrees, whatever the lengths.
    codec = cosine(CLOCK * torch.tensor([[1.0], [5.0], [0.1], [2.0]]))
    assert code_spacing(codec, 0) == pytest.approx(1 - math.cos(math.pi / 6), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_spacing_is_that_of_codes_that_differ(kind: str) -> None:
    codes = noise(32, 4) / 10 + 1
    alone = code_spacing(KINDS[kind](codes), 0)
    assert 0 < alone < math.inf
    twice = KINDS[kind](codes.repeat(2, 1)[torch.randperm(64, generator=torch.Generator().manual_seed(0))])
    assert code_spacing(twice, 0) == pytest.approx(alone, rel=0.01)
    dead = torch.cat([codes, codes[:1].expand(96, -1)])
    assert code_spacing(KINDS[kind](dead), 0) == pytest.approx(alone, rel=0.01)


def test_codes_of_zeros_do_not_take_part_in_angles_and_count_once_among_distances() -> None:
    codes = noise(32, 4) + 3
    dead = torch.cat([torch.zeros(32, 4), codes])
    assert code_spacing(cosine(dead), 0) == pytest.approx(code_spacing(cosine(codes), 0), rel=1e-4)
    once = torch.cat([torch.zeros(1, 4), codes, codes[:31]])
    assert code_spacing(euclidean(dead), 0) == pytest.approx(code_spacing(euclidean(once), 0), rel=1e-4)


def test_codes_far_off_do_not_move_the_spacing() -> None:
    codes = noise(64, 4)
    far = codes.clone()
    far[:8] = 1000 * noise(8, 4, seed=1)
    alone, with_far = code_spacing(euclidean(codes), 0), code_spacing(euclidean(far), 0)
    assert alone / 2 < with_far < 2 * alone


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_layer_of_one_code_has_a_spacing_and_labels_too(kind: str, value: float) -> None:
    codec = KINDS[kind](torch.full((8, 2), value))
    assert code_spacing(codec, 0) == 1
    torch.testing.assert_close(layer_labels(codec, 0, torch.tensor([[3]]), 0.5), torch.full((1, 8, 1), 1 / 8))


def test_spacing_is_measured_once_and_forgotten_with_the_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = euclidean(noise(8, 2))
    spacing = code_spacing(codec, 0)
    monkeypatch.setattr(module, "_measure_spacing", lambda codec, k: pytest.fail("measured twice"))
    assert code_spacing(codec, 0) == spacing
    gone = weakref.ref(codec)
    del codec
    gc.collect()
    assert gone() is None


def test_labels_by_hand() -> None:
    # Squared distances 0, 4, 16, 36 from the first code and 4, 0, 4, 16 from the second; spacing 4.
    codec = euclidean(torch.tensor([[0.0], [2.0], [4.0], [6.0]]))
    labels = layer_labels(codec, 0, torch.tensor([[0, 1]]), 0.5)
    first = torch.tensor([math.exp(-gap / 2) for gap in (0, 4, 16, 36)])
    second = torch.tensor([math.exp(-gap / 2) for gap in (4, 0, 4, 16)])
    torch.testing.assert_close(labels, torch.stack([first / first.sum(), second / second.sum()], dim=1)[None])


def test_labels_of_angles_by_hand() -> None:
    labels = layer_labels(cosine(3 * CLOCK), 0, torch.tensor([[2]]), 2.0)
    spacing = 1 - math.cos(math.pi / 6)
    weights = torch.tensor([math.exp(math.cos(a * math.pi / 6) / (2 * spacing)) for a in (3, 2, 0, 3)])
    torch.testing.assert_close(labels[0, :, 0], weights / weights.sum(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.sampled_from([2, 8, 64]),
    dim=st.integers(2, 6),
    tau=st.sampled_from([0.0, 1e-3, 0.1, 1.0, 30.0]),
    scale=st.sampled_from([1e-2, 1.0, 50.0]),
)
def test_labels_are_distributions_around_the_target(
    kind: str, seed: int, size: int, dim: int, tau: float, scale: float
) -> None:
    table = noise(size, dim, seed=seed)
    codec = KINDS[kind](table)
    codes = torch.randint(size, (2, 5), generator=torch.Generator().manual_seed(seed))
    labels = layer_labels(codec, 0, codes, tau)
    assert labels.shape == (2, size, 5) and not labels.requires_grad
    torch.testing.assert_close(labels.sum(dim=1), torch.ones(2, 5))
    own = labels.gather(1, codes[:, None])[:, 0]
    assert (labels.amax(dim=1) - own).max() < 1e-5
    # Sizes do not matter, since temperatures are in units of the spacing.
    torch.testing.assert_close(layer_labels(KINDS[kind](scale * table), 0, codes, tau), labels, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_from_one_code_to_all(kind: str) -> None:
    codec = KINDS[kind](noise(16, 3))
    codes = torch.arange(16)[None]
    one_hot = torch.eye(16)[None]
    assert torch.equal(layer_labels(codec, 0, codes, 0.0), one_hot)
    torch.testing.assert_close(layer_labels(codec, 0, codes, 1e-6), one_hot)
    torch.testing.assert_close(layer_labels(codec, 0, codes, 1e6), torch.full((1, 16, 16), 1 / 16), rtol=1e-3, atol=0)
    entropies = [
        -(p * p.clamp_min(1e-30).log()).sum(dim=1) for tau in (0.3, 1, 3) for p in [layer_labels(codec, 0, codes, tau)]
    ]
    assert (entropies[0] < entropies[1]).all() and (entropies[1] < entropies[2]).all()


def test_labels_of_all_layers(tiny_codec: ResidualCodec) -> None:
    codes = torch.randint(16, (2, 2, 7), generator=torch.Generator().manual_seed(0))
    labels = soft_labels(tiny_codec, codes, 0.5)
    for k in range(2):
        assert torch.equal(labels(k), layer_labels(tiny_codec, k, codes[:, k], 0.5))
    table = tiny_codec.table(1)
    nearest = torch.cdist(table, table).fill_diagonal_(torch.inf).argmin(dim=1)
    second = labels(1).topk(2, dim=1).indices[:, 1]
    assert torch.equal(second, nearest[codes[:, 1]])


@pytest.mark.parametrize("tau", [-0.1, math.nan, math.inf])
def test_impossible_temperatures_are_refused(tiny_codec: ResidualCodec, tau: float) -> None:
    codes = torch.zeros(1, 2, 3, dtype=torch.long)
    for refuse in (lambda: soft_labels(tiny_codec, codes, tau), lambda: layer_labels(tiny_codec, 0, codes[:, 0], tau)):
        with pytest.raises(ValueError, match="temperature of soft labels must be zero or above, and finite; got"):
            refuse()


def test_codes_that_the_codec_does_not_have_are_refused(tiny_codec: ResidualCodec) -> None:
    with pytest.raises(ValueError, match=r"codes must lie in 0\.\.15, got 0\.\.16"):
        soft_labels(tiny_codec, torch.tensor([[[0, 16]]]), 1.0)
