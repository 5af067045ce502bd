"""The dense bridge: a small classifier of single frames (thesis, section 6.2.1, variant 2; experiments N1 and N2)."""

from torch import Tensor, nn

from codec_ft.finetune.bridges.base import Bridge


class DenseBridge(Bridge):
    """Latents to codes, frame by frame: linear D -> hidden, ReLU, linear hidden -> K' * V.

    Args:
        latent_dim: D of the codec (thesis: 128).
        codes: K' and V (thesis: 32 and 1024).
        hidden: width in between (thesis: 256).
        inputs: see `Bridge`.
    """

    causal = True

    def __init__(self, latent_dim: int, codes: tuple[int, int], hidden: int = 256, inputs: int = 1) -> None:
        super().__init__(latent_dim, hidden, codes, inputs=inputs)
        self.linear = nn.Linear(self.heard_dim, hidden)

    def features(self, frames: Tensor) -> Tensor:
        """See `Bridge.features`."""
        return self.linear(frames).relu()
