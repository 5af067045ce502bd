"""What judges in another module's phase is held still."""

import pytest
import torch
from torch import nn

from codec_ft.training.held_still import held_still


def test_gradients_pass_through_and_none_stays() -> None:
    layer, judge = nn.Linear(3, 2), nn.Linear(2, 1)
    judge.bias.requires_grad_(False)
    numbers = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    with held_still(judge):
        judge(layer(numbers)).sum().backward()
    assert judge.weight.grad is None and judge.bias.grad is None
    assert judge.weight.requires_grad and not judge.bias.requires_grad, "as before"
    # The sum over items of w (A x + b) has the gradient w^T sum(x)^T with respect to A.
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad, judge.weight.detach().t() @ numbers.sum(dim=0, keepdim=True))


def test_a_backward_after_it_leaves_none_either() -> None:
    layer, judge = nn.Linear(3, 2), nn.Linear(2, 1)
    with held_still(judge):
        verdict = judge(layer(torch.ones(1, 3))).sum()
    verdict.backward()
    assert layer.weight.grad is not None and judge.weight.grad is None


def test_an_error_leaves_it_as_it_was() -> None:
    judge = nn.Linear(2, 1)
    with pytest.raises(RuntimeError, match="verdict"), held_still(judge):
        raise RuntimeError("no verdict")
    assert all(parameter.requires_grad for parameter in judge.parameters())
