"""The discriminators of a codec's training together, and what they learn from."""

from typing import Any

import torch
from torch import Tensor, nn

from codec_ft.codec_training import adversarial
from codec_ft.codec_training.config import DiscriminatorConfig
from codec_ft.codec_training.discriminators import FeatureMaps
from codec_ft.codec_training.discriminators.bands import BandDiscriminator
from codec_ft.codec_training.discriminators.periods import PeriodDiscriminator
from codec_ft.codec_training.discriminators.stft import StftDiscriminator
from codec_ft.data.dataset import Batch
from codec_ft.errors import UserError


class Critic(nn.Module):
    """All discriminators that a configuration names; says for audio `[B, 1, N]` what each of them sees.

    Raises:
        UserError: the configuration names none.
    """

    updates: Tensor

    def __init__(self, config: DiscriminatorConfig):
        super().__init__()
        families: list[nn.Module] = []
        if config.stft_windows:
            families.append(StftDiscriminator(config.stft_windows, config.stft_filters))
        if config.periods:
            families.append(PeriodDiscriminator(config.periods, config.period_channels))
        if config.band_windows:
            families.append(BandDiscriminator(config.band_windows, filters=config.band_filters))
        if not families:
            raise UserError(
                "losses.adversarial is above zero, but discriminators names none: set discriminators.stft_windows, "
                "discriminators.periods or discriminators.band_windows."
            )
        self.families = nn.ModuleList(families)
        kinds: dict[str, Any] = {
            "hinge": (adversarial.hinge_discriminator, adversarial.hinge_generator),
            "least_squares": (adversarial.least_squares_discriminator, adversarial.least_squares_generator),
        }
        self._discriminator_loss, self._generator_loss = kinds[config.loss]
        self.heard_after = config.heard_after
        self.register_buffer("updates", torch.tensor(0))

    @property
    def has_learnt(self) -> bool:
        """Whether it was trained for as long as was asked for, and at all; before that its opinion is noise."""
        return bool(self.updates > self.heard_after)

    def forward(self, audio: Tensor) -> FeatureMaps:
        """See the class."""
        return [maps for family in self.families for maps in family(audio)]

    def generator_loss(self, fake: FeatureMaps) -> Tensor:
        """How far it is from taking what it saw for real."""
        return self._generator_loss([maps[-1] for maps in fake])

    def discriminator_loss(self, real: FeatureMaps, fake: FeatureMaps) -> Tensor:
        """How badly it tells real from fake."""
        return self._discriminator_loss([maps[-1] for maps in real], [maps[-1] for maps in fake])


class CriticStep(nn.Module):
    """The critic's own phase: it learns to tell the codec's output from its input."""

    def __init__(self, critic: Critic):
        super().__init__()
        self.critic = critic

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Its loss, and the mean of its logits for the codec's input and for its output."""
        assert batch.output is not None, "the codec's phase comes first"
        real, fake = self.critic(batch.target), self.critic(batch.output)
        if self.training:
            self.critic.updates += 1
        return {
            "loss": self.critic.discriminator_loss(real, fake),
            "real_score": _score(real),
            "fake_score": _score(fake),
        }


def _score(maps: FeatureMaps) -> Tensor:
    """Mean of the logits of all discriminators."""
    return torch.stack([discriminator[-1].detach().float().mean() for discriminator in maps]).mean()
