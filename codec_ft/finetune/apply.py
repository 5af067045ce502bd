"""A trained enhancer at work: latents, codes and sound of a stem."""

import torch
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.codecs.long import encode_each, is_long, latents_in_chunks
from codec_ft.finetune.enhancer import Enhancer, Prediction, side_by_side
from codec_ft.finetune.save import EnhancerFacts
from codec_ft.finetune.trained import TrainedModel


class TrainedEnhancer(TrainedModel):
    """Hears a stem in its input, and in what was beside it in training.

    Args:
        enhancer: its network, with trained weights.
        facts: what it is.
        name: what it was loaded as.
        player: a copy of its codec with a decoder of its own, which decodes in place of the codec; None for no such.

    Attributes:
        facts: what it is.
        enhancer: its network, in `eval()`.
        player: the codec that decodes: its own, untouched, or a copy with another decoder.
    """

    def __init__(self, enhancer: Enhancer, facts: EnhancerFacts, name: str, player: Codec | None = None) -> None:
        super().__init__(enhancer.codec, name, facts.stem, facts.input, facts.context)
        self.facts = facts
        self.enhancer = enhancer.requires_grad_(False).eval()
        self.player = player or self.codec

    def to(self, device: torch.device | str) -> "TrainedEnhancer":
        """Move it."""
        for module in (self.enhancer, self.codec, self.player):
            module.to(device)
        return self

    @property
    def frozen(self) -> bool:
        """Whether it hears by the codec's own encoder."""
        return self.enhancer.warm_encoder is None

    @property
    def writes(self) -> int:
        """How many codebooks its codes have."""
        bridge = self.enhancer.bridge
        if bridge is not None and bridge.gives == "codes":
            assert bridge.n_codebooks is not None
            return bridge.n_codebooks
        return self.facts.target_codebooks or self.codec.n_codebooks

    @property
    def preferring(self) -> int:
        """For how many codebooks it says which codes near its latents it would rather have."""
        return self.enhancer.near_codes.n_codebooks if self.enhancer.near_codes is not None else 0

    @torch.no_grad()
    def latents(self, audio: Tensor, context: Tensor | None = None, encoded: Tensor | None = None) -> Tensor:
        """The stem's latents `[B, D, T]`, not quantised.

        At `sample_rate`, all at once; of a bridge that gives codes, they are what the bridge was given.

        Args:
            audio: `[B, 1, N]`.
            context: what is beside it, `[B, n, N]`.
            encoded: what the codec's own encoder makes of both, `[B, (1 + n) * D, T]`, if that is known and it hears by
                it; then audio and context may be empty.

        Raises:
            ValueError: `encoded` is of no use to it.
        """
        return self.predict(audio, context, encoded).latents

    @torch.no_grad()
    def codes(self, audio: Tensor, context: Tensor | None = None, encoded: Tensor | None = None) -> Tensor:
        """The stem's codes `[B, K', T]`, of the codebooks that it predicts; arguments as of `latents`."""
        return self.codes_of(self.predict(audio, context, encoded))

    def codes_of(self, prediction: Prediction) -> Tensor:
        """The codes `[B, K', T]` of what `predict` gave."""
        return self.enhancer.codes(prediction, self.facts.target_codebooks)

    @torch.no_grad()
    def quantized(self, audio: Tensor, context: Tensor | None = None) -> Tensor:
        """The latents `[B, D, T]` that its codes stand for."""
        return self.codec.codes_to_latents(self.codes(audio, context))

    @torch.no_grad()
    def decoded(self, audio: Tensor, context: Tensor | None = None) -> Tensor:
        """See `TrainedModel.decoded`."""
        prediction = self.predict(audio, context)
        if self.facts.decode == "codes":
            latents = self.codec.codes_to_latents(self.codes_of(prediction))
        else:
            latents = prediction.latents
        return self.player.decode(latents, audio.shape[-1])

    @torch.no_grad()
    def predict(self, audio: Tensor, context: Tensor | None = None, encoded: Tensor | None = None) -> Prediction:
        """All that it makes of audio; arguments as of `latents`."""
        inputs = 1 + len(self.context)
        if encoded is not None:
            if not self.frozen or encoded.shape[1] != inputs * self.codec.latent_dim:
                raise ValueError(f"{self.name}: cannot go on from latents {list(encoded.shape)} of the frozen encoder")
            return self.enhancer.go_on(encoded)
        self.check(audio, context)
        sources = side_by_side(audio, context)
        if self.frozen:
            return self.enhancer.go_on(encode_each(self.codec, sources))
        if is_long(self.codec, sources):
            parts = latents_in_chunks(self.codec, sources, encoder=self.enhancer.warm_encoder)
            return self.enhancer.go_on(torch.cat(list(parts), dim=-1).float())
        return self.enhancer(sources)
