"""The bridge that a configuration describes."""

from typing import Any

from codec_ft.codecs.base import Codec
from codec_ft.errors import UserError
from codec_ft.finetune.bridges.base import Bridge
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.finetune.bridges.dense import DenseBridge
from codec_ft.finetune.bridges.preferring import PreferringBridge
from codec_ft.finetune.bridges.rotary import NARROWEST_HEAD, RotaryBridge
from codec_ft.finetune.bridges.transformer import TransformerBridge

TRANSFORMERS = {"transformer": TransformerBridge, "rotary": RotaryBridge}


def make_bridge(config: BridgeConfig, codec: Codec, *, inputs: int = 1, window: int | None = None) -> Bridge | None:
    """A bridge with random weights for the latents and codes of `codec`; None for the kind "none".

    Args:
        config: its kind and sizes.
        codec: says how large latents and codebooks are.
        inputs: how many have their latents given to it.
        window: frames that a transformer hears at once, as many as it is trained on: what is longer is cut. None for
            all of them.

    Raises:
        UserError: the bridge does not fit the codec.
    """
    if config.kind == "none":
        return None
    codes = (_codebooks(config, codec), codec.codebook_size) if config.gives != "latents" else None
    if config.kind == "dense":
        assert codes is not None  # the configuration sees to it
        return DenseBridge(codec.latent_dim, codes, config.hidden, inputs)
    sizes: Any = {
        "width": _width(config, codec),
        "layers": config.layers,
        "heads": config.heads,
        "feedforward": config.feedforward,
        "dropout": config.dropout,
        "inputs": inputs,
        "window": window,
    }
    if config.kind == "rotary":
        sizes["kernel"] = config.kernel
    if config.gives == "both":
        assert codes is not None
        return PreferringBridge(codec.latent_dim, codes, **sizes)
    return TRANSFORMERS[config.kind](codec.latent_dim, codes, **sizes)


def _codebooks(config: BridgeConfig, codec: Codec) -> int:
    """K' of a bridge that gives codes."""
    if config.codebooks is not None and config.codebooks > codec.n_codebooks:
        raise UserError(
            f"bridge.codebooks={config.codebooks}: {codec.name} has {codec.n_codebooks} codebooks. Take as many or "
            "fewer, or leave it out for all."
        )
    return config.codebooks or codec.n_codebooks


def _width(config: BridgeConfig, codec: Codec) -> int:
    """The width of a transformer's layers, which its heads share out."""
    width = config.dim or codec.latent_dim
    if width % config.heads:
        raise UserError(
            f"bridge.heads={config.heads}: does not divide the {width} channels of {codec.name}'s latents. Take a "
            "divisor, or set bridge.dim to a multiple of it."
        )
    if config.kind == "rotary" and width // config.heads < NARROWEST_HEAD:
        raise UserError(
            f"bridge.heads={config.heads}: leaves {width // config.heads} of {width} channels to a head, and rotary "
            f"positions need {NARROWEST_HEAD}. Take fewer heads, or set bridge.dim to "
            f"{NARROWEST_HEAD * config.heads} or more."
        )
    return width
