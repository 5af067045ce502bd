"""The options of fine-tuning a codec's encoder."""

from typing import Literal

from pydantic import Field, model_validator

from codec_ft.codecs.base import EncoderStart
from codec_ft.config import Config
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.training.config import OptimizerConfig
from codec_ft.training.stem_config import StemConfig


class LossWeights(Config):
    """Weights of the terms of the loss; a term of weight zero is not computed."""

    latent_mse: float = Field(1.0, ge=0, description="latents against the clean stem's (thesis 6.2.1, loss a)")
    latent_l1: float = Field(0.0, ge=0, description="the same with absolute differences")
    latent_cosine: float = Field(0.0, ge=0, description="one minus the cosine between the two, frame by frame")
    softmax: float = Field(0.0, ge=0, description="cross-entropy of a bridge's codes (loss b)")
    residual: float = Field(0.0, ge=0, description="cross-entropy of the codes near the latents (loss c)")
    adversarial: float = Field(0.0, ge=0, description="what the embedding discriminator says (loss d)")

    @model_validator(mode="after")
    def _something_to_learn(self) -> "LossWeights":
        if not any(self.model_dump().values()):
            raise ValueError("one of the weights must be above zero")
        if self.adversarial and not any(self.model_dump(exclude={"adversarial"}).values()):
            raise ValueError(
                "adversarial alone does not say which stem belongs to an input; set another weight above zero beside it"
            )
        return self


class ResidualConfig(Config):
    """The residual loss (thesis, equations 6 to 10)."""

    form: Literal["soft", "teacher"] = Field(
        "teacher", description="what a layer hands on: its soft code (thesis), or the target's code taken away"
    )
    codebooks: int | None = Field(None, ge=1, description="the first so many layers; null: all")
    tau: float = Field(1.0, gt=0, description="temperature")
    tau_unit: Literal["absolute", "spacing"] = Field(
        "spacing", description="tau as it is (thesis), or in units of the distance between a layer's neighbouring codes"
    )


class EmbeddingDiscriminatorConfig(Config):
    """The embedding discriminator (thesis 6.2.1, loss d) and how it learns."""

    hidden: int = Field(64, ge=1, description="thesis: 64")
    start_step: int = Field(0, ge=0, description="steps of the encoder alone before it joins in")
    update_every: int = Field(1, ge=1, description="it learns in every n-th step")
    optimizer: OptimizerConfig = OptimizerConfig()


class FinetuneConfig(StemConfig):
    """A warm encoder that learns to hear one stem (thesis, sections 6.2 and 6.3)."""

    task: Literal["finetune"] = "finetune"
    encoder: Literal["warm", "frozen"] = Field("warm", description="a trainable copy, or the codec's own as it is")
    start: EncoderStart = Field("pretrained", description="weights the warm encoder starts from")
    bridge: BridgeConfig = BridgeConfig()
    target: Literal["latents", "quantized"] = Field(
        "latents", description="the clean stem's latents before or after quantisation (thesis 6.2.1, loss a)"
    )
    target_codebooks: int | None = Field(
        None, ge=1, description="with target=quantized: the first so many codebooks; null: all (thesis 6.3, DAC)"
    )
    losses: LossWeights = LossWeights()
    residual: ResidualConfig = ResidualConfig()
    soft_labels: float = Field(
        0.0, ge=0, description="temperature of labels that are spread over near codes, in their spacing; 0: one code"
    )
    discriminator: EmbeddingDiscriminatorConfig = EmbeddingDiscriminatorConfig()
    balance: bool = Field(
        False, description="weights are shares of the gradient at the latents instead of factors of the losses"
    )
    decode: Literal["codes", "latents"] = Field(
        "codes", description="what the output is decoded from: codes, or the latents unquantised"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "FinetuneConfig":
        bridge, losses = self.bridge, self.losses
        gives_codes = bridge.kind != "none" and bridge.gives == "codes"
        gives_both = bridge.kind != "none" and bridge.gives == "both"
        if losses.softmax and not (gives_codes or gives_both):
            raise ValueError(
                "losses.softmax needs a bridge that gives codes: set bridge.kind to dense, transformer or rotary, and "
                "bridge.gives to codes"
            )
        if gives_both and not any(losses.model_dump(exclude={"softmax", "adversarial"}).values()):
            raise ValueError(
                "bridge.gives=both gives latents too, which no loss trains; set losses.latent_mse above zero"
            )
        if (gives_codes or gives_both) and not losses.softmax:
            raise ValueError(
                f"bridge.kind={bridge.kind} gives codes, which only losses.softmax trains; set it above zero"
            )
        if self.encoder == "frozen" and bridge.kind == "none":
            raise ValueError("encoder=frozen without a bridge leaves nothing to train; choose a bridge.kind")
        if self.encoder == "frozen" and gives_codes:
            idle = [name for name, weight in losses.model_dump().items() if weight and name != "softmax"]
            if idle:
                raise ValueError(
                    f"losses.{idle[0]} acts on the latents, but encoder=frozen and a bridge that gives codes leave "
                    "them as they are; set it to 0"
                )
        if self.encoder == "frozen" and gives_codes and self.balance:
            raise ValueError(
                "balance is about gradients at the latents, but encoder=frozen and a bridge that gives codes leave "
                "them as they are; set it to false"
            )
        if self.encoder == "frozen" and self.start == "random":
            raise ValueError("start=random is for a warm encoder; set encoder to warm")
        if self.target_codebooks is not None and self.target != "quantized":
            raise ValueError("target_codebooks is for target=quantized")
        return self
