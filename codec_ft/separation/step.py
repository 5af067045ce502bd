"""A separator in training: how wrong its estimates are."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codec_ft.data.dataset import Batch
from codec_ft.data.separators.networks import SeparatorNetwork, level_gain

FLOOR = 1e-4
"""Share of a batch's energy that is added to errors: where a stem rests, less than -40 dB of it earns nothing."""


class SeparatorStep(nn.Module):
    """The loss is the mean over stems of the batch's error energy relative to the stem's energy, in dB.

    That is minus the metric `usdr` of the whole batch as if it were one track: unlike a mean over items, it does
    not depend on moments in which a stem rests. For architectures that mask spectrograms both energies are of
    spectrograms.
    """

    def __init__(self, network: SeparatorNetwork, stems: Sequence[str]):
        super().__init__()
        self.network = network
        self.stems = tuple(stems)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch with targets `[B, S, C, N]`."""
        gain = level_gain(batch.input)
        error, energy = self.network.errors(batch.input * gain, batch.target * gain[:, None])
        error, energy = error.sum(dim=0), energy.sum(dim=0)
        floor = FLOOR * energy.sum()
        relative = 10 * ((error + floor) / (energy + floor)).log10()
        names = (f"error_db_{stem}" for stem in self.stems)
        return {"loss": relative.mean(), **dict(zip(names, relative.detach(), strict=True))}

    @torch.no_grad()
    def separate(self, mixture: Tensor) -> Tensor:
        """Mixtures `[B, C, N]` of any level to estimates `[B, S, C, N]`."""
        gain = level_gain(mixture)
        return self.network(mixture * gain) / gain[:, None]
