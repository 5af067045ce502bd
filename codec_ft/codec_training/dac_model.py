"""Untrained DACs (Kumar et al., 2023) of any size, on transformers' implementation."""

import math
from typing import Any

import torch
from pydantic import Field, field_validator, model_validator
from torch import nn
from transformers import DacConfig, DacModel
from transformers.models.dac.modeling_dac import DacResidualVectorQuantizer, DacVectorQuantize

from codec_ft.codecs.base import add_weight_norm
from codec_ft.codecs.initial import preserve_signal
from codec_ft.config import Config


class DacShape(Config):
    """The size of a DAC (convolutional encoder and decoder with Snake activations, factorised residual quantiser)."""

    sample_rate: int = Field(44100, gt=0, description="Hz")
    strides: tuple[int, ...] = Field((2, 4, 8, 8), description="of the encoder; their product is the hop length")
    encoder_channels: int = Field(64, ge=1, description="of the encoder's first stage; each stride doubles them")
    latent_dim: int | None = Field(None, ge=1, description="none: as many as the encoder's last stage has channels")
    decoder_channels: int = Field(1536, ge=1, description="of the decoder's first stage; each stride halves them")
    decoder_strides: tuple[int, ...] | None = Field(None, description="none: the encoder's, reversed")
    n_codebooks: int = Field(9, ge=1)
    codebook_size: int = Field(1024, ge=2, description="a power of two")
    codebook_dim: int = Field(8, ge=1, description="size of the space in which a code is chosen")

    @field_validator("strides", "decoder_strides")
    @classmethod
    def _strides_change_the_rate(cls, strides: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if strides is not None and (not strides or min(strides) < 2):
            raise ValueError("must be one or more numbers of at least 2")
        return strides

    @field_validator("codebook_size")
    @classmethod
    def _power_of_two(cls, size: int) -> int:
        if size & (size - 1):
            raise ValueError("must be a power of two")
        return size

    @model_validator(mode="after")
    def _decoder_fits(self) -> "DacShape":
        if math.prod(self.upsampling) != self.hop_length:
            raise ValueError(
                f"decoder_strides {self.upsampling} multiply to {math.prod(self.upsampling)}, "
                f"strides {self.strides} to {self.hop_length}: they must agree"
            )
        halvings = 2 ** len(self.upsampling)
        if self.decoder_channels % halvings:
            raise ValueError(
                f"decoder_channels {self.decoder_channels} must be a multiple of {halvings}: "
                f"each of the {len(self.upsampling)} strides of the decoder halves them"
            )
        return self

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.strides)

    @property
    def upsampling(self) -> tuple[int, ...]:
        """The decoder's strides."""
        return self.decoder_strides or self.strides[::-1]


def make_dac(shape: DacShape) -> DacModel:
    """An untrained, weight-normed DAC of the given size, whose layers neither damp nor amplify what passes through.

    Choose even strides for the decoder: at each odd one it drops a sample at the end, like the published one.
    """
    # No fields of DacConfig, which derives them from the others; given by name they hold.
    sizes: dict[str, Any] = {
        "upsampling_ratios": list(shape.upsampling),
        "hidden_size": shape.latent_dim or shape.encoder_channels * 2 ** len(shape.strides),
    }
    config = DacConfig(
        sampling_rate=shape.sample_rate,
        downsampling_ratios=list(shape.strides),
        encoder_hidden_size=shape.encoder_channels,
        decoder_hidden_size=shape.decoder_channels,
        n_codebooks=shape.n_codebooks,
        codebook_size=shape.codebook_size,
        codebook_dim=shape.codebook_dim,
        **sizes,
    )
    model = DacModel(config)
    preserve_signal(model.encoder)
    preserve_signal(model.decoder)
    _start_quantizer(model.quantizer)
    return model


@torch.no_grad()
def _start_quantizer(quantizer: DacResidualVectorQuantizer) -> None:
    """Projections and codes for latents of unit variance; weight-normed.

    Each layer looks at the latents from random orthogonal directions and gives back what it sees along the same ones,
    so that from the first step on every layer leaves a smaller residual than it got, and the straight-through gradient
    has the right sign.
    """
    layers: list[DacVectorQuantize] = list(quantizer.quantizers)  # type: ignore[arg-type]
    for layer in layers:
        nn.init.orthogonal_(layer.in_proj.weight)  # [d, D, 1]
        layer.out_proj.weight.copy_(layer.in_proj.weight.transpose(0, 1))
        for projection in (layer.in_proj, layer.out_proj):
            assert projection.bias is not None
            nn.init.zeros_(projection.bias)
        nn.init.normal_(layer.codebook.weight)
    add_weight_norm(quantizer)
