"""Random remixes and fixed excerpts of all stems at once."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from codec_ft.data.excerpts import fixed_excerpts
from codec_ft.data.tracks import MIXTURE, find_tracks
from codec_ft.errors import UserError
from codec_ft.separation.stems import RemixDataset, StemsDataset

RATE = 8000
LEVELS = {"bass": 0.1, "drums": 0.2, "vocals": 0.3}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Stereo tracks whose stems are constants, left positive and right negative: 0.1 to 0.3, plus a hundredth
    of the track's number and of the second. Vocals rest in the first second."""
    for number in range(4):  # the last one for validation
        folder = tmp_path / ("train" if number < 3 else "valid") / f"song {number}"
        folder.mkdir(parents=True)
        seconds = np.floor(np.arange(3 * RATE) / RATE)
        stems = {name: level + number / 1000 + seconds / 100 for name, level in LEVELS.items()}
        stems["vocals"] = np.where(seconds == 0, 0, stems["vocals"])
        for name, wave in {**stems, "mixture": sum(stems.values())}.items():
            soundfile.write(folder / f"{name}.wav", np.stack([wave, -wave], axis=1) / 2, RATE, subtype="FLOAT")
    return tmp_path


def dataset(root: Path, **options: object) -> RemixDataset:
    settings: dict = {"sample_rate": RATE, "channels": 2, "seconds": 0.25, "length": 300, "seed": 0} | options
    return RemixDataset(find_tracks(root, "train"), list(LEVELS), **settings)


def parts(item: dict) -> list[tuple[int, int]]:
    """(song, second) of each stem in the middle of an item without gains; a resting stem has none."""
    found = []
    for stem, wave in zip(LEVELS, item["target"][:, 0, 1000] * 2, strict=True):
        rest = round((float(wave) - LEVELS[stem]) * 1000)
        found.append((rest % 10, rest // 10))
    return found


def test_items_are_the_sum_of_their_stems_and_depend_on_their_number_alone(root: Path) -> None:
    data = dataset(root, remix_probability=0.5, gain_db=(-6.0, 6.0))
    for index in (0, 1, 7, 299):
        item = data[index]
        assert item["target"].shape == (3, 2, RATE // 4)
        assert item["input"].shape == (2, RATE // 4)
        assert item["input"].dtype == torch.float32
        torch.testing.assert_close(item["input"], item["target"].sum(dim=0))
    again = dataset(root, remix_probability=0.5, gain_db=(-6.0, 6.0), length=8, cache_mb=0.0)
    torch.testing.assert_close(again[7]["target"], data[7]["target"], rtol=0, atol=0)
    other = dataset(root, remix_probability=0.5, gain_db=(-6.0, 6.0), seed=1)
    assert not torch.equal(other[7]["target"], data[7]["target"])
    with pytest.raises(IndexError):
        data[300]


def test_without_remixing_all_stems_are_of_one_place_and_without_gain(root: Path) -> None:
    data = dataset(root)
    for index in range(0, 60):
        item = data[index]
        assert "remix" not in item["name"]
        bass, drums, vocals = parts(item)
        assert bass == drums
        assert vocals == bass or item["target"][2, 0, 1000] == 0


def test_remixes_take_every_stem_from_anywhere(root: Path) -> None:
    data = dataset(root, remix_probability=1.0)
    places, swapped, rests = [], 0, 0
    for index in range(120):
        item = data[index]
        swapped += int(item["target"][0, 0, 0] < 0)
        rests += not item["target"][2].any()
        target = item["target"].abs()
        places.append(parts({"target": target}))
    assert {place[0] for place in places} == {(song, second) for song in range(3) for second in range(3)}
    same = np.mean([bass == drums for bass, drums, _ in places])
    assert 0.0 < same < 0.3  # one in nine by chance
    assert 35 < swapped < 85
    assert 10 < rests < 50  # a third of the places, in two thirds of the items


def test_the_leading_stem_always_sounds(root: Path) -> None:
    data = dataset(root, remix_probability=1.0)
    for index in range(2, 90, 3):  # vocals lead
        assert data[index]["target"][2].any()


def test_gains_are_within_their_range_and_each_stem_has_its_own(root: Path) -> None:
    plain, loud = dataset(root), dataset(root, gain_db=(-6.0, 12.0))
    ratios = []
    for index in range(0, 90, 3):
        a, b = plain[index]["target"][:2], loud[index]["target"][:2]
        if a.shape == b.shape and torch.equal(torch.sign(a), torch.sign(b)):
            ratios.append((b / a)[:, 0, 0].tolist())
    gains = 20 * np.log10(np.array(ratios))
    assert len(gains) == 30
    assert -6.2 < gains.min() < -3 and 9 < gains.max() < 12.2
    assert np.abs(gains[:, 0] - gains[:, 1]).mean() > 2


def test_sets_that_cannot_be_used(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.seconds=9: all 3 tracks are shorter"):
        dataset(root, seconds=9.0)
    with pytest.raises(UserError, match="no stem piano"):
        RemixDataset(find_tracks(root, "train"), ["piano"], sample_rate=RATE, channels=1, seconds=1.0, length=1, seed=0)
    for path in root.rglob("vocals.wav"):
        soundfile.write(path, np.zeros((3 * RATE, 2)), RATE)
    with pytest.raises(UserError, match="vocals is silent in 3"):
        dataset(root)


def test_fixed_excerpts_have_the_mixture_and_all_stems(root: Path) -> None:
    tracks = find_tracks(root, "train")
    chosen = fixed_excerpts(tracks, MIXTURE, 0.5, 2)
    data = StemsDataset(chosen, list(LEVELS), sample_rate=RATE, channels=1)
    assert len(data) == 6
    stereo = StemsDataset(chosen, list(LEVELS), sample_rate=RATE, channels=2)[0]
    assert stereo["track"] == "song 0"
    assert stereo["target"].shape == (3, 2, RATE // 2)
    torch.testing.assert_close(stereo["target"].sum(dim=0), stereo["input"])
    assert data[0]["target"].shape == (3, 1, RATE // 2)
    np.testing.assert_allclose(data[0]["target"], 0, atol=1e-7)  # left and right cancel
