"""The softmax loss, by hand, against scipy, and what it keeps for the backward pass."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import Tensor

from codec_ft.codecs.residual import ResidualCodec
from codec_ft.finetune.losses.soft_labels import soft_labels
from codec_ft.finetune.losses.softmax import softmax_accuracy, softmax_cross_entropy


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_codes(*shape: int, size: int) -> Tensor:
    return torch.randint(size, shape, generator=torch.Generator().manual_seed(1))


def test_by_hand() -> None:
    # One item, two codebooks, two codes, two frames; odds 3 : 1 and 1 : 1, then 1 : 7 and 1 : 1.
    odds = torch.tensor([[[[3.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [7.0, 1.0]]]])
    codes = torch.tensor([[[0, 1], [0, 0]]])
    expected = [(math.log(4 / 3) + math.log(2)) / 2, (math.log(8) + math.log(2)) / 2]
    assert softmax_cross_entropy(odds.log(), codes)[0].tolist() == pytest.approx(expected)
    # Whatever is added to all codes of a frame cancels.
    assert softmax_cross_entropy(odds.log() + 5, codes)[0].tolist() == pytest.approx(expected)


def test_soft_labels_by_hand() -> None:
    logits = torch.tensor([3.0, 1.0]).log()[None, None, :, None]
    quarter = torch.tensor([0.25, 0.75])[None, :, None]
    loss = softmax_cross_entropy(logits, torch.tensor([[[1]]]), lambda k: quarter)
    assert float(loss) == pytest.approx(-0.25 * math.log(3 / 4) - 0.75 * math.log(1 / 4))


def test_against_scipy(tiny_codec: ResidualCodec) -> None:
    logits, codes = 3 * noise(2, 3, 16, 5), random_codes(2, 3, 5, size=16)
    labels = soft_labels(tiny_codec, codes, 1.0)
    logarithms = log_softmax(logits.double().numpy(), axis=2)
    hard, soft = np.zeros((2, 3)), np.zeros((2, 3))
    for b in range(2):
        for k in range(3):
            hard[b, k] = -np.mean([logarithms[b, k, codes[b, k, t], t] for t in range(5)])
            soft[b, k] = -np.mean([labels(k)[b, :, t].double().numpy() @ logarithms[b, k, :, t] for t in range(5)])
    np.testing.assert_allclose(softmax_cross_entropy(logits, codes), hard, rtol=1e-5)
    np.testing.assert_allclose(softmax_cross_entropy(logits, codes, labels), soft, rtol=1e-5)


def test_labels_of_one_code_are_the_codes(tiny_codec: ResidualCodec) -> None:
    logits, codes = noise(2, 3, 16, 5), random_codes(2, 3, 5, size=16)
    hard = softmax_cross_entropy(logits, codes)
    torch.testing.assert_close(softmax_cross_entropy(logits, codes, soft_labels(tiny_codec, codes, 0.0)), hard)


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_the_gradient_is_probability_less_label(tiny_codec: ResidualCodec, tau: float) -> None:
    logits, codes = noise(2, 3, 16, 5).requires_grad_(), random_codes(2, 3, 5, size=16)
    labels = soft_labels(tiny_codec, codes, tau) if tau else None
    softmax_cross_entropy(logits, codes, labels).sum().backward()
    wanted = torch.stack([soft_labels(tiny_codec, codes, tau)(k) for k in range(3)], dim=1)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, (logits.detach().softmax(dim=2) - wanted) / 5)


def test_gradcheck() -> None:
    logits, codes = noise(1, 2, 4, 3).double().requires_grad_(), random_codes(1, 2, 3, size=4)
    assert torch.autograd.gradcheck(lambda x: softmax_cross_entropy(x, codes), logits)


def test_the_target_s_own_labels_are_the_best_answer(tiny_codec: ResidualCodec) -> None:
    codes = random_codes(1, 3, 5, size=16)
    labels = soft_labels(tiny_codec, codes, 1.0)
    best = torch.stack([labels(k) for k in range(3)], dim=1).log()
    entropy = -(best.exp() * best).sum(dim=2).mean(dim=2)
    torch.testing.assert_close(softmax_cross_entropy(best, codes, labels), entropy)
    assert (softmax_cross_entropy(best + 0.3 * noise(*best.shape), codes, labels) > entropy).all()


def test_half_precision_is_left() -> None:
    logits, codes = noise(1, 2, 64, 50).bfloat16().requires_grad_(), random_codes(1, 2, 50, size=64)
    loss = softmax_cross_entropy(logits, codes)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, softmax_cross_entropy(logits.float(), codes))
    loss.sum().backward()
    assert logits.grad is not None and logits.grad.dtype == torch.bfloat16


def test_accuracy_by_hand() -> None:
    logits = torch.tensor([[[[1.0, 0.0, 2.0, 0.0], [0.0, 1.0, 1.0, 3.0]]]])  # likeliest: 0 1 0 1
    assert softmax_accuracy(logits, torch.tensor([[[0, 0, 0, 1]]])).tolist() == [[0.75]]
    assert not softmax_accuracy(logits.requires_grad_(), torch.tensor([[[0, 0, 0, 1]]])).requires_grad


def test_nothing_of_the_size_of_the_logits_is_kept_beside_them(tiny_codec: ResidualCodec) -> None:
    codes = random_codes(2, 3, 50, size=16)
    labels = soft_labels(tiny_codec, codes, 1.0)
    leaf = noise(2, 3, 16, 50).requires_grad_()
    logits = leaf * 1
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() != logits.untyped_storage().data_ptr():
            kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = softmax_cross_entropy(logits, codes, labels).sum()
    assert sum(kept) <= codes.numel()
    loss.backward()
    assert leaf.grad is not None and leaf.grad.abs().max() > 0


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 2, 5), (1, 3, 5), (2, 3, 6), (3, 5)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    codes = torch.zeros(shape, dtype=torch.long)
    for function in (softmax_cross_entropy, softmax_accuracy):
        with pytest.raises(ValueError, match=r"logits \[2, 3, 16, 5\] and target codes \[.*\] do not fit together"):
            function(torch.zeros(2, 3, 16, 5), codes)
