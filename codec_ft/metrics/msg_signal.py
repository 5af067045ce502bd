"""The signal that the measures of Make-it-Sound-Good (MSG) take: mono, 16 kHz, peak-normalised.

Schaffer et al., 2022 ("Music separation enhancement with generative modeling"), sections 5.1 and 5.2.
"""

import torch
from torch import Tensor

from codec_ft.audio.resample import resample

MSG_RATE = 16000
"""Sample rate in Hz at which MSG works and is evaluated."""


def msg_signal(audio: Tensor, sample_rate: int) -> Tensor:
    """Audio `[C, N]` at any rate -> the mean of its channels at `MSG_RATE`, float32 `[N']`."""
    mono = audio.float().mean(dim=0, keepdim=True)
    return torch.from_numpy(resample(mono.cpu().numpy(), sample_rate, MSG_RATE))[0]


def peak_normalise(signal: Tensor) -> Tensor:
    """`[N]` scaled so that its largest magnitude is 1, in float64; silence stays silence.

    The measures have absolute thresholds, and separators and codecs change levels: without this step it would be
    the level that decides which frames count.
    """
    signal = signal.double()
    peak = signal.abs().max()
    return signal / torch.where(peak > 0, peak, 1.0)


def check_msg_pair(estimate: Tensor, target: Tensor) -> None:
    """Refuse a pair that is not two finite signals `[N]` of one length, at least one sample long.

    Raises:
        ValueError: names the shapes, or which of the two is not finite.
    """
    if estimate.shape != target.shape or estimate.ndim != 1 or estimate.numel() == 0:
        raise ValueError(
            f"estimate and target must both be mono signals [N] of one length at {MSG_RATE} Hz and not empty: "
            f"estimate is {list(estimate.shape)}, target is {list(target.shape)}"
        )
    for name, signal in (("estimate", estimate), ("target", target)):
        if not signal.isfinite().all():
            raise ValueError(f"{name} holds {int((~signal.isfinite()).sum())} NaN or infinite samples")
