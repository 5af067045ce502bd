"""Losses between the latents that are found and those of the clean stem, beside the thesis' MSE (`metrics.latents`).

All are meant for latents in the codec's `match_space`. Each gives one number per item, so that the caller decides
how items count.
"""

from torch import Tensor
from torch.nn import functional as F

from codec_ft.metrics.latents import check_alike

SHORTEST = 1e-4
"""Length below which a frame has no direction: its cosine fades to 0, where the gradient would grow without bound.

Frames of music have lengths of 1 and more.
"""


def latent_l1(latents: Tensor, target_latents: Tensor) -> Tensor:
    """Mean absolute error between latents, `[B, D, T], [B, D, T] -> [B]`.

    Large errors, such as a missed attack, pull less than with the squared one, whose best guess is a mean of what might
    be there; here it is a median.

    Raises:
        ValueError: the shapes differ.
    """
    check_alike(latents, target_latents)
    return (latents - target_latents).abs().mean(dim=(1, 2))


def latent_cosine(latents: Tensor, target_latents: Tensor) -> Tensor:
    """One minus the cosine between the latents of a frame, mean over frames, `[B, D, T], [B, D, T] -> [B]`.

    0 where all point the same way, 1 at right angles, 2 where they are opposite. Loud and quiet frames count alike. A
    frame of zeros has no direction: its cosine is 0, and so is that of whatever it is compared with.

    Raises:
        ValueError: the shapes differ.
    """
    check_alike(latents, target_latents)
    return 1 - F.cosine_similarity(latents, target_latents, dim=1, eps=SHORTEST).mean(dim=1)
