"""Losses between a warm encoder's latents and those of the clean stem."""

from torch import Tensor


def latent_mse(latents: Tensor, target_latents: Tensor) -> Tensor:
    """Mean squared error between latents, `[B, D, T], [B, D, T] -> [B]` (thesis, section 6.2.1, loss a).

    Both are meant to be in the codec's `match_space`.

    Raises:
        ValueError: the shapes differ; broadcasting would hide a mistake.
    """
    if latents.shape != target_latents.shape:
        raise ValueError(f"latents {list(latents.shape)} and target {list(target_latents.shape)} differ in shape")
    return (latents - target_latents).pow(2).mean(dim=(1, 2))
