"""What a masked token transformer is, apart from its training."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from codec_ft.config import Config
from codec_ft.finetune.bridges.rotary import NARROWEST_HEAD


class ConditionConfig(Config):
    """What a model is shown of its input beside the grid; several may be joined."""

    tokens: bool = Field(False, description="the input's codes (the thesis' way)")
    latents: bool = Field(False, description="latents of all that is heard, before quantisation")
    spectrogram: bool = Field(False, description="a spectrogram of all that is heard, through a small encoder")
    enhanced: bool = Field(False, description="latents that the enhancer makes of what is heard (thesis, section 7.4)")
    kernel: int = Field(1, ge=1, description="frames of latents that are looked at together at first; an odd number")
    join: Literal["add", "cross"] = Field("add", description="added to the grid's embedding, or cross-attended")
    drop: float = Field(
        0.1, ge=0, lt=1, description="share of the training items that go without, for classifier-free guidance"
    )
    fft_size: int = Field(1024, ge=16, description="window of the spectrogram, samples; frames are the codec's")

    @field_validator("kernel")
    @classmethod
    def _has_a_middle(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel} has no middle; make it odd")
        return kernel

    @property
    def forms(self) -> list[str]:
        """The forms in which the input is shown: names of the switches that are on."""
        return [name for name, value in self if value is True]

    @property
    def anything(self) -> bool:
        """Whether the model is shown anything at all."""
        return bool(self.forms)


class TokenModelConfig(Config):
    """A bidirectional transformer over the code grid.

    The published sizes (VampNet): coarse has 4 codebooks, 20 layers of 1280 channels and 20 heads; fine has 14
    codebooks, of which 4 are known, and 16 layers.
    """

    codebooks: int | None = Field(None, ge=1, description="the grid has the codec's first so many; null: all")
    known: int = Field(0, ge=0, description="of these the first so many are always given (coarse to fine)")
    embedding: Literal["codec", "learned"] = Field(
        "codec", description="vectors that stand for codes: those of the frozen codec, or learnt ones"
    )
    learned_dim: int = Field(8, ge=1, description="of a learnt vector")
    dim: int = Field(1280, ge=8, description="width")
    layers: int = Field(20, ge=1)
    heads: int = Field(20, ge=1)
    feedforward: int = Field(2, ge=1, description="channels of a feed-forward layer behind its gate, in widths")
    positions: Literal["rotary", "t5"] = Field("rotary", description="t5: a bias by distance, in 32 buckets (VampNet)")
    activation: Literal["gelu", "gelu_tanh"] = Field("gelu", description="of the feed-forward gates")
    dropout: float = Field(0.1, ge=0, lt=1)
    near: int = Field(
        0,
        ge=0,
        description="in so many of the codebooks that it predicts, codes near latents that it guesses are likelier, so "
        "that it begins at the codes of its input; 0: a classifier alone (VampNet)",
    )
    condition: ConditionConfig = ConditionConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> "TokenModelConfig":
        if self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be a multiple of heads={self.heads}")
        if self.positions == "rotary" and self.dim // self.heads < NARROWEST_HEAD:
            raise ValueError(
                f"heads={self.heads} leaves {self.dim // self.heads} of dim={self.dim} channels to a head, and rotary "
                f"positions need {NARROWEST_HEAD}; take fewer heads"
            )
        if self.condition.anything and self.condition.join == "cross" and self.positions == "t5":
            raise ValueError(
                "condition.join=cross needs positions=rotary: a bias by distance is for frames of the grid alone, and "
                "would not tell which frame of the input belongs to which of them"
            )
        if self.codebooks is not None and self.known >= self.codebooks:
            raise ValueError(
                f"known={self.known} of codebooks={self.codebooks} leaves nothing to predict; make it smaller"
            )
        return self
