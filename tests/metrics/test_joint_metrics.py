"""The joint metrics against the functions they join, block by block, and what they compute how often."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics import frames, joint, loudness, onsets, rolloff, spectral, stft_distance, timbre
from codec_ft.metrics.frames import amplitude_frames, frame_blocks, n_frames
from codec_ft.metrics.joint import msg_metrics, spectral_metrics
from codec_ft.metrics.spectral import MEL_WINDOWS, amplitude_spectrogram

RATE = 16000

PAIRWISE = {
    "log_mel_distance": spectral.log_mel_distance,
    "log_spectral_distance": lambda estimate, target, rate: spectral.log_spectral_distance(estimate, target),
    **{name: getattr(stft_distance, name) for name in stft_distance.METRICS},
    **{name: getattr(timbre, name) for name in timbre.METRICS},
}


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def swell(channels: int, samples: int, seed: int = 0) -> torch.Tensor:
    """Coloured noise whose level moves between 0 and -100 dB, so that some frames are below every floor and gate."""
    walk = noise(channels, samples, seed=seed).cumsum(dim=1)
    time = torch.arange(samples) / RATE
    return noise(channels, samples, seed=seed + 50) + walk * 10 ** (2.5 * torch.sin(9 * time + seed) - 2.5)


@settings(max_examples=25, deadline=None)
@given(
    samples=st.integers(1, 9000),
    channels=st.integers(1, 2),
    n_fft=st.sampled_from([64, 512, 2048]),
    block=st.sampled_from([1, 2**12, 2**13, 2**20]),
)
def test_blocks_equal_the_whole_spectrogram(samples, channels, n_fft, block):
    audio, hop_length = noise(channels, samples, seed=samples), n_fft // 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_BLOCK_SAMPLES", block)
        ranges = list(frame_blocks(audio, n_fft, hop_length))
    assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])]
    assert ranges[-1][1] == n_frames(samples, hop_length) == 1 + samples // hop_length
    assert all((last - first) * n_fft * channels <= max(block, n_fft * channels) for first, last in ranges)
    whole = amplitude_spectrogram(audio[None], n_fft, hop_length)[0].mT
    blocks = torch.cat([amplitude_frames(audio, n_fft, hop_length, *part) for part in ranges], dim=1)
    torch.testing.assert_close(blocks, whole, rtol=1e-5, atol=1e-7)


def assert_equals_pairwise(estimates, target, sample_rate, rel=1e-5, tolerance=3e-4):
    together = spectral_metrics(estimates, target, sample_rate)
    assert len(together) == len(estimates)
    for estimate, scores in zip(estimates, together, strict=True):
        expected = {name: f(estimate[None], target[None], sample_rate).item() for name, f in PAIRWISE.items()}
        assert scores == pytest.approx(expected, rel=rel, abs=tolerance, nan_ok=True)
        assert list(scores) == list(PAIRWISE)


@pytest.mark.parametrize("block", [2048, 5 * 2048, 2**18])
@pytest.mark.parametrize("channels, samples, sample_rate", [(1, 5000, 44100), (2, 12345, RATE), (2, 1, 24000)])
def test_equals_the_single_functions(monkeypatch, block, channels, samples, sample_rate):
    monkeypatch.setattr(frames, "_BLOCK_SAMPLES", block)
    target = swell(channels, samples)
    estimates = [0.7 * target, target + 0.3 * swell(channels, samples, seed=1), swell(channels, samples, seed=2)]
    assert_equals_pairwise(estimates, target, sample_rate)
    in_double = [estimate.double() for estimate in estimates]
    assert_equals_pairwise(in_double, target.double(), sample_rate, rel=1e-10, tolerance=1e-10)


def test_silence():
    audio, silence = swell(2, 8000), torch.zeros(2, 8000)
    assert_equals_pairwise([audio, silence], silence, RATE)
    assert_equals_pairwise([audio, silence], audio, RATE)
    (heard, equal), (missing,) = (
        spectral_metrics([audio, silence], silence, RATE),
        spectral_metrics([silence], audio, RATE),
    )
    undefined = {"centroid_error", "bandwidth_error", "flatness_error"}
    for scores in (heard, equal, missing):
        assert {name for name, value in scores.items() if math.isnan(value)} == undefined
        assert all(math.isfinite(value) for name, value in scores.items() if name not in undefined)
    assert not any(value for name, value in equal.items() if name not in undefined)


def test_identity_and_order_of_estimates():
    target = swell(2, 6000)
    estimates = [target.clone(), swell(2, 6000, seed=1), 0.1 * target]
    scores = spectral_metrics(estimates, target, RATE)
    assert not any(scores[0].values())
    assert spectral_metrics(estimates[::-1], target, RATE) == scores[::-1]
    assert spectral_metrics([], target, RATE) == []


@pytest.mark.parametrize("samples", [20000, 60000])
def test_each_frame_is_computed_once_in_blocks_that_do_not_grow(monkeypatch, samples):
    monkeypatch.setattr(frames, "_BLOCK_SAMPLES", 2**14)
    seen, largest = Counter(), 0

    def watched(audio, n_fft, hop_length, first, last):
        nonlocal largest
        seen.update((audio.data_ptr(), n_fft, frame) for frame in range(first, last))
        block = amplitude_frames(audio, n_fft, hop_length, first, last)
        largest = max(largest, block.numel())
        return block

    monkeypatch.setattr(joint, "amplitude_frames", watched)
    signals = [noise(1, samples, seed=seed) for seed in range(4)]
    spectral_metrics(signals[1:], signals[0], RATE)
    assert set(seen.values()) == {1}
    assert len(seen) == sum(4 * n_frames(samples, n_fft // 4) for n_fft in MEL_WINDOWS)
    assert largest == 2**14 // 64 * 33  # blocks of the shortest window are full at both lengths


def msg_pair(samples: int = 40000) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    signals = [swell(1, samples, seed=seed)[0] for seed in range(2)]
    return signals[0], signals[0] + 0.2 * signals[1], signals[1]


def test_msg_metrics_equal_the_single_functions():
    target, *estimates = msg_pair()
    for estimate, scores in zip(estimates, msg_metrics(estimates, target), strict=True):
        torch.testing.assert_close(scores.rolloff_errors, rolloff.rolloff_errors(estimate, target), equal_nan=True)
        assert (scores.onset_frames, scores.onset_events) == onsets.onset_counts(estimate, target)
        pair = estimate[None, None], target[None, None], RATE
        expected = {
            "rolloff_error": rolloff.rolloff_error(*pair).item(),
            "rolloff_iqr": rolloff.rolloff_iqr(*pair).item(),
            "onset_f1": onsets.onset_f1(*pair).item(),
            "onset_event_f1": onsets.onset_event_f1(*pair).item(),
        }
        assert scores.metrics() == pytest.approx(expected)
        assert all(math.isfinite(value) for value in expected.values())


def test_msg_metrics_of_blocks_equal_those_of_the_whole(monkeypatch):
    target, *estimates = msg_pair()
    whole = msg_metrics(estimates, target)
    monkeypatch.setattr(frames, "_BLOCK_SAMPLES", 3 * 2048)
    for one, other in zip(whole, msg_metrics(estimates, target), strict=True):
        torch.testing.assert_close(one.rolloff_errors, other.rolloff_errors, equal_nan=True)
        assert (one.onset_frames, one.onset_events) == (other.onset_frames, other.onset_events)


def test_msg_metrics_compute_the_target_once(monkeypatch):
    calls = Counter()
    for name in ("gated_rolloff", "onset_strength"):
        function = getattr(joint, name)
        monkeypatch.setattr(joint, name, lambda signal, f=function, n=name: calls.update([n]) or f(signal))
    target, *estimates = msg_pair(5000)
    msg_metrics(estimates, target)
    assert calls == {"gated_rolloff": 3, "onset_strength": 3}


def test_msg_metrics_of_silence():
    audio, silence = swell(1, 9000)[0], torch.zeros(9000)
    (scores,) = msg_metrics([silence], audio)
    assert math.isnan(scores.metrics()["rolloff_error"]) and scores.metrics()["onset_f1"] == 0.0
    (scores,) = msg_metrics([silence], silence)
    assert all(math.isnan(value) for value in scores.metrics().values())


def test_bad_input():
    audio = noise(2, 700)
    with pytest.raises(ValueError, match=r"\[1, 2, 699\].*\[1, 2, 700\]"):
        spectral_metrics([audio, audio[:, :-1]], audio, RATE)
    with pytest.raises(ValueError, match="estimate holds 1400 NaN"):
        spectral_metrics([audio, audio * math.nan], audio, RATE)
    with pytest.raises(ValueError, match=r"\[699\].*\[700\]"):
        msg_metrics([audio[0], audio[0, :-1]], audio[0])


@pytest.mark.parametrize("family", [spectral, stft_distance, timbre, loudness, rolloff, onsets])
def test_every_name_in_the_tables_is_a_function_of_that_file(family):
    for name, metric in family.METRICS.items():
        assert callable(getattr(family, name))
        assert metric.direction in ("up", "down", "zero") and metric.definition.endswith(".") and metric.source
