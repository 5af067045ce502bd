"""Separator networks: what they have in common, and how they are written to a folder and read from it.

A network lies in a folder as `config.json` (`NetworkFacts`) and `model.safetensors`; nothing in it can run code.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors.torch import save_file
from torch import Tensor, nn

from codec_ft.atomic import atomic_path
from codec_ft.config import Config
from codec_ft.facts import load_facts, told_of, write_facts
from codec_ft.weights import load_weights

LEVEL = 0.1
"""RMS of mixtures in training, -20 dBFS; whatever is separated is brought to it before and back afterwards."""
QUIETEST = 1e-5
"""RMS of a mixture below which it is not brought up any more: the rounding of 16-bit files."""


class SeparatorNetwork(nn.Module, ABC):
    """Mixtures to estimates of all stems. Mixtures are at `LEVEL`."""

    @abstractmethod
    def forward(self, mixture: Tensor) -> Tensor:
        """Audio `[B, C, N]` to estimates `[B, S, C, N]`, for excerpts that fit into memory."""

    @abstractmethod
    def errors(self, mixture: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What training minimises: energy of the estimates' errors, and of the targets, `[B, S]` each.

        Args:
            mixture: `[B, C, N]`.
            targets: `[B, S, C, N]`.
        """

    def standardise_to(self, mixtures: Tensor) -> None:
        """Fit what depends on the music's statistics, and is not learned, to some training mixtures `[B, C, N]`."""
        del mixtures


def level_gain(mixture: Tensor) -> Tensor:
    """Factor `[..., 1, 1]` that brings mixtures `[..., C, N]` to `LEVEL`."""
    return LEVEL / mixture.square().mean(dim=(-2, -1), keepdim=True).sqrt().clamp(min=QUIETEST)


class NetworkFacts(Config):
    """What a network is, as its `config.json` says it."""

    architecture: Literal["open_unmix", "htdemucs"]
    stems: tuple[str, ...] = Field(min_length=1)
    sample_rate: int = Field(gt=0, description="Hz")
    channels: Literal[1, 2]
    seconds: float = Field(gt=0, description="length of the excerpts that it was trained on")
    shape: dict[str, Any] = Field(description="the architecture's own sizes")

    @model_validator(mode="after")
    def _stems_differ(self) -> "NetworkFacts":
        if len(set(self.stems)) < len(self.stems):
            raise ValueError("stems must differ from one another")
        return self


def make_network(facts: NetworkFacts) -> SeparatorNetwork:
    """A network with weights drawn from torch's generator.

    Raises:
        UserError: the architecture needs a package that is not installed.
        ValidationError: the shape has unknown or wrong sizes.
    """
    # The architectures are imported here, because they are made of what this file defines.
    if facts.architecture == "htdemucs":
        from codec_ft.data.separators.htdemucs import HTDemucsNetwork, HTDemucsShape

        return HTDemucsNetwork(HTDemucsShape.model_validate(facts.shape), facts)
    from codec_ft.data.separators.open_unmix import OpenUnmix, OpenUnmixShape

    return OpenUnmix(OpenUnmixShape.model_validate(facts.shape), facts)


def save_network(
    network: SeparatorNetwork, facts: NetworkFacts, folder: Path, dtype: torch.dtype = torch.float32
) -> None:
    """Write `config.json` and `model.safetensors`, with floating-point weights stored as `dtype`."""
    state = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous().cpu()
        for name, value in network.state_dict().items()
    }
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    write_facts(facts, folder)


def read_network(folder: Path) -> tuple[SeparatorNetwork, NetworkFacts]:
    """Read what `save_network` wrote; the network is in `eval()` and computes in float32.

    Raises:
        UserError: a file is missing or broken, or the weights do not fit the config.
    """
    with told_of(folder, "a separator"):
        facts = load_facts(NetworkFacts, folder, "a separator")
        network = make_network(facts)
    load_weights(network, folder / "model.safetensors")
    return network.eval(), facts
