"""A bridge that gives latents, and says which of the codes near them it would rather have."""

from typing import Any

from torch import Tensor, nn

from codec_ft.finetune.bridges.base import CodeHead
from codec_ft.finetune.bridges.rotary import RotaryBridge


class PreferringBridge(RotaryBridge):
    """The rotary bridge to latents with a second head: what speaks for each code beside its nearness to the latents.

    A regression gives the mean of all that is possible, which need not be near any code that is; a classifier of frames
    has to learn from nothing what the codec knows. So nearness and preference are added up (see
    `codec_ft.finetune.near_codes`). Both heads start at zero: at first the nearest codes of the input are taken.

    Args:
        latent_dim: D of the codec.
        codes: K', the first so many codebooks, and V.
        width: of the layers.
        options: the others of `RotaryBridge`.
    """

    def __init__(self, latent_dim: int, codes: tuple[int, int], *, width: int, **options: Any) -> None:
        super().__init__(latent_dim, None, width=width, **options)
        self.gives = "both"
        self.n_codebooks = codes[0]
        self.preference = CodeHead(width, *codes)
        nn.init.zeros_(self.preference.linear.weight)
        nn.init.zeros_(self.preference.linear.bias)

    def both(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents `[B, n * D, T]` to latents `[B, D, T]` and preferences, in nats, `[B, K', V, T]`.

        Raises:
            ValueError: the latents have another shape.
        """
        features = self.windowed_features(latents)
        return latents[:, : self.latent_dim] + self.latents_of(features), self.preference.scores(features).float()
