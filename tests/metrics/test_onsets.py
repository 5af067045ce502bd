"""Onset strengths, peaks and matches against librosa and mir_eval, counts by hand, and clicks where they were put."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.msg_signal import MSG_RATE, peak_normalise
from codec_ft.metrics.onsets import (
    OnsetCounts,
    compare_frames,
    match_events,
    onset_counts,
    onset_event_f1,
    onset_f1,
    onset_strength,
    pick_onsets,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hits(times: list[float], seconds: float = 3.0, seed: int = 0) -> torch.Tensor:
    """Bursts of noise that die away within a tenth of a second, over a quiet hiss."""
    signal = 1e-3 * noise(int(seconds * MSG_RATE), seed=seed)
    burst = noise(4000, seed=seed + 1) * torch.exp(-torch.arange(4000, dtype=torch.float64) / 400)
    for time in times:
        start = round(time * MSG_RATE)
        part = burst[: len(signal) - start]
        signal[start : start + len(part)] += part
    return signal


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("samples", [1, 600, 2048, 30000])
def test_strength_equals_librosa(samples):
    onset = pytest.importorskip("librosa").onset
    signal = hits([0.1, 0.5, 0.9, 1.4], seconds=2.0)[-samples:]
    expected = onset.onset_strength(y=signal.numpy(), sr=MSG_RATE, hop_length=256)
    np.testing.assert_allclose(onset_strength(signal).numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("gain", [1e-5, 1e3])
def test_strength_of_quiet_and_loud_signals_equals_librosa(gain):
    # Below the power at which librosa's logarithm stops, and with silent parts farther than 80 dB below the peak.
    onset = pytest.importorskip("librosa").onset
    signal = torch.cat([torch.zeros(8000, dtype=torch.float64), gain * hits([0.2, 0.6], seconds=1.0)])
    expected = onset.onset_strength(y=signal.numpy(), sr=MSG_RATE, hop_length=256)
    np.testing.assert_allclose(onset_strength(signal).numpy(), expected, rtol=0, atol=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.01, 2.0, 7.25]) | st.floats(0, 10), min_size=1, max_size=60),
)
def test_peaks_equal_librosa(values):
    onset = pytest.importorskip("librosa").onset
    strength = np.array(values)
    expected = onset.onset_detect(onset_envelope=strength, sr=MSG_RATE, hop_length=256)
    assert pick_onsets(torch.tensor(values, dtype=torch.float64)).tolist() == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(
    estimate=st.lists(st.integers(0, 40), max_size=12, unique=True).map(sorted),
    target=st.lists(st.integers(0, 40), max_size=12, unique=True).map(sorted),
    tolerance=st.sampled_from([0.05, 0.03, 0.2]),
)
def test_matches_equal_mir_eval(estimate, target, tolerance):
    onset = pytest.importorskip("mir_eval.onset")
    times = [np.array(frames, dtype=float) * 0.016 for frames in (target, estimate)]
    counts = match_events(times[1].tolist(), times[0].tolist(), tolerance)
    assert counts.true_positives + counts.false_negatives == len(target)
    assert counts.true_positives + counts.false_positives == len(estimate)
    if estimate and target:
        expected = onset.f_measure(*times, window=tolerance)
        assert (counts.f1, counts.precision, counts.recall) == pytest.approx(expected)


def test_frames_equal_msgs_recipe_with_librosa():
    librosa, metrics = pytest.importorskip("librosa"), pytest.importorskip("sklearn.metrics")
    target, estimate = hits([0.2, 0.7, 1.3, 2.2]), 0.03 * hits([0.2, 0.71, 1.8, 2.2], seed=5)
    binary = [
        librosa.onset.onset_strength(y=(signal / signal.abs().max()).numpy(), sr=MSG_RATE, hop_length=256) >= 0.75
        for signal in (target, estimate)
    ]
    frames, _ = onset_counts(estimate, target)
    assert frames.precision == pytest.approx(metrics.precision_score(*binary))
    assert frames.recall == pytest.approx(metrics.recall_score(*binary))
    assert 0.1 < frames.f1 < 0.95 and frames.f1 == pytest.approx(metrics.f1_score(*binary))


def test_onsets_are_where_the_hits_are():
    times = [0.3, 0.9, 1.5, 2.4]
    found = pick_onsets(onset_strength(peak_normalise(hits(times)))) * 0.016
    assert found.tolist() == pytest.approx(times, abs=0.03)


@pytest.mark.parametrize(
    "times, counts",
    [
        ([0.3, 0.9, 1.5], (3, 0, 0)),
        ([0.3, 1.5], (2, 0, 1)),
        ([0.3, 0.9, 1.2, 1.5], (3, 1, 0)),
        ([0.33, 0.87, 1.5], (3, 0, 0)),  # 30 ms off
        ([0.4, 0.9, 1.5], (2, 1, 1)),  # 100 ms off
    ],
)
def test_events_of_hits(times, counts):
    _, events = onset_counts(hits(times), hits([0.3, 0.9, 1.5]))
    assert (events.true_positives, events.false_positives, events.false_negatives) == counts


def test_counts_by_hand():
    estimate = torch.tensor([0.0, 0.75, 0.8, 0.7, 3.0])
    target = torch.tensor([0.0, 0.75, 0.5, 0.9, 0.76])
    counts = compare_frames(estimate, target)
    assert counts == OnsetCounts(2, 1, 1)
    assert (counts.precision, counts.recall, counts.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    total = sum([counts, OnsetCounts(1, 0, 3)], start=OnsetCounts())
    assert total == OnsetCounts(3, 1, 4) and total.f1 == pytest.approx(3 / (3 + 5 / 2))
    assert math.isnan(OnsetCounts().f1) and math.isnan(OnsetCounts().precision) and math.isnan(OnsetCounts().recall)
    assert OnsetCounts(0, 2, 0).f1 == OnsetCounts(0, 0, 2).f1 == 0.0


def test_silence():
    audio, silence = hits([0.3, 0.9])[None, None], torch.zeros(1, 1, 3 * MSG_RATE, dtype=torch.float64)
    assert not onset_strength(silence[0, 0]).any() and len(pick_onsets(onset_strength(silence[0, 0]))) == 0
    for f1 in (onset_f1, onset_event_f1):
        assert f1(audio, silence, MSG_RATE).item() == f1(silence, audio, MSG_RATE).item() == 0.0
        assert f1(silence, silence, MSG_RATE).isnan().item()


@pytest.mark.parametrize("gains", [(1e-3, 1.0), (1.0, 30.0), (-2.0, 1e-2)])
def test_levels_do_not_matter(gains):
    target, estimate = hits([0.3, 0.9, 1.5]), hits([0.3, 0.91, 2.0], seed=3)
    assert onset_counts(gains[0] * estimate, gains[1] * target) == onset_counts(estimate, target)


@settings(max_examples=8, deadline=None)
@given(samples=st.integers(1, 9000), seed=st.integers(0, 99))
def test_identity_and_symmetry(samples, seed):
    a, b = hits([0.1, 0.3], seconds=0.6, seed=seed)[:samples], hits([0.2], seconds=0.6, seed=seed)[:samples]
    for counts in onset_counts(a, a):
        assert counts.false_positives == counts.false_negatives == 0
        assert math.isnan(counts.f1) or counts.f1 == 1.0
    for forth, back in zip(onset_counts(a, b), onset_counts(b, a), strict=True):
        assert forth == OnsetCounts(back.true_positives, back.false_negatives, back.false_positives)


def test_order_of_items_and_any_rate():
    # Stereo at 32 kHz, each sample twice: what is resampled to 16 kHz has the same onsets.
    items = [hits([0.3, 0.9, 1.5]), hits([0.5, 1.1])]
    audio = torch.stack([item.repeat_interleave(2).repeat(2, 1) for item in items]).float()
    assert onset_event_f1(audio, audio, 32000).tolist() == [1.0, 1.0]
    assert onset_event_f1(audio.flip(0), audio, 32000).tolist() == [0.0, 0.0]
    estimate = torch.stack([audio[0], audio[0]])
    for f1 in (onset_f1, onset_event_f1):
        scores = f1(estimate, audio, 32000)
        assert scores[0] == 1.0 and scores[1] < 0.5
        assert f1(estimate, audio.flip(0), 32000).tolist() == scores.flip(0).tolist()


def test_bad_input():
    a = noise(3000)
    with pytest.raises(ValueError, match=r"\[3000\].*\[2999\]"):
        onset_counts(a, a[:-1])
    with pytest.raises(ValueError, match="estimate holds 3000 NaN"):
        onset_counts(a * math.nan, a)
    with pytest.raises(ValueError, match=r"\[1, 1, 3000\]"):
        onset_f1(a[None, None], a[None, None, :-1], MSG_RATE)
