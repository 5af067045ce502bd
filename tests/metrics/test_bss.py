"""ISR, SIR and SAR against numbers worked by hand, exact least squares, and museval."""

import math
import sys
import tracemalloc
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics import bss
from codec_ft.metrics.bss import BssFrames, BssReferences
from codec_ft.metrics.metric import Metric
from codec_ft.metrics.waveform import median_over_frames, track_sdr_frames

RATE = 2000
TAPS = 32


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def separated(targets: torch.Tensor, seed: int = 1) -> torch.Tensor:
    """Estimates with a bit of everything: a wrong level, the other stems, and noise."""
    return 0.8 * targets + 0.1 * targets.sum(dim=0, keepdim=True) + 0.05 * noise(*targets.shape, seed=seed)


def ratios(frames: BssFrames) -> np.ndarray:
    """`[4, S, frames]`: SDR, ISR, SIR, SAR."""
    return torch.stack([frames.sdr, frames.isr, frames.sir, frames.sar]).numpy()


def evaluate(targets: torch.Tensor, estimates: torch.Tensor, taps: int = TAPS, rate: int = RATE) -> np.ndarray:
    return ratios(BssReferences(targets, rate, taps).evaluate(estimates))


@pytest.fixture
def museval_metrics(monkeypatch):
    """The module museval.metrics; museval imports stempeg, which wants ffmpeg, for loading only: a stand-in will do."""
    monkeypatch.setitem(sys.modules, "stempeg", types.ModuleType("stempeg"))
    return pytest.importorskip("museval.metrics")


def by_museval(museval_metrics, targets, estimates, taps, rate):
    found = museval_metrics.bss_eval(
        *(audio.transpose(1, 2).numpy() for audio in (targets, estimates)), window=rate, hop=rate, filters_len=taps
    )
    return np.minimum(np.stack(found[:4]), 100.0)


def by_least_squares(targets: torch.Tensor, estimates: torch.Tensor, taps: int, rate: int) -> np.ndarray:
    """ISR, SIR and SAR, `[3, S, frames]`, from a matrix that holds every delayed channel, by singular values."""
    n_frames = targets.shape[2] // rate

    def delayed(audio: np.ndarray) -> np.ndarray:  # [A, n] -> [n + taps - 1, A * taps]
        return np.stack([np.pad(channel, (d, taps - 1 - d)) for channel in audio for d in range(taps)], axis=1)

    def padded(audio: np.ndarray) -> np.ndarray:  # [C, n] -> [n + taps - 1, C]
        return np.pad(audio, ((0, 0), (0, taps - 1))).T

    def decibels(signal: np.ndarray, error: np.ndarray) -> float:
        return 10 * math.log10(np.sum(signal**2) / np.sum(error**2))

    everything = targets.flatten(0, 1).numpy()
    found = np.empty((3, len(targets), n_frames))
    for stem, (target, estimate) in enumerate(zip(targets.numpy(), estimates.numpy(), strict=True)):
        to_all = np.linalg.lstsq(delayed(everything), padded(estimate), rcond=None)[0]
        to_own = np.linalg.lstsq(delayed(target), padded(estimate), rcond=None)[0]
        for frame in range(n_frames):
            second = slice(frame * rate, (frame + 1) * rate)
            onto_all, onto_own = delayed(everything[:, second]) @ to_all, delayed(target[:, second]) @ to_own
            s, e = padded(target[:, second]), padded(estimate[:, second])
            found[:, stem, frame] = (
                decibels(s, onto_own - s),
                decibels(onto_own, onto_all - onto_own),
                decibels(onto_all, e - onto_all),
            )
    return found


def impulses(*at_and_height: tuple[int, float], samples: int = RATE) -> torch.Tensor:
    audio = torch.zeros(samples, dtype=torch.float64)
    for at, height in at_and_height:
        audio[at] = height
    return audio


def test_impulses_by_hand():
    # Two stems 600 samples apart: no delay of up to 511 makes one meet the other, so all parts are orthogonal.
    targets = torch.stack([impulses((0, 1.0)), impulses((600, 1.0))])[:, None]
    estimates = torch.stack(
        [
            impulses((0, 1.0), (3, 0.5), (600, 0.1), (1500, 0.01)),  # 1500 is beyond the reach of both
            impulses((600, 0.8), (0, 0.4), (700, 0.3)),
        ]
    )[:, None]
    sdr, isr, sir, sar = evaluate(targets, estimates, taps=512)[:, :, 0]
    expected = {
        # s = 1, P_own = 1 and 0.5 three samples later, P_all - P_own = 0.1, the rest 0.01
        "sdr": (1 / (0.25 + 0.01 + 0.0001), 1 / (0.04 + 0.16 + 0.09)),
        "isr": (1 / 0.25, 1 / (0.04 + 0.09)),
        "sir": (1.25 / 0.01, (0.64 + 0.09) / 0.16),
        "sar": ((1.25 + 0.01) / 0.0001,),
    }
    for found, (name, values) in zip((sdr, isr, sir, sar), expected.items(), strict=True):
        assert found[: len(values)] == pytest.approx([10 * math.log10(value) for value in values], abs=1e-9), name
    assert sar[1] == 100.0  # all of the second estimate is in the reach of the stems


def test_a_wrong_level_is_an_image_error_only():
    targets = noise(2, 2, 2 * RATE)
    sdr, isr, sir, sar = evaluate(targets, 0.5 * targets)
    np.testing.assert_allclose([sdr, isr], 20 * math.log10(2), atol=1e-9)
    assert (sir == 100.0).all() and (sar == 100.0).all()


def test_a_perfect_estimate_reaches_the_ceiling_and_a_wrong_stem_the_floor():
    targets = noise(2, 1, 2 * RATE)
    assert (evaluate(targets, targets) == 100.0).all()
    targets = torch.stack([impulses((0, 1.0)), impulses((600, 1.0))])[:, None]
    _, isr, sir, sar = evaluate(targets, targets.flip(0))[:, :, 0]
    assert isr.tolist() == pytest.approx([0.0, 0.0], abs=1e-9)
    assert sir.tolist() == [-100.0, -100.0] and sar.tolist() == [100.0, 100.0]


@pytest.mark.parametrize(
    "rate, stems, channels, samples, taps",
    [
        (8000, 2, 1, 20000, 512),
        (8000, 2, 2, 17000, 512),
        (8000, 1, 2, 9000, 512),
        (16000, 3, 1, 48000, 100),
        (22050, 2, 2, 60000, 64),
        (44100, 4, 1, 100000, 33),
        (44100, 2, 2, 40000, 1),
    ],
)
def test_equal_to_museval(museval_metrics, rate, stems, channels, samples, taps):
    targets = noise(stems, channels, samples)
    estimates = separated(targets)
    ours = evaluate(targets, estimates, taps, rate)
    expected = by_museval(museval_metrics, targets, estimates, taps, rate)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:mir_eval.separation:FutureWarning")
def test_one_frame_is_bss_eval_images_of_mir_eval():
    separation = pytest.importorskip("mir_eval.separation")
    targets = noise(2, 2, RATE)
    estimates = separated(targets)
    expected = separation.bss_eval_images(
        *(audio.transpose(1, 2).numpy() for audio in (targets, estimates)), compute_permutation=False
    )
    np.testing.assert_allclose(evaluate(targets, estimates, 512)[:, :, 0], expected[:4], rtol=0, atol=1e-9)


def test_silent_frames_equal_museval(museval_metrics):
    targets = noise(3, 2, 6 * RATE + 500)
    estimates = separated(targets)
    targets[0, :, :RATE] = 0
    estimates[1, :, RATE : 2 * RATE] = 0
    targets[2, 1, 3 * RATE : 4 * RATE] = -targets[2, 0, 3 * RATE : 4 * RATE]
    ours = evaluate(targets, estimates)
    np.testing.assert_allclose(ours, by_museval(museval_metrics, targets, estimates, TAPS, RATE), rtol=0, atol=1e-9)
    assert np.isnan(ours).all(axis=(0, 1)).tolist() == [True, True, False, True, False, False]


def mono_in_stereo(targets: torch.Tensor) -> None:
    targets[0, 1] = targets[0, 0]


def all_mono_in_stereo(targets: torch.Tensor) -> None:
    targets[:, 1] = -0.3 * targets[:, 0]


def same_stem_twice(targets: torch.Tensor) -> None:
    targets[2] = targets[1]


def accompaniment_beside_its_parts(targets: torch.Tensor) -> None:
    targets[2] = targets[0] + targets[1]


def silent_channel(targets: torch.Tensor) -> None:
    targets[1, 0] = 0


def very_quiet_stem(targets: torch.Tensor) -> None:
    targets[1] *= 1e-6


@pytest.mark.parametrize(
    "trouble",
    [
        mono_in_stereo,
        all_mono_in_stereo,
        same_stem_twice,
        accompaniment_beside_its_parts,
        silent_channel,
        very_quiet_stem,
    ],
)
def test_targets_that_add_up_to_each_other_are_projected_onto_exactly(trouble):
    targets = noise(3, 2, 2 * RATE + 300)
    trouble(targets)
    estimates = separated(targets)
    ours = evaluate(targets, estimates)
    np.testing.assert_allclose(ours[1:], by_least_squares(targets, estimates, TAPS, RATE), rtol=0, atol=1e-6)


def test_a_delayed_copy_is_projected_onto_exactly():
    # In one second alone: across the edges of several, a copy is not quite a copy, and which filters are right is moot.
    targets = noise(3, 2, RATE)
    targets[:, :, -5:] = 0
    targets[2] = targets[0].roll(5, dims=-1)
    estimates = separated(targets)
    ours = evaluate(targets, estimates)
    np.testing.assert_allclose(ours[1:], by_least_squares(targets, estimates, TAPS, RATE), rtol=0, atol=1e-6)


def test_an_almost_empty_band_is_fitted_no_worse_than_by_museval(museval_metrics):
    # A low-pass at a third of the band leaves -100 dB above it: the fit is ill-conditioned, all numbers lose digits.
    targets = noise(2, 2, 2 * RATE)
    spectrum = torch.fft.rfft(targets)
    spectrum[..., spectrum.shape[-1] // 3 :] *= 1e-5
    targets = torch.fft.irfft(spectrum)
    estimates = separated(targets)
    exact = by_least_squares(targets, estimates, TAPS, RATE)
    ours, theirs = evaluate(targets, estimates)[1:], by_museval(museval_metrics, targets, estimates, TAPS, RATE)[1:]
    assert np.abs(ours - exact).max() < 1e-3
    assert np.abs(ours - exact).max() < 3 * np.abs(theirs - exact).max()


def test_mono_in_stereo_scores_as_mono():
    targets = noise(2, 1, 2 * RATE)
    estimates = separated(targets)
    mono = evaluate(targets, estimates)
    stereo = evaluate(targets.expand(-1, 2, -1), estimates.expand(-1, 2, -1))
    np.testing.assert_allclose(stereo, mono, rtol=0, atol=1e-6)


def test_a_silent_stem_has_no_numbers_and_does_not_touch_the_others():
    targets = noise(3, 2, 2 * RATE)
    targets[1] = 0
    estimates = separated(targets)
    found = evaluate(targets, estimates)
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_allclose(found[:, [0, 2]], evaluate(targets[[0, 2]], estimates[[0, 2]]), rtol=0, atol=1e-9)
    assert np.isnan(evaluate(torch.zeros_like(targets), estimates)).all()


def test_a_silent_estimate_has_no_numbers_and_its_target_still_interferes():
    targets = noise(3, 2, 2 * RATE)
    estimates = separated(targets)
    complete = evaluate(targets, estimates)
    estimates[1] = 0
    found = evaluate(targets, estimates)
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_allclose(found[:, [0, 2]], complete[:, [0, 2]], rtol=0, atol=1e-9)


def test_systems_share_the_references():
    targets = noise(2, 2, 2 * RATE)
    references = BssReferences(targets, RATE, TAPS)
    first, second = separated(targets, seed=2), separated(targets, seed=3)
    for estimates in (first, second, first):
        shared = references.evaluate(estimates)
        np.testing.assert_array_equal(ratios(shared), evaluate(targets, estimates))
        torch.testing.assert_close(shared.sdr, track_sdr_frames(estimates, targets, RATE), rtol=0, atol=0)


@settings(max_examples=15, deadline=None)
@given(
    order=st.permutations(range(3)),
    scale=st.floats(1e-3, 1e3),
    samples=st.integers(RATE // 2, 3 * RATE),
    seed=st.integers(0, 99),
)
def test_the_order_of_stems_and_the_level_do_not_matter(order, scale, samples, seed):
    targets = noise(3, 1, samples, seed=seed)
    estimates = separated(targets, seed=seed + 100)
    found = evaluate(targets, estimates)
    assert found.shape == (4, 3, max(1, samples // RATE)) and np.isfinite(found).all()
    np.testing.assert_allclose(
        evaluate(scale * targets[order], scale * estimates[order]), found[:, order], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("samples", [1, 20, 3 * bss._BLOCK - 1, 3 * bss._BLOCK])
def test_correlations(samples):
    first, second = noise(2, samples).numpy(), noise(3, samples, seed=1).numpy()
    found = bss._correlate(first, second, TAPS)
    assert found.shape == (2, 3, 2 * TAPS - 1)
    padded = np.pad(second, ((0, 0), (TAPS - 1, TAPS - 1)))
    for delay in range(1 - TAPS, TAPS):
        shifted = padded[:, delay + TAPS - 1 : delay + TAPS - 1 + samples]
        np.testing.assert_allclose(found[:, :, delay + TAPS - 1], first @ shifted.T, rtol=0, atol=1e-9)


def test_memory_does_not_grow_with_the_track():
    peaks = []
    for seconds in (50, 200):
        targets = noise(2, 2, seconds * RATE).float()
        estimates = separated(targets.double()).float()
        tracemalloc.start()
        evaluate(targets, estimates)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 0.02 * targets.nbytes


def test_single_precision_is_enough():
    targets = noise(2, 2, 2 * RATE).float()
    estimates = separated(targets.double()).float()
    np.testing.assert_allclose(
        evaluate(targets, estimates), evaluate(targets.double(), estimates.double()), rtol=0, atol=1e-9
    )


def test_bad_input_is_refused():
    targets = noise(2, 1, RATE)
    with pytest.raises(ValueError, match=r"\[2, 2000\]"):
        BssReferences(targets[:, 0], RATE)
    references = BssReferences(targets, RATE, TAPS)
    with pytest.raises(ValueError, match=r"\[1, 1, 2000\].*\[2, 1, 2000\]"):
        references.evaluate(targets[:1])
    targets[1, 0, 7] = math.nan
    with pytest.raises(ValueError, match="estimate holds 1 NaN"):
        references.evaluate(targets.clone())


def test_the_table():
    assert list(bss.METRICS) == ["isr_med", "sir_med", "sar_med"]
    for metric in bss.METRICS.values():
        assert isinstance(metric, Metric) and metric.direction == "up" and metric.over_tracks == "median"
    frames = BssReferences(noise(2, 1, 2 * RATE), RATE, TAPS).evaluate(noise(2, 1, 2 * RATE, seed=1))
    assert median_over_frames(frames.sir).shape == (2,)
