"""The options of a bridge between encoder and quantiser."""

from typing import Literal

from pydantic import Field, model_validator

from codec_ft.config import Config

BridgeKind = Literal["none", "dense", "transformer", "rotary"]


class BridgeConfig(Config):
    """What stands between the encoder and the quantiser (thesis, section 6.2.1), and what it makes of the latents."""

    kind: BridgeKind = "none"
    gives: Literal["latents", "codes", "both"] = Field(
        "codes",
        description="latents, log-probabilities of codes, or both: latents, and which codes to prefer near them",
    )
    codebooks: int | None = Field(None, ge=1, description="with codes: the first so many codebooks; all if null")
    hidden: int = Field(256, ge=1, description="width of the dense bridge (thesis: 256)")
    layers: int = Field(3, ge=1, description="of a transformer (thesis: 3)")
    heads: int = Field(4, ge=1, description="of a transformer (thesis: 4)")
    dim: int | None = Field(None, ge=1, description="width of a transformer; null: the latents' (thesis: 128)")
    feedforward: int = Field(4, ge=1, description="width of a transformer's feed-forward layers, in widths")
    dropout: float = Field(0.1, ge=0, lt=1)
    kernel: int = Field(1, ge=1, description="frames that the first layer of a rotary bridge looks at; odd")

    @model_validator(mode="after")
    def _fits_together(self) -> "BridgeConfig":
        if self.kind == "dense" and self.gives != "codes":
            raise ValueError("the dense bridge gives codes; set gives to codes, or take a transformer")
        if self.kind == "transformer" and self.gives == "both":
            raise ValueError("the thesis' transformer gives latents or codes; take kind=rotary for both")
        if self.codebooks is not None and self.gives == "latents":
            raise ValueError("codebooks is for bridges that give codes; leave it out")
        if self.kernel != 1 and self.kind != "rotary":
            raise ValueError(f"kernel={self.kernel} is for kind=rotary; leave it out")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} has no middle; make it odd")
        if self.kind in ("transformer", "rotary") and self.dim is not None and self.dim % self.heads:
            raise ValueError(f"dim={self.dim} must be a multiple of heads={self.heads}")
        return self
