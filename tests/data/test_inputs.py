"""What a model may hear: noise, one of several inputs, a context beside it; on a grid, or from one place only."""

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec_ft.data.dataset import ExcerptDataset, Item, PairDataset, collate
from codec_ft.data.excerpts import Excerpt, active_starts, find_activity, fixed_excerpts, grid_starts
from codec_ft.data.noise import add_noise, noise_of_place, white_noise
from codec_ft.data.tracks import find_tracks
from codec_ft.errors import UserError

RATE = 8000


@pytest.fixture
def root(tmp_path: Path, make_track) -> Path:
    """Constant stems that 16 bits hold exactly, so that every sum tells what it was made of.

    Bass is 1/128 and drums 16 times that, both twice as much in track b; two separators made 3 and 5 times the bass.
    """
    for name, level in (("a", 1 / 128), ("b", 1 / 64)):
        stems = {"bass": np.full(2 * RATE, level), "drums": np.full(2 * RATE, 16 * level)}
        make_track(tmp_path / "train" / name, stems)
        for separator, factor in (("three", 3), ("five", 5)):
            folder = tmp_path / "separated" / separator / "train" / name
            make_track(folder, {"bass": factor * stems["bass"]}, mixture=False)
    (tmp_path / "valid").mkdir()
    return tmp_path


def pairs(root: Path, **options) -> PairDataset:
    settings = {"stem": "bass", "sample_rate": RATE, "seconds": 0.5, "length": 200, "seed": 3} | options
    return PairDataset(tracks=find_tracks(root, "train"), **settings)


def times(item: Item, key: str) -> float:
    """How many times its target one of the item's sounds is."""
    return float(item[key][0, 100] / item["target"][0, 100])  # type: ignore[literal-required]


def place(item: Item) -> tuple[str, float]:
    """Track and second, as the name says."""
    track, start = item["name"].removesuffix(" (remix)").removesuffix(" s").split(" @ ")
    return track, float(start)


def rms_db(audio: np.ndarray | torch.Tensor) -> float:
    return 10 * float(np.log10(np.mean(np.square(np.asarray(audio, dtype=np.float64)))))


# --- noise -------------------------------------------------------------------------------------------------------


@given(channels=st.integers(1, 3), length=st.integers(2, 500), noise_db=st.floats(-40, 60), seed=st.integers(0, 99))
def test_noise_has_exactly_its_level(channels: int, length: int, noise_db: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = rng.uniform(-0.5, 0.5, (channels, length)).astype(np.float32)
    added = add_noise(target, noise_db, rng) - target.astype(np.float64)
    assert rms_db(target) - rms_db(added) == pytest.approx(noise_db, abs=0.02)
    alone = white_noise((channels, length), rng)
    assert alone.dtype == np.float32 and rms_db(alone) == pytest.approx(-20.0, abs=1e-4)


def test_noise_is_white_gaussian_and_its_own_in_each_channel() -> None:
    noise = white_noise((2, 65536), np.random.default_rng(1)).astype(np.float64) / 0.1
    spectrum = np.abs(np.fft.rfft(noise, axis=1)[:, 1:]) ** 2 / 65536
    assert spectrum.reshape(2, 8, -1).mean(axis=2) == pytest.approx(1.0, abs=0.06)  # as loud in all eighths
    assert np.mean(noise**4) == pytest.approx(3.0, abs=0.1)
    assert abs(np.mean(noise[0] * noise[1])) < 0.02


def test_silence_with_noise_is_silence() -> None:
    assert not add_noise(np.zeros((2, 100), np.float32), 20.0, np.random.default_rng(0)).any()


def test_the_noise_of_a_place_is_the_same_on_every_machine() -> None:
    assert (
        noise_of_place("song", 1.5).random() == noise_of_place("song", 1.5).random() == pytest.approx(0.441121510504371)
    )
    assert len({noise_of_place(name, start).random() for name in ("song", "tune") for start in (1.5, 1.6)}) == 4


def test_training_on_noise(root: Path) -> None:
    plain = list(pairs(root, input="target"))
    noisy, again = (list(pairs(root, input="noisy", noise_db=12.0)) for _ in range(2))
    noise = list(pairs(root, input="noise"))
    for i, item in enumerate(plain):
        assert noisy[i]["name"] == noise[i]["name"] == item["name"]
        assert torch.equal(noisy[i]["target"], item["target"]) and torch.equal(noise[i]["target"], item["target"])
        assert torch.equal(noisy[i]["input"], again[i]["input"])
        difference = noisy[i]["input"] - noisy[i]["target"]
        assert rms_db(item["target"]) - rms_db(difference) == pytest.approx(12.0, abs=1e-3)
        assert rms_db(noise[i]["input"]) == pytest.approx(-20.0, abs=1e-3)
        # One and the same noise at two levels, and another one in each item.
        assert float(torch.corrcoef(torch.cat([difference, noise[i]["input"]]))[0, 1]) == pytest.approx(1.0)
        assert abs(float(torch.corrcoef(torch.cat([difference, noise[i - 1]["input"]]))[0, 1])) < 0.1
    other = pairs(root, input="noise", seed=4)[0]["input"]
    assert not torch.equal(other, noise[0]["input"])


def test_validating_on_noise(root: Path) -> None:
    tracks = find_tracks(root, "train")
    excerpts = [Excerpt(track, start, 0.5) for track in tracks for start in (0.0, 0.7)]
    options = {"stem": "bass", "sample_rate": RATE}
    noisy = ExcerptDataset(excerpts, input="noisy", noise_db=30.0, context=["noise"], **options)
    for index, item in enumerate(noisy):
        assert torch.equal(item["input"], noisy[index]["input"])
        assert rms_db(item["target"]) - rms_db(item["input"] - item["target"]) == pytest.approx(30.0, abs=0.01)
        alone = ExcerptDataset(excerpts[index:], input="noise", **options)[0]["input"]
        assert rms_db(alone) == pytest.approx(-20.0, abs=1e-3)
        # Input and context have noise of their own; the first noise of a place is always the same.
        apart = torch.corrcoef(torch.cat([item["input"] - item["target"], alone, item["context"]]))
        assert float(apart[0, 1]) == pytest.approx(1.0, abs=1e-3) and abs(float(apart[0, 2])) < 0.1
    assert not torch.equal(noisy[0]["context"], noisy[1]["context"])


# --- several inputs, and a context -------------------------------------------------------------------------------


def test_inputs_are_drawn_by_their_shares(root: Path) -> None:
    shares = {"separated/three": 2.0, "target": 1.0, "separated/five": 5.0}
    plain = pairs(root, length=800)
    drawn = pairs(root, inputs=shares, length=800)
    seen = Counter(round(times(item, "input"), 4) for item in drawn)
    assert set(seen) == {1.0, 3.0, 5.0}
    assert [seen[factor] / 800 for factor in (3.0, 1.0, 5.0)] == pytest.approx([2 / 8, 1 / 8, 5 / 8], abs=0.05)
    assert all(torch.equal(drawn[i]["target"], plain[i]["target"]) for i in range(100))
    factors = {"separated/three": 3.0, "target": 1.0, "separated/five": 5.0}
    assert all(factors[drawn.draw(i).input] == pytest.approx(times(drawn[i], "input")) for i in range(50))
    assert [drawn.draw(i) for i in range(9)] == [pairs(root, inputs=shares, length=9).draw(i) for i in range(9)]


def test_a_single_one_of_several_inputs_is_an_input(root: Path) -> None:
    options = {"remix_probability": 0.5, "gain_db": (-3.0, 3.0)}
    for one, other in zip(pairs(root, inputs={"mixture": 0.3}, **options), pairs(root, **options), strict=True):
        assert one["name"] == other["name"] and torch.equal(one["input"], other["input"])


def test_the_files_of_all_inputs_must_be_there(root: Path) -> None:
    (root / "separated/five/train/b/bass.wav").unlink()
    missing = r"separated/five/train/b/bass\.wav: no such separated stem"
    for options in ({"inputs": {"mixture": 9.0, "separated/five": 1.0}}, {"context": ["separated/five"]}):
        with pytest.raises(UserError, match=missing):
            pairs(root, **options)
    excerpt = Excerpt(find_tracks(root, "train")[1], 0.0, 0.5)
    with pytest.raises(UserError, match=missing):
        ExcerptDataset([excerpt], stem="bass", context=["separated/five"], sample_rate=RATE)
    with pytest.raises(UserError, match="input=mixtur: no such input"):
        pairs(root, context=["mixtur"])


def test_the_shortest_file_of_a_pair_says_where_excerpts_may_begin(root: Path) -> None:
    for name in ("a", "b"):
        soundfile.write(root / f"separated/five/train/{name}/bass.wav", np.full(RATE, 0.1), RATE)
    for options in ({"inputs": {"mixture": 1.0, "separated/five": 1.0}}, {"context": ["separated/five"]}):
        assert max(place(item)[1] for item in pairs(root, **options)) <= 0.5
    assert max(place(item)[1] for item in pairs(root)) > 1.4


def test_a_context_is_of_the_same_place_with_the_same_gain(root: Path, make_track) -> None:
    rng = np.random.default_rng(5)
    for name in ("a", "b"):
        make_track(root / "train" / name, {stem: rng.uniform(-0.2, 0.2, (2, 2 * RATE)) for stem in ("bass", "drums")})
    options = {"gain_db": (-6.0, 6.0), "channels": 2, "swap_channels": True, "input": "separated/three"}
    plain = pairs(root, **options)
    heard = pairs(root, context=["mixture"], **options)
    mixed = pairs(root, **options | {"input": "mixture"})
    for i, item in enumerate(heard):
        assert torch.equal(item["input"], plain[i]["input"]) and torch.equal(item["target"], plain[i]["target"])
        assert torch.equal(item["context"], mixed[i]["input"])
    batch = collate([heard[0], heard[1]])
    assert batch.context is not None and torch.equal(batch.context[1], heard[1]["context"])
    assert collate([plain[0]]).context is None

    excerpts = fixed_excerpts(find_tracks(root, "train"), "bass", 0.5, 2, source=["separated/three", "mixture"])
    chosen, mixtures = (
        ExcerptDataset(excerpts, stem="bass", sample_rate=RATE, **words)
        for words in ({"input": "separated/three", "context": ["mixture"]}, {"input": "mixture"})
    )
    assert all(torch.equal(chosen[i]["context"], mixtures[i]["input"]) for i in range(len(excerpts)))


def test_several_contexts_stand_one_below_the_other(root: Path) -> None:
    options = {"input": "target", "channels": 2}
    heard = pairs(root, context=["separated/five", "mixture", "separated/three"], **options)
    for item in heard:
        assert item["context"].shape == (6, 4000)
        assert [float(row[9] / item["target"][0, 9]) for row in item["context"]] == [5.0, 5.0, 17.0, 17.0, 3.0, 3.0]
    batch = collate([heard[0], heard[1], heard[2]])
    assert batch.context is not None and batch.context.shape == (3, 6, 4000)
    excerpt = Excerpt(find_tracks(root, "train")[1], 0.5, 0.5)
    data = ExcerptDataset([excerpt], stem="bass", context=["mixture", "separated/five"], sample_rate=RATE)
    assert [float(row[9] / data[0]["target"][0, 9]) for row in data[0]["context"]] == [17.0, 5.0]


def test_only_mixtures_are_remixed_and_their_context_is_the_remix(root: Path) -> None:
    options = {"remix_probability": 0.5, "remix_gain_db": (0.0, 0.0), "length": 400}
    both = list(pairs(root, inputs={"mixture": 1.0, "separated/three": 1.0}, context=["mixture"], **options))
    made_up = [item for item in both if item["name"].endswith("(remix)")]
    assert 60 < len(made_up) < 140  # half of a half
    # The drums are those of a or b, twice as loud: 1 + 16, 1 + 32 or 1 + 8 times the bass.
    assert {round(times(item, "input"), 4) for item in made_up} == {17.0, 33.0, 9.0}
    assert all(torch.equal(item["input"], item["context"]) for item in made_up)
    for item in both:
        if not item["name"].endswith("(remix)"):
            assert times(item, "input") in (3.0, 17.0) and times(item, "context") == 17.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": {"target": 1.0, "noisy": 1.0}}, "not input=target, noisy with stem=bass"),
        ({"context": ["separated/three"]}, "not input=mixture and context=separated/three with stem=bass"),
        (
            {"context": ["target", "separated/five"]},
            "not input=mixture and context=target, separated/five with stem=bass",
        ),
        ({"stem": "mixture"}, "not input=mixture with stem=mixture"),
    ],
)
def test_where_no_item_could_be_a_remix(root: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=rf"remix_probability=0\.5: only mixtures can be remixed, {message}\. Set it"):
        pairs(root, remix_probability=0.5, **options)


# --- places ------------------------------------------------------------------------------------------------------


@given(duration=st.floats(0, 100), seconds=st.floats(0.1, 20), grid=st.floats(0.05, 5))
def test_the_grid_holds_all_excerpts_that_fit(duration: float, seconds: float, grid: float) -> None:
    starts = grid_starts(duration, seconds, grid)
    assert np.allclose(starts, grid * np.arange(len(starts)))
    if len(starts):
        assert starts[-1] + seconds <= duration + 1e-5
    assert len(starts) * grid + seconds > duration - 1e-5


def test_a_grid_of_excerpts_in_which_the_target_sounds() -> None:
    levels = np.array([-60.0] * 5 + [-20.0] * 5)  # the second half of a second
    starts, found = active_starts(levels, 1.0, 0.25, grid_seconds=0.25)
    assert starts.tolist() == [0.5, 0.75] and found == pytest.approx([-20.0, -20.0])
    starts, found = active_starts(levels, 1.0, 0.35, grid_seconds=0.25)  # blocks of 2 to 6, one of four loud
    assert starts.tolist() == [0.25, 0.5] and found[0] == pytest.approx(10 * np.log10(0.01 / 4 + 1e-6 * 3 / 4))
    assert active_starts(levels, 1.0, 1.1, grid_seconds=0.25)[0].size == 0


def test_items_on_a_grid(root: Path, make_track) -> None:
    bass = np.full(3 * RATE, 1 / 64)
    bass[: RATE // 2 * 3] = 0
    make_track(root / "train/a", {"bass": bass, "drums": bass})
    data = pairs(root, grid_seconds=0.25)
    drawn = [data.draw(i).excerpt for i in range(200)]
    seen = Counter((excerpt.track.name, excerpt.start_seconds) for excerpt in drawn)
    assert set(seen) == {("a", i / 4) for i in range(5, 11)} | {("b", i / 4) for i in range(7)}
    assert min(seen.values()) >= 5
    whole, _ = soundfile.read(root / "train/a/bass.wav", dtype="float32")
    for index, excerpt in enumerate(drawn):
        if excerpt.track.name == "a":
            first = round(excerpt.start_seconds * RATE)
            assert np.array_equal(data[index]["target"][0].numpy(), whole[first : first + RATE // 2])
    (chosen, *_) = fixed_excerpts(find_tracks(root, "train"), "bass", 0.5, 1, grid_seconds=0.75)
    assert chosen.start_seconds == 1.5


def test_one_place_only(root: Path) -> None:
    track = find_tracks(root, "train")[1]
    data = pairs(root, only=Excerpt(track, 0.8125, 0.5), gain_db=(-6.0, 6.0), remix_probability=0.5, length=40)
    assert [t.name for t in data.tracks] == ["b"]
    assert {data.draw(i).excerpt for i in range(40)} == {Excerpt(track, 0.8125, 0.5)}
    levels = {round(float(item["target"][0, 0]), 5) for item in data}
    assert len(levels) > 30 and min(levels) > 1 / 128 and max(levels) < 1 / 32
    assert {item["name"].endswith("(remix)") for item in data} == {True, False}  # with stems of all tracks
    assert pairs(root, only=Excerpt(track, 1.5, 0.5))[7]["target"].shape == (1, RATE // 2)  # up to the end


def test_one_place_must_sound_and_be_as_long_as_the_items(root: Path) -> None:
    track = find_tracks(root, "train")[0]
    bass, _ = soundfile.read(track.stems["bass"])
    bass[:RATE] = 0
    soundfile.write(track.stems["bass"], bass, RATE)
    refused = r"train/a: bass is silent at {} s, or a file ends before {} s\. Choose another excerpt"
    with pytest.raises(UserError, match=refused.format(r"0\.2", r"0\.8")):
        pairs(root, only=Excerpt(track, 0.25, 0.5))
    with pytest.raises(UserError, match=refused.format(r"1\.6", r"2\.1")):
        pairs(root, only=Excerpt(track, 1.5625, 0.5))
    with pytest.raises(ValueError, match=r"lasts 1 s, but items last 0\.5 s"):
        pairs(root, only=Excerpt(track, 1.0, 1.0))


# --- several data sets -------------------------------------------------------------------------------------------


def test_tracks_of_several_data_sets(
    root: Path, tmp_path_factory: pytest.TempPathFactory, make_track, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path_factory.mktemp("other")
    level = np.full(2 * RATE, 1 / 32)
    make_track(other / "train/a", {"bass": level, "drums": 0 * level, "guitar": level})  # of the same name as one here
    make_track(other / "train/hushed", {"bass": 0 * level, "drums": level})
    (other / "valid").mkdir()
    tracks = [*find_tracks(root, "train"), *find_tracks(other, "train")]
    settings = {"stem": "bass", "sample_rate": RATE, "seconds": 0.5, "length": 200, "seed": 3}
    with caplog.at_level(logging.WARNING):
        data = PairDataset(tracks=tracks, **settings)
    assert "silent throughout: hushed" in caplog.text
    seen = Counter((item["name"][0], float(item["target"][0, 0])) for item in data)
    assert set(seen) == {("a", 1 / 128), ("b", 1 / 64), ("a", 1 / 32)} and min(seen.values()) > 40
    remixed = PairDataset(tracks=tracks, remix_probability=1.0, **settings)
    assert all(item["name"].endswith("(remix)") for item in remixed)
    for folder in (root, other):  # each data set keeps what is known of its own files
        known = (folder / ".check-cache.json").read_text()
        assert ("hushed" in known) == (folder == other) and "../" not in known
    with pytest.raises(UserError, match=rf"{root}, {other}: none of the 4 train tracks can be used: 4 are shorter"):
        find_activity(tracks, "bass", 9.0)
    with pytest.raises(UserError, match=rf"{other}/separated/three: no separated stems of three"):
        PairDataset(tracks=tracks, input="separated/three", **settings)


# --- trainings that were begun before ----------------------------------------------------------------------------


def test_without_these_options_items_are_those_of_old(tmp_path: Path, make_track) -> None:
    """A training that was interrupted goes on with the data that it was begun with, even in a later version."""
    for name in ("a", "b"):
        make_track(tmp_path / "train" / name)
    (tmp_path / "valid").mkdir()
    data = pairs(tmp_path, remix_probability=0.5, gain_db=(-6.0, 6.0), seed=11, channels=2, swap_channels=True)
    assert [data[i]["name"] for i in range(5)] == [
        "a @ 0.6 s",
        "a @ 1.7 s",
        "a @ 0.6 s",
        "a @ 0.2 s (remix)",
        "b @ 0.3 s",
    ]
    assert [round(float(data[i]["input"][0, 123]), 5) for i in range(5)] == [
        -0.08678,
        -0.01548,
        0.12921,
        -0.18931,
        0.15277,
    ]
    assert [round(float(data[i]["target"][0, 321]), 5) for i in range(5)] == [
        0.09699,
        0.01677,
        -0.11387,
        0.13403,
        -0.18929,
    ]
