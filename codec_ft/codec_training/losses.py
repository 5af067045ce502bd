"""Losses between a codec's output and its input."""

from torch import Tensor


def waveform_l1(estimate: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of samples, `[B, C, N], [B, C, N] -> [B]`."""
    return (estimate - target).abs().mean(dim=(1, 2))


def relative_mse(estimate: Tensor, target: Tensor, floor: float = 1e-5) -> Tensor:
    """Energy of the error over the energy of the target, `[B, C, N], [B, C, N] -> [B]`.

    It is the inverse of the signal-to-noise ratio, so that quiet excerpts count as much as loud ones. `floor` is
    the mean square below which a target counts as silent (-50 dB), and keeps the ratio finite.
    """
    error = (estimate - target).pow(2).mean(dim=(1, 2))
    return error / target.pow(2).mean(dim=(1, 2)).clamp(min=floor)
