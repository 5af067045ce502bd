"""The options of training a codec from scratch."""

from typing import Literal

from pydantic import Field, field_validator

from codec_ft.config import Config
from codec_ft.training.config import ExperimentConfig


class EncodecShape(Config):
    """The size of an EnCodec (SEANet encoder and decoder, residual vector quantiser)."""

    sample_rate: int = Field(16000, gt=0, description="Hz")
    strides: tuple[int, ...] = Field((5, 4, 4, 2), description="of the encoder; their product is the hop length")
    n_filters: int = Field(16, ge=1, description="channels of the first stage; each stage doubles them")
    latent_dim: int = Field(64, ge=1)
    lstm_layers: int = Field(1, ge=1)
    causal: bool = Field(False, description="see no future samples, as the 24 kHz EnCodec; True costs quality")
    n_codebooks: int = Field(8, ge=1)
    codebook_size: int = Field(1024, ge=2, description="a power of two")

    @field_validator("codebook_size")
    @classmethod
    def _power_of_two(cls, size: int) -> int:
        if size & (size - 1):
            raise ValueError("must be a power of two")
        return size


class QuantizerConfig(Config):
    """How the codebooks are learnt."""

    start_step: int = Field(150, ge=0, description="steps without quantisation, so that k-means starts on real latents")
    kmeans_vectors: int = Field(16384, ge=1, description="latents collected for the k-means start")
    kmeans_iterations: int = Field(10, ge=1)
    decay: float = Field(0.98, gt=0, lt=1, description="of the moving averages that are the codebooks")
    dead_share: float = Field(0.1, gt=0, lt=1, description="share of an even use below which codes are replaced")
    dropout: float = Field(0.25, ge=0, le=1, description="share of items coded with a random number of codebooks")


class CodecLossConfig(Config):
    """Weights of the terms of the codec's loss."""

    mel: float = Field(2.0, ge=0, description="multi-scale log-mel distance")
    waveform: float = Field(1.5, ge=0, description="log10 of error energy over target energy, per item")
    commitment: float = Field(0.25, ge=0, description="latents towards their codes, in units of their variance")
    # Codebooks that are moving averages lag behind latents that grow, the decoder then asks for larger ones, and so
    # on: without a hold the scale doubles every few hundred steps and the lag costs quality.
    latent_scale: float = Field(0.1, ge=0, description="square of the log of the latents' variance")


class CodecTrainingConfig(ExperimentConfig):
    """A codec trained from scratch."""

    task: Literal["codec"] = "codec"
    stem: str = Field("all", description="what it learns to code: all stems and the mixture, or one stem")
    model: EncodecShape = EncodecShape()
    quantizer: QuantizerConfig = QuantizerConfig()
    losses: CodecLossConfig = CodecLossConfig()
