"""The embedding discriminator (thesis, section 6.2.1, loss d; experiments N6 and M2)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec_ft.data.dataset import Batch


class EmbeddingDiscriminator(nn.Module):
    """Tells the frozen encoder's latents of clean stems from those that are being learnt, frame by frame.

    Linear D -> hidden, ReLU, linear hidden -> 1, as logits: the thesis' sigmoid is part of the losses, where it cannot
    run out of digits, and the probability that latents are genuine is the sigmoid of what `forward` gives.

    Args:
        latent_dim: D of the codec (thesis: 128).
        hidden: width in between (thesis: 64).
    """

    updates: Tensor

    def __init__(self, latent_dim: int, hidden: int = 64) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.register_buffer("updates", torch.tensor(0))

    @property
    def has_learnt(self) -> bool:
        """Whether it was trained at all; before that its opinion is noise."""
        return bool(self.updates > 0)

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, D, T]` to logits `[B, T]`, above zero for genuine.

        Raises:
            ValueError: the latents have another shape.
        """
        if latents.dim() != 3 or latents.shape[1] != self.latent_dim:
            raise ValueError(f"expected latents [B, {self.latent_dim}, T], got {list(latents.shape)}")
        return self.layers(latents.transpose(1, 2)).squeeze(-1)


def discriminator_loss(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Binary cross-entropy of genuine and learnt latents, which count alike: a scalar, `log 2` where it only guesses.

    `-1/2 mean(log σ(r)) - 1/2 mean(log(1 - σ(f)))` for logits `r` and `f` `[B, T]`, in float32.
    """
    return (_cross_entropy(real_logits, 1.0) + _cross_entropy(fake_logits, 0.0)) / 2


def generator_loss(fake_logits: Tensor) -> Tensor:
    """How far learnt latents `[B, T]` are from passing for genuine, `-mean(log σ(f))`: a scalar, in float32.

    The thesis does not say which of the two forms of Goodfellow et al. (2014) it takes. This is the non-saturating
    one, as the other, `mean(log(1 - σ(f)))`, has no gradient left when the discriminator is sure of itself: with one
    frame's latents to judge by, it soon is.
    """
    return _cross_entropy(fake_logits, 1.0)


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    logits = logits.float()
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


class DiscriminatorStep(nn.Module):
    """The discriminator's own phase, after the encoder's: it learns from the latents that this left in the batch."""

    def __init__(self, discriminator: EmbeddingDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Its loss, and the mean probability of being genuine that it gives to genuine and to learnt latents."""
        assert batch.target_latents is not None and batch.output is not None, "the encoder's phase comes first"
        real, fake = self.discriminator(batch.target_latents), self.discriminator(batch.output)
        if self.training:
            self.discriminator.updates += 1
        return {
            "loss": discriminator_loss(real, fake),
            "real_score": real.detach().float().sigmoid().mean(),
            "fake_score": fake.detach().float().sigmoid().mean(),
        }
