"""Separators whose networks were trained here."""

from pathlib import Path

import torch
from torch import Tensor

from codec_ft.data.separators.base import Separator
from codec_ft.data.separators.chunks import separate_in_chunks
from codec_ft.data.separators.networks import level_gain, read_network

CHUNK_SECONDS = 20.0
"""What is separated at once; a few times as much as recurrent layers look back."""
OVERLAP_SECONDS = 2.0


class TrainedSeparator(Separator):
    """A network from a folder (see `read_network`), applied in chunks.

    Raises:
        UserError: a file is missing or broken.
    """

    def __init__(self, folder: Path, name: str, device: torch.device):
        network, facts = read_network(folder)
        self.name, self.device = name, device
        self.stems, self.sample_rate, self.channels = facts.stems, facts.sample_rate, facts.channels
        self.network = network.to(device)

    def estimate(self, mixture: Tensor) -> Tensor:
        """See `Separator.estimate`."""
        gain = level_gain(mixture)  # of the whole, or levels would jump from chunk to chunk
        estimates = separate_in_chunks(
            lambda part: self.network(part * gain),
            mixture,
            chunk=round(CHUNK_SECONDS * self.sample_rate),
            overlap=round(OVERLAP_SECONDS * self.sample_rate),
        )
        return estimates.div_(gain)
