"""Adversarial losses against values by hand."""

import pytest
import torch
from torch import Tensor

from codec_ft.codec_training.adversarial import (
    feature_matching,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)

# Two sub-discriminators of different sizes: four logits and one.
REAL = [torch.tensor([[2.0, 1.0, 0.0, -1.0]]), torch.tensor([[0.5]])]
FAKE = [torch.tensor([[-2.0, -1.0, 0.0, 1.0]]), torch.tensor([[3.0]])]


def test_hinge_by_hand() -> None:
    # Real: (0 + 0 + 1 + 2) / 4 and 0.5; fake: (0 + 0 + 1 + 2) / 4 and 4; the mean of 1.5 and 4.5.
    assert hinge_discriminator(REAL, FAKE).item() == pytest.approx(3.0)
    # (3 + 2 + 1 + 0) / 4, and 0 for what passes for real.
    assert hinge_generator(FAKE).item() == pytest.approx(0.75)


def test_least_squares_by_hand() -> None:
    # Real: (1 + 0 + 1 + 4) / 4 and 0.25; fake: (4 + 1 + 0 + 1) / 4 and 9; the sum.
    assert least_squares_discriminator(REAL, FAKE).item() == pytest.approx(1.5 + 0.25 + 1.5 + 9)
    # (9 + 4 + 1 + 0) / 4 and 4.
    assert least_squares_generator(FAKE).item() == pytest.approx(3.5 + 4)


def test_hinge_is_two_at_chance_and_nothing_beyond_the_margin() -> None:
    zeros, far = [torch.zeros(3, 1, 5)], [torch.full((3, 1, 5), 1.5)]
    assert hinge_discriminator(zeros, zeros).item() == 2.0
    assert hinge_discriminator(far, [-far[0]]).item() == 0.0
    assert hinge_generator(zeros).item() == 1.0


def test_least_squares_is_best_at_a_half_when_nothing_is_told_apart() -> None:
    logits = {level: [torch.full((2, 3), level)] * 4 for level in (0.4, 0.5, 0.6)}
    values = {level: least_squares_discriminator(each, each).item() for level, each in logits.items()}
    assert values == pytest.approx({0.4: 4 * 0.52, 0.5: 4 * 0.5, 0.6: 4 * 0.52})


@pytest.mark.parametrize("discriminator_loss", [hinge_discriminator, least_squares_discriminator])
def test_they_pull_in_opposite_directions(discriminator_loss) -> None:
    generator_loss = hinge_generator if discriminator_loss is hinge_discriminator else least_squares_generator
    real, fake = torch.zeros(2, 3, requires_grad=True), torch.full((2, 3), 0.1, requires_grad=True)
    to_real, to_fake = torch.autograd.grad(discriminator_loss([real], [fake]), [real, fake])
    assert (to_real < 0).all() and (to_fake > 0).all()  # a step against it raises the real and lowers the fake logits
    assert (torch.autograd.grad(generator_loss([fake]), fake)[0] < 0).all()


def maps(scale: float, layers: tuple[int, ...] = (3, 2), seed: int = 0) -> list[list[Tensor]]:
    """Feature maps for sub-discriminators of so many layers, and a last one each that is far off."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [[torch.rand(2, 4, 5 + i, generator=generator) + 0.5 for i in range(count)] for count in layers]
    return [[*(scale * each for each in one), torch.full((2, 1, 5), 100 * scale)] for one in drawn]


def test_relative_features_of_scaled_maps() -> None:
    # All values are positive, so a factor of g is |g - 1| of the mean amplitude in every layer, however large it is.
    loud = [[1000 * each for each in one] for one in maps(1.0)[:1]] + maps(1.0)[1:]
    louder = [[1000 * each for each in one] for one in maps(1.3)[:1]] + maps(1.3)[1:]
    assert feature_matching(loud, louder, relative=True).item() == pytest.approx(0.3, rel=1e-5)
    assert feature_matching(loud, loud, relative=True).item() == 0.0


def test_plain_features_are_summed_over_layers_and_sub_discriminators() -> None:
    ones = [[torch.ones(2, 3)] * 4, [torch.ones(5)] * 3]  # three and two layers, and the logits
    fake = [
        [torch.zeros(2, 3), torch.full((2, 3), 3.0), torch.ones(2, 3), torch.full((2, 3), 99.0)],
        [torch.full((5,), 1.5), torch.ones(5), torch.zeros(5)],
    ]
    assert feature_matching(ones, fake, relative=False).item() == pytest.approx(1 + 2 + 0 + 0.5 + 0)
    assert feature_matching(ones, fake, relative=True).item() == pytest.approx((1 + 2 + 0 + 0.5 + 0) / 5)


@pytest.mark.parametrize("relative", [True, False])
def test_features_pull_the_fake_ones_only(relative: bool) -> None:
    real = [[each.requires_grad_() for each in one] for one in maps(1.0)]
    fake = [[each.requires_grad_() for each in one] for one in maps(1.1)]
    feature_matching(real, fake, relative=relative).backward()
    assert all(each.grad is None for one in real for each in one)
    assert all((each.grad > 0).all() for one in fake for each in one[:-1])
    assert all(one[-1].grad is None for one in fake)  # logits are no features


def test_real_maps_of_zero_give_no_nan() -> None:
    fake = torch.zeros(2, 3, requires_grad=True)
    loss = feature_matching([[torch.zeros(2, 3), torch.zeros(1)]], [[fake, torch.zeros(1)]], relative=True)
    loss.backward()
    assert loss.item() == 0.0 and fake.grad is not None and fake.grad.isfinite().all()


def test_half_precision_logits_do_not_overflow() -> None:
    large = [torch.full((4,), 300.0, dtype=torch.float16)]  # its square is beyond half precision
    assert least_squares_discriminator(large, large).item() == pytest.approx(299**2 + 300**2)


def test_different_numbers_of_sub_discriminators_or_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        hinge_discriminator(REAL, FAKE[:1])
    with pytest.raises(ValueError, match="zip"):
        feature_matching(maps(1.0), maps(1.0, layers=(3, 3)), relative=True)
