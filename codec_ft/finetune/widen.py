"""An encoder of one input made one of several, heard side by side."""

import torch
from torch import nn
from torch.nn.utils import parametrize


def widen_encoder(encoder: nn.Module, channels: int) -> None:
    """Let an encoder of audio `[B, 1, N]` hear `[B, channels, N]`, in place.

    The first convolution gets weights of zero for the new channels: until they have learnt something, the encoder does
    what it did.

    Raises:
        ValueError: the encoder has no convolution, or its first one hears more than one channel already.
    """
    first = next((module for module in encoder.modules() if isinstance(module, nn.Conv1d)), None)
    if first is None or first.in_channels != 1:
        heard = "no convolution" if first is None else f"{first.in_channels} channels in its first convolution"
        raise ValueError(f"expected an encoder of one channel, got one with {heard}")
    # Weight norm keeps length and direction apart; zeros added to a direction leave its length as it is.
    normed = parametrize.is_parametrized(first, "weight")
    owner, name = (first.parametrizations.weight, "original1") if normed else (first, "weight")  # type: ignore[union-attr]
    setattr(owner, name, _with_zeros(getattr(owner, name), channels))
    first.in_channels = channels


def _with_zeros(weight: nn.Parameter, channels: int) -> nn.Parameter:
    """Weights `[out, 1, k]` as `[out, channels, k]`."""
    zeros = torch.zeros_like(weight).expand(-1, channels - 1, -1)
    return nn.Parameter(torch.cat([weight.detach(), zeros], dim=1))
