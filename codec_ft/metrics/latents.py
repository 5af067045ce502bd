"""How far latents are from those of the clean stem; a loss as well as a metric."""

from torch import Tensor


def latent_mse(latents: Tensor, target_latents: Tensor) -> Tensor:
    """Mean squared error between latents, `[B, D, T], [B, D, T] -> [B]` (thesis, section 6.2.1, loss a).

    Raises:
        ValueError: the shapes differ; broadcasting would hide a mistake.
    """
    check_alike(latents, target_latents)
    return (latents - target_latents).pow(2).mean(dim=(1, 2))


def check_alike(latents: Tensor, target_latents: Tensor) -> None:
    """Refuse latents of different shapes, which torch would broadcast.

    Raises:
        ValueError: they differ, or are not `[B, D, T]`.
    """
    if latents.shape != target_latents.shape:
        raise ValueError(f"latents {list(latents.shape)} and target {list(target_latents.shape)} differ in shape")
    if latents.dim() != 3:
        raise ValueError(f"expected latents [B, D, T], got {list(latents.shape)}")
