"""Multi-resolution STFT distance: how far apart two amplitude spectrograms are, in energy and in logarithms.

The form is that of auraloss' `MultiResolutionSTFTLoss` (Steinmetz and Reiss, 2020; Yamamoto et al., 2020). The
windows are the three longest of the log-mel distance, hopping by a quarter, with its Hann amplitudes and its
floor, so that both can be computed from the same spectrograms; auraloss' own defaults are FFTs of 1024, 2048 and
512 samples with windows of 600, 1200 and 240, and its numbers differ a little.
"""

import torch
from torch import Tensor

from codec_ft.metrics.checks import check_same_audio_shape
from codec_ft.metrics.metric import Metric
from codec_ft.metrics.spectral import AMPLITUDE_FLOOR, amplitude_spectrogram

METRICS: dict[str, Metric] = {
    "stft_distance": Metric(
        "STFT distance",
        "",
        "down",
        "Spectral convergence plus log-magnitude distance (both below).",
        "Yamamoto et al., 2020; auraloss",
    ),
    "spectral_convergence": Metric(
        "spectral convergence",
        "",
        "down",
        "Norm of the difference of the amplitude spectrograms over the norm of the target's, averaged over windows of "
        "2048, 1024 and 512 samples. A target below -60 dBFS RMS counts as that loud.",
        "Arik et al., 2018; auraloss",
    ),
    "log_magnitude_distance": Metric(
        "log-magnitude distance",
        "Np",
        "down",
        "Mean absolute difference of the natural logarithms of the amplitudes, averaged over windows of 2048, 1024 "
        "and 512 samples; 1 Np is 8.7 dB. Floor at -80 dB.",
        "Arik et al., 2018; auraloss",
    ),
}
"""What this file measures."""

STFT_WINDOWS = (2048, 1024, 512)
"""Window lengths in samples; each hops by a quarter of itself."""

TARGET_FLOOR_DB = -60.0
"""RMS level in dBFS up to which the target's norm is lifted in the spectral convergence. An estimate that is heard
where the target is silent then scores its level above this: 100 at -20 dBFS, 1 at -60 dBFS. Without it the
convergence would divide by the rounding noise of silence."""

POWER_OF_UNIT_RMS = 3.0
"""Sum over a frame's frequencies of the squared amplitudes of a signal with an RMS level of 1, at any window length.

Parseval's theorem with a Hann window that is scaled for sines: `n_fft / 2 * sum(w^2) / (sum(w) / 2)^2 = 3`, and the
frames on average see the signal's own power. Exact on average, but for what lies at 0 Hz and the Nyquist frequency.
"""


def convergence(difference_energy: Tensor, target_energy: Tensor, frames: int) -> Tensor:
    """Spectral convergence from energies: the root of their ratio, the target's lifted to `TARGET_FLOOR_DB`.

    Args:
        difference_energy: squared differences of the amplitudes, summed over all frequencies and frames.
        target_energy: the target's squared amplitudes, summed over the same.
        frames: in how many frames, those of all channels counted.
    """
    floor = POWER_OF_UNIT_RMS * frames * 10.0 ** (TARGET_FLOOR_DB / 10.0)
    return (difference_energy / target_energy.clamp(min=floor)).sqrt()


def log_amplitude(amplitudes: Tensor) -> Tensor:
    """Natural logarithms of amplitudes, those below `AMPLITUDE_FLOOR` lifted to it."""
    return amplitudes.clamp(min=AMPLITUDE_FLOOR).log()


def spectral_convergence(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Spectral convergence per item, `[B, C, N], [B, C, N] -> [B]`; the sample rate does not matter.

    For each window `|| |T| - |E| || / || |T| ||` with norms over channels, frequencies and frames, then the mean over
    windows (Arik et al., 2018). 1 for a silent estimate. Not symmetric. A silent target counts as `TARGET_FLOOR_DB`.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    check_same_audio_shape(estimate, target)
    per_window = []
    for n_fft in STFT_WINDOWS:
        reference = amplitude_spectrogram(target, n_fft, n_fft // 4)
        difference = reference - amplitude_spectrogram(estimate, n_fft, n_fft // 4)
        difference_energy, target_energy = (part.square().sum(dim=(1, 2, 3)) for part in (difference, reference))
        per_window.append(convergence(difference_energy, target_energy, reference.shape[1] * reference.shape[3]))
    return torch.stack(per_window).mean(dim=0)


def log_magnitude_distance(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean absolute log difference per item in nepers, `[B, C, N], [B, C, N] -> [B]`; the rate does not matter.

    For each window the mean over channels, frequencies and frames of `|ln |T| - ln |E||`, amplitudes floored at
    `AMPLITUDE_FLOOR`; then the mean over windows (Arik et al., 2018). Symmetric; at most 9.2 between silence and a
    full-scale sine at every frequency.

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    check_same_audio_shape(estimate, target)
    per_window = []
    for n_fft in STFT_WINDOWS:
        logs = [log_amplitude(amplitude_spectrogram(audio, n_fft, n_fft // 4)) for audio in (estimate, target)]
        per_window.append((logs[0] - logs[1]).abs().mean(dim=(1, 2, 3)))
    return torch.stack(per_window).mean(dim=0)


def stft_distance(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Multi-resolution STFT distance per item, `[B, C, N], [B, C, N] -> [B]`.

    `spectral_convergence` plus `log_magnitude_distance` with equal weights (Yamamoto et al., 2020).

    Raises:
        ValueError: the shapes differ; the message names both.
    """
    return spectral_convergence(estimate, target, sample_rate) + log_magnitude_distance(estimate, target, sample_rate)
