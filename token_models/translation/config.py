"""What a translation model is, how it writes, and how it is trained."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from pydantic import Field, model_validator

from codec_ft.config import Config
from codec_ft.training.config import OptimizerConfig, TrainConfig
from codec_ft.training.stem_config import StemConfig
from token_models.sampling.choose import Filter, top_k
from token_models.translation.patterns import Pattern


class TranslationModelConfig(Config):
    """An encoder-decoder over codes; the sizes are those of T5-small (Raffel et al., 2020), with gated layers."""

    codebooks: int | None = Field(None, ge=1, description="the codec's first so many are written; null: all")
    input_codebooks: int | None = Field(None, ge=1, description="of each input, so many are read; null: all")
    pattern: Pattern = Field(
        "delay",
        description="a step writes one code, frame by frame (flattened), or one of each codebook (delay: MusicGen)",
    )
    embedding: Literal["codec", "learned"] = Field(
        "codec", description="vectors that stand for codes: those of the frozen codec, or learnt ones"
    )
    learned_dim: int = Field(8, ge=1, description="of a learnt vector")
    aligned: bool = Field(
        False,
        description="show each step what the encoder makes of its frame; false: attention must find it, as in any T5",
    )
    dim: int = Field(512, ge=8, description="width")
    encoder_layers: int = Field(6, ge=1)
    decoder_layers: int = Field(6, ge=1)
    heads: int = Field(8, ge=1)
    feedforward: int = Field(2, ge=1, description="channels of a feed-forward layer behind its gate, in widths")
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _fits_together(self) -> "TranslationModelConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be a multiple of heads={self.heads}")
        return self


class WritingConfig(Config):
    """How codes are chosen when a model writes."""

    temperature: float = Field(0.0, ge=0, description="0 takes the likeliest code; above, codes are drawn")
    top_k: int | None = Field(None, ge=1, description="draw from so many likeliest codes")

    @property
    def filters(self) -> Sequence[Filter]:
        """The filters that are chosen."""
        return [] if self.top_k is None else [partial(top_k, k=self.top_k)]


class TranslationConfig(StemConfig):
    """Codes of the input to codes of the clean stem (thesis, section 7)."""

    task: Literal["translate"] = "translate"
    model: TranslationModelConfig = TranslationModelConfig()
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="share of a label that all codes have in equal parts")
    writing: WritingConfig = WritingConfig()
    train: TrainConfig = TrainConfig(optimizer=OptimizerConfig(name="adamw"))
