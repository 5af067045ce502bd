"""The options of fine-tuning a codec's encoder."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from codec_ft.codecs.base import EncoderStart
from codec_ft.config import Config, runtime
from codec_ft.data.config import DataConfig
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.training.config import ExperimentConfig, OptimizerConfig

Scope = Literal["set", "song", "segment"]


def _listed(value: Any) -> Any:
    """One name stands for a list of it, null for an empty one."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


Sources = Annotated[list[str], BeforeValidator(_listed)]
"""Names of inputs; a single one need not be written as a list."""


class FinetuneDataConfig(DataConfig):
    """What a fine-tuning hears, beside the options of all trainings."""

    scope: Scope = Field(
        "set", description="train on the whole set, or overfit one song or one excerpt of it (thesis, N3)"
    )
    song: str | None = Field(None, description="with scope: name of the training track; null: the first")
    extra: list[Path] = Field([], description="more data sets whose training tracks are learnt from too")
    noise_db: float = Field(20.0, description="input=noisy: level of the target above its white noise, dB")
    grid_seconds: float | None = Field(
        None,
        gt=0,
        description="training excerpts begin at multiples of this, as those of a token cache do; null: anywhere",
    )
    whole: bool = Field(
        False, description="excerpts begin at any frame; stored ones are those of `prepare_data.py encode --whole`"
    )
    encoded: bool = runtime(False, "read latents and codes from the cache of `prepare_data.py encode`")

    @model_validator(mode="after")
    def _scope_fits(self) -> "FinetuneDataConfig":
        if self.scope == "set" and self.song is not None:
            raise ValueError(f"song={self.song} is for overfitting it: set scope to song or segment, or leave song out")
        if self.scope != "set" and self.extra:
            raise ValueError(f"extra is for scope=set; with scope={self.scope} one song of root is all that is heard")
        return self

    @model_validator(mode="after")
    def _whole_fits(self) -> "FinetuneDataConfig":
        if self.whole and self.grid_seconds is not None:
            raise ValueError(f"grid_seconds={self.grid_seconds:g} has no use with whole=true: any frame may be first")
        if self.whole and self.scope == "segment":
            raise ValueError("scope=segment is one excerpt, which need not begin at a frame; set whole to false")
        return self

    @model_validator(mode="after")
    def _speed_fits(self) -> "FinetuneDataConfig":
        if self.speed != (1.0, 1.0):
            fixed = [name for name in ("encoded", "grid_seconds", "whole") if getattr(self, name)]
            fixed += ["scope=segment"] * (self.scope == "segment")
            if fixed:
                raise ValueError(
                    f"speed=({self.speed[0]:g}, {self.speed[1]:g}) changes what is heard, but with {fixed[0]} excerpts "
                    "are heard as they are; set it to (1, 1)"
                )
        return self


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


class FinetuneConfig(ExperimentConfig):
    """A warm encoder that learns to hear one stem (thesis, sections 6.2 and 6.3)."""

    task: Literal["finetune"] = "finetune"
    codec: str = Field("demo", description="name or folder of the frozen codec")
    input: str = Field(
        "mixture",
        description="what the encoder hears: mixture, separated/<separator>, target, noisy (target and white noise), "
        "or noise; also what it is validated with",
    )
    train_inputs: dict[str, float] = Field(
        {}, description="inputs that training draws from, with their shares; none: input alone"
    )
    context: Sources = Field(
        [], description="other inputs that are heard beside the first, such as mixture; one needs no brackets"
    )
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
    data: FinetuneDataConfig = FinetuneDataConfig()

    @field_validator("train_inputs")
    @classmethod
    def _shares(cls, inputs: dict[str, float]) -> dict[str, float]:
        if inputs and min(inputs.values()) <= 0:
            raise ValueError("shares must be above zero; leave out what should not be heard")
        return inputs

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
        if self.input in self.context:
            raise ValueError(f"context={self.input} is the input already; name another one, or leave it out")
        if len(set(self.context)) < len(self.context):
            raise ValueError(f"context={', '.join(self.context)} has one input twice; name each once")
        if self.encoder == "frozen" and self.start == "random":
            raise ValueError("start=random is for a warm encoder; set encoder to warm")
        if self.target_codebooks is not None and self.target != "quantized":
            raise ValueError("target_codebooks is for target=quantized")
        return self
