"""Spectral rolloff error: has the estimate too much or too little treble (Schaffer et al., 2022, section 5.1).

Both signals are mono at 16 kHz and peak-normalised first. The rolloff of a frame is the frequency below which
98 % of its spectrum lies: as in librosa, and so in MSG, 98 % of the sum of *amplitudes* (window 2048, hop 512). Frames
whose RMS is below -40 dBFS are left out. The paper's text asks this of the target; its authors' code asks it of both
signals, and so does this file, since the rolloff of a silent estimate is that of its rounding noise.
"""

import torch
from torch import Tensor
from torch.nn import functional

from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.frames import amplitude_frames, frame_blocks
from codec_ft.metrics.metric import Metric
from codec_ft.metrics.msg_signal import MSG_RATE, check_msg_pair, msg_signal, peak_normalise

METRICS: dict[str, Metric] = {
    "rolloff_error": Metric(
        "rolloff error",
        "cents",
        "zero",
        "Median over frames of the interval from the target's 98 % spectral rolloff to the estimate's: above zero is "
        "added treble, below it lost treble. 16 kHz mono, peak-normalised, frames above -40 dBFS in both "
        "(window 2048, hop 512); undefined without such frames.",
        "Schaffer et al., MSG, 2022, section 5.1",
        over_tracks="median",
    ),
    "rolloff_iqr": Metric(
        "rolloff error, IQR",
        "cents",
        "down",
        "Interquartile range over the same frames of the same intervals: how far the rolloff strays.",
        "Schaffer et al., MSG, 2022, section 5.1",
        over_tracks="median",
    ),
}
"""What this file measures."""

WINDOW, HOP_LENGTH = 2048, 512
"""Of the spectra and of the RMS level, in samples at 16 kHz: 128 and 32 ms."""

ROLLOFF_SHARE = 0.98
"""Share of a frame's summed amplitudes that lies at or below its rolloff frequency."""

ACTIVE_DB = -40.0
"""RMS level in dBFS from which a frame of a peak-normalised signal counts."""

ROLLOFF_EDGES = tuple(range(-4900, 4901, 200))
"""Edges of the histogram's 49 bins in cents: whole tones. The middle one, from -100 to 100, holds the frames whose
rolloff is right to a semitone; the outermost reach beyond four octaves and hold all that is farther."""


def rolloff_frequencies(signal: Tensor) -> Tensor:
    """Rolloff of each frame of a signal `[N]` at `MSG_RATE` in Hz, `[T]` float64 with `T = 1 + N // 512`.

    Equal to `librosa.feature.spectral_rolloff(y, sr=16000, roll_percent=0.98)`: frames are centred, with zeros beyond
    the ends, and the frequency is that of a bin. 0 Hz in silence.
    """
    signal = signal.double()
    bins = []
    for first, last in frame_blocks(signal, WINDOW, HOP_LENGTH):
        below = amplitude_frames(signal, WINDOW, HOP_LENGTH, first, last).cumsum(dim=1)
        bins.append((below < ROLLOFF_SHARE * below[:, -1:]).sum(dim=1))
    return torch.cat(bins).double() * (MSG_RATE / WINDOW)


def frame_rms(signal: Tensor) -> Tensor:
    """RMS of each frame of a signal `[N]`, `[T]` float64: `librosa.feature.rms(y)`, centred, zeros beyond the ends."""
    squares = functional.pad(signal.double().square(), (WINDOW // 2, WINDOW // 2))
    hops = squares[: len(squares) // HOP_LENGTH * HOP_LENGTH].unflatten(0, (-1, HOP_LENGTH)).sum(dim=1)
    return (hops.unfold(0, WINDOW // HOP_LENGTH, 1).sum(dim=1) / WINDOW).sqrt()


def gated_rolloff(signal: Tensor) -> Tensor:
    """Rolloff in Hz of each frame of a signal `[N]` at `MSG_RATE`, peak-normalised here: `[T]` float64.

    NaN below `ACTIVE_DB`, and where the rolloff is 0 Hz, which has no logarithm: a loud frame without a spectrum is
    possible when all of it lies where the Hann window is zero.
    """
    signal = peak_normalise(signal)
    rolloff = rolloff_frequencies(signal)
    active = frame_rms(signal) >= 10.0 ** (ACTIVE_DB / 20.0)
    return rolloff.masked_fill(~active | (rolloff == 0), torch.nan)


def cents_between(estimate: Tensor, target: Tensor) -> Tensor:
    """Interval from the target's frequencies to the estimate's, in cents; NaN where either is NaN."""
    return 1200.0 * (estimate / target).log2()


def rolloff_errors(estimate: Tensor, target: Tensor) -> Tensor:
    """Rolloff error of each frame in cents, signals `[N], [N]` at `MSG_RATE` -> `[T]` float64, `T = 1 + N // 512`.

    `1200 log2(estimate's rolloff / target's rolloff)`; NaN in frames that do not count (see `gated_rolloff`).
    Neither signal's level matters. To sum up several tracks as MSG does, concatenate their frames.

    Raises:
        ValueError: the signals are not of one length, or not finite.
    """
    check_msg_pair(estimate, target)
    return cents_between(gated_rolloff(estimate), gated_rolloff(target))


def interquartile_range(errors: Tensor) -> Tensor:
    """Interquartile range of errors `[..., T]` that are not NaN; NaN where all are. Quartiles as in NumPy."""
    quartiles = errors.nanquantile(torch.tensor([0.25, 0.75], dtype=errors.dtype, device=errors.device), dim=-1)
    return quartiles[1] - quartiles[0]


def rolloff_histogram(errors: Tensor, edges: tuple[float, ...] = ROLLOFF_EDGES) -> Tensor:
    """How many frames lie in each bin, errors `[...]` in cents -> int64 `[len(edges) - 1]` (as in MSG's figure 5).

    A bin holds its lower edge and not its upper one. Errors beyond the ends are in the outermost bins, so that the
    counts sum to the number of frames that count; NaN is left out. Counts of several tracks add up.
    """
    inner = torch.tensor(edges[1:-1], dtype=torch.float64)
    present = errors[~errors.isnan()].double().cpu()
    return torch.bincount(torch.bucketize(present, inner, right=True), minlength=len(edges) - 1)


def _errors(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """`rolloff_errors` of each item of `[B, C, N], [B, C, N]` at any rate: `[B, T]`."""
    check_audio_pair(estimate, target)
    pairs = zip(estimate, target, strict=True)
    return torch.stack(
        [rolloff_errors(msg_signal(one, sample_rate), msg_signal(other, sample_rate)) for one, other in pairs]
    )


def rolloff_error(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Median rolloff error per item in cents, `[B, C, N], [B, C, N] -> [B]` float64, at any rate (see `msg_signal`).

    NaN where no frame counts, as with a silent signal. Antisymmetric.

    Raises:
        ValueError: the shapes differ or a sample is NaN or infinite.
    """
    return _errors(estimate, target, sample_rate).nanquantile(0.5, dim=1)


def rolloff_iqr(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Interquartile range of the rolloff errors per item in cents, `[B, C, N], [B, C, N] -> [B]` float64.

    NaN where no frame counts. Symmetric.

    Raises:
        ValueError: the shapes differ or a sample is NaN or infinite.
    """
    return interquartile_range(_errors(estimate, target, sample_rate))
