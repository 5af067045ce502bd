"""The parts of a condition together."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec_ft.codecs.residual import ResidualCodec
from token_models.conditioning.heard import Heard
from token_models.conditioning.parts import LatentsPart, SpectrogramPart
from token_models.config import ConditionConfig
from token_models.embedding import CodeEmbedding, codec_tables


@dataclass(frozen=True)
class Shown:
    """What a model is shown of an input.

    Attributes:
        features: of the grid's frames, `[B, T, W]`.
        start: latents at which a guess of the stem's begins, `[B, D, T]`: those of an enhancer, of the first input, or
            of its codes; None where nothing of that kind is heard.
        preferred: what the enhancer says for codes, `[B, K', V, T]`; None where it says nothing.
        codes: of the input, `[B, K, T]`, -1 where an item goes without; None where they are not shown.
    """

    features: Tensor
    start: Tensor | None
    preferred: Tensor | None = None
    codes: Tensor | None = None


class Condition(nn.Module):
    """What is heard, `Heard`, as `Shown`: the sum of what its parts make of it.

    In training an item goes without at random, and gets a learnt vector in each frame instead, so that the same model
    knows how likely codes are if nothing is heard (classifier-free guidance; Ho and Salimans, 2022).

    Args:
        codec: the frozen codec.
        config: which parts.
        inputs: how many are heard, the first and its context.
        width: W.
    """

    def __init__(self, codec: ResidualCodec, config: ConditionConfig, inputs: int, width: int) -> None:
        super().__init__()
        self._frozen = (codec,)
        self.drop = config.drop
        # Without a share that goes without, it would learn nothing, and no gradient would reach it.
        self.nothing = nn.Parameter(torch.zeros(width)) if config.drop else None
        self.norm = nn.LayerNorm(width)
        tables = codec_tables(codec, codec.n_codebooks, unit=True)
        self.tokens = CodeEmbedding(width, tables, maskable=False) if config.tokens else None
        self.latents = LatentsPart(inputs * codec.latent_dim, width, config.kernel) if config.latents else None
        self.enhanced = LatentsPart(codec.latent_dim, width, config.kernel) if config.enhanced else None
        self.spectrogram = (
            SpectrogramPart(inputs, codec.hop_length, width, config.fft_size) if config.spectrogram else None
        )

    def forward(self, heard: Heard) -> Shown:
        """See the class.

        Raises:
            ValueError: something that a part reads was not heard.
        """
        features = torch.zeros((), device=self.norm.weight.device)
        if self.tokens is not None:
            features = features + self.tokens(_there(heard.codes, "codes"))
        if self.latents is not None:
            features = features + self.latents(_there(heard.latents, "latents"))
        if self.enhanced is not None:
            features = features + self.enhanced(_there(heard.enhanced, "enhanced latents"))
        if self.spectrogram is not None:
            features = features + self.spectrogram(_there(heard.audio, "audio"))
        shown = Shown(
            self.norm(features),
            self._start(heard),
            heard.preferred if self.enhanced is not None else None,
            heard.codes if self.tokens is not None else None,
        )
        if not self.training or self.nothing is None:
            return shown
        dropped = torch.rand(len(features), 1, 1, device=features.device) < self.drop
        return Shown(
            torch.where(dropped, self.nothing, shown.features),
            None if shown.start is None else shown.start.masked_fill(dropped, 0.0),
            None if shown.preferred is None else shown.preferred.masked_fill(dropped[..., None], 0.0),
            None if shown.codes is None else shown.codes.masked_fill(dropped, -1),
        )

    def _start(self, heard: Heard) -> Tensor | None:
        codec = self._frozen[0]
        if self.enhanced is not None:
            return heard.enhanced
        if self.latents is not None:
            return _there(heard.latents, "latents")[:, : codec.latent_dim]
        return None if self.tokens is None else codec.codes_to_latents(_there(heard.codes, "codes"))

    def without(self, items: int, n_frames: int) -> Shown:
        """What stands for hearing nothing; there must have been a share of items that went without."""
        if self.nothing is None:
            raise ValueError("the model has always been shown its input: drop is 0")
        return Shown(self.nothing.expand(items, n_frames, -1), None)


def _there(value: Tensor | None, what: str) -> Tensor:
    if value is None:
        raise ValueError(f"the model is conditioned on {what} of its input, which are not given")
    return value
