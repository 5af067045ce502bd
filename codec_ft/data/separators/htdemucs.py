"""Hybrid Transformer Demucs (Rouard et al., 2023), of the package `demucs`, as a separator network.

The package is optional: `pip install demucs`.
"""

import importlib
from fractions import Fraction
from types import ModuleType
from typing import Any

from pydantic import Field
from torch import Tensor

from codec_ft.config import Config
from codec_ft.data.separators.networks import NetworkFacts, SeparatorNetwork
from codec_ft.errors import UserError

OVERLAP = 0.25
"""Share of a segment that `demucs` overlaps with the next one: its own default."""


class HTDemucsShape(Config):
    """Size of an `HTDemucsNetwork`, in the words of `demucs`; what is not here is as there."""

    channels: int = Field(16, ge=8, multiple_of=8, description="width of the first layer; published: 48")
    depth: int = Field(4, ge=2, description="layers of encoder and decoder")
    t_layers: int = Field(1, ge=0, description="transformer layers; published: 5")
    t_heads: int = Field(8, ge=1, description="attention heads")
    nfft: int = Field(4096, ge=256, description="window of the spectrogram, samples")


class HTDemucsNetwork(SeparatorNetwork):
    """An HTDemucs, for excerpts and segments of `facts.seconds`.

    Raises:
        UserError: `demucs` is not installed, or makes no model of these sizes.
    """

    def __init__(self, shape: HTDemucsShape, facts: NetworkFacts):
        super().__init__()
        package = demucs("htdemucs")
        try:
            self.model = package.HTDemucs(
                list(facts.stems),
                audio_channels=facts.channels,
                samplerate=facts.sample_rate,
                segment=Fraction(facts.seconds).limit_denominator(10_000),
                **shape.model_dump(),
            )
        except (AssertionError, ValueError, RuntimeError, ZeroDivisionError) as error:
            raise UserError(f"htdemucs: demucs makes no model of {shape.model_dump()}: {error}") from error

    def forward(self, mixture: Tensor) -> Tensor:
        """See `SeparatorNetwork.forward`; longer excerpts than `facts.seconds` go through it in segments."""
        if self.training:
            return self.model(mixture)
        return apply_in_segments(self.model, mixture)

    def errors(self, mixture: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See `SeparatorNetwork.errors`: of waveforms."""
        return (self(mixture) - targets).square().sum(dim=(2, 3)), targets.square().sum(dim=(2, 3))


def apply_in_segments(model: Any, mixture: Tensor) -> Tensor:
    """Apply a model of `demucs`, or a bag of them, segment by segment: `[B, C, N]` to `[B, S, C, N]`.

    Without random shifts in time, so that the same mixture gives the same estimates.
    """
    return demucs("apply").apply_model(model, mixture, shifts=0, split=True, overlap=OVERLAP)


def demucs(part: str) -> ModuleType:
    """The module `demucs.<part>`.

    Raises:
        UserError: the package is not installed.
    """
    try:
        return importlib.import_module(f"demucs.{part}")
    except ImportError as error:
        raise UserError(f"demucs: cannot be imported ({error}). Install it with: pip install demucs") from error
