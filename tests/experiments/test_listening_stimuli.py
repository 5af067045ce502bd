"""What listeners hear, against closed forms and pyloudnorm."""

import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.listening import stimuli
from experiments.listening.names import blind, slug, slugs

RATE = 44100


def sine(frequency: float, seconds: float = 1.0, rate: int = RATE, amplitude: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time))[None].astype(np.float32)


def response(cutoff: float, rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and complex response of the filter, from what it makes of an impulse at time 0 of a long signal."""
    impulse = np.zeros((1, rate))
    impulse[0, rate // 2] = 1.0
    out = stimuli.low_pass(impulse, rate, cutoff)[0].astype(np.float64)
    return np.fft.rfftfreq(rate, 1 / rate), np.fft.rfft(np.roll(out, -(rate // 2)))


@pytest.mark.parametrize(("cutoff", "rate"), [(3500.0, 16000), (3500.0, 44100), (7000.0, 44100), (7000.0, 48000)])
def test_low_pass_has_the_spectrum_of_bs1534(cutoff: float, rate: int):
    frequencies, gain = response(cutoff, rate)
    decibels = 20 * np.log10(np.maximum(np.abs(gain), 1e-9))
    assert np.abs(decibels[frequencies <= cutoff]).max() < 0.1
    assert decibels[frequencies >= cutoff + 500].max() < -50
    # A real response that is positive where it matters: no phase shift, and so no delay.
    assert np.abs(gain.imag).max() < 1e-6
    assert gain.real[frequencies <= cutoff].min() > 0.98


def test_low_pass_leaves_what_is_below_where_it_is():
    audio = np.concatenate([sine(440), sine(1000)])
    assert np.abs(stimuli.low_pass(audio, RATE, 3500.0) - audio)[:, 500:-500].max() < 1e-3
    assert stimuli.low_pass(audio, RATE, 3500.0).shape == audio.shape
    assert np.abs(stimuli.low_pass(sine(5000), RATE, 3500.0))[:, 500:-500].max() < 1e-3


def test_low_pass_needs_room_below_half_the_rate():
    with pytest.raises(ValueError, match="sample rate above 15000 Hz"):
        stimuli.low_pass(sine(440, rate=15000), 15000, 7000.0)


@pytest.mark.parametrize(("rate", "names"), [(8000, []), (12000, ["anchor35"]), (16000, ["anchor35", "anchor70"])])
def test_anchors_that_the_rate_allows(rate: int, names: list[str]):
    assert list(stimuli.anchors(sine(300, rate=rate), rate)) == names


def test_loudness_of_a_full_scale_sine_is_that_of_the_standard():
    """BS.1770: a sine of 997 Hz at 0 dBFS in one channel reads -3.01 LUFS."""
    assert stimuli.loudness(sine(997, 3.0, 48000), 48000) == pytest.approx(-3.01, abs=0.05)


@settings(max_examples=20, deadline=None)
@given(st.floats(-40, -12), st.floats(-30, 20), st.sampled_from([16000, 44100]))
def test_every_gain_reaches_the_loudness_asked_for(target: float, level: float, rate: int):
    noise = np.random.default_rng(1).standard_normal((2, rate)) * 10 ** (level / 20) / 10
    made, gain = stimuli.with_loudness(noise, rate, target)
    assert pyloudnorm.Meter(rate).integrated_loudness(made.T.astype(np.float64)) == pytest.approx(target, abs=0.01)
    np.testing.assert_allclose(made, noise * 10 ** (gain / 20), rtol=1e-4, atol=1e-7)


def test_silence_has_no_loudness():
    with pytest.raises(ValueError, match="silent"):
        stimuli.with_loudness(np.zeros((1, RATE)), RATE, -23.0)


def test_one_gain_for_all_brings_the_highest_peak_below_the_limit():
    assert stimuli.common_gain([sine(100), 2 * sine(100)]) == pytest.approx(-1 - 20 * np.log10(2), abs=1e-3)
    assert stimuli.common_gain([0.1 * sine(100)]) == 0.0
    assert stimuli.common_gain([np.zeros((1, 5))]) == 0.0


def test_fades_touch_the_ends_only():
    faded = stimuli.fade(np.ones((2, RATE)), RATE)
    edge = round(0.02 * RATE)
    assert faded[:, 0].tolist() == [0, 0] and faded[:, -1].tolist() == [0, 0]
    assert (faded[:, edge:-edge] == 1).all()
    assert (np.diff(faded[0, :edge]) > 0).all() and faded[0, edge // 2] == pytest.approx(0.5, abs=0.01)
    assert stimuli.fade(np.ones((1, 3)), RATE).shape == (1, 3)


def test_an_attention_check_is_as_loud_and_half_noise():
    reference = np.concatenate([sine(55, 2.0), sine(55, 2.0)]) * 0.2
    noisy = stimuli.under_noise(reference, RATE)
    assert stimuli.loudness(noisy, RATE) == pytest.approx(stimuli.loudness(reference, RATE), abs=0.1)
    above = np.abs(np.fft.rfft(noisy[0]))[np.fft.rfftfreq(noisy.shape[1], 1 / RATE) > 2000]
    assert above.min() > 0 and np.sqrt(np.mean(above**2)) > 10
    assert (stimuli.under_noise(reference, RATE) == noisy).all()


def test_opposed_tones_cancel_in_the_air_and_the_soft_one_is_6_db_softer():
    tones = stimuli.headphone_tones(RATE)
    assert {tone.shape for tone in tones.values()} == {(2, RATE)}
    assert np.abs(tones["opposed"].sum(axis=0)).max() == 0.0
    assert np.abs(tones["opposed"]).max() == np.abs(tones["loud"]).max()
    assert np.abs(tones["loud"]).max() / np.abs(tones["soft"]).max() == pytest.approx(10**0.3, rel=1e-3)
    spectrum = np.abs(np.fft.rfft(tones["loud"][0]))
    assert np.argmax(spectrum) == 200


def test_names_for_files():
    assert slug('Élan – 50% "quoted" & <b>') == "elan-50-quoted-b"
    assert slug("音楽") == "x"
    assert slugs(["A b", "a-b", "reference"], reserved=["reference"]) == {
        "A b": "a-b",
        "a-b": "a-b-2",
        "reference": "reference-2",
    }
    assert blind("a", "b") != blind("ab") and len(blind("a")) == 10
