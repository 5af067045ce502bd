"""Rolloff errors of sines and gated signals by hand, and the whole recipe against librosa."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.msg_signal import MSG_RATE, msg_signal, peak_normalise
from codec_ft.metrics.rolloff import (
    ROLLOFF_EDGES,
    frame_rms,
    gated_rolloff,
    rolloff_error,
    rolloff_errors,
    rolloff_frequencies,
    rolloff_histogram,
    rolloff_iqr,
)

BIN = MSG_RATE / 2048


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sine(bins: float, samples: int = MSG_RATE) -> torch.Tensor:
    return torch.sin(2 * math.pi * bins * BIN / MSG_RATE * torch.arange(samples, dtype=torch.float64))


def music(samples: int, seed: int = 0) -> torch.Tensor:
    """Brown noise with a level that goes up and down by 60 dB twice a second: some frames are silent, most are not."""
    walk = noise(samples, seed=seed).cumsum(dim=0)
    time = torch.arange(samples, dtype=torch.float64) / MSG_RATE
    return (walk - walk.mean()) * 10 ** (1.5 * torch.sin(4 * math.pi * time + seed) - 1.5)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")
@pytest.mark.parametrize("samples", [1, 700, 2048, 20480, 50001])
def test_rolloff_and_rms_equal_librosa(samples):
    feature = pytest.importorskip("librosa").feature
    signal = music(samples)
    expected = feature.spectral_rolloff(y=signal.numpy(), sr=MSG_RATE, roll_percent=0.98)[0]
    np.testing.assert_array_equal(rolloff_frequencies(signal).numpy(), expected)
    np.testing.assert_allclose(frame_rms(signal).numpy(), feature.rms(y=signal.numpy())[0], rtol=1e-6)


def test_errors_equal_msgs_recipe_with_librosa():
    librosa = pytest.importorskip("librosa")

    def gated(signal: torch.Tensor) -> np.ndarray:
        samples = signal.numpy() / np.abs(signal.numpy()).max()
        level = librosa.amplitude_to_db(librosa.feature.rms(y=samples))[0]
        rolloff = librosa.feature.spectral_rolloff(y=samples, roll_percent=0.98, sr=MSG_RATE)[0]
        return np.where(level >= -40, rolloff, np.nan)

    target, estimate = music(60000), 0.2 * (music(60000) + 0.02 * music(60000, seed=1)) + 1e-4 * noise(60000)
    expected = 1200 * (np.log2(gated(estimate)) - np.log2(gated(target)))
    assert 10 < np.isnan(expected).sum() < 60 and np.nanstd(expected) > 10
    np.testing.assert_allclose(rolloff_errors(estimate, target).numpy(), expected, rtol=0, atol=1e-9)
    quartiles = np.nanpercentile(expected, [25, 50, 75])
    pair = estimate.float()[None, None], target.float()[None, None]
    assert rolloff_error(*pair, MSG_RATE).item() == pytest.approx(quartiles[1])
    assert rolloff_iqr(*pair, MSG_RATE).item() == pytest.approx(quartiles[2] - quartiles[0])


def test_an_octave_is_1200_cents():
    # Hann: a sine's amplitudes are 1/2, 1, 1/2, so 98 % of them end one bin above it: at bins 64 and 128.
    low, high = sine(63), sine(127)
    inner = slice(4, -4)
    assert rolloff_frequencies(low)[inner].tolist() == [64 * BIN] * len(rolloff_frequencies(low)[inner])
    assert rolloff_errors(high, low)[inner].unique().tolist() == [1200.0]
    assert rolloff_errors(low, high)[inner].unique().tolist() == [-1200.0]


def test_the_gate():
    # 2 s at full scale, then 2 s 39 dB (in RMS) lower, then 2 s 41 dB lower than the first's peak: -3, -39, -41 dBFS.
    levels = [0.0, -36.0, -38.0]
    signal = torch.cat([sine(100, 2 * MSG_RATE) * 10 ** (level / 20) for level in levels])
    counts = ~gated_rolloff(0.01 * signal).isnan()  # the level does not matter
    second = MSG_RATE // 512
    assert counts[: 4 * second - 4].all() and not counts[4 * second + 4 :].any()
    steady = sine(100, len(signal))
    for errors in (rolloff_errors(signal, steady), rolloff_errors(steady, signal)):
        assert torch.equal(~errors.isnan(), counts)


def test_a_loud_frame_without_a_spectrum_does_not_count():
    signal = torch.zeros(4096)
    signal[1024] = 1.0  # -33 dBFS RMS in frames 1 to 4; the first sample of frame 4, where the window is zero
    assert rolloff_frequencies(signal)[4] == 0
    rolloff = gated_rolloff(signal)
    assert rolloff.isnan().tolist() == [True, False, False, False, True, True, True, True, True]


@pytest.mark.parametrize("gains", [(1.0, 1.0), (1e-3, 1.0), (1.0, 20.0), (-0.5, 7.0)])
def test_levels_do_not_matter(gains):
    target, estimate = music(30000), music(30000) + 0.1 * noise(30000)
    expected = rolloff_errors(estimate, target)
    assert torch.equal(expected.isnan(), rolloff_errors(gains[0] * estimate, gains[1] * target).isnan())
    torch.testing.assert_close(rolloff_errors(gains[0] * estimate, gains[1] * target), expected, equal_nan=True)


def test_silence_is_not_a_number():
    audio, silence = noise(1, 1, 9000), torch.zeros(1, 1, 9000)
    assert rolloff_errors(audio[0, 0], silence[0, 0]).isnan().all()
    for pair in [(audio, silence), (silence, audio), (silence, silence)]:
        assert rolloff_error(*pair, MSG_RATE).isnan().all() and rolloff_iqr(*pair, MSG_RATE).isnan().all()
    assert rolloff_histogram(rolloff_errors(audio[0, 0], silence[0, 0])).sum() == 0


def test_histogram_by_hand():
    errors = torch.tensor([-1e9, -5.0, -5.0, -4.9, 0.0, 4.9, 5.0, 14.9, 15.0, 99.0, math.inf, math.nan])
    counts = rolloff_histogram(errors, edges=(-15, -5, 5, 15))
    assert counts.tolist() == [1, 5, 5] and counts.dtype == torch.int64
    default = rolloff_histogram(torch.tensor([0.0, -100.0, 99.9, 100.0, -99999.0]))
    assert len(default) == len(ROLLOFF_EDGES) - 1 == 49
    assert (default[24], default[25], default[0], default.sum()) == (3, 1, 1, 5)  # 24 is the middle: -100 to 100


@settings(max_examples=20, deadline=None)
@given(errors=st.lists(st.floats(-9000, 9000) | st.just(math.nan), max_size=30), cut=st.integers(0, 30))
def test_histograms_add_up(errors, cut):
    parts = [torch.tensor(part, dtype=torch.float64) for part in (errors, errors[:cut], errors[cut:])]
    whole, first, second = (rolloff_histogram(part) for part in parts)
    assert torch.equal(whole, first + second)
    assert whole.sum() == (~parts[0].isnan()).sum()
    assert torch.equal(whole, rolloff_histogram(parts[0].flip(0)))


@settings(max_examples=8, deadline=None)
@given(samples=st.integers(1, 9000), seed=st.integers(0, 99))
def test_identity_and_antisymmetry(samples, seed):
    a, b = music(samples, seed=seed), noise(samples, seed=seed)
    assert not rolloff_errors(a, a).nan_to_num().any()
    torch.testing.assert_close(rolloff_errors(a, b), -rolloff_errors(b, a), equal_nan=True)
    assert len(rolloff_errors(a, b)) == 1 + samples // 512


def test_any_rate_and_channels():
    # The mean of both channels: what is in one alone stays, opposite phases vanish.
    low, high = (torch.sin(2 * math.pi * f / 44100 * torch.arange(44100)) for f in (500.0, 2000.0))
    target = torch.stack([low, torch.zeros_like(low)])[None]
    estimate = torch.stack([high, torch.zeros_like(high)])[None]
    assert rolloff_error(estimate, target, 44100).item() == pytest.approx(2400, abs=40)  # bins of 7.8 Hz
    opposite = torch.stack([low, -low])[None]
    assert rolloff_error(opposite, target, 44100).isnan().item()
    signal = msg_signal(target[0], 44100)
    assert signal.shape == (MSG_RATE,) and signal.abs().max().item() == pytest.approx(0.5, abs=0.01)
    batch = torch.cat([estimate, target])
    assert rolloff_error(batch.flip(0), torch.cat([target] * 2), 44100).tolist() == pytest.approx([0, 2400], abs=40)


def test_peak_normalise():
    assert peak_normalise(torch.tensor([0.5, -2.0])).tolist() == [0.25, -1.0]
    assert peak_normalise(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_bad_input():
    a = noise(3000)
    with pytest.raises(ValueError, match=r"\[3000\].*\[2999\]"):
        rolloff_errors(a, a[:-1])
    with pytest.raises(ValueError, match="target holds 1 NaN"):
        rolloff_errors(a, torch.cat([a[:-1], torch.tensor([math.nan])]))
    with pytest.raises(ValueError, match="16000 Hz"):
        rolloff_errors(a[None], a[None])
    with pytest.raises(ValueError, match=r"\[1, 1, 3000\]"):
        rolloff_error(a[None, None], a[None, None, :-1], MSG_RATE)
