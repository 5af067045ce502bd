"""What an enhancer is, apart from its training, and how it is written to a folder.

The folder holds `config.json` (`EnhancerFacts`) and `model.safetensors`, the state of the `Enhancer`; and
`decoder.safetensors` where a decoder was trained on what this enhancer predicts. Nothing in it can run code.
"""

from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from codec_ft.config import Config
from codec_ft.facts import load_facts, write_facts
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.enhancer import Enhancer
from codec_ft.training.stem_config import Sources
from codec_ft.weights import save_weights

MODEL = "model.safetensors"
DECODER = "decoder.safetensors"


class EnhancerFacts(Config):
    """All that is needed to build an enhancer and to feed it; each means what it does in `FinetuneConfig`."""

    codec: str = Field(description="name or folder of the codec")
    stem: str
    input: str
    train_inputs: dict[str, float] = Field({}, description="what it heard in training, with shares; none: input alone")
    context: Sources = Field([], description="what is heard beside the input")
    encoder: Literal["warm", "frozen"] = "warm"
    bridge: BridgeConfig = BridgeConfig()
    target_codebooks: int | None = Field(None, ge=1)
    decode: Literal["codes", "latents"] = "codes"
    noise_db: float = Field(20.0, description="of the input noisy, as it was in training")
    seconds: float = Field(gt=0, description="length of its training excerpts; a transformer hears no more at once")

    @property
    def heard_in_training(self) -> dict[str, float]:
        """Inputs of training and their shares."""
        return self.train_inputs or {self.input: 1.0}


def facts_of(config: FinetuneConfig) -> EnhancerFacts:
    """What a fine-tuning makes."""
    same = config.model_dump(include=set(EnhancerFacts.model_fields))
    return EnhancerFacts(**same, noise_db=config.data.noise_db, seconds=config.data.seconds)


def save_enhancer(
    enhancer: Enhancer,
    facts: EnhancerFacts,
    folder: Path,
    *,
    decoder: nn.Module | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write an enhancer that `load_enhancer` reads.

    Args:
        enhancer: trained.
        facts: what it is.
        folder: where its files go; an older decoder in it is taken away if there is no new one.
        decoder: of the same codec, with other weights; None leaves decoding to the codec's own.
        dtype: in which parameters are stored.
    """
    save_weights(enhancer, folder / MODEL, dtype)
    if decoder is None:
        (folder / DECODER).unlink(missing_ok=True)
    else:
        save_weights(decoder, folder / DECODER, dtype)
    write_facts(facts, folder)


def read_facts(folder: Path) -> EnhancerFacts:
    """Read `config.json`.

    Raises:
        UserError: it is broken, or that of something else than an enhancer.
    """
    return load_facts(EnhancerFacts, folder, "an enhancer")
