"""What all bridges have in common: latents come in, latents or log-probabilities of codes come out."""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import outside_autocast
from codec_ft.finetune.bridges.windows import in_windows


class CodeHead(nn.Module):
    """Features `[B, T, W]` to log-probabilities of codes `[B, K', V, T]`: a linear layer, normalised over V.

    They are in float32 whatever the layer ran in, since a difference of two large logits is what counts.
    """

    def __init__(self, width: int, n_codebooks: int, codebook_size: int) -> None:
        super().__init__()
        self.n_codebooks = n_codebooks
        self.linear = nn.Linear(width, n_codebooks * codebook_size)

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return torch.log_softmax(self.scores(features), dim=2, dtype=torch.float32)

    def scores(self, features: Tensor) -> Tensor:
        """The same before they are normalised."""
        return self.linear(features).unflatten(-1, (self.n_codebooks, -1)).permute(0, 2, 3, 1)


class Bridge(nn.Module, ABC):
    """What stands between the encoder and the quantiser (thesis, section 6.2.1, figure 14, grey).

    A kind of bridge says what it makes of the latents, `features`; a linear head turns that into what it gives.

    Args:
        latent_dim: D of the codec.
        width: W of the features.
        codes: K', the first so many codebooks, and V, the size of each, of a bridge that gives codes; None for one
            that gives latents.
        inputs: n, inputs whose latents it is given, one below the other.
        window: frames that it hears at once; longer inputs are cut (see `in_windows`). None for all of them.

    Attributes:
        gives: latents, codes, or both (see `PreferringBridge`).
        n_codebooks: K', None if it gives latents alone.
        causal: whether frames after a frame say nothing about it.
    """

    causal = False

    def __init__(
        self, latent_dim: int, width: int, codes: tuple[int, int] | None, *, inputs: int = 1, window: int | None = None
    ) -> None:
        super().__init__()
        if window is not None and window < 1:
            raise ValueError(f"a window has one frame or more, not {window}")
        self.latent_dim = latent_dim
        self.heard_dim = inputs * latent_dim
        self.window = window
        self.gives: Literal["latents", "codes", "both"] = "codes" if codes else "latents"
        self.n_codebooks = codes[0] if codes else None
        self.head = CodeHead(width, *codes) if codes else nn.Linear(width, latent_dim)

    @abstractmethod
    def features(self, frames: Tensor) -> Tensor:
        """Latents as frames, `[B, T, n * D]`, to what the head reads, `[B, T, W]`."""

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, n * D, T]` to latents `[B, D, T]`, or to log-probabilities of codes `[B, K', V, T]`; in float32.

        The log-probabilities mean what those of `Codec.logits` do.

        Raises:
            ValueError: the latents have another shape.
        """
        features = self.windowed_features(latents)
        return self.head(features) if self.gives == "codes" else self.latents_of(features)

    def windowed_features(self, latents: Tensor) -> Tensor:
        """Latents `[B, n * D, T]` to what the heads read, `[B, T, W]`, a window at a time.

        Raises:
            ValueError: the latents have another shape.
        """
        if latents.dim() != 3 or latents.shape[1] != self.heard_dim or latents.numel() == 0:
            raise ValueError(f"expected latents [B, {self.heard_dim}, T] with B, T > 0, got {list(latents.shape)}")
        return in_windows(self.features, latents.transpose(1, 2), self.window, causal=self.causal)

    def latents_of(self, features: Tensor) -> Tensor:
        """What the head to latents makes of features `[B, T, W]`: `[B, D, T]`."""
        # Rounding latents to bfloat16 would change one code in a hundred (of the demo codec, bass).
        with outside_autocast(features):
            return self.head(features.float()).transpose(1, 2)
