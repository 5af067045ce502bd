"""Onsets: does the estimate keep the target's attacks (Schaffer et al., 2022, section 5.2).

The onset strength of librosa (Böck and Widmer, 2013) of both signals, mono at 16 kHz and peak-normalised, every 16 ms.
Two numbers come from it. MSG's calls every frame above a strength of 0.75 an onset frame and compares frame by
frame: an onset that is one frame late counts against it twice. The event-based number picks peaks and matches them
one to one within 50 ms, as is usual in onset detection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.frames import amplitude_frames, frame_blocks
from codec_ft.metrics.metric import Metric
from codec_ft.metrics.msg_signal import MSG_RATE, check_msg_pair, msg_signal, peak_normalise
from codec_ft.metrics.spectral import hz_to_mel, mel_filterbank, mel_to_hz

METRICS: dict[str, Metric] = {
    "onset_f1": Metric(
        "onset F1",
        "",
        "up",
        "F1 over frames of 16 ms of which estimate and target have an onset strength of 0.75 or more, 16 kHz mono, "
        "peak-normalised. Undefined where neither has an onset.",
        "Schaffer et al., MSG, 2022, section 5.2",
    ),
    "onset_event_f1": Metric(
        "onset event F1",
        "",
        "up",
        "F1 of the peaks of the onset strength, matched one to one within 50 ms. Undefined where neither has an onset.",
        "Böck et al., 2012; mir_eval",
    ),
}
"""What this file measures."""

WINDOW, HOP_LENGTH = 2048, 256
"""Of the spectra, in samples at 16 kHz: 128 and 16 ms."""

ONSET_THRESHOLD = 0.75
"""Onset strength in dB, the mean rise of the mel bands, from which MSG calls a frame an onset."""

EVENT_TOLERANCE_SECONDS = 0.05
"""How far apart two onsets may be and still be the same."""

_N_MELS = 128
_POWER_FLOOR, _DYNAMIC_RANGE_DB = 1e-10, 80.0

# librosa's, found there by a search over many recordings: frames before and after (and the one itself) of which a
# peak is the maximum, and above whose mean it stands by a share of the largest strength, and the pause after it.
_BEFORE_MAX, _AFTER_MAX = 1, 0
_BEFORE_MEAN, _AFTER_MEAN = 6, 6
_PEAK_ABOVE_MEAN, _PAUSE = 0.07, 1


@dataclass(frozen=True)
class OnsetCounts:
    """Onsets found in both signals, in the estimate alone, and in the target alone; counts of several tracks add up."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0

    def __add__(self, other: "OnsetCounts") -> "OnsetCounts":
        return OnsetCounts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def precision(self) -> float:
        """Share of the estimate's onsets that are right; NaN where it has none."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the target's onsets that are found; NaN where it has none."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """`TP / (TP + (FP + FN) / 2)`; 0 where only one signal has onsets, NaN where neither has."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def slaney_filterbank() -> Tensor:
    """librosa's 128 mel filters, each divided by half its width in Hz: `[128, WINDOW // 2 + 1]` float64."""
    top = hz_to_mel(MSG_RATE / 2)
    corners = torch.tensor([mel_to_hz(top * i / (_N_MELS + 1)) for i in range(_N_MELS + 2)], dtype=torch.float64)
    return mel_filterbank(MSG_RATE, WINDOW, _N_MELS) * (2.0 / (corners[2:] - corners[:-2]))[:, None]


def onset_strength(signal: Tensor) -> Tensor:
    """Onset strength of a signal `[N]` at `MSG_RATE`, as it is: `[T]` float64 with `T = 1 + N // 256`.

    The mean over 128 mel bands of the rise in dB from one frame to the next, falls counted as 0. Levels are floored
    80 dB below the loudest band of the signal. Equal to
    `librosa.onset.onset_strength(y=y, sr=16000, hop_length=256)`, which moves the rises back by half a window, four
    frames: a sound enters the window that long before the window is centred on it.
    """
    signal = signal.double()
    # librosa's window is not scaled; a mel power of it is this much larger than one of amplitudes of sines.
    filters = (slaney_filterbank() * (WINDOW / 4) ** 2).T.to(signal.device)
    mel = torch.cat(
        [
            amplitude_frames(signal, WINDOW, HOP_LENGTH, first, last).square_() @ filters
            for first, last in frame_blocks(signal, WINDOW, HOP_LENGTH)
        ]
    )  # [T, 128]
    decibels = mel.clamp_(min=_POWER_FLOOR).log10_().mul_(10.0)
    decibels.clamp_(min=float(decibels.max()) - _DYNAMIC_RANGE_DB)
    rise = decibels.diff(dim=0).clamp_(min=0.0).mean(dim=1)
    return functional.pad(rise, (1 + WINDOW // (2 * HOP_LENGTH), 0))[: len(decibels)]


def pick_onsets(strength: Tensor) -> Tensor:
    """Frames in which an onset strength `[T]` has a peak: int64 `[P]`, increasing.

    Equal to `librosa.onset.onset_detect(onset_envelope=strength, sr=16000, hop_length=256)`. With the strength scaled
    to 0...1, a peak is the largest of its own and the frame before, lies 0.07 or more above the mean of 100 ms on
    either side, and comes at least 32 ms after the peak before it (Böck et al., 2012).
    """
    strength = strength - strength.min()
    if not strength.any():
        return torch.zeros(0, dtype=torch.int64)
    strength = strength / strength.max()
    length = len(strength)

    beyond = functional.pad(strength, (_BEFORE_MAX, _AFTER_MAX), value=-torch.inf)
    is_maximum = strength == beyond.unfold(0, _BEFORE_MAX + 1 + _AFTER_MAX, 1).amax(dim=1)
    sums = functional.pad(strength.cumsum(dim=0), (1, 0))
    frames = torch.arange(length, device=strength.device)
    first, last = (frames - _BEFORE_MEAN).clamp(min=0), (frames + _AFTER_MEAN + 1).clamp(max=length)
    mean = (sums[last] - sums[first]) / (last - first)

    peaks: list[int] = []
    for frame in (is_maximum & (strength >= mean + _PEAK_ABOVE_MEAN)).nonzero()[:, 0].tolist():
        if not peaks or frame - peaks[-1] > _PAUSE:
            peaks.append(frame)
    return torch.tensor(peaks, dtype=torch.int64)


def match_events(estimate: Sequence[float], target: Sequence[float], tolerance: float) -> OnsetCounts:
    """Match two increasing lists of times one to one, as many as possible, none farther apart than `tolerance`.

    Each target in turn takes the earliest estimate that is still free and near enough: since all have the same
    tolerance, no other choice gives more matches.
    """
    matched = candidate = 0
    for time in target:
        while candidate < len(estimate) and estimate[candidate] < time - tolerance:
            candidate += 1
        if candidate < len(estimate) and estimate[candidate] <= time + tolerance:
            matched += 1
            candidate += 1
    return OnsetCounts(matched, len(estimate) - matched, len(target) - matched)


def compare_frames(estimate: Tensor, target: Tensor) -> OnsetCounts:
    """MSG's counts: frames of two onset strengths `[T], [T]` that reach `ONSET_THRESHOLD`."""
    found, true = estimate >= ONSET_THRESHOLD, target >= ONSET_THRESHOLD
    return OnsetCounts(int((found & true).sum()), int((found & ~true).sum()), int((~found & true).sum()))


def compare_events(estimate: Tensor, target: Tensor) -> OnsetCounts:
    """Counts of the peaks of two onset strengths `[T], [T]`, matched within `EVENT_TOLERANCE_SECONDS`."""
    times = [(pick_onsets(strength) * (HOP_LENGTH / MSG_RATE)).tolist() for strength in (estimate, target)]
    return match_events(times[0], times[1], EVENT_TOLERANCE_SECONDS)


def onset_counts(estimate: Tensor, target: Tensor) -> tuple[OnsetCounts, OnsetCounts]:
    """Counts of onset frames and of onset events of two signals `[N], [N]` at `MSG_RATE`, peak-normalised here.

    To sum up several tracks as MSG does, add their counts and take the F1 of the sum.

    Raises:
        ValueError: the signals are not of one length, or not finite.
    """
    check_msg_pair(estimate, target)
    strengths = [onset_strength(peak_normalise(signal)) for signal in (estimate, target)]
    return compare_frames(*strengths), compare_events(*strengths)


def _counts(estimate: Tensor, target: Tensor, sample_rate: int) -> list[tuple[OnsetCounts, OnsetCounts]]:
    """`onset_counts` of each item of `[B, C, N], [B, C, N]` at any rate."""
    check_audio_pair(estimate, target)
    pairs = zip(estimate, target, strict=True)
    return [onset_counts(msg_signal(one, sample_rate), msg_signal(other, sample_rate)) for one, other in pairs]


def onset_f1(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """MSG's onset-strength F1 per item, `[B, C, N], [B, C, N] -> [B]` float64, at any rate (see `msg_signal`).

    1 for equal onset frames, 0 where only one signal has any, NaN where neither has. Symmetric.

    Raises:
        ValueError: the shapes differ or a sample is NaN or infinite.
    """
    return torch.tensor([frames.f1 for frames, _ in _counts(estimate, target, sample_rate)], dtype=torch.float64)


def onset_event_f1(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """F1 of onset events per item, `[B, C, N], [B, C, N] -> [B]` float64, at any rate (see `msg_signal`).

    1 for equal onsets, 0 where only one signal has any, NaN where neither has. Symmetric.

    Raises:
        ValueError: the shapes differ or a sample is NaN or infinite.
    """
    return torch.tensor([events.f1 for _, events in _counts(estimate, target, sample_rate)], dtype=torch.float64)
