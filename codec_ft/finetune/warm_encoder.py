"""The warm encoder beside its frozen codec (thesis, section 6.2.1: FCWE, figure 14)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import Codec, EncoderStart
from codec_ft.data.dataset import Batch
from codec_ft.finetune.losses.latents import latent_mse


@dataclass
class Separation:
    """What a warm encoder makes of an input, `B` items of `T` frames and `N` samples."""

    latents: Tensor  # [B, D, T] of the warm encoder
    input_latents: Tensor  # [B, D, T] of the frozen encoder for the same input
    codes: Tensor  # [B, K, T]
    input_codes: Tensor  # [B, K, T]: copying the input
    output: Tensor  # [B, 1, N]
    quantized_input: Tensor  # [B, 1, N]: the input through the untouched codec


@dataclass
class Reference:
    """What the frozen codec makes of the clean stem."""

    latents: Tensor  # [B, D, T]
    codes: Tensor  # [B, K, T]
    quantized_target: Tensor  # [B, 1, N]: the codec's ceiling
    recoded: Tensor  # [B, K, T]: codes of the decoded codes, for the codec's idempotence


class FinetuneStep(nn.Module):
    """A trainable copy of the codec's encoder, and its loss against the frozen one.

    The frozen codec stands outside the module registry (in a tuple), so that it is neither trained, saved, wrapped
    nor put into training mode with the rest.
    """

    def __init__(self, codec: Codec, *, start: EncoderStart, target: Literal["latents", "quantized"]) -> None:
        super().__init__()
        self._frozen = (codec,)
        self.warm_encoder = codec.new_encoder(start)
        self.target = target

    @property
    def codec(self) -> Codec:
        """The frozen codec."""
        return self._frozen[0]

    @torch.no_grad()
    def targets(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """Latents `[B, D, T]` of the clean stem that the warm encoder shall give, and the codes to match them with.

        The codes `[B, K, T]` are the clean stem's; None where the codec's `match_space` has no use for any.
        """
        latents = self.codec.encode(target)
        if self.target == "latents" and self.codec.geometry == "euclidean":
            return latents, None  # spares a tenth of a training step
        codes, quantized = self.codec.quantize(latents)
        return (quantized if self.target == "quantized" else latents), codes

    def target_latents(self, target: Tensor) -> Tensor:
        """The first of `targets`."""
        return self.targets(target)[0]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of a batch: MSE in the codec's `match_space`, both with residuals of the target's codes."""
        target, codes = self.targets(batch.target)
        latents = self.warm_encoder(batch.input).float()
        match = self.codec.match_space
        loss = latent_mse(match(latents, codes), match(target, codes)).mean()
        return {"loss": loss, "latent_mse": loss}

    @torch.no_grad()
    def separate(self, audio: Tensor, decode: Literal["codes", "latents"] = "codes") -> Separation:
        """Draw the stem out of `audio [B, 1, N]`."""
        codec, length = self.codec, audio.shape[-1]
        latents = self.warm_encoder(audio).float()
        codes, quantized = codec.quantize(latents)
        input_latents = codec.encode(audio)
        input_codes, quantized_input = codec.quantize(input_latents)
        return Separation(
            latents=latents,
            input_latents=input_latents,
            codes=codes,
            input_codes=input_codes,
            output=codec.decode(quantized if decode == "codes" else latents, length),
            quantized_input=codec.decode(quantized_input, length),
        )

    @torch.no_grad()
    def reference(self, target: Tensor) -> Reference:
        """The clean stem `[B, 1, N]` through the frozen codec."""
        latents = self.codec.encode(target)
        codes, quantized = self.codec.quantize(latents)
        decoded = self.codec.decode(quantized, target.shape[-1])
        recoded, _ = self.codec.quantize(self.codec.encode(decoded))
        return Reference(latents=latents, codes=codes, quantized_target=decoded, recoded=recoded)
