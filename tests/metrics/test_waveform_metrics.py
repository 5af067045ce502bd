"""Signal-to-distortion ratios against numbers worked by hand, and museval."""

import math
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.metrics.registry import METRICS, waveform_metrics
from codec_ft.metrics.waveform import (
    median_over_frames,
    sdr_frames,
    sdr_med,
    si_sdr,
    spread_silence,
    track_sdr_frames,
    usdr,
)

RATE = 1000


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sine_pair(samples: int = RATE) -> tuple[torch.Tensor, torch.Tensor]:
    """A sine and a cosine of whole periods: orthogonal, zero mean, equal energy."""
    phase = torch.arange(samples, dtype=torch.float64) * 2 * math.pi * 10 / samples
    return phase.sin()[None, None], phase.cos()[None, None]


@pytest.mark.parametrize("snr_db", [-20.0, -3.0, 0.0, 12.5, 60.0])
@pytest.mark.parametrize("ratio", [si_sdr, usdr, lambda e, t: sdr_med(e, t, RATE)])
def test_orthogonal_noise_of_known_level_gives_that_level(ratio, snr_db):
    target, disturbance = sine_pair()
    estimate = target + disturbance * 10 ** (-snr_db / 20)
    assert ratio(estimate, target).item() == pytest.approx(snr_db, abs=2e-3)  # usdr's 1e-7 shows at 60 dB


def test_si_sdr_by_hand():
    # Both zero mean. <e, t> = 4, |t|^2 = 4, |e|^2 = 8: the projection has energy 4, the rest 4.
    target = torch.tensor([[[1.0, -1.0, 1.0, -1.0]]])
    estimate = torch.tensor([[[2.0, -2.0, 0.0, 0.0]]])
    assert si_sdr(estimate, target).item() == pytest.approx(0.0, abs=1e-9)
    # One scale for both channels: <e, t> = 2, |t|^2 = 4, |e|^2 = 2, rho^2 = 1/2. A scale per channel would give 100 dB.
    target = torch.tensor([[[1.0, -1.0], [1.0, -1.0]]])
    estimate = torch.tensor([[[1.0, -1.0], [0.0, 0.0]]])
    assert si_sdr(estimate, target).item() == pytest.approx(0.0, abs=1e-9)


def test_usdr_by_hand():
    target = torch.tensor([[[1.0, 2.0], [3.0, 0.0]]])  # energy 14
    estimate = torch.tensor([[[1.0, 1.0], [3.0, 1.0]]])  # distortion 2
    assert usdr(estimate, target).item() == pytest.approx(10 * math.log10(7), abs=1e-6)
    halved = 0.5 * target  # distortion = energy / 4
    assert usdr(halved, target).item() == pytest.approx(10 * math.log10(4), abs=1e-6)


def test_sdr_med_by_hand():
    # Per second: amplitude 1 against errors of 0.1, 1 and 0.01, and 200 samples over that must not count.
    target = torch.ones(1, 1, 3 * RATE + 200)
    error = torch.cat([torch.full((RATE,), 0.1), torch.ones(RATE), torch.full((RATE,), 0.01), torch.full((200,), 1e3)])
    estimate = target + error
    assert sdr_frames(estimate, target, RATE)[0].tolist() == pytest.approx([20.0, 0.0, 40.0], abs=1e-4)
    assert sdr_med(estimate, target, RATE).item() == pytest.approx(20.0, abs=1e-4)
    two_seconds = slice(0, 2 * RATE)
    even = sdr_med(estimate[..., two_seconds], target[..., two_seconds], RATE)
    assert even.item() == pytest.approx(10.0, abs=1e-4)  # the mean of 20 and 0, not one of them
    short = sdr_frames(estimate[..., : RATE // 2], target[..., : RATE // 2], RATE)
    assert short.shape == (1, 1) and short.item() == pytest.approx(20.0, abs=1e-4)


def test_sdr_med_leaves_silent_frames_out():
    target, estimate = torch.ones(1, 2, 4 * RATE), torch.full((1, 2, 4 * RATE), 1.1)
    target[..., :RATE] = 0
    estimate[..., RATE : 2 * RATE] = 0
    target[0, 1, 2 * RATE : 3 * RATE] = -1  # opposite phase: silent in museval's eyes
    frames = sdr_frames(estimate, target, RATE)[0]
    assert frames.isnan().tolist() == [True, True, True, False]
    assert sdr_med(estimate, target, RATE).item() == pytest.approx(20.0, abs=1e-4)
    assert sdr_med(estimate, torch.zeros_like(target), RATE).isnan().item()


@pytest.fixture
def museval_metrics(monkeypatch):
    """The module museval.metrics; museval imports stempeg, which wants ffmpeg, for loading only: a stand-in will do."""
    monkeypatch.setitem(sys.modules, "stempeg", types.ModuleType("stempeg"))
    return pytest.importorskip("museval.metrics")


@pytest.mark.parametrize("channels, samples", [(1, 2500), (2, 3000), (2, 700), (2, 4321)])
def test_sdr_med_equals_museval(museval_metrics, channels, samples):
    target = noise(1, channels, samples, seed=1).double()
    estimate = 0.7 * target + 0.4 * noise(1, channels, samples, seed=2).double()
    if samples == 4321:
        target[..., 1000:2000] = 0
    reference, estimated = (audio.transpose(1, 2).numpy() for audio in (target, estimate))
    expected = museval_metrics.bss_eval(reference, estimated, window=RATE, hop=RATE, bsseval_sources_version=False)[0]
    ours = sdr_frames(estimate, target, RATE)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-9)
    assert sdr_med(estimate, target, RATE).item() == pytest.approx(np.nanmedian(expected), abs=1e-9)


def nothing(estimates: torch.Tensor, targets: torch.Tensor, rate: int) -> None:
    pass


def silent_target(estimates: torch.Tensor, targets: torch.Tensor, rate: int) -> None:
    targets[1, :, rate : 2 * rate] = 0


def silent_estimate(estimates: torch.Tensor, targets: torch.Tensor, rate: int) -> None:
    estimates[0, :, :rate] = 0


def opposite_phase(estimates: torch.Tensor, targets: torch.Tensor, rate: int) -> None:
    targets[1, 1, rate : 2 * rate] = -targets[1, 0, rate : 2 * rate]


def perfect_second(estimates: torch.Tensor, targets: torch.Tensor, rate: int) -> None:
    estimates[1, :, :rate] = targets[1, :, :rate]


def one_sample_short_of_silence(estimates: torch.Tensor, targets: torch.Tensor, rate: int) -> None:
    targets[0, :, : rate - 1] = 0


def never_both_heard(estimates: torch.Tensor, targets: torch.Tensor, rate: int) -> None:
    targets[0, :, :rate] = 0
    estimates[0, :, rate:] = 0


@pytest.mark.parametrize(
    "rate, stems, channels, samples, trouble",
    [
        (16000, 2, 1, 40000, nothing),
        (16000, 2, 2, 9000, nothing),
        (16000, 3, 1, 16000, nothing),
        (16000, 3, 1, 50000, silent_target),
        (22050, 2, 1, 70000, silent_estimate),
        (22050, 2, 2, 50000, opposite_phase),
        (22050, 2, 1, 44100, never_both_heard),
        (44100, 2, 1, 100000, perfect_second),
        (44100, 2, 2, 90000, one_sample_short_of_silence),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_frames_of_a_track_equal_museval(museval_metrics, rate, stems, channels, samples, trouble, dtype):
    museval = sys.modules["museval"]
    targets = noise(stems, channels, samples, seed=3).to(dtype)
    estimates = 0.9 * targets + 0.2 * targets.roll(1, 0) + 0.1 * noise(stems, channels, samples, seed=4).to(dtype)
    trouble(estimates, targets, rate)
    references, estimated = (audio.transpose(1, 2).numpy() for audio in (targets, estimates))
    if dtype == torch.float32:  # one tap: the SDR does not depend on the filters, and this is much faster
        expected = museval_metrics.bss_eval(references, estimated, window=rate, hop=rate, filters_len=1)[0]
    else:
        expected = museval.evaluate(references, estimated, win=rate, hop=rate)[0]
    ours = track_sdr_frames(estimates, targets, rate)
    np.testing.assert_allclose(ours.numpy(), np.minimum(expected, 100.0), rtol=0, atol=1e-9)
    if trouble not in (nothing, perfect_second, one_sample_short_of_silence):
        assert np.isnan(expected).all(axis=0).any()
    if trouble is not never_both_heard:
        medians = np.nanmedian(np.minimum(expected, 100.0), axis=1)
        np.testing.assert_allclose(median_over_frames(ours).numpy(), medians, rtol=0, atol=1e-9)


def test_silence_in_one_stem_counts_for_all():
    targets, estimates = torch.ones(3, 1, 4 * RATE), torch.full((3, 1, 4 * RATE), 1.1)
    targets[0, :, :RATE] = 0
    estimates[2, :, RATE : 2 * RATE] = 0
    frames = track_sdr_frames(estimates, targets, RATE)
    assert frames.isnan().tolist() == [[True, True, False, False]] * 3
    assert frames[:, 2:].flatten().tolist() == pytest.approx([20.0] * 6, abs=1e-4)
    assert sdr_frames(estimates, targets, RATE).isnan().sum() == 2  # by itself, a stem loses its own frames only


@pytest.mark.parametrize("which", ["target", "estimate", "opposite phase"])
def test_a_stem_that_is_silent_throughout_is_left_out(which):
    targets = noise(3, 2, 3 * RATE, seed=5)
    estimates = targets + 0.1 * noise(3, 2, 3 * RATE, seed=6)
    targets[2, :, :RATE] = 0
    if which == "target":
        targets[1] = 0
    elif which == "estimate":
        estimates[1] = 0
    else:
        targets[1, 1] = -targets[1, 0]
    frames = track_sdr_frames(estimates, targets, RATE)
    others = [0, 2]
    torch.testing.assert_close(
        frames[others], track_sdr_frames(estimates[others], targets[others], RATE), equal_nan=True, rtol=0, atol=0
    )
    assert frames[others].isnan().tolist() == [[True, False, False]] * 2
    assert frames[1].isnan().all() and median_over_frames(frames).isnan().tolist() == [False, True, False]


def test_silence_spreads_from_stems_that_are_not_silent_throughout():
    nan = math.nan
    frames = torch.tensor([[nan, 1.0, 2.0], [3.0, 4.0, 5.0], [nan, nan, nan]])
    spread = spread_silence(frames, torch.tensor([False, False, True]))
    assert spread.isnan().tolist() == [[True, False, False], [True, False, False], [True, True, True]]
    assert spread[:2, 1:].tolist() == [[1.0, 2.0], [4.0, 5.0]]
    assert spread_silence(frames, torch.tensor([False, False, False])).isnan().all()


def test_a_track_of_silence_has_no_number():
    silence = torch.zeros(2, 2, 2 * RATE)
    for estimates, targets in ((silence, silence), (noise(2, 2, 2 * RATE), silence), (silence, noise(2, 2, 2 * RATE))):
        frames = track_sdr_frames(estimates, targets, RATE)
        assert frames.shape == (2, 2) and frames.isnan().all()


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(4)), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99), silent=st.integers(0, 4))
def test_the_order_of_stems_and_the_level_do_not_matter(order, scale, seed, silent):
    targets = noise(4, 2, 3 * RATE + 7, seed=seed).double()
    estimates = targets + noise(4, 2, 3 * RATE + 7, seed=seed + 100).double()
    targets[:silent, :, :RATE] = 0
    frames = track_sdr_frames(estimates, targets, RATE)
    turned = track_sdr_frames(scale * estimates[order], scale * targets[order], RATE)
    torch.testing.assert_close(turned, frames[order], equal_nan=True, rtol=0, atol=1e-9)


def test_median_over_frames_by_hand():
    nan = math.nan
    frames = torch.tensor([[3.0, nan, 1.0, 2.0], [4.0, 1.0, nan, nan], [nan, nan, nan, nan]], dtype=torch.float64)
    assert median_over_frames(frames)[:2].tolist() == [2.0, 2.5] and median_over_frames(frames)[2].isnan()


def test_identity():
    audio = noise(2, 2, 2 * RATE)
    assert si_sdr(audio, audio).tolist() == pytest.approx([100.0, 100.0])
    assert sdr_med(audio, audio, RATE).tolist() == [100.0, 100.0]
    energy = audio.double().square().sum(dim=(1, 2))
    assert usdr(audio, audio).tolist() == pytest.approx((10 * (energy * 1e7).log10()).tolist(), abs=1e-6)


def test_silence():
    audio, silence = noise(1, 1, RATE), torch.zeros(1, 1, RATE)
    assert si_sdr(audio, silence).isnan().item()
    assert si_sdr(silence, silence).isnan().item()
    constant = torch.full((1, 1, RATE), 0.3, dtype=torch.float64)  # its mean is not 0.3 to the last bit
    assert si_sdr(audio, constant).isnan().item()
    assert si_sdr(constant, audio).item() == pytest.approx(-100.0)
    assert si_sdr(silence, audio).item() == pytest.approx(-100.0)
    assert usdr(silence, audio).item() == pytest.approx(0.0, abs=1e-6)
    assert usdr(silence, silence).item() == 0.0
    energy = audio.double().square().sum().item()
    assert usdr(audio, silence).item() == pytest.approx(10 * math.log10(1e-7 / energy), abs=1e-6)


def test_orthogonal_estimate_reaches_the_floor():
    sine, cosine = sine_pair()
    assert si_sdr(cosine, sine).item() == pytest.approx(-100.0)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3),
    offset=st.floats(-1, 1),
    seed=st.integers(0, 99),
)
def test_si_sdr_ignores_scale_and_offset(scale, offset, seed):
    target = noise(1, 2, 300, seed=seed).double()
    estimate = target + 0.5 * noise(1, 2, 300, seed=seed + 100).double()
    expected = si_sdr(estimate, target).item()
    assert si_sdr(estimate * scale + offset, target).item() == pytest.approx(expected, abs=1e-5)
    assert si_sdr(estimate, target * scale + offset).item() == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 4), channels=st.integers(1, 2), samples=st.integers(1, 2600), seed=st.integers(0, 99))
def test_batch_equals_singles_and_all_are_bounded(batch, channels, samples, seed):
    target, estimate = noise(batch, channels, samples, seed=seed), noise(batch, channels, samples, seed=seed + 100)
    together = waveform_metrics(estimate, target, RATE)
    for i in range(batch):
        alone = waveform_metrics(estimate[i : i + 1], target[i : i + 1], RATE)
        for name, value in alone.items():
            torch.testing.assert_close(together[name][i : i + 1], value, equal_nan=True, rtol=1e-5, atol=1e-5)
    assert not any(value.isinf().any() for value in together.values())


def test_gradient_points_to_the_target():
    target = noise(1, 1, RATE)
    estimate = (target + noise(1, 1, RATE, seed=1)).requires_grad_()
    for ratio in (si_sdr, usdr):
        before = ratio(estimate, target).sum()
        (gradient,) = torch.autograd.grad(before, estimate)
        assert gradient.isfinite().all()
        assert ratio(estimate + 1e-3 * gradient / gradient.norm(), target).item() > before.item()


@pytest.mark.parametrize(
    "metric",
    [
        si_sdr,
        usdr,
        lambda e, t: sdr_med(e, t, RATE),
        lambda e, t: track_sdr_frames(e, t, RATE),
        lambda e, t: waveform_metrics(e, t, RATE),
    ],
)
def test_bad_input_is_refused(metric):
    good = noise(2, 1, 50)
    with pytest.raises(ValueError, match=r"\[2, 1, 50\].*\[2, 1, 49\]"):
        metric(good, good[..., :49])
    with pytest.raises(ValueError, match=r"\[2, 50\]"):
        metric(good[:, 0], good[:, 0])
    with pytest.raises(ValueError, match="not empty"):
        metric(good[..., :0], good[..., :0])
    for value in (math.nan, math.inf):
        bad = good.clone()
        bad[1, 0, 3] = value
        with pytest.raises(ValueError, match=r"target holds 1 NaN or infinite samples, the first in batch item 1"):
            metric(good, bad)
        with pytest.raises(ValueError, match="estimate holds 1 NaN"):
            metric(bad, good)
    cancelling = good.clone()
    cancelling[0, 0, :2] = torch.tensor([math.inf, -math.inf])
    with pytest.raises(ValueError, match="estimate holds 2 NaN or infinite samples"):
        metric(cancelling, good)


def test_samples_whose_sum_is_too_large_are_not_refused():
    huge = torch.full((1, 1, 50), 3e38)
    assert huge.sum().isinf() and usdr(huge, huge).isfinite().item()


def test_every_number_is_in_the_table():
    audio = noise(3, 1, 600)
    values = waveform_metrics(audio, audio.flip(0), RATE)
    assert set(values) <= set(METRICS)
    assert all(value.shape == (3,) for value in values.values())


def test_the_table_is_complete():
    for metric in METRICS.values():
        assert metric.direction in ("up", "down", "zero") and metric.definition.endswith(".") and metric.source
        assert metric.name != "SDR"  # which of the three?
