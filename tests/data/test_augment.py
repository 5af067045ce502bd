"""Items that are played faster or slower: pitch, tempo and length are right, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec_ft.data.config import DataConfig
from codec_ft.data.dataset import Item, PairDataset
from codec_ft.data.excerpts import Excerpt
from codec_ft.data.speed import draw_speed, highest_speed, play, samples_played, span
from codec_ft.data.tracks import find_tracks
from codec_ft.errors import UserError

RATE = 8000
SPEED = (0.8, 1.25)


def pairs(root: Path, **options) -> PairDataset:
    settings = {"stem": "bass", "sample_rate": RATE, "seconds": 0.5, "length": 100, "seed": 3, "speed": SPEED} | options
    return PairDataset(tracks=find_tracks(root, "train"), **settings)


def frequency(audio: torch.Tensor, rate: int = RATE) -> float:
    """Of a sine [1, N], in Hz: by how much its phase turns in a second."""
    wave = audio[0].numpy().astype(np.float64) * np.hanning(audio.shape[1])
    spectrum = np.fft.fft(wave)
    spectrum[len(wave) // 2 :] = 0
    phase = np.unwrap(np.angle(np.fft.ifft(spectrum)))
    inner = slice(len(wave) // 4, 3 * len(wave) // 4)
    return float(np.polyfit(np.arange(len(wave))[inner] / rate, phase[inner], 1)[0] / (2 * np.pi))


def speed_of(item: Item) -> float:
    """What the name says of it, 1 where it says nothing."""
    _, at, words = item["name"].partition(" s at ")
    return int(words.split(" ")[0]) / 100 if at else 1.0


@pytest.fixture
def tones(tmp_path: Path, make_track) -> Path:
    """Two training tracks of 3 s, one of 440 and one of 600 Hz, with a mixture of three times the bass."""
    (tmp_path / "valid").mkdir()
    for name, hertz in (("a", 440), ("b", 600)):
        bass = 0.2 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE) / RATE)
        make_track(tmp_path / "train" / name, {"bass": bass, "drums": 2 * bass})
        make_track(tmp_path / "separated/half/train" / name, {"bass": bass / 2}, mixture=False)
    return tmp_path


# --- playing -----------------------------------------------------------------------------------------------------


@given(count=st.integers(1, 3000), speed=st.integers(25, 400), channels=st.integers(1, 2))
def test_lengths_are_exact(count: int, speed: int, channels: int) -> None:
    needed = samples_played(count, speed)
    assert 0 <= needed - count * speed / 100 < 1
    played = play(np.full((channels, needed), 0.25, np.float32), speed, count)
    assert played.shape == (channels, count) and played.dtype == np.float32
    with pytest.raises(ValueError, match=rf"{count} samples at {speed} % need {needed}, not {needed + 1}"):
        play(np.zeros((1, needed + 1)), speed, count)


@pytest.mark.parametrize("speed", [80, 97, 100, 113, 125])
def test_a_sine_comes_out_at_another_pitch(speed: int) -> None:
    count = 4000
    time = np.arange(samples_played(count, speed)) / RATE
    wave = 0.5 * np.sin(2 * np.pi * 500 * time)
    played = play(wave[None], speed, count)[0]
    expected = 0.5 * np.sin(2 * np.pi * 500 * speed / 100 * np.arange(count) / RATE)
    assert np.abs(played - expected)[100:-100].max() < 1e-4
    assert np.abs(played).max() < 0.6  # the ends ring a little, and no more


def test_what_becomes_too_high_is_gone() -> None:
    time = np.arange(samples_played(8000, 125)) / RATE
    assert np.abs(play(np.sin(2 * np.pi * 3600 * time)[None], 125, 8000)[:, 200:-200]).max() < 1e-3


def test_playing_is_linear_and_keeps_silence() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.uniform(-0.3, 0.3, (2, 2, samples_played(2000, 113))).astype(np.float32)
    together = play(one + 2 * other, 113, 2000)
    assert np.abs(together - play(one, 113, 2000) - 2 * play(other, 113, 2000)).max() < 1e-6
    assert not play(np.zeros((2, samples_played(2000, 87)), np.float32), 87, 2000).any()
    assert np.shares_memory(play(one[:, :2000], 100, 2000), one)  # nothing is done to what is played as it is


@given(seconds=st.floats(0.01, 20), duration=st.floats(0.01, 60), rate=st.sampled_from([8000, 16000, 24000, 44100]))
def test_the_highest_speed_is_the_highest(seconds: float, duration: float, rate: int) -> None:
    count, available = round(seconds * rate), int(duration * rate + 1e-6)
    if not count:
        return
    speed = highest_speed(duration, seconds, rate)
    assert samples_played(count, speed) <= available < samples_played(count, speed + 1)
    if speed >= 1:
        assert span(seconds, rate, speed) <= duration + 1e-6
    assert span(seconds, rate, 100) == seconds


def test_faster_is_as_likely_as_slower() -> None:
    rng = np.random.default_rng(0)
    speeds = np.array([draw_speed(rng, 50, 200) for _ in range(4000)])
    assert (speeds.min(), speeds.max()) == (50, 200)
    shares = np.histogram(np.log2(speeds / 100), 4, (-1, 1))[0] / 4000
    assert shares == pytest.approx(0.25, abs=0.03)
    assert {draw_speed(rng, 93, 93) for _ in range(9)} == {93}


# --- items -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache_mb", [0.0, 100.0])
def test_items_are_faster_and_slower(tones: Path, cache_mb: float) -> None:
    data = pairs(tones, context=["separated/half", "target"], cache_mb=cache_mb)
    assert data.reader.in_memory == bool(cache_mb)
    seen = set()
    for item in data:
        assert item["input"].shape == item["target"].shape == (1, 4000) and item["context"].shape == (2, 4000)
        hertz = 440 if item["name"].startswith("a") else 600
        assert frequency(item["target"]) == pytest.approx(hertz * speed_of(item), rel=1e-4)
        # All of an item is played alike.
        assert torch.allclose(item["input"], 3 * item["target"], atol=1e-4)
        assert torch.allclose(item["context"], torch.cat([item["target"] / 2, item["target"]]), atol=1e-4)
        seen.add(speed_of(item))
    assert 0.8 <= min(seen) < 0.83 and 1.2 < max(seen) <= 1.25 and len(seen) > 25


def test_it_is_the_excerpt_that_it_says(tones: Path) -> None:
    """Where a file is heard faster, so much of it is heard, from the named place on."""
    ramp = np.arange(3 * RATE) / (4 * RATE)
    for name in ("a", "b"):
        soundfile.write(tones / "train" / name / "bass.wav", ramp, RATE, subtype="FLOAT")
    data = pairs(tones, input="target")
    for i in range(len(data)):
        drawn, target = data.draw(i), data[i]["target"][0]
        seconds = drawn.excerpt.start_seconds + np.arange(4000) * drawn.speed / 100 / RATE
        assert np.abs(4 * target.numpy() - seconds)[200:-200].max() < 2 / RATE


def test_only_the_speed_changes(tones: Path) -> None:
    options = {"gain_db": (-6.0, 6.0), "remix_probability": 0.5, "inputs": {"mixture": 2.0, "target": 1.0}}
    plain, fast = pairs(tones, speed=(1.0, 1.0), **options), pairs(tones, **options)
    for i in range(100):
        before, after = plain.draw(i), fast.draw(i)
        assert (before.input, before.excerpt.track) == (after.input, after.excerpt.track)
        assert (before.gain, before.remix is None) == (after.gain, after.remix is None)
        assert before.speed == 100 and before.name.removesuffix(" (remix)").endswith(" s")
    assert all(torch.equal(fast[i]["input"], pairs(tones, **options)[i]["input"]) for i in (5, 3, 8))
    constant = pairs(tones, speed=(1.1, 1.1))
    assert {drawn.speed for drawn in map(constant.draw, range(20))} == {110}


def test_remixes_are_played_as_a_whole(tmp_path: Path, make_track) -> None:
    (tmp_path / "valid").mkdir()
    for name, hertz in (("a", 500), ("b", 800)):
        time = np.arange(3 * RATE) / RATE
        stems = {"bass": 0.3 * np.sin(2 * np.pi * hertz * time), "drums": 0.3 * np.sin(2 * np.pi * hertz / 2 * time)}
        make_track(tmp_path / "train" / name, stems)
    crossed = 0
    for item in pairs(tmp_path, remix_probability=1.0, remix_gain_db=(0.0, 0.0)):
        heard = frequency(item["input"] - item["target"]) / speed_of(item)
        assert heard == pytest.approx(250, rel=1e-3) or heard == pytest.approx(400, rel=1e-3)
        crossed += heard < 300 and item["name"].startswith("b")
    assert crossed > 15


def test_noise_is_white_at_any_speed(tones: Path) -> None:
    for input in ("noise", "noisy"):
        data = pairs(tones, input=input, noise_db=10.0, speed=(0.5, 0.5), length=20)
        noise = torch.cat([item["input"] - item["target"] * (input == "noisy") for item in data])
        power = torch.fft.rfft(noise).abs().square().mean(dim=0)[1:]
        assert float(power[1000:].mean() / power[:1000].mean()) == pytest.approx(1.0, abs=0.1)


def test_silence_is_never_drawn_and_stays_silent(tmp_path: Path, make_track) -> None:
    (tmp_path / "valid").mkdir()
    bass = np.zeros(6 * RATE)
    bass[3 * RATE : 4 * RATE] = np.random.default_rng(0).uniform(-0.1, 0.1, RATE)
    make_track(tmp_path / "train/a", {"bass": bass, "drums": 0 * bass})
    make_track(tmp_path / "separated/none/train/a", {"bass": 0 * bass}, mixture=False)
    for item in pairs(tmp_path, input="separated/none", speed=(0.5, 2.0), length=200):
        assert not item["input"].any()
        assert item["target"].square().mean() > 1e-5


@pytest.mark.parametrize("file_rate", [RATE, 11025])
def test_to_the_very_end_of_short_tracks(tmp_path: Path, make_track, file_rate: int) -> None:
    """What is hardly as long as an item is heard from its beginning to its end, and slower where it has to be."""
    (tmp_path / "valid").mkdir()
    lengths = {"a": 0.456, "b": 0.5, "c": 0.5502, "d": 0.7}
    for name, seconds in lengths.items():
        make_track(tmp_path / "train" / name, seconds=seconds, sample_rate=file_rate)
    make_track(tmp_path / "train/brief", seconds=0.39, sample_rate=file_rate)
    data = pairs(tmp_path, length=300)
    assert [track.name for track in data.tracks] == list(lengths)
    highest = dict.fromkeys(lengths, 0)
    for i in range(300):
        drawn, item = data.draw(i), data[i]
        assert item["input"].shape == item["target"].shape == (1, 4000)
        name = drawn.excerpt.track.name
        end = drawn.excerpt.start_seconds + span(0.5, RATE, drawn.speed)
        assert drawn.excerpt.start_seconds >= 0.0 and end <= lengths[name] + 1 / file_rate
        highest[name] = max(highest[name], drawn.speed)
    limits = {"a": 91, "b": 100, "c": 110, "d": 125}
    assert all(limits[name] - 2 <= highest[name] <= limits[name] for name in lengths)
    with pytest.raises(UserError, match=r"remix_probability: no stem beside bass lasts 1 s"):
        pairs(tmp_path, remix_probability=0.5, speed=(0.5, 2.0))


# --- refusals ----------------------------------------------------------------------------------------------------


def test_chosen_places_are_heard_as_they_are(tones: Path) -> None:
    for options in ({"grid_seconds": 0.25}, {"only": Excerpt(find_tracks(tones, "train")[0], 1.0, 0.5)}):
        with pytest.raises(ValueError, match="are played as they are"):
            pairs(tones, **options)
        assert {drawn.speed for drawn in map(pairs(tones, speed=(1.0, 1.0), **options).draw, range(9))} == {100}


@pytest.mark.parametrize(
    ("speed", "message"),
    [
        ((1.2, 0.8), "must be a range from low to high, within 0.25 to 4"),
        ((0.2, 1.0), "within 0.25 to 4"),
        ((1.0, 5.0), "within 0.25 to 4"),
        ((0.85, 1.255), "must have no more than two decimals"),
    ],
)
def test_speeds_that_will_not_do(speed: tuple[float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(speed=speed)
    assert DataConfig(speed=(0.29, 1.13)).speed == (0.29, 1.13)
