"""All spectral metrics of several estimates of one target at once, each spectrum computed once.

The numbers are those of the functions in `spectral`, `stft_distance`, `timbre`, `rolloff` and `onsets`, up to
rounding. What differs is the cost: a spectrogram is shared by all metrics that need it, the target's by all
estimates too, and none is ever held whole, so that a song of any length takes the memory of its samples and little
more.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.frames import amplitude_frames, frame_blocks, n_frames
from codec_ft.metrics.msg_signal import check_msg_pair, peak_normalise
from codec_ft.metrics.onsets import OnsetCounts, compare_events, compare_frames, onset_strength
from codec_ft.metrics.rolloff import cents_between, gated_rolloff, interquartile_range
from codec_ft.metrics.spectral import AMPLITUDE_FLOOR, LSD_WINDOW, MEL_WINDOWS, mel_bands, mel_filters
from codec_ft.metrics.stft_distance import STFT_WINDOWS, convergence, log_amplitude
from codec_ft.metrics.timbre import DB_PER_NEPER, TIMBRE_WINDOW, frame_timbre, timbre_errors

Sums = dict[str, Tensor]
"""What a metric sums over frames, by name; each a number in float64."""


@torch.inference_mode()
def spectral_metrics(estimates: Sequence[Tensor], target: Tensor, sample_rate: int) -> list[dict[str, float]]:
    """Spectral and timbre metrics of each estimate, all audio `[C, N]`: one dictionary per estimate, in their order.

    Keys: `log_mel_distance`, `log_spectral_distance`, `stft_distance`, `spectral_convergence`,
    `log_magnitude_distance`, `centroid_error`, `bandwidth_error`, `flatness_error`; the last three are NaN where no
    frame is active in both. Computed in float32, in float64 for a float64 target, and summed up in float64.

    Raises:
        ValueError: a shape differs from the target's, or a sample is NaN or infinite.
    """
    for estimate in estimates:
        check_audio_pair(estimate[None], target[None])
    target = target if target.dtype == torch.float64 else target.float()
    signals = [target, *(estimate.to(target) for estimate in estimates)]
    of_windows = {n_fft: _sums_over_frames(signals, sample_rate, n_fft) for n_fft in MEL_WINDOWS}
    of_estimates = [{n_fft: sums[i] for n_fft, sums in of_windows.items()} for i in range(len(estimates))]
    return [_scores(sums, target.shape[0], target.shape[1], sample_rate) for sums in of_estimates]


def _sums_over_frames(signals: list[Tensor], sample_rate: int, n_fft: int) -> list[Sums]:
    """What the metrics need of one window length, for each of `signals[1:]` against `signals[0]`, all `[C, N]`."""
    target = signals[0]
    n_mels, hop_length = mel_bands(sample_rate, n_fft), n_fft // 4
    filters = mel_filters(sample_rate, n_fft, n_mels, target.device, target.dtype).T
    totals: list[Sums] = [{} for _ in signals[1:]]

    def add(name: str, values: list[Tensor]) -> None:
        for sums, value in zip(totals, values, strict=True):
            sums[name] = sums.get(name, 0.0) + value.double()

    for first, last in frame_blocks(target, n_fft, hop_length):
        spectra = [amplitude_frames(signal, n_fft, hop_length, first, last) for signal in signals]  # [C, T, F]
        mels = [(spectrum @ filters).clamp_(min=AMPLITUDE_FLOOR).log10_() for spectrum in spectra]
        add("mel", [(mel - mels[0]).abs_().sum() for mel in mels[1:]])
        if n_fft in STFT_WINDOWS:
            logs = [log_amplitude(spectrum) for spectrum in spectra]
            add("target_energy", [spectra[0].square().sum()] * len(totals))
            add("difference_energy", [(spectrum - spectra[0]).square_().sum() for spectrum in spectra[1:]])
            differences = [log - logs[0] for log in logs[1:]]
            if n_fft == LSD_WINDOW:
                add("log_norm", [torch.linalg.vector_norm(difference, dim=-1).sum() for difference in differences])
            add("log", [difference.abs_().sum() for difference in differences])
        if n_fft == TIMBRE_WINDOW:
            timbres = [frame_timbre(*pair, sample_rate) for pair in zip(spectra, logs, strict=True)]
            errors = [timbre_errors(timbre, timbres[0], sample_rate) for timbre in timbres[1:]]
            add("active", [(~error.centroid.isnan()).sum() for error in errors])
            for feature in ("centroid", "bandwidth", "flatness"):
                add(feature, [getattr(error, feature).nansum() for error in errors])
    return totals


def _scores(sums: dict[int, Sums], channels: int, samples: int, sample_rate: int) -> dict[str, float]:
    """The metrics of one estimate from its sums for each window length."""
    frames = {n_fft: channels * n_frames(samples, n_fft // 4) for n_fft in MEL_WINDOWS}
    bins = {n_fft: frames[n_fft] * (n_fft // 2 + 1) for n_fft in STFT_WINDOWS}
    log_mel = [sums[n_fft]["mel"] / (frames[n_fft] * mel_bands(sample_rate, n_fft)) for n_fft in MEL_WINDOWS]
    log_magnitude = [sums[n_fft]["log"] / bins[n_fft] for n_fft in STFT_WINDOWS]
    convergences = [
        convergence(sums[n_fft]["difference_energy"], sums[n_fft]["target_energy"], frames[n_fft])
        for n_fft in STFT_WINDOWS
    ]
    spectral_convergence = float(torch.stack(convergences).mean())
    log_magnitude_distance = float(torch.stack(log_magnitude).mean())
    log_norm = sums[LSD_WINDOW]["log_norm"] / (frames[LSD_WINDOW] * math.sqrt(LSD_WINDOW // 2 + 1))
    timbre = sums[TIMBRE_WINDOW]
    return {
        "log_mel_distance": float(torch.stack(log_mel).mean()),
        "log_spectral_distance": float(DB_PER_NEPER * log_norm),
        "stft_distance": spectral_convergence + log_magnitude_distance,
        "spectral_convergence": spectral_convergence,
        "log_magnitude_distance": log_magnitude_distance,
        "centroid_error": float(timbre["centroid"] / timbre["active"]),
        "bandwidth_error": float(timbre["bandwidth"] / timbre["active"]),
        "flatness_error": float(timbre["flatness"] / timbre["active"]),
    }


@dataclass(frozen=True)
class MsgScores:
    """MSG's measures of one estimate of one track, with what it takes to sum them up over tracks.

    Attributes:
        rolloff_errors: cents per frame, float64 `[T]`, NaN in frames that do not count; concatenate them.
        onset_frames: frames that reach the onset threshold; add them.
        onset_events: onsets matched within 50 ms; add them.
    """

    rolloff_errors: Tensor
    onset_frames: OnsetCounts
    onset_events: OnsetCounts

    def metrics(self) -> dict[str, float]:
        """The numbers of this track alone: `rolloff_error`, `rolloff_iqr`, `onset_f1`, `onset_event_f1`."""
        return {
            "rolloff_error": float(self.rolloff_errors.nanquantile(0.5)),
            "rolloff_iqr": float(interquartile_range(self.rolloff_errors)),
            "onset_f1": self.onset_frames.f1,
            "onset_event_f1": self.onset_events.f1,
        }


@torch.inference_mode()
def msg_metrics(estimates: Sequence[Tensor], target: Tensor) -> list[MsgScores]:
    """MSG's measures of each estimate, all mono signals `[N]` at 16 kHz as `msg_signal` makes them, in their order.

    Raises:
        ValueError: the signals are not of one length, or not finite.
    """
    for estimate in estimates:
        check_msg_pair(estimate, target)
    signals = [peak_normalise(signal) for signal in (target, *estimates)]
    (true_rolloff, *rolloffs) = (gated_rolloff(signal) for signal in signals)
    (true_strength, *strengths) = (onset_strength(signal) for signal in signals)
    return [
        MsgScores(
            cents_between(rolloff, true_rolloff),
            compare_frames(strength, true_strength),
            compare_events(strength, true_strength),
        )
        for rolloff, strength in zip(rolloffs, strengths, strict=True)
    ]
