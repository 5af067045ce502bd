"""Pairs of excerpts: right, the same every time, and never made up."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

from codec_ft.audio.files import read_audio
from codec_ft.data.dataset import ExcerptDataset, Item, PairDataset, collate
from codec_ft.data.excerpts import Excerpt, fixed_excerpts
from codec_ft.data.tracks import find_tracks
from codec_ft.errors import UserError

RATE = 8000


@pytest.fixture
def root(tmp_path: Path, make_track) -> Path:
    """Three training tracks, one of them stereo at another rate, and separated basses of half the level."""
    (tmp_path / "valid").mkdir()
    make_track(tmp_path / "train/a")
    make_track(tmp_path / "train/b", seconds=4.0)
    rng = np.random.default_rng(7)
    make_track(
        tmp_path / "train/c",
        {name: rng.uniform(-0.2, 0.2, (2, 3 * 12000)) for name in ("bass", "drums", "vocals")},
        sample_rate=12000,
    )
    for track in find_tracks(tmp_path, "train"):
        folder = tmp_path / "separated/half/train" / track.name
        folder.mkdir(parents=True)
        audio, rate = soundfile.read(track.stems["bass"])
        soundfile.write(folder / "bass.wav", audio / 2, rate, subtype="FLOAT")
    return tmp_path


def pairs(root: Path, **options) -> PairDataset:
    settings = {"stem": "bass", "sample_rate": RATE, "seconds": 0.5, "length": 60, "seed": 3} | options
    return PairDataset(tracks=find_tracks(root, "train"), **settings)


def same(first: Item, second: Item, tolerance: float = 0.0) -> bool:
    return first["name"] == second["name"] and all(
        torch.allclose(first[key], second[key], rtol=0, atol=tolerance) for key in ("input", "target")
    )


def test_items_are_excerpts_of_the_files(root: Path) -> None:
    data = pairs(root)
    assert len(data) == 60
    seen = set()
    for item in data:
        name, start = item["name"].removesuffix(" s").split(" @ ")
        seen.add(name)
        assert item["input"].shape == item["target"].shape == (1, 4000)
        assert item["input"].dtype == torch.float32
        bass, _ = read_audio(root / "train" / name / "bass.wav", sample_rate=RATE, channels=1)
        mixture, _ = read_audio(root / "train" / name / "mixture.wav", sample_rate=RATE, channels=1)
        # The start is rounded in the name: look around it.
        around = range(max(0, round((float(start) - 0.051) * RATE)), round((float(start) + 0.051) * RATE) + 1)
        at = min(around, key=lambda first: np.abs(bass[:, first : first + 100] - item["target"].numpy()[:, :100]).sum())
        assert np.abs(bass[:, at : at + 4000] - item["target"].numpy()).max() < 1e-5
        assert np.abs(mixture[:, at : at + 4000] - item["input"].numpy()).max() < 1e-5
    assert seen == {"a", "b", "c"}
    with pytest.raises(IndexError):
        data[60]


@pytest.mark.parametrize(
    "options",
    [{}, {"remix_probability": 0.5, "gain_db": (-6.0, 6.0)}, {"input": "separated/half", "cache_mb": 0.0}],
)
def test_an_item_depends_on_seed_and_index_alone(root: Path, options: dict) -> None:
    forward = list(pairs(root, **options))
    data = pairs(root, **options)
    for index in reversed(range(60)):
        assert same(data[index], forward[index])
    loader = DataLoader(pairs(root, **options), batch_size=None, num_workers=2)
    assert all(same(item, forward[index]) for index, item in enumerate(loader))
    longer = pairs(root, length=1000, **options)
    assert same(longer[59], forward[59])
    assert not any(same(item, other) for item, other in zip(pairs(root, seed=4, **options), forward, strict=True))


@pytest.mark.parametrize("options", [{}, {"remix_probability": 1.0}, {"channels": 2}])
def test_memory_and_disk_give_the_same(root: Path, options: dict) -> None:
    memory, disk = pairs(root, **options), pairs(root, cache_mb=0.0, **options)
    assert memory.reader.in_memory and not disk.reader.in_memory
    assert all(same(a, b, tolerance=1e-5) for a, b in zip(memory, disk, strict=True))


def test_silence_is_never_drawn(tmp_path: Path, make_track) -> None:
    bass = np.zeros(10 * RATE)
    bass[6 * RATE : 7 * RATE] = np.random.default_rng(0).uniform(-0.1, 0.1, RATE)
    make_track(tmp_path / "train/a", {"bass": bass, "drums": np.full(10 * RATE, 0.1)})
    make_track(tmp_path / "train/silent", {"bass": 0 * bass, "drums": bass})
    data = pairs(tmp_path, length=200)
    assert [track.name for track in data.tracks] == ["a"]
    starts = np.array([float(item["name"].split(" @ ")[1].removesuffix(" s")) for item in data])
    assert starts.min() >= 5.4 and starts.max() <= 7.0
    # Every place is drawn equally often: quarters of the 1.5 s of possible starts.
    assert np.histogram(starts, 4, (5.5, 7.0))[0].min() > 25


def test_inputs_of_other_kinds(root: Path) -> None:
    for item in pairs(root, input="target", length=5):
        assert torch.equal(item["input"], item["target"])
    for item in pairs(root, input="separated/half", length=5):
        assert torch.allclose(item["input"] * 2, item["target"], atol=1e-6)
    for item in pairs(root, stem="mixture", length=5):
        assert torch.equal(item["input"], item["target"])


def test_a_mixture_without_a_file_is_the_sum_of_the_stems(root: Path) -> None:
    with_file = list(pairs(root))
    for track in find_tracks(root, "train"):
        (track.folder / "mixture.wav").unlink()
    assert all(same(a, b, tolerance=2e-5) for a, b in zip(pairs(root), with_file, strict=True))


def test_gain_is_shared_and_within_its_range(root: Path) -> None:
    plain = list(pairs(root))
    gains = []
    for item, before in zip(pairs(root, gain_db=(-12.0, 6.0)), plain, strict=True):
        ratio = item["target"].norm() / before["target"].norm()
        assert torch.allclose(item["target"], ratio * before["target"], atol=1e-6)
        assert torch.allclose(item["input"], ratio * before["input"], atol=1e-6)
        gains.append(20 * np.log10(float(ratio)))
    assert -12.0 <= min(gains) < -8.0
    assert 3.0 < max(gains) <= 6.0


def test_channels_are_swapped_together(root: Path) -> None:
    plain = list(pairs(root, channels=2))
    swapped = 0
    for item, before in zip(pairs(root, channels=2, swap_channels=True), plain, strict=True):
        if not same(item, before):
            swapped += 1
            assert torch.equal(item["input"], before["input"].flip(0))
            assert torch.equal(item["target"], before["target"].flip(0))
    # Only the 20 or so items of the stereo track can differ.
    assert 3 <= swapped <= 20


def test_a_remix_holds_the_target_and_stems_of_other_tracks(tmp_path: Path, make_track) -> None:
    # Constant stems: every sum tells what it was made of. Drums are 0.01 in a, 0.02 in b; bass 0.1 and 0.2.
    for name, factor in (("a", 1), ("b", 2)):
        make_track(
            tmp_path / "train" / name,
            {
                "bass": np.full(16000, 0.1 * factor),
                "drums": np.full(16000, 0.01 * factor),
                "vocals": np.full(16000, 1e-3),
            },
        )
    make_track(tmp_path / "valid/v")
    data = pairs(tmp_path, remix_probability=0.5, remix_gain_db=(0.0, 0.0), length=200)
    remixed = [item for item in data if item["name"].endswith("(remix)")]
    assert 70 < len(remixed) < 130
    found = {(item["name"][0], round(float((item["input"] - item["target"])[0, 100]), 3)) for item in remixed}
    assert found == {("a", 0.011), ("a", 0.021), ("b", 0.011), ("b", 0.021)}

    louder = pairs(tmp_path, remix_probability=1.0, remix_gain_db=(6.0, 6.0), length=20)
    rest = {round(float((item["input"] - item["target"])[0, 100]) / 10 ** (6 / 20), 3) for item in louder}
    assert rest <= {0.011, 0.021}


def test_only_mixtures_can_be_remixed(root: Path) -> None:
    with pytest.raises(
        UserError, match=r"remix_probability=0\.5: only mixtures can be remixed, not input=separated/half"
    ):
        pairs(root, input="separated/half", remix_probability=0.5)


def test_fixed_excerpts_are_read(root: Path) -> None:
    tracks = find_tracks(root, "train")
    excerpts = [Excerpt(tracks[1], 1.25, 0.5), *fixed_excerpts(tracks, "bass", 0.5, 2)]
    data = ExcerptDataset(excerpts, stem="bass", input="separated/half", sample_rate=RATE)
    assert len(data) == len(list(data)) == 7
    assert (data[0]["name"], data[0]["track"]) == ("b @ 1.2 s", "b")
    bass, _ = soundfile.read(root / "train/b/bass.wav", dtype="float32")
    assert np.array_equal(data[0]["target"][0].numpy(), bass[10000:14000])
    assert torch.allclose(data[0]["input"] * 2, data[0]["target"], atol=1e-6)
    cached = ExcerptDataset(excerpts, stem="bass", input="separated/half", sample_rate=RATE, cache_mb=10)
    assert all(same(a, b, tolerance=1e-5) for a, b in zip(cached, data, strict=True))

    batch = collate([data[0], data[1], data[2]])
    assert batch.input.shape == batch.target.shape == (3, 1, 4000)
    assert torch.equal(batch.target[2], data[2]["target"])
    assert batch.names == [data[i]["name"] for i in range(3)]
    moved = batch.to("meta")
    assert moved.input.device.type == moved.target.device.type == "meta"
    assert moved.names == batch.names


def test_any_kind_of_file_can_be_trained_on(tmp_path: Path, make_track) -> None:
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (6, 192000))
    kinds = {
        "u8": (noise[0], 8000, "PCM_U8"),
        "pcm24": (noise[:2], 44100, "PCM_24"),
        "double": (noise[0], 22050, "DOUBLE"),
        "fast": (noise[:1], 192000, "PCM_16"),
        "surround": (noise, 48000, "FLOAT"),
    }
    for name, (audio, rate, subtype) in kinds.items():
        (tmp_path / "train" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "train" / name / "bass.wav", audio.T, rate, subtype=subtype)
    (tmp_path / "train/brief").mkdir()
    soundfile.write(tmp_path / "train/brief/bass.wav", noise[0, :800], 8000)
    (tmp_path / "valid").mkdir()
    data = pairs(tmp_path, input="target", length=100, cache_mb=0)
    assert {item["name"].split(" @ ")[0] for item in data} == set(kinds)  # 0.1 s is too short for 0.5 s
    assert all(item["target"].shape == (1, 4000) and item["target"].std() > 0.01 for item in data)


def test_bad_files_are_refused_before_training(root: Path) -> None:
    mixture = root / "train/b/mixture.wav"
    content = mixture.read_bytes()
    mixture.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        UserError, match=r"train/b/mixture\.wav: is truncated: its header promises 4\.00 s, but it holds"
    ):
        pairs(root)
    mixture.write_bytes(b"")
    with pytest.raises(UserError, match=r"train/b/mixture\.wav: is empty"):
        pairs(root)
    mixture.write_bytes(content)
    soundfile.write(root / "train/b/bass.wav", np.full(32000, np.nan), 8000, subtype="FLOAT")
    with pytest.raises(UserError, match=r"train/b/bass\.wav: holds NaN or infinite samples, the first at 0\.000 s"):
        pairs(root)
    (root / "train/b/bass.wav").unlink()
    with pytest.raises(UserError, match=r"train/b: no stem bass \(there are drums\)\. Add bass\.wav"):
        pairs(root)


def test_files_that_break_during_training_stop_it(root: Path) -> None:
    for cache_mb in (0.0, 100.0):
        data = pairs(root, cache_mb=cache_mb)
        bass = root / "train/c/bass.wav"
        content = bass.read_bytes()
        bass.unlink()
        with pytest.raises(UserError, match=r"train/c/bass\.wav: no such file"):
            list(data)
        soundfile.write(bass, np.full(1200, 0.1), 12000)
        with pytest.raises(UserError, match=r"train/c/bass\.wav: (ends before|is 0\.10 s long: there is nothing at)"):
            list(data)
        bass.write_bytes(content)


def test_a_worker_tells_which_file_broke(root: Path) -> None:
    data = pairs(root)
    (root / "train/c/bass.wav").unlink()
    with pytest.raises(UserError, match=r"train/c/bass\.wav: no such file"):
        list(DataLoader(data, batch_size=None, num_workers=1))
