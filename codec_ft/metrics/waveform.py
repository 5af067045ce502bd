"""Signal-to-distortion ratios, under explicit names: a bare "SDR" means three different numbers in this field.

All take audio `[B, C, N]` in float32 or float64, sum in float64 and return dB, `[B]` in float64; samples and
channels are summed together. Wrong shapes and non-finite samples raise `ValueError`
(`codec_ft.metrics.checks.check_audio_pair`).
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    "si_sdr": Metric(
        "SI-SDR",
        "dB",
        "up",
        "Scale-invariant ratio of target to everything else: means taken off, the target scaled to fit best. "
        "Within ±100 dB; undefined for a silent target.",
        "Le Roux et al., 2019",
    ),
    "usdr": Metric(
        "uSDR",
        "dB",
        "up",
        "Ratio of target to difference over the whole excerpt, samples and channels summed, 1e-7 added to both: "
        "always finite, and 0 dB where target and estimate are silent.",
        "Mitsufuji et al., Music Demixing Challenge 2021",
    ),
    "sdr_med": Metric(
        "SDR-med",
        "dB",
        "up",
        "BSSEval v4 as in museval: ratio of target to difference in frames of one second, median over frames, then "
        "over tracks. Frames in which a target or an estimate is silent are left out, for all stems of a track that "
        "are evaluated together; undefined for a stem that is silent throughout.",
        "Stöter et al., SiSEC 2018",
        over_tracks="median",
    ),
}
"""What this file measures."""

CEILING_DB = 100.0
"""Ratios that would be infinite, or are too large to mean anything in 16 or 24 bits, are given as this."""

_MDX_DELTA = 1e-7

# A signal whose energy without its mean is less than this share of its energy is constant; the rest is rounding.
_ROUNDING = 1e-24

_BLOCK = 2**16


def si_sdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant SDR in dB, `[B, C, N], [B, C, N] -> [B]` (Le Roux et al., 2019).

    Each channel's mean is taken off, then one scale for all channels fits the target to the estimate best.
    With `rho` the correlation coefficient this is `10 log10(rho^2 / (1 - rho^2))`.

    NaN where the target is silent or constant: nothing could be right or wrong. Otherwise within +-`CEILING_DB`:
    the ceiling for a scaled copy, the floor for an estimate that is silent or orthogonal to the target.
    """
    check_audio_pair(estimate, target)
    means = [audio.mean(dim=2, keepdim=True, dtype=torch.float64) for audio in (estimate, target)]
    products = []
    for blocks in _blocks(estimate, target):
        one, other = (block - mean for block, mean in zip(blocks, means, strict=True))
        products.append(torch.stack([(a * b).sum(dim=(1, 2)) for a, b in ((one, one), (other, other), (one, other))]))
    estimate_energy, target_energy, product = torch.stack(products).sum(dim=0)
    # The energy of a constant signal is exactly zero.
    estimate_energy, target_energy = (
        energy.where(energy > _ROUNDING * mean.square().sum(dim=(1, 2)) * target.shape[2], 0.0)
        for energy, mean in zip((estimate_energy, target_energy), means, strict=True)
    )
    silent = target_energy == 0
    # Where either energy is zero so is the product above it; the 1 only keeps the division defined.
    energies = estimate_energy * target_energy
    rho_squared = product.square() / torch.where(energies > 0, energies, 1.0)
    least = 10.0 ** (-CEILING_DB / 10.0)
    ratio = rho_squared.clamp(min=least) / (1.0 - rho_squared).clamp(min=least)
    return (10.0 * ratio.log10()).clamp(-CEILING_DB, CEILING_DB).masked_fill(silent, torch.nan)


def _blocks(estimate: Tensor, target: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Consecutive parts of both `[B, C, N]` in float64: a song in float64, and its differences, are gigabytes."""
    for one, other in zip(estimate.split(_BLOCK, dim=2), target.split(_BLOCK, dim=2), strict=True):
        yield one.double(), other.double()


def usdr(estimate: Tensor, target: Tensor) -> Tensor:
    """Whole-excerpt SDR in dB, `[B, C, N], [B, C, N] -> [B]`: the "SDR" of the MDX challenges.

    `10 log10((sum target^2 + d) / (sum (target - estimate)^2 + d))` with `d = 1e-7` (Mitsufuji et al., 2022).
    Always finite: a silent target gives 0 dB for silence and a negative number for anything else.
    """
    check_audio_pair(estimate, target)
    energy, distortion = torch.stack(
        [
            torch.stack([signal.square().sum(dim=(1, 2)) for signal in (other, other - one)])
            for one, other in _blocks(estimate, target)
        ]
    ).sum(dim=0)
    return 10.0 * ((energy + _MDX_DELTA) / (distortion + _MDX_DELTA)).log10()


def sdr_frames(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """BSSEval v4 SDR of every second in dB, `[B, C, N], [B, C, N] -> [B, frames]`, as museval frames it.

    Frames of one second that do not overlap; a last part of less than a second is dropped, but audio shorter than
    a second is one frame. Within a frame SDR is the plain ratio of target to difference: of BSSEval's four
    numbers it is the one that does not depend on the 512-tap projections (`codec_ft.metrics.bss` has the others).

    NaN where target or estimate is silent (`is_silent`). Ratios above `CEILING_DB` are given as that (museval:
    infinity for equal signals). Every item of the batch is judged by itself; `track_sdr_frames` has museval's rule
    for the stems of one track.
    """
    check_audio_pair(estimate, target)
    length = min(sample_rate, target.shape[2])
    seconds = [slice(start, start + length) for start in range(0, target.shape[2] - length + 1, length)]
    # One item and second at a time: in float64 a track's stems are gigabytes, and what fits the cache is fastest.
    return torch.stack(
        [
            torch.stack([_sdr_of_frame(one_estimate[:, second], one_target[:, second]) for second in seconds])
            for one_estimate, one_target in zip(estimate, target, strict=True)
        ]
    )


def _sdr_of_frame(estimate: Tensor, target: Tensor) -> Tensor:
    """SDR of one frame in dB, `[C, n], [C, n] -> []`; NaN where one of the two is silent."""
    silent = is_silent(estimate) | is_silent(target)
    target = target.double()
    energy, distortion = (torch.linalg.vector_norm(signal).square() for signal in (target, target - estimate))
    # A target without energy is silent, so the smallest float keeps 0 / 0 away and changes no number that is kept.
    ratio = energy / distortion.clamp(min=torch.finfo(torch.float64).tiny)
    return (10.0 * ratio.log10()).clamp(max=CEILING_DB).masked_fill(silent, torch.nan)


def is_silent(audio: Tensor) -> Tensor:
    """What counts as silent in museval, `[..., C, N] -> bool [...]`: the channels' sum is zero in every sample.

    So stereo in perfect opposite phase (left = -right) is silent too.
    """
    return audio.sum(dim=-2).abs().amax(dim=-1) == 0


def track_sdr_frames(estimates: Tensor, targets: Tensor, sample_rate: int) -> Tensor:
    """BSSEval v4 SDR of every second of a track's stems in dB, `[S, C, N], [S, C, N] -> [S, frames]`, as museval.

    `sdr_frames`, and museval's rule over the stems: a frame in which any target or estimate is silent (`is_silent`)
    is NaN for *all* stems. Which stems are evaluated together therefore changes the numbers: publications on MUSDB18
    take all four.

    museval refuses a track in which a stem is silent from beginning to end. Here that stem is NaN in every frame,
    for there is nothing to measure in it, and the other stems are judged as if it were not there.
    """
    frames = sdr_frames(estimates, targets, sample_rate)
    silent_stems = frames.isnan().all(dim=1)
    if silent_stems.any():
        # Or without any second in which both are heard: then the frames do count for the others.
        silent_stems = is_silent(estimates) | is_silent(targets)
    return spread_silence(frames, silent_stems)


def spread_silence(frames: Tensor, silent_stems: Tensor) -> Tensor:
    """museval's rule over the stems of a track, for `frames [S, frames]` that were computed one stem at a time.

    A frame that is NaN in one stem is NaN in all; but for `silent_stems`, bool `[S]`, in which target or estimate is
    silent from beginning to end: these say nothing about the others.
    """
    silent = frames.isnan()[~silent_stems]
    return frames.masked_fill(silent.any(dim=0), torch.nan)


def median_over_frames(frames: Tensor) -> Tensor:
    """The track scores of museval, `[S, frames] -> [S]`: the median over the frames that are not NaN.

    NaN where all are. An even number of frames gives the mean of the middle two, as in NumPy.
    """
    return frames.nanquantile(0.5, dim=1)


def sdr_med(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Median over seconds of the BSSEval v4 SDR in dB, `[B, C, N], [B, C, N] -> [B]` (Stöter et al., 2018).

    `median_over_frames` of `sdr_frames`: each item of the batch by itself, NaN where every second is silent. For all
    stems of one track take the median of `track_sdr_frames` instead: that is museval's track score.
    """
    return median_over_frames(sdr_frames(estimate, target, sample_rate))
