"""The options of training a codec.

The published recipes are `configs/encodec_24khz.yaml` and `configs/dac_44khz.yaml`.
"""

from typing import Literal

from pydantic import Field, model_validator

from codec_ft.codec_training.dac_model import DacShape
from codec_ft.codec_training.encodec_model import EncodecShape
from codec_ft.codec_training.factorized import FactorizedConfig
from codec_ft.codec_training.quantizer import QuantizerConfig
from codec_ft.codec_training.reconstruction import RECONSTRUCTION
from codec_ft.config import Config
from codec_ft.training.config import ExperimentConfig, OptimizerConfig


class LossWeights(Config):
    """Weights of the terms of the codec's loss; a term of weight zero is not computed."""

    waveform_l1: float = Field(0.0, ge=0, description="mean absolute error of the samples")
    noise_to_signal: float = Field(0.0, ge=0, description="log10 of error energy over target energy, per item")
    log_mel: float = Field(0.0, ge=0, description="multi-scale log-mel distance, the metric of the same name")
    mel_l1: float = Field(0.0, ge=0, description="DAC's: L1 of log-mel spectrograms at seven scales")
    mel_l1_l2: float = Field(0.0, ge=0, description="EnCodec's: L1 of mel plus L2 of log-mel spectrograms")
    adversarial: float = Field(0.0, ge=0, description="what the discriminators say; zero trains without them")
    feature: float = Field(0.0, ge=0, description="distance of the discriminators' feature maps")
    commitment: float = Field(0.0, ge=0, description="latents towards their codes")
    codebook: float = Field(0.0, ge=0, description="codes towards the latents, where they learn by gradients (DAC)")
    # Codebooks that are moving averages lag behind latents that grow, the decoder then asks for larger ones, and so
    # on: without a hold the scale doubles every few hundred steps and the lag costs quality.
    latent_scale: float = Field(0.0, ge=0, description="square of the log of the latents' variance")

    @model_validator(mode="after")
    def _something_to_reconstruct(self) -> "LossWeights":
        if not any(getattr(self, name) for name in RECONSTRUCTION):
            raise ValueError(f"one of {', '.join(RECONSTRUCTION)} must be above zero")
        return self


class DiscriminatorConfig(Config):
    """The discriminators and how they learn; a family with no windows or periods is left out."""

    stft_windows: tuple[int, ...] = Field((), description="multi-scale STFT discriminator (EnCodec): windows, samples")
    stft_filters: int = Field(32, ge=1)
    periods: tuple[int, ...] = Field((), description="multi-period discriminator (HiFi-GAN, DAC): samples")
    period_channels: tuple[int, ...] = (32, 128, 512, 1024, 1024)
    band_windows: tuple[int, ...] = Field((), description="multi-band STFT discriminator (DAC): windows, samples")
    band_filters: int = Field(32, ge=1)
    loss: Literal["hinge", "least_squares"] = "hinge"
    relative_features: bool = Field(True, description="feature distances as a share of the feature maps' size")
    update_share: float = Field(1.0, gt=0, le=1, description="share of the steps in which they learn")
    start_step: int = Field(0, ge=0, description="steps of the codec alone before they join in")
    heard_after: int = Field(
        0, ge=0, description="steps that they learn before the codec learns from them; spares a trained codec beginners"
    )
    optimizer: OptimizerConfig = OptimizerConfig()


class CodecTrainingConfig(ExperimentConfig):
    """What both recipes have in common."""

    task: str

    stem: str = Field("all", description="what it learns to code: all stems and the mixture, or one stem")
    start: str | None = Field(None, description="codec to go on from, a name or a folder; `model` is then not used")
    parts: Literal["all", "decoder"] = Field("all", description="what learns; decoder: codes stay as they are")
    enhancer: str | None = Field(
        None,
        description="with parts=decoder: an enhancer, a name or a run folder, whose codes the decoder learns to play, "
        "in place of those of the clean stem",
    )
    balancer: bool = Field(False, description="weights are shares of the gradient at the output (EnCodec, section 3.4)")
    losses: LossWeights
    discriminators: DiscriminatorConfig = DiscriminatorConfig()

    @model_validator(mode="after")
    def _an_enhancer_stays_as_it_is(self) -> "CodecTrainingConfig":
        if self.enhancer is not None and self.parts != "decoder":
            raise ValueError("enhancer is for parts=decoder: its codes mean nothing to a codec that changes")
        if self.enhancer is not None and self.start is None:
            raise ValueError("enhancer needs start, the codec that it was trained with")
        return self


class EncodecTrainingConfig(CodecTrainingConfig):
    """An EnCodec: codebooks are moving averages (Défossez et al., 2022)."""

    task: Literal["encodec"] = "encodec"
    model: EncodecShape = EncodecShape()
    quantizer: QuantizerConfig = QuantizerConfig()


class DacTrainingConfig(CodecTrainingConfig):
    """A DAC: codebooks learn by gradients, in a space of few dimensions (Kumar et al., 2023)."""

    task: Literal["dac"] = "dac"
    model: DacShape = DacShape()
    quantizer: FactorizedConfig = FactorizedConfig()


RECIPES: dict[str, type[CodecTrainingConfig]] = {"encodec": EncodecTrainingConfig, "dac": DacTrainingConfig}
"""The schema of each codec training, by the configuration's `task`."""
