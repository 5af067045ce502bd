"""Losses between a codec's output and its input."""

from torch import Tensor


def log_noise_to_signal(estimate: Tensor, target: Tensor, *, best: float = 0.01, silence: float = 1e-5) -> Tensor:
    """Log10 of the error's energy over the target's, `[B, C, N], [B, C, N] -> [B]`.

    -1 is a signal-to-noise ratio of 10 dB. As a loss it asks for the same relative improvement of quiet and loud
    excerpts, of bad and good ones, where a plain squared error would soon care for the worst only.

    Args:
        estimate: what came out.
        target: what should have.
        best: ratio (20 dB) around which improvement stops to pay.
        silence: mean square (-50 dB) below which a target counts as silent; keeps the ratio finite.
    """
    error = (estimate - target).pow(2).mean(dim=(1, 2))
    ratio = error / target.pow(2).mean(dim=(1, 2)).clamp(min=silence)
    return (ratio + best).log10()
