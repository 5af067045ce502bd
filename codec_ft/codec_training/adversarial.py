"""Adversarial losses on what discriminators make of real and of decoded audio.

Two published pairs, and the matching of feature maps that goes with both. Notation: `K` sub-discriminators `D_k`, real
audio `x`, decoded audio `y`. All are scalars, computed in single precision whatever the discriminators ran in.

EnCodec (Défossez et al., 2022, section 3.4) uses the hinge pair with relative feature matching, and means over
everything; DAC (Kumar et al., 2023) least squares (Mao et al., 2017) with plain feature matching, and sums over
sub-discriminators and layers. The weights in their recipes belong to these.
"""

import torch
from torch import Tensor

from codec_ft.codec_training.discriminators import FeatureMaps

QUIETEST_MAP = 1e-6
"""Feature maps whose mean amplitude is below this count as having this one, where one divides by it."""


def hinge_discriminator(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """`1/K Σ_k mean(max(0, 1 - D_k(x))) + mean(max(0, 1 + D_k(y)))`, of logits: EnCodec's.

    It is 2 as long as nothing is told apart, and 0 when all logits are beyond 1 and -1.
    """
    return _mean(
        [(1 - r.float()).relu().mean() + (1 + f.float()).relu().mean() for r, f in zip(real, fake, strict=True)]
    )


def hinge_generator(fake: list[Tensor]) -> Tensor:
    """`1/K Σ_k mean(max(0, 1 - D_k(y)))`, of logits: EnCodec's. It asks no more of audio that passes for real."""
    return _mean([(1 - f.float()).relu().mean() for f in fake])


def least_squares_discriminator(real: list[Tensor], fake: list[Tensor]) -> Tensor:
    """`Σ_k mean((1 - D_k(x))²) + mean(D_k(y)²)`, of logits: DAC's; `K / 2` if nothing is told apart."""
    return _sum([(1 - r.float()).square().mean() + f.float().square().mean() for r, f in zip(real, fake, strict=True)])


def least_squares_generator(fake: list[Tensor]) -> Tensor:
    """`Σ_k mean((1 - D_k(y))²)`, of logits: DAC's."""
    return _sum([(1 - f.float()).square().mean() for f in fake])


def feature_matching(real_maps: FeatureMaps, fake_maps: FeatureMaps, *, relative: bool) -> Tensor:
    """L1 distance between the feature maps of real and decoded audio; the logits do not take part.

    Args:
        real_maps: of the real audio; no gradient flows into them.
        fake_maps: of the decoded audio.
        relative: True is EnCodec's equation 2, `1/(KL) Σ_k Σ_l mean|D_k^l(x) - D_k^l(y)| / mean|D_k^l(x)|` with `L`
            layers, which counts all layers alike; False is DAC's `Σ_k Σ_l mean|D_k^l(x) - D_k^l(y)|`.
    """
    distances = []
    for reals, fakes in zip(real_maps, fake_maps, strict=True):
        for real, fake in zip(reals[:-1], fakes[:-1], strict=True):
            real = real.detach().float()
            distance = (real - fake.float()).abs().mean()
            distances.append(distance / real.abs().mean().clamp(min=QUIETEST_MAP) if relative else distance)
    return _mean(distances) if relative else _sum(distances)


def _sum(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).sum()


def _mean(terms: list[Tensor]) -> Tensor:
    return torch.stack(terms).mean()
