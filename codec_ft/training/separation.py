"""What a trained module makes of an input, and what the frozen codec makes of the clean stem."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from codec_ft.codecs.base import Codec


@dataclass
class Step:
    """What a module made on the way, or otherwise than it is meant to work."""

    codes: Tensor  # [B, K', T]
    audio: Tensor  # [B, 1, N]


@dataclass
class Separation:
    """What a module makes of an input, `B` items of `T` frames and `N` samples."""

    latents: Tensor  # [B, D, T] of the module
    input_latents: Tensor  # [B, D, T] of the frozen encoder for the same input
    codes: Tensor  # [B, K', T], of the codebooks that it predicts
    input_codes: Tensor  # [B, K, T]: copying the input
    output: Tensor  # [B, 1, N]
    quantized_input: Tensor  # [B, 1, N]: the input through the untouched codec
    steps: dict[str, Step] = field(default_factory=dict)  # by name


@dataclass
class Reference:
    """What the frozen codec makes of the clean stem."""

    latents: Tensor  # [B, D, T]
    codes: Tensor  # [B, K, T]
    quantized_target: Tensor  # [B, 1, N]: the codec's ceiling
    recoded: Tensor  # [B, K, T]: codes of the decoded codes, for the codec's idempotence


@torch.no_grad()
def reference_of(codec: Codec, target: Tensor) -> Reference:
    """The clean stem `[B, 1, N]` through the frozen codec."""
    latents = codec.encode(target)
    codes, quantized = codec.quantize(latents)
    decoded = codec.decode(quantized, target.shape[-1])
    recoded, _ = codec.quantize(codec.encode(decoded))
    return Reference(latents=latents, codes=codes, quantized_target=decoded, recoded=recoded)
