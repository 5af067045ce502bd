"""A present-day transformer as a bridge: it looks both ways, and starts as if it were not there."""

from torch import Tensor, nn

from codec_ft.finetune.bridges.base import Bridge

NARROWEST_HEAD = 4
"""Channels of a head that rotary positions need at least, or they would all turn at one speed."""


class RotaryBridge(Bridge):
    """Latents to latents or codes by a bidirectional transformer.

    Rotary positions (Su et al., 2021) turn queries and keys by their place, so that attention depends on distances
    between frames alone; norms come before each sub-layer and are RMSNorm (Zhang and Sennrich, 2019), feed-forward
    layers are gated (GEGLU; Shazeer, 2020). Dropout is that of the sub-layers' outputs: that of attention weights has
    no kernel on CPUs that does without a grid of `[T, T]`.

    To latents it gives those of its first input plus a correction, whose last layer starts at zero: an untrained bridge
    changes nothing, and a trained encoder behind which it is put loses nothing.

    Args:
        latent_dim: D of the codec.
        codes: K' and V, or None for latents.
        width: of the layers; linear layers lead in and out.
        layers: each of attention and a feed-forward layer.
        heads: a divisor of the width, which leaves `NARROWEST_HEAD` channels or more to each.
        feedforward: width of the feed-forward layers, in widths.
        dropout: share of what is dropped in training.
        kernel: frames that the layer leading in looks at, an odd number.
        inputs: see `Bridge`.
        window: see `Bridge`.
    """

    def __init__(
        self,
        latent_dim: int,
        codes: tuple[int, int] | None,
        *,
        width: int,
        layers: int = 3,
        heads: int = 4,
        feedforward: int = 4,
        dropout: float = 0.1,
        kernel: int = 1,
        inputs: int = 1,
        window: int | None = None,
    ) -> None:
        super().__init__(latent_dim, width, codes, inputs=inputs, window=window)
        from x_transformers import Encoder  # two seconds that nothing else should wait for

        head = width // heads
        self.lead_in: nn.Linear | nn.Conv1d = nn.Linear(self.heard_dim, width)
        if kernel > 1:
            self.lead_in = nn.Conv1d(self.heard_dim, width, kernel, padding=kernel // 2)
        self.layers = Encoder(
            dim=width,
            depth=layers,
            heads=heads,
            attn_dim_head=head,
            attn_flash=True,
            attn_sublayer_dropout=dropout,
            rotary_pos_emb=True,
            rotary_emb_dim=head - head % 2,  # channels turn in pairs
            use_rmsnorm=True,
            ff_glu=True,
            ff_mult=feedforward,
            ff_sublayer_dropout=dropout,
            verbose=False,
        )
        if isinstance(self.head, nn.Linear):
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def features(self, frames: Tensor) -> Tensor:
        """See `Bridge.features`."""
        if isinstance(self.lead_in, nn.Conv1d):
            return self.layers(self.lead_in(frames.transpose(1, 2)).transpose(1, 2))
        return self.layers(self.lead_in(frames))

    def forward(self, latents: Tensor) -> Tensor:
        """See `Bridge.forward`."""
        found = super().forward(latents)
        return found if self.gives == "codes" else latents[:, : self.latent_dim] + found
