"""BSSEval v4 in full: ISR, SIR and SAR beside the SDR, with the numbers of museval in a fraction of its time.

An estimate is taken apart by two orthogonal projections (Vincent et al., 2012; Stöter et al., 2018): onto its own
target, every channel of it delayed by 0 to 511 samples, and onto all targets of the track, delayed likewise. With `s`
the target, `P_own` and `P_all` the projections of the estimate `e`, all of one second,

    ISR = |s|^2 / |P_own - s|^2            what filtering the target would explain: level, equaliser, echo, panorama
    SIR = |P_own|^2 / |P_all - P_own|^2    the other stems that can be heard in it
    SAR = |P_all|^2 / |e - P_all|^2        all that is in none of the stems

The filters of the projections are fitted once, to the whole track; the energies are those of every second. Three things
make it fast. The correlations that the filters follow from are needed at 512 delays only, so short Fourier transforms
give them. Their matrix depends on the targets alone and is factorised once, for all stems and all systems. And energies
are the same on either side of a Fourier transform (Parseval), so no second is ever transformed back.

The numbers are those of museval to 1e-9 dB where the targets fill the spectrum. Where a part of it is all but empty (a
low-pass 100 dB deep) the fit is ill-conditioned: there the two differ by up to some 1e-3 dB, and are equally far from
the exact least squares.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.metric import Metric
from codec_ft.metrics.waveform import CEILING_DB, track_sdr_frames

_FRAMES = (
    "BSSEval v4 as in museval: 512-tap projections fitted to the whole track, frames of one second, median over "
    "frames, then over tracks. Frames in which any stem is silent are left out; undefined for a stem that is silent "
    "throughout. Within ±100 dB."
)
_SOURCE = "Vincent et al., 2012; Stöter et al., SiSEC 2018"

METRICS: dict[str, Metric] = {
    "isr_med": Metric(
        "ISR-med",
        "dB",
        "up",
        f"Ratio of target to what filtering the target explains of the error: level, equalisation, panorama. {_FRAMES}",
        _SOURCE,
        over_tracks="median",
    ),
    "sir_med": Metric(
        "SIR-med",
        "dB",
        "up",
        f"Ratio of the (filtered) target to the other stems that can be heard in the estimate. {_FRAMES}",
        _SOURCE,
        over_tracks="median",
    ),
    "sar_med": Metric(
        "SAR-med",
        "dB",
        "up",
        f"Ratio of the (filtered) stems in the estimate to what comes from none of them. {_FRAMES}",
        _SOURCE,
        over_tracks="median",
    ),
}
"""What this file measures; each is `codec_ft.metrics.waveform.median_over_frames` of a field of `BssFrames`."""

TAPS = 512
"""Length of the projections' filters in samples, at every sample rate; museval's."""

Array = NDArray[np.float64]

# Samples of one transform when correlating: long beside the 512 delays, short enough for the processor's cache.
_BLOCK = 8192


@dataclass(frozen=True)
class BssFrames:
    """BSSEval v4 of every second of a track, in dB; every field is `[S, frames]` in float64.

    NaN where museval gives NaN and for stems that are silent throughout (`waveform.track_sdr_frames`), in the same
    places in all four. Nothing is infinite: beyond +-`CEILING_DB` a ratio is given as that. Of a perfect estimate
    museval says infinity or what its rounding leaves, some 200 dB.
    """

    sdr: Tensor
    isr: Tensor
    sir: Tensor
    sar: Tensor


class BssReferences:
    """The true stems of a track, prepared for the evaluation of any number of systems.

    The preparation (a Cholesky factorisation of order `S * C * 512`, 134 MB and a second or two for four stereo stems)
    depends on the targets alone; `evaluate` is then cheap. Targets and estimates stay in the precision in which they
    come; float64 are only the blocks and seconds at work.
    """

    def __init__(self, targets: Tensor, sample_rate: int, taps: int = TAPS) -> None:
        """Prepare `targets [S, C, N]`; `taps` is the length of the filters in samples.

        A stem or channel that is silent, or that others add up to (a mono stem in stereo, the same stem twice, an
        accompaniment beside its parts), takes nothing away from the space that is projected onto, and adds nothing:
        the projections are those without it. museval stops at a silent stem. (Where a channel is another one some
        samples later, several filters fit the track alike, but not the edges of its seconds: there the numbers depend
        on which of them the solver finds, here as in museval.)

        Raises:
            ValueError: not audio `[S, C, N]`, empty, or a sample is NaN or infinite.
        """
        check_audio_pair(targets, targets)
        self.targets, self.sample_rate, self.taps = targets, sample_rate, taps
        self._channels = _channels(targets)  # [S * C, N], no copy
        correlations = _correlate(self._channels, self._channels, taps)
        self._all = _Projection(correlations)
        self._own = [_Projection(correlations[rows, rows]) for rows in self._rows()]

    def _rows(self) -> list[slice]:
        """Where the channels of each stem are among all channels."""
        stems, channels = self.targets.shape[:2]
        return [slice(stem * channels, (stem + 1) * channels) for stem in range(stems)]

    def evaluate(self, estimates: Tensor) -> BssFrames:
        """Take `estimates [S, C, N]`, in the order of the targets, apart.

        Raises:
            ValueError: the shapes differ or a sample is NaN or infinite.
        """
        sdr = track_sdr_frames(estimates, self.targets, self.sample_rate)
        undefined = sdr.isnan()
        ratios = np.full((3, *sdr.shape), np.nan)
        frames = (~undefined).any(dim=0).nonzero()[:, 0].tolist()
        for frame, of_frame in zip(frames, self._ratios(estimates, frames), strict=True):
            ratios[:, :, frame] = of_frame
        isr, sir, sar = torch.from_numpy(ratios).masked_fill(undefined, torch.nan)
        return BssFrames(sdr, isr, sir, sar)

    def _ratios(self, estimates: Tensor, frames: list[int]) -> Iterator[Array]:
        """ISR, SIR and SAR of the given frames in dB, `[3, S]` for each of them."""
        stems, channels, samples = estimates.shape
        audio = _channels(estimates)
        cross = _correlate(self._channels, audio, self.taps)[:, :, self.taps - 1 :]
        length = min(self.sample_rate, samples)
        n_fft = scipy.fft.next_fast_len(length + self.taps - 1, real=True)
        # As spectra, which multiply where filters convolve: [S, C out, C in, F] and [S * C out, S * C in, F].
        own_filters = scipy.fft.rfft(
            [projection.filters(cross[rows, rows]) for projection, rows in zip(self._own, self._rows(), strict=True)],
            n_fft,
        )
        all_filters = scipy.fft.rfft(self._all.filters(cross), n_fft)
        weights = _parseval_weights(n_fft)
        for frame in frames:
            second = slice(frame * length, (frame + 1) * length)
            target, estimate = (
                scipy.fft.rfft(part[:, second].astype(np.float64), n_fft) * weights for part in (self._channels, audio)
            )
            onto_all = np.einsum("oif,if->of", all_filters, target).reshape(stems, channels, -1)
            target, estimate = (spectrum.reshape(stems, channels, -1) for spectrum in (target, estimate))
            onto_own = np.einsum("soif,sif->sof", own_filters, target)
            yield np.stack(
                [
                    _decibels(target, onto_own - target),
                    _decibels(onto_own, onto_all - onto_own),
                    _decibels(onto_all, estimate - onto_all),
                ]
            )


class _Projection:
    """Least squares onto some channels, each at delays of 0 to `L - 1` samples."""

    def __init__(self, correlations: Array) -> None:
        """From the channels' correlations `[A, A, 2 L - 1]` as `_correlate` gives them."""
        n_channels, _, n_delays = correlations.shape
        energies = correlations[np.arange(n_channels), np.arange(n_channels), n_delays // 2]
        # At unit energy a quiet stem is fitted as exactly as a loud one. A silent channel stays at zero.
        self._scale = np.divide(1.0, np.sqrt(energies), out=np.zeros(n_channels), where=energies > 0)
        scaled = correlations * self._scale[:, None, None] * self._scale[:, None]
        try:
            self._factor = scipy.linalg.cholesky(_gram(scaled), lower=True, overwrite_a=True, check_finite=False)
            self._kept = np.arange(len(self._factor))
        except scipy.linalg.LinAlgError:
            # Some delayed channels are sums of others. Pivoting brings a basis of what they span to the front; the rest
            # get no filter, which changes no projection.
            factor, pivots, rank, _ = scipy.linalg.lapack.dpstrf(_gram(scaled), lower=1, overwrite_a=1)
            self._factor, self._kept = factor[:rank, :rank], pivots[:rank] - 1

    def filters(self, cross: Array) -> Array:
        """Filters `[E, A, L]` that make the channels the best fit to signals.

        From the correlations `[A, E, L]` of the channels with the signals, at delays of 0 to `L - 1`.
        """
        n_channels, n_signals, taps = cross.shape
        right_side = (cross * self._scale[:, None, None]).transpose(0, 2, 1).reshape(n_channels * taps, n_signals)
        solution = np.zeros_like(right_side)
        solution[self._kept] = scipy.linalg.cho_solve((self._factor, True), right_side[self._kept], check_finite=False)
        return solution.reshape(n_channels, taps, n_signals).transpose(2, 0, 1) * self._scale[:, None]


def _gram(correlations: Array) -> Array:
    """Inner products of all delayed channels, `[A, A, 2 L - 1] -> [A * L, A * L]` (Toeplitz blocks), in Fortran order.

    Entry `(a * L + l, b * L + m)` is the correlation of the channels `a` and `b` at `l - m`.
    """
    n_channels, _, n_delays = correlations.shape
    taps = n_delays // 2 + 1
    blocks = np.lib.stride_tricks.sliding_window_view(correlations, taps, axis=2)[..., ::-1]  # [A, A, l, m]
    return blocks.transpose(0, 2, 1, 3).reshape(n_channels * taps, n_channels * taps).T  # its own transpose


def _correlate(first: NDArray, second: NDArray, taps: int) -> Array:
    """Correlations `sum_n first[a, n] second[e, n + d]` at `d` from `1 - taps` to `taps - 1`.

    `[A, N], [E, N] -> [A, E, 2 taps - 1]`. Block by block: a block of `first` meets the part of `second` that reaches
    `taps - 1` samples further at either end, in a Fourier transform that is long enough for both. The blocks' spectra
    add up, so that only the sum is transformed back.
    """
    samples, reach = first.shape[1], taps - 1
    n_fft = max(_BLOCK, scipy.fft.next_fast_len(4 * reach, real=True))
    step = n_fft - 2 * reach
    total = np.zeros((len(first), len(second), n_fft // 2 + 1), dtype=np.complex128)
    block, longer = np.zeros((len(first), n_fft)), np.zeros((len(second), n_fft))
    for start in range(0, samples, step):
        block[:], longer[:] = 0.0, 0.0
        part = first[:, start : start + step]
        block[:, reach : reach + part.shape[1]] = part
        before = min(start, reach)
        part = second[:, start - before : start + step + reach]
        longer[:, reach - before : reach - before + part.shape[1]] = part
        total += scipy.fft.rfft(block).conj()[:, None] * scipy.fft.rfft(longer)
    correlations = scipy.fft.irfft(total, n_fft)
    return np.concatenate([correlations[..., n_fft - reach :], correlations[..., :taps]], axis=2)


def _channels(audio: Tensor) -> NDArray:
    """`[S, C, N]` -> a view `[S * C, N]`."""
    return audio.detach().cpu().flatten(0, 1).numpy()


def _parseval_weights(n_fft: int) -> Array:
    """Factors `[n_fft // 2 + 1]` after which the energy of a half spectrum is that of its signal."""
    weights = np.full(n_fft // 2 + 1, np.sqrt(2.0 / n_fft))
    weights[0] = np.sqrt(1.0 / n_fft)
    if n_fft % 2 == 0:
        weights[-1] = weights[0]
    return weights


def _decibels(signal: NDArray[np.complex128], error: NDArray[np.complex128]) -> Array:
    """Ratio of the energies of two sets of weighted spectra, `[S, C, F], [S, C, F] -> [S]` in dB, within the bounds.

    Without an error it is the ceiling, whatever the signal, as in museval; without a signal the floor.
    """
    energy, distortion = (np.vecdot(part, part).real.sum(axis=1) for part in (signal, error))
    least = 10.0 ** (-CEILING_DB / 10.0)
    ratio = np.divide(energy, distortion, out=np.full_like(energy, np.inf), where=distortion > 0)
    return 10.0 * np.log10(np.clip(ratio, least, 1.0 / least))
