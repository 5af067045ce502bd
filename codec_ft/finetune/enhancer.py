"""The network that is trained: an encoder, and what may stand between it and the quantiser (thesis, figure 14)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import Codec, EncoderStart
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.finetune.bridges.make import make_bridge
from codec_ft.finetune.bridges.preferring import PreferringBridge
from codec_ft.finetune.near_codes import NearCodes
from codec_ft.finetune.widen import widen_encoder


@dataclass
class Prediction:
    """What an enhancer makes of audio, `B` items of `T` frames.

    Attributes:
        encoded: the encoder's latents, `[B, D, T]`; of several that are encoded one by one, those of the first.
        latents: those that stand for the stem, `[B, D, T]`: the bridge's if it gives any, else the encoder's.
        logits: log-probabilities of codes, `[B, K', V, T]`, of a bridge that gives codes (too); else None.
        preferences: what speaks for codes beside their nearness to the latents, in nats, `[B, K', V, T]`, of a bridge
            that gives both; else None.
    """

    encoded: Tensor
    latents: Tensor
    logits: Tensor | None
    preferences: Tensor | None = None


class Enhancer(nn.Module):
    """Audio `[B, C, N]` to the latents or codes of a stem, in the space of a frozen codec.

    The codec stands outside the module registry (in a tuple): it is neither trained, saved, wrapped nor put into
    training mode with the rest.

    Args:
        codec: the frozen codec.
        encoder: a trainable copy of the codec's encoder, or the codec's own as it is.
        start: weights of the copy.
        bridge: what stands behind the encoder.
        window: frames that the bridge was or will be trained with; it hears longer audio in windows of so many.
        inputs: C, inputs that are heard side by side: by a copy of the encoder together, and of them it starts from the
            first; by the codec's own one by one, and the bridge is given the latents of all.

    Raises:
        UserError: the codec is not mono, or the bridge does not fit it.
    """

    def __init__(
        self,
        codec: Codec,
        *,
        encoder: Literal["warm", "frozen"] = "warm",
        start: EncoderStart = "pretrained",
        bridge: BridgeConfig | None = None,
        window: int | None = None,
        inputs: int = 1,
    ) -> None:
        super().__init__()
        if codec.channels != 1:
            raise UserError(
                f"codec={codec.name}: has {codec.channels} audio channels, but fine-tuning works in mono. Choose a "
                "mono codec, as encodec_24khz or dac_44khz."
            )
        self._frozen = (codec,)
        self.warm_encoder = codec.new_encoder(start) if encoder == "warm" else None
        if self.warm_encoder is not None and inputs > 1:
            widen_encoder(self.warm_encoder, inputs)
        self.bridge = make_bridge(
            bridge or BridgeConfig(), codec, inputs=inputs if encoder == "frozen" else 1, window=window
        )
        self.near_codes: NearCodes | None = None
        if isinstance(self.bridge, PreferringBridge):
            assert isinstance(codec, ResidualCodec) and self.bridge.n_codebooks is not None
            self.near_codes = NearCodes(codec, self.bridge.n_codebooks)

    @torch.no_grad()
    def codes(self, prediction: Prediction, n_codebooks: int | None = None) -> Tensor:
        """The codes `[B, K', T]` of a prediction: the likeliest of a bridge, the nearest of latents, or both in turn.

        Args:
            prediction: what `forward` gave without target codes.
            n_codebooks: K' where latents are quantised; all if None.
        """
        if prediction.logits is None:
            return self.codec.quantize(prediction.latents, n_codebooks)[0]
        likeliest = prediction.logits.argmax(dim=2)
        if self.near_codes is None:
            return likeliest
        assert isinstance(self.codec, ResidualCodec)
        return self.codec.complete_codes(prediction.latents, likeliest, n_codebooks)

    @property
    def codec(self) -> Codec:
        """The frozen codec."""
        return self._frozen[0]

    def forward(self, audio: Tensor, encoded: Tensor | None = None, target_codes: Tensor | None = None) -> Prediction:
        """Hear the stem in `audio [B, C, N]`.

        Args:
            audio: the input, and beside it what else is heard.
            encoded: what the frozen encoder is known to make of them, one below the other, `[B, C * D, T]`; spares it
                the work.
            target_codes: `[B, K, T]` in training, for a bridge that gives both (teacher forcing).
        """
        if self.warm_encoder is not None:
            encoded = self.warm_encoder(audio).float()
        elif encoded is None:
            with torch.no_grad():
                one_by_one = self.codec.encode(audio.flatten(0, 1).unsqueeze(1))
            encoded = one_by_one.unflatten(0, audio.shape[:2]).flatten(1, 2)
        return self.go_on(encoded, target_codes)

    def go_on(self, encoded: Tensor, target_codes: Tensor | None = None) -> Prediction:
        """What stands behind the encoder makes of its latents, those of all inputs one below the other.

        Args:
            encoded: `[B, D, T]`, or `[B, C * D, T]` of the frozen encoder.
            target_codes: see `forward`.
        """
        # Of one input the bridge must be given these very latents: losses on both are balanced there.
        size = self.codec.latent_dim
        first = encoded if encoded.shape[1] == size else encoded[:, :size]
        if self.bridge is None:
            return Prediction(first, first, None)
        if self.near_codes is not None:
            assert isinstance(self.bridge, PreferringBridge)
            latents, preferences = self.bridge.both(encoded)
            return Prediction(first, latents, self.near_codes(latents, preferences, target_codes), preferences)
        bridged = self.bridge(encoded).float()
        if self.bridge.gives == "codes":
            return Prediction(first, first, bridged)
        return Prediction(first, bridged, None)


def side_by_side(audio: Tensor, context: Tensor | None) -> Tensor:
    """Input `[B, 1, N]` and context `[B, n, N]` together, `[B, 1 + n, N]`."""
    return audio if context is None else torch.cat([audio, context], dim=1)
