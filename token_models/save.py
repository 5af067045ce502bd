"""What trained token models are, apart from their training, and how they are written to a folder.

The folder holds `config.json` (`TokenFacts`) and the weights of each model, `coarse.safetensors` and, where there is a
fine one, `fine.safetensors`. Nothing in it can run code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, model_validator

from codec_ft.codecs.base import Codec
from codec_ft.config import Config
from codec_ft.facts import load_facts, write_facts
from codec_ft.training.stem_config import Sources
from codec_ft.weights import save_weights
from token_models.config import TokenModelConfig
from token_models.model import TokenModel
from token_models.sampling.config import SamplingConfig

EXPORTED = "tokens"
"""Folder of a run that holds its models."""


class TokenFacts(Config):
    """All that is needed to build token models and to feed them; each means what it does in `TokenTrainingConfig`."""

    codec: str = Field(description="name or folder of the codec")
    codebook_rms: list[float] | None = Field(
        None,
        description="root mean square of the vectors of each codebook, by which another codec is told; null: unknown",
    )
    stem: str
    input: str
    train_inputs: dict[str, float] = Field({}, description="what was heard in training, with shares; none: input alone")
    context: Sources = Field([], description="what is heard beside the input")
    coarse: TokenModelConfig
    fine: TokenModelConfig | None = None
    given: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    enhancer: str | None = Field(None, description="a name or a folder")
    sampling: SamplingConfig = SamplingConfig()
    fine_sampling: SamplingConfig = SamplingConfig()
    settle: int | None = Field(None, ge=0)
    seconds: float = Field(gt=0, description="length of the excerpts from which the coarse model learnt")
    fine_seconds: float = Field(gt=0, description="the same of the fine model")
    loudness: float | None = Field(
        None, description="LUFS of what was learnt from, to which sounds that are regenerated are brought; null: any"
    )
    licence: str | None = Field(None, description="of the weights, where they began as those of others")
    noise_db: float = Field(20.0, description="of the input noisy, as it was in training")

    @model_validator(mode="after")
    def _fits_together(self) -> "TokenFacts":
        if self.coarse.known:
            raise ValueError(f"coarse.known={self.coarse.known}: the coarse model begins with nothing")
        if self.fine is not None and self.fine.known != self.coarse.codebooks:
            raise ValueError(f"fine.known={self.fine.known}: is not coarse.codebooks={self.coarse.codebooks}")
        if self.settle is not None and (
            self.fine is None or not self.fine.near or not max(self.given) <= self.settle <= self.fine.known
        ):
            raise ValueError(f"settle={self.settle}: does not fit the fine model or given={self.given}")
        return self

    @property
    def models(self) -> dict[str, TokenModelConfig]:
        """The models by name, in the order in which they generate."""
        return {"coarse": self.coarse} | ({"fine": self.fine} if self.fine is not None else {})


def codebook_rms(codec: Codec) -> list[float]:
    """Root mean square of the vectors of each codebook: the same on every machine, up to rounding."""
    return [float(vectors.square().sum(dim=0).mean().sqrt()) for vectors in codec.codebooks()]


def weights_file(name: str) -> str:
    """The file that holds a model's weights."""
    return f"{name}.safetensors"


def save_token_models(
    models: Mapping[str, TokenModel], facts: TokenFacts, folder: Path, *, dtype: torch.dtype = torch.float32
) -> None:
    """Write models that `load_token_models` reads.

    Args:
        models: trained, by name.
        facts: what they are.
        folder: where their files go.
        dtype: in which parameters are stored.
    """
    for name, model in models.items():
        save_weights(model, folder / weights_file(name), dtype)
    write_facts(facts, folder)


def read_facts(folder: Path) -> TokenFacts:
    """Read `config.json`.

    Raises:
        UserError: it is broken, or that of something else than token models.
    """
    return load_facts(TokenFacts, folder, "token models")
