"""The table of metrics, from all families; and all audio metrics of a pair at once."""

from torch import Tensor

from codec_ft.metrics import (
    bss,
    external,
    frechet,
    loudness,
    onsets,
    rolloff,
    spectral,
    stft_distance,
    timbre,
    tokens,
    waveform,
)
from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.metric import Metric
from codec_ft.metrics.spectral import log_mel_distance, log_spectral_distance
from codec_ft.metrics.waveform import sdr_med, si_sdr, usdr

FAMILIES = (waveform, bss, spectral, stft_distance, timbre, loudness, rolloff, onsets, external, frechet, tokens)

METRICS: dict[str, Metric] = {name: metric for family in FAMILIES for name, metric in family.METRICS.items()}
"""Every metric by its name, in the order in which tables show them."""


def waveform_metrics(estimate: Tensor, target: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """The audio metrics that training watches, `estimate` against `target [B, C, N]`: name in `METRICS` -> `[B]`.

    Raises:
        ValueError: the shapes differ or a sample is NaN or infinite.
    """
    check_audio_pair(estimate, target)
    return {
        "si_sdr": si_sdr(estimate, target),
        "usdr": usdr(estimate, target),
        "sdr_med": sdr_med(estimate, target, sample_rate),
        "log_mel_distance": log_mel_distance(estimate, target, sample_rate),
        "log_spectral_distance": log_spectral_distance(estimate, target),
    }
