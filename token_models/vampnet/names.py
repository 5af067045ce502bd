"""The linear layers of VampNet's transformer: what they are called there, and in a `TokenModel`."""

from collections.abc import Iterator
from dataclasses import dataclass

FEEDFORWARD = 4
"""Channels of a feed-forward layer before its gate, in widths; the gate halves them."""


@dataclass(frozen=True)
class Linear:
    """One linear layer, without a bias.

    Attributes:
        theirs: its name in VampNet.
        ours: its name in a `TokenModel`.
        n_in: channels that it reads.
        n_out: channels that it gives.
        adapted: whether it has a low-rank adapter; in VampNet all have but the keys.
    """

    theirs: str
    ours: str
    n_in: int
    n_out: int
    adapted: bool = True


def linear_layers(n_layers: int, width: int) -> Iterator[Linear]:
    """All linear layers of a transformer of so many layers; here a layer is two, attention and feed-forward."""
    for i in range(n_layers):
        theirs, attention, feedforward = f"transformer.layers.{i}", our_attention(i), our_feedforward(i)
        yield Linear(f"{theirs}.self_attn.w_qs", f"{attention}.1.to_q", width, width)
        yield Linear(f"{theirs}.self_attn.w_ks", f"{attention}.1.to_k", width, width, adapted=False)
        yield Linear(f"{theirs}.self_attn.w_vs", f"{attention}.1.to_v", width, width)
        yield Linear(f"{theirs}.self_attn.fc", f"{attention}.1.to_out", width, width)
        yield Linear(f"{theirs}.feed_forward.w_1", f"{feedforward}.1.ff.0.proj", width, FEEDFORWARD * width)
        yield Linear(f"{theirs}.feed_forward.w_2", f"{feedforward}.1.ff.2", FEEDFORWARD * width // 2, width)


def our_attention(i: int) -> str:
    """The attention of layer `i` in a `TokenModel`: its norm is `.0.0`, itself `.1`."""
    return f"layers.layers.{2 * i}"


def our_feedforward(i: int) -> str:
    """The feed-forward part of layer `i` in a `TokenModel`: its norm is `.0.0`, itself `.1`."""
    return f"layers.layers.{2 * i + 1}"
