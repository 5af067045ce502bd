"""The options of training token models."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from codec_ft.config import Config
from codec_ft.training.config import OptimizerConfig, TrainConfig
from codec_ft.training.stem_config import Sources, StemConfig
from token_models.config import TokenModelConfig
from token_models.sampling.config import SamplingConfig


class MaskConfig(Config):
    """Which cells are masked in training; how many, by the cosine of a number that is spread evenly over the items."""

    kind: Literal["random", "bernoulli", "spans"] = Field(
        "random", description="an exact count of cells; each cell by itself (VampNet); spans of frames (MAGNeT)"
    )
    span: int = Field(3, ge=1, description="frames of a span")


class AdaptersConfig(Config):
    """Low-rank adapters (Hu et al., 2022), as VampNet is fine-tuned with."""

    rank: int = Field(8, ge=1, description="of the change of each layer's weight")
    alpha: float = Field(1.0, gt=0, description="the change is scaled by alpha / rank")


class TokenTrainingConfig(StemConfig):
    """Masked token models: one for the coarse codebooks, and one for the others (thesis, section 7)."""

    task: Literal["masked"] = "masked"
    coarse: TokenModelConfig = TokenModelConfig()
    fine: TokenModelConfig | None = Field(None, description="the model of the codebooks behind; null: none")
    fine_seconds: float = Field(3.0, gt=0, description="of each excerpt, what the fine model learns from")
    mask: MaskConfig = MaskConfig()
    start: str | None = Field(
        None,
        description="weights to begin with: token models by name or folder, a folder with coarse.pth and c2f.pth of "
        "VampNet, or vampnet for the published ones; null: random",
    )
    lora: str | None = Field(
        None,
        description="with VampNet's files as start: a folder with coarse.pth and c2f.pth of adapters, which are merged",
    )
    adapters: AdaptersConfig | None = Field(
        None,
        description="of the start's layers; they, and conditions that are new, are then all that learns; needs peft",
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of a label that all codes have in equal parts")
    soft_labels: float = Field(
        0.0, ge=0, description="temperature of labels that are spread over near codes, in their spacing; 0: one code"
    )
    latent_mse: float = Field(1.0, ge=0, description="weight of the MSE of latents, where a model guesses them")
    coarse_errors: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of the frames in which the fine model is shown what it goes on from in generation, mistakes "
        "included (what the coarse model writes or, where given keeps all coarse codes, those of the input or of the "
        "enhancer), and learns the fine codes that then come nearest to the stem",
    )
    learn: Sources = Field([], description="stems whose codes are learnt, in turn; none: stem alone")
    given: list[Annotated[int, Field(ge=0)]] = Field(
        [0],
        min_length=1,
        description="of the input's own codes, the first so many codebooks that generation keeps (thesis, section 7); "
        "what the others of several give is heard and measured beside",
    )
    enhancer: str | None = Field(
        None,
        description="an enhancer, a name or a run folder: its codes stand for those of the input (thesis, 7.4), and "
        "conditions with enhanced=true are shown its latents",
    )
    sampling: SamplingConfig = SamplingConfig()
    fine_sampling: SamplingConfig = SamplingConfig()
    settle: int | None = Field(
        None,
        ge=0,
        description="the fine model is not sampled: it guesses the latents behind the coarse codes, of which the first "
        "so many codebooks stay, and all others become those nearest to it (fine_sampling is then for sounds that are "
        "regenerated); null: it is sampled",
    )
    also_steps: list[PositiveInt] = Field(
        [],
        description="numbers of sampling steps of all models; what comes out with each is heard and measured beside",
    )
    train: TrainConfig = TrainConfig(optimizer=OptimizerConfig(name="adamw", clip=5.0))

    @model_validator(mode="after")
    def _fits_together(self) -> "TokenTrainingConfig":
        if self.soft_labels and self.label_smoothing:
            raise ValueError(
                "soft_labels spreads labels over near codes, label_smoothing over all; set one of them to 0"
            )
        if self.adapters is not None and self.start is None:
            raise ValueError("adapters change what was learnt before; name that in start, or set adapters to null")
        if self.lora is not None and self.start is None:
            raise ValueError("lora changes the files of VampNet that start names; set start, or lora to null")
        if self.coarse.known:
            raise ValueError(f"coarse.known={self.coarse.known}: the coarse model begins with nothing; set it to 0")
        if self.fine is not None and self.coarse.codebooks is None:
            raise ValueError(
                "coarse.codebooks=null takes all and leaves none to fine; set it to fine.known, or fine to null"
            )
        if self.fine is not None and self.fine.known != self.coarse.codebooks:
            raise ValueError(
                f"fine.known={self.fine.known}: must be coarse.codebooks={self.coarse.codebooks}, which it goes on from"
            )
        shown = any(stage.condition.enhanced for stage in self.stages.values())
        if shown and self.enhancer is None:
            raise ValueError("condition.enhanced needs an enhancer; set enhancer to a name or a run folder")
        sampled = [self.sampling, *([self.fine_sampling] if self.fine is not None and self.settle is None else [])]
        if self.coarse_errors and self.fine is None:
            raise ValueError("coarse_errors is what a fine model learns to go on from; set it to 0, or fine")
        if self.enhancer is not None and not (shown or any(self.given) or any(one.doubt for one in sampled)):
            raise ValueError(
                f"enhancer={self.enhancer} is of no use: given=0 keeps none of its codes; set given, sampling.doubt or "
                "condition.enhanced"
            )
        if self.settle is not None:
            if self.fine is None or not self.fine.near:
                raise ValueError("settle needs a fine model that guesses latents; set fine.near above zero")
            if self.fine_sampling.doubt is not None or self.fine_sampling.guidance.active:
                raise ValueError(
                    "settle does not sample the fine model, so that fine_sampling.doubt and fine_sampling.guidance do "
                    "nothing; leave them out, or set settle to null"
                )
            if not max(self.given) <= self.settle <= self.fine.known:
                raise ValueError(
                    f"settle={self.settle} keeps so many codebooks: no fewer than given={max(self.given)}, and no more "
                    f"than fine.known={self.fine.known}"
                )
        if self.fine is not None and self.fine_seconds > self.data.seconds:
            raise ValueError(f"fine_seconds={self.fine_seconds:g} must not exceed data.seconds={self.data.seconds:g}")
        return self

    @property
    def continues_draft(self) -> bool:
        """Whether the fine model learns to go on from codes of the input or of the enhancer."""
        return self.coarse_errors > 0 and self.fine is not None and self.given[0] >= self.fine.known

    @property
    def hears(self) -> bool:
        """Whether something of the input is needed in training."""
        return self.continues_draft or any(stage.condition.anything for stage in self.stages.values())

    @property
    def stages(self) -> dict[str, TokenModelConfig]:
        """The models by name, in the order in which they generate."""
        return {"coarse": self.coarse} | ({"fine": self.fine} if self.fine is not None else {})
