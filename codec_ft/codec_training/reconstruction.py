"""The terms by which a codec's output is compared with its input, by the names that a configuration gives them."""

from collections.abc import Callable

from torch import Tensor

from codec_ft.codec_training.losses import log_noise_to_signal
from codec_ft.codec_training.spectral_losses import mel_l1, mel_l1_l2, waveform_l1
from codec_ft.metrics.spectral import log_mel_distance

RECONSTRUCTION: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "waveform_l1": lambda estimate, target, sample_rate: waveform_l1(estimate, target),
    "noise_to_signal": lambda estimate, target, sample_rate: log_noise_to_signal(estimate, target),
    "log_mel": log_mel_distance,
    "mel_l1": mel_l1,
    "mel_l1_l2": mel_l1_l2,
}
"""`(estimate [B, 1, N], target [B, 1, N], sample rate in Hz) -> [B]`; lower is better."""
