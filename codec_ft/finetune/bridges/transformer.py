"""The thesis' transformer bridge (section 6.2.1, variant 3; experiments N7, N8 and M3)."""

from torch import Tensor, nn
from torch.nn import functional as F

from codec_ft.finetune.bridges.base import Bridge
from codec_ft.finetune.bridges.positions import sinusoids


class CausalLayer(nn.TransformerEncoderLayer):
    """torch's encoder layer, post-norm with ReLU, in which no frame attends to a later one: `[B, T, W] -> [B, T, W]`.

    Its weights, names and values are torch's. Only the attention is called otherwise: torch's own asks for a mask of
    `[T, T]` even where it is told that it is causal, and computes with it if there are no gradients. One minute at 100
    frames per second takes it 1.1 GB, and four minutes sixteen times as much; here memory grows with T alone, on
    CPUs unless attention weights are dropped, as in training.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__(width, heads, feedforward, dropout, batch_first=True)

    def forward(self, src: Tensor) -> Tensor:  # type: ignore[override]
        """See the class."""
        frames = self.norm1(src + self.dropout1(self._attended(src)))
        widened = self.dropout(self.linear1(frames).relu())
        return self.norm2(frames + self.dropout2(self.linear2(widened)))

    def _attended(self, frames: Tensor) -> Tensor:
        attention = self.self_attn
        mixed = F.linear(frames, attention.in_proj_weight, attention.in_proj_bias)
        # [B, T, 3 * W] -> three times [B, heads, T, W / heads]
        queries, keys, values = mixed.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = attention.dropout if self.training else 0.0
        heard = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=True)
        return attention.out_proj(heard.transpose(1, 2).flatten(2))


class TransformerBridge(Bridge):
    """Latents with sinusoidal positions added, through causal encoder layers, to latents or codes.

    The thesis names no more than positions, three layers, four heads and 128 dimensions; all else is as in Vaswani et
    al. (2017) and in torch: normalised after each sub-layer, feed-forward layers with ReLU and four times as wide,
    dropout in the layers. It adds nothing to its input but positions, so a bridge to latents has to learn first what
    they were: see `RotaryBridge` for one that starts from them.

    Args:
        latent_dim: D of the codec (thesis: 128).
        codes: K' and V, or None for latents.
        width: of the layers; if it is not n * D, linear layers lead in (and, in any case, out).
        layers: thesis: 3.
        heads: a divisor of the width (thesis: 4).
        feedforward: width of the feed-forward layers, in widths.
        dropout: share of what is dropped in training.
        inputs: see `Bridge`.
        window: see `Bridge`.
    """

    causal = True

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
        inputs: int = 1,
        window: int | None = None,
    ) -> None:
        super().__init__(latent_dim, width, codes, inputs=inputs, window=window)
        self.width = width
        self.lead_in = nn.Identity() if width == self.heard_dim else nn.Linear(self.heard_dim, width)
        self.layers = nn.Sequential(*(CausalLayer(width, heads, feedforward * width, dropout) for _ in range(layers)))

    def features(self, frames: Tensor) -> Tensor:
        """See `Bridge.features`."""
        return self.layers(self.lead_in(frames) + sinusoids(frames.shape[1], self.width, frames.device))
