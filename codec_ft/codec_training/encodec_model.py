"""EnCodecs to be trained: their size, and an untrained one through which sound passes."""

import math

from pydantic import Field, field_validator
from transformers import EncodecConfig, EncodecModel

from codec_ft.codec_training.rescale import rescale_latents
from codec_ft.codecs.initial import preserve_signal
from codec_ft.config import Config


class EncodecShape(Config):
    """The size of an EnCodec (SEANet encoder and decoder, residual vector quantiser); by default the 24 kHz one."""

    sample_rate: int = Field(24000, gt=0, description="Hz")
    strides: tuple[int, ...] = Field((2, 4, 5, 8), description="of the encoder; their product is the hop length")
    n_filters: int = Field(32, ge=1, description="channels of the first stage; each stage doubles them")
    latent_dim: int = Field(128, ge=1)
    lstm_layers: int = Field(2, ge=1)
    causal: bool = Field(True, description="see no future samples; costs quality")
    n_codebooks: int = Field(32, ge=1)
    codebook_size: int = Field(1024, ge=2, description="a power of two")

    @field_validator("codebook_size")
    @classmethod
    def _power_of_two(cls, size: int) -> int:
        if size & (size - 1):
            raise ValueError("must be a power of two")
        return size


def make_encodec(shape: EncodecShape) -> EncodecModel:
    """An untrained EnCodec of the given size, whose layers neither damp nor amplify what passes through."""
    hop_length = math.prod(shape.strides)
    bits_per_second = math.ceil(shape.sample_rate / hop_length) * math.log2(shape.codebook_size) * shape.n_codebooks
    bandwidth = bits_per_second / 1000
    if 1000 * bandwidth < bits_per_second:  # rounded down, it would cost the last codebook
        bandwidth = math.nextafter(bandwidth, math.inf)
    model = EncodecModel(
        EncodecConfig(
            sampling_rate=shape.sample_rate,
            upsampling_ratios=tuple(reversed(shape.strides)),
            num_filters=shape.n_filters,
            hidden_size=shape.latent_dim,
            num_lstm_layers=shape.lstm_layers,
            use_causal_conv=shape.causal,
            codebook_size=shape.codebook_size,
            target_bandwidths=[bandwidth],
        )
    )
    preserve_signal(model)
    rescale_latents(model, 10.0)  # music at -20 dBFS then has latents of about unit variance
    return model
