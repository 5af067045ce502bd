"""Losses between latents, by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cosine
from torch import Tensor

from codec_ft.finetune.losses.latents import latent_cosine, latent_l1
from codec_ft.metrics.latents import latent_mse

LOSSES = (latent_mse, latent_l1, latent_cosine)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_latent_mse_by_hand() -> None:
    latents = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0], [3.0, 1.0]], [[1.0, -1.0], [3.0, 1.0]]])
    assert latent_mse(latents, target).tolist() == [(0 + 4 + 0 + 9) / 4, (1 + 1 + 9 + 1) / 4]


def test_latent_mse_has_the_gradient_of_a_mean() -> None:
    latents = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], requires_grad=True)
    latent_mse(latents, torch.zeros(1, 2, 2)).sum().backward()
    assert latents.grad is not None and latents.grad.tolist() == [[[0.5, 1.0], [1.5, 2.0]]]


def test_latent_l1_by_hand() -> None:
    latents = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]], requires_grad=True)
    target = torch.tensor([[[1.0, 0.0], [3.0, 9.0]], [[1.0, -1.0], [3.0, 1.0]]])
    losses = latent_l1(latents, target)
    assert losses.tolist() == [(0 + 2 + 0 + 5) / 4, (1 + 1 + 3 + 1) / 4]
    losses.sum().backward()
    assert latents.grad is not None
    assert latents.grad.tolist() == [[[0, 0.25], [0, -0.25]], [[-0.25, 0.25], [-0.25, -0.25]]]


def test_latent_cosine_by_hand() -> None:
    # Frames: the same way at another length, at right angles, opposite; then at 45 degrees, three times.
    latents = torch.tensor([[[1.0, 1.0, 2.0], [0.0, 0.0, 1.0]], [[1.0, 1.0, 5.0], [0.0, 0.0, 0.0]]])
    target = torch.tensor([[[9.0, 0.0, -2.0], [0.0, 3.0, -1.0]], [[2.0, 7.0, 1.0], [2.0, -7.0, 1.0]]])
    expected = torch.tensor([(0 + 1 + 2) / 3, 1 - math.sqrt(0.5)])
    torch.testing.assert_close(latent_cosine(latents, target), expected)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), dim=st.integers(1, 6), frames=st.integers(1, 5))
def test_latent_cosine_is_scipy_s_and_does_not_see_lengths(seed: int, dim: int, frames: int) -> None:
    latents, target = noise(2, dim, frames, seed=seed).double(), noise(2, dim, frames, seed=seed + 1).double()
    pairs = [[(latents[b, :, t].numpy(), target[b, :, t].numpy()) for t in range(frames)] for b in range(2)]
    expected = [np.mean([cosine(*pair) if dim > 1 else 1 - np.sign(np.prod(pair)) for pair in item]) for item in pairs]
    found = latent_cosine(latents, target)
    assert found.tolist() == pytest.approx(expected, abs=1e-9)
    longer = 0.1 + 10 * noise(2, 1, frames, seed=seed + 2).double().abs()
    torch.testing.assert_close(latent_cosine(longer * latents, target), found)


def test_a_frame_of_zeros_has_no_direction_and_a_gradient_that_is_a_number() -> None:
    latents, target = noise(1, 4, 3), noise(1, 4, 3, seed=1)
    latents[:, :, 0] = 0
    target[:, :, 1] = 0
    latents.requires_grad_()
    loss = latent_cosine(latents, target)
    last = 1 - torch.nn.functional.cosine_similarity(latents[:, :, 2], target[:, :, 2])
    torch.testing.assert_close(loss, (1 + 1 + last) / 3)
    loss.sum().backward()
    assert latents.grad is not None and latents.grad.isfinite().all()
    assert latents.grad.abs().max() < 1e4
    # The frame of zeros is drawn towards the target; where the target is zeros, nothing is asked.
    assert torch.cosine_similarity(-latents.grad[0, :, 0], target[0, :, 0], dim=0) > 0.999
    assert latents.grad[0, :, 1].abs().max() < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    latents, target = noise(2, 3, 4).double().requires_grad_(), noise(2, 3, 4, seed=1).double()
    assert torch.autograd.gradcheck(lambda x: loss(x, target), latents)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(1, 8, 5), (2, 1, 5), (2, 8, 1), (2, 8, 6), (8, 5)])
def test_shapes_that_would_be_broadcast_are_refused(
    loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match=r"latents \[2, 8, 5\] and target \[.*\] differ in shape"):
        loss(torch.zeros(2, 8, 5), torch.zeros(shape))
    if len(shape) != 3:
        with pytest.raises(ValueError, match=r"expected latents \[B, D, T\], got \[8, 5\]"):
            loss(torch.zeros(shape), torch.zeros(shape))
