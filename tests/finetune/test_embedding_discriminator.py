"""The embedding discriminator: its losses in closed form, and that it learns to tell latents apart."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from codec_ft.data.dataset import Batch
from codec_ft.finetune.discriminator import (
    DiscriminatorStep,
    EmbeddingDiscriminator,
    discriminator_loss,
    generator_loss,
)

logits = st.floats(-30, 30)


def batch(real: Tensor | None, fake: Tensor | None) -> Batch:
    audio = torch.zeros(1, 1, 1)
    return Batch(audio, audio, ["a"], target_latents=real, output=fake)


def test_it_is_the_thesis_network() -> None:
    discriminator = EmbeddingDiscriminator(128)
    shapes = {name: list(value.shape) for name, value in discriminator.named_parameters()}
    assert list(shapes.values()) == [[64, 128], [64], [1, 64], [1]]


def test_frames_by_explicit_products() -> None:
    torch.manual_seed(0)
    discriminator, latents = EmbeddingDiscriminator(3, hidden=5), torch.randn(2, 3, 4)
    first_weight, first_bias, last_weight, last_bias = discriminator.parameters()
    found = discriminator(latents)
    assert found.shape == (2, 4)
    for item in range(2):
        for frame in range(4):
            hidden = (first_weight @ latents[item, :, frame] + first_bias).clamp(min=0)
            assert found[item, frame].item() == pytest.approx((last_weight @ hidden + last_bias).item(), abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 4, 5), (3, 5), (2, 5, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected latents \[B, 3, T\]"):
        EmbeddingDiscriminator(3)(torch.zeros(shape))


def test_losses_at_chance_are_log_two() -> None:
    nothing = torch.zeros(2, 7)
    assert discriminator_loss(nothing, nothing).item() == pytest.approx(math.log(2))
    assert generator_loss(nothing).item() == pytest.approx(math.log(2))


def test_losses_by_hand() -> None:
    # Probabilities of being genuine: 3/4 and 1/2 for genuine latents, 1/5 for learnt ones.
    real, fake = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[math.log(1 / 4)]])
    of_real, of_fake = -(math.log(3 / 4) + math.log(1 / 2)) / 2, -math.log(4 / 5)
    assert discriminator_loss(real, fake).item() == pytest.approx((of_real + of_fake) / 2)
    assert generator_loss(fake).item() == pytest.approx(-math.log(1 / 5))


@given(real=logits, fake=logits)
def test_losses_are_cross_entropies_of_the_sigmoid(real: float, fake: float) -> None:
    sigmoid = torch.tensor([real, fake], dtype=torch.float64).sigmoid()
    found = discriminator_loss(torch.tensor([[real]]), torch.tensor([[fake]])).item()
    assert found == pytest.approx(-(sigmoid[0].log() + (1 - sigmoid[1]).log()).item() / 2, rel=1e-3, abs=1e-6)
    assert generator_loss(torch.tensor([[fake]])).item() == pytest.approx(-sigmoid[1].log().item(), rel=1e-3, abs=1e-6)


def test_losses_stay_finite_and_steep_where_a_sigmoid_would_not() -> None:
    fake = torch.full((1, 1), -200.0, requires_grad=True)
    loss = generator_loss(fake)
    loss.backward()
    assert loss.item() == pytest.approx(200.0)
    assert fake.grad is not None and fake.grad.item() == pytest.approx(-1.0)
    assert discriminator_loss(-fake.detach(), fake.detach()).item() == 0.0


def test_gradients_in_closed_form() -> None:
    real, fake = torch.tensor([[0.3, -1.0]], requires_grad=True), torch.tensor([[0.5, 2.0]], requires_grad=True)
    to_real, to_fake = torch.autograd.grad(discriminator_loss(real, fake), [real, fake])
    assert torch.allclose(to_real, (real.sigmoid() - 1) / 4)
    assert torch.allclose(to_fake, fake.sigmoid() / 4)
    assert torch.allclose(torch.autograd.grad(generator_loss(fake), fake)[0], (fake.sigmoid() - 1) / 2)


def test_losses_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    discriminator = EmbeddingDiscriminator(3, hidden=4).double()
    latents = torch.randn(1, 3, 5, dtype=torch.float64, requires_grad=True)
    # In single precision, as the losses are, a difference quotient has three digits.
    assert torch.autograd.gradcheck(lambda x: discriminator(x).sigmoid(), latents)
    loss = generator_loss(discriminator(latents))
    (gradient,) = torch.autograd.grad(loss, latents)
    step = 1e-2 * gradient / gradient.norm()
    with torch.no_grad():
        rise = generator_loss(discriminator(latents + step)) - generator_loss(discriminator(latents - step))
    assert rise.item() / 2e-2 == pytest.approx(gradient.norm().item(), rel=1e-2)


def test_losses_are_computed_in_single_precision() -> None:
    half = torch.full((2, 1000), 0.1, dtype=torch.bfloat16)
    assert discriminator_loss(half, half).dtype == generator_loss(half).dtype == torch.float32


def test_the_step_learns_to_tell_two_clouds_apart() -> None:
    torch.manual_seed(0)
    step = DiscriminatorStep(EmbeddingDiscriminator(4, hidden=16)).train()
    optimizer = torch.optim.Adam(step.parameters(), lr=1e-2)
    assert not step.discriminator.has_learnt

    def draw() -> Batch:
        return batch(torch.randn(8, 4, 20) + 1.5, torch.randn(8, 4, 20) - 1.5)

    with torch.no_grad():
        first = step(draw())
    for _ in range(100):
        optimizer.zero_grad()
        step(draw())["loss"].backward()
        optimizer.step()
    losses = step.eval()(draw())
    assert losses.keys() == {"loss", "real_score", "fake_score"}
    assert first["loss"] > 0.4 and losses["loss"] < 0.05  # the clouds are six deviations apart
    assert losses["real_score"] > 0.95 and losses["fake_score"] < 0.05
    assert all(value.dim() == 0 for value in losses.values())
    assert losses["loss"].requires_grad and not losses["real_score"].requires_grad


def test_what_cannot_be_told_apart_costs_log_two() -> None:
    torch.manual_seed(0)
    step = DiscriminatorStep(EmbeddingDiscriminator(4)).train()
    optimizer = torch.optim.Adam(step.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        losses = step(batch(torch.randn(32, 4, 20), torch.randn(32, 4, 20)))
        losses["loss"].backward()
        optimizer.step()
    assert losses["loss"].item() == pytest.approx(math.log(2), abs=0.02)
    assert losses["real_score"].item() == pytest.approx(0.5, abs=0.05)


def test_updates_are_counted_in_training_alone_and_saved() -> None:
    step = DiscriminatorStep(EmbeddingDiscriminator(3)).eval()
    pair = batch(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2))
    step(pair)
    assert not step.discriminator.has_learnt
    step.train()(pair)
    step(pair)
    other = DiscriminatorStep(EmbeddingDiscriminator(3))
    other.load_state_dict(step.state_dict())
    assert other.discriminator.has_learnt and int(other.discriminator.updates) == 2


def test_it_pulls_latents_towards_the_genuine_ones() -> None:
    torch.manual_seed(0)
    step = DiscriminatorStep(EmbeddingDiscriminator(2, hidden=16)).train()
    optimizer = torch.optim.Adam(step.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        step(batch(torch.randn(8, 2, 20) + 2, torch.randn(8, 2, 20) - 2))["loss"].backward()
        optimizer.step()
    fake = torch.full((1, 2, 1), -2.0, requires_grad=True)
    (gradient,) = torch.autograd.grad(generator_loss(step.discriminator(fake)), fake)
    assert (gradient < 0).all()  # a step against it leads to +2


@pytest.mark.parametrize("missing", ["real", "fake"])
def test_the_encoders_phase_comes_first(missing: str) -> None:
    latents = torch.zeros(1, 3, 2)
    pair = batch(None if missing == "real" else latents, None if missing == "fake" else latents)
    with pytest.raises(AssertionError, match="comes first"):
        DiscriminatorStep(EmbeddingDiscriminator(3))(pair)
