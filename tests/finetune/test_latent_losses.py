"""Losses between latents, by hand."""

import pytest
import torch

from codec_ft.finetune.losses.latents import latent_mse


def test_latent_mse_by_hand() -> None:
    latents = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    target = torch.tensor([[[1.0, 0.0], [3.0, 1.0]], [[1.0, -1.0], [3.0, 1.0]]])
    assert latent_mse(latents, target).tolist() == [(0 + 4 + 0 + 9) / 4, (1 + 1 + 9 + 1) / 4]


def test_latent_mse_has_the_gradient_of_a_mean() -> None:
    latents = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], requires_grad=True)
    latent_mse(latents, torch.zeros(1, 2, 2)).sum().backward()
    assert latents.grad is not None and latents.grad.tolist() == [[[0.5, 1.0], [1.5, 2.0]]]


@pytest.mark.parametrize("shape", [(1, 8, 5), (2, 1, 5), (2, 8, 1), (2, 8, 6), (8, 5)])
def test_shapes_that_would_be_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"latents \[2, 8, 5\] and target \[.*\] differ in shape"):
        latent_mse(torch.zeros(2, 8, 5), torch.zeros(shape))
