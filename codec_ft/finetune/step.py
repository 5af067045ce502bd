"""A training step of fine-tuning, and what a trained module makes of audio (thesis, section 6.2.1, figure 14)."""

from typing import Literal

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import Batch
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.discriminator import EmbeddingDiscriminator
from codec_ft.finetune.enhancer import Enhancer, side_by_side
from codec_ft.finetune.objective import Objective, Wanted
from codec_ft.training.separation import Separation


class FinetuneStep(nn.Module):
    """The enhancer and its loss against what the frozen codec says of the clean stem.

    Raises:
        UserError: the configuration does not fit the codec.
    """

    def __init__(
        self, codec: Codec, config: FinetuneConfig, discriminator: EmbeddingDiscriminator | None = None
    ) -> None:
        super().__init__()
        self.enhancer = Enhancer(
            codec,
            encoder=config.encoder,
            start=config.start,
            bridge=config.bridge,
            window=codec.n_frames(round(config.data.seconds * codec.sample_rate)),
            inputs=1 + len(config.context),
        )
        self.objective = Objective(config, codec, discriminator)
        self.target = config.target
        self.target_codebooks = config.target_codebooks

    @property
    def codec(self) -> Codec:
        """The frozen codec."""
        return self.enhancer.codec

    @torch.no_grad()
    def wanted(self, batch: Batch) -> Wanted:
        """What the clean stem's latents and codes are; those that come with the batch are taken as they are."""
        latents = self.codec.encode(batch.target) if batch.target_latents is None else batch.target_latents
        codes = batch.target_codes
        if codes is None and (self.target == "quantized" or self.objective.needs_codes):
            codes, _ = self.codec.quantize(latents)  # a tenth of a training step: spared where nobody asks
        return Wanted(self.wanted_latents(latents, codes), codes)

    def wanted_latents(self, latents: Tensor, codes: Tensor | None) -> Tensor:
        """What latents are compared with, `[B, D, T]`: the clean stem's own, or those of its first codes."""
        if self.target == "latents":
            return latents
        assert codes is not None
        return self.codec.codes_to_latents(codes[:, : self.target_codebooks])

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name, `"loss"` their sum; leaves both latents for a discriminator in the batch."""
        wanted = self.wanted(batch)
        prediction = self.enhancer(side_by_side(batch.input, batch.context), batch.input_latents, wanted.codes)
        losses = self.objective(prediction, wanted)
        batch.output = prediction.latents.detach()
        batch.target_latents, batch.target_codes = wanted.latents, wanted.codes
        return losses

    @torch.no_grad()
    def separate(
        self, audio: Tensor, context: Tensor | None = None, decode: Literal["codes", "latents"] = "codes"
    ) -> Separation:
        """Draw the stem out of `audio [B, 1, N]`, with `context [B, n, N]` beside it if it was trained with one."""
        codec, length = self.codec, audio.shape[-1]
        prediction = self.enhancer(side_by_side(audio, context))
        codes = self.enhancer.codes(prediction, self.target_codebooks)
        input_latents = codec.encode(audio)
        input_codes, quantized_input = codec.quantize(input_latents)
        decoded = codec.codes_to_latents(codes) if decode == "codes" else prediction.latents
        return Separation(
            latents=prediction.latents,
            input_latents=input_latents,
            codes=codes,
            input_codes=input_codes,
            output=codec.decode(decoded, length),
            quantized_input=codec.decode(quantized_input, length),
        )
