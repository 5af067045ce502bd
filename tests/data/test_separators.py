"""Separators behind one interface, found by name, and what they make of whole data sets."""

import json
import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec_ft.data.separators import load, trained
from codec_ft.data.separators.base import Separator
from codec_ft.data.separators.build import SeparatedSet, Shard, build_separated
from codec_ft.data.separators.chunks import separate_in_chunks
from codec_ft.data.separators.folder import FolderSource
from codec_ft.data.separators.htdemucs import HTDemucsShape
from codec_ft.data.separators.load import load_separator
from codec_ft.data.separators.named import SeparatorSource, make_source
from codec_ft.data.separators.networks import NetworkFacts, make_network, read_network, save_network
from codec_ft.data.separators.open_unmix import OpenUnmixShape
from codec_ft.errors import UserError

RATE = 8000
TINY = {
    "open_unmix": OpenUnmixShape(n_fft=256, hop_length=64, bandwidth=3000, hidden_size=8, lstm_layers=1).model_dump(),
    "htdemucs": HTDemucsShape(channels=8, depth=2, t_layers=1, t_heads=2, nfft=256).model_dump(),
}


def tiny_network(folder: Path, architecture: str = "open_unmix", channels: int = 2) -> Path:
    """A network with random weights in a folder."""
    if architecture == "htdemucs":
        pytest.importorskip("demucs")
    torch.manual_seed(1)
    facts = NetworkFacts(
        architecture=architecture,
        stems=("bass", "drums"),
        sample_rate=RATE,
        channels=channels,
        seconds=0.5,
        shape=TINY[architecture],
    )
    save_network(make_network(facts), facts, folder)
    return folder


def demucs_repository(folder: Path, how: str = "safetensors") -> Path:
    """A tiny HTDemucs as the package demucs stores its own: a bag of one model."""
    htdemucs = pytest.importorskip("demucs.htdemucs")
    from fractions import Fraction

    from safetensors.torch import save_file

    torch.manual_seed(2)
    sizes = {"audio_channels": 2, "channels": 8, "depth": 2, "t_layers": 1, "t_heads": 2, "nfft": 256}
    sizes |= {"samplerate": RATE, "segment": Fraction(1, 2)}
    model = htdemucs.HTDemucs(["drums", "bass"], **sizes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "small.yaml").write_text("models: ['abc']\n")
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if how == "safetensors":
        encoded = sizes | {"segment": {"_type": "fraction", "numerator": 1, "denominator": 2}}
        words = {"klass": "demucs.htdemucs.HTDemucs", "args": '[["drums", "bass"]]', "kwargs": json.dumps(encoded)}
        save_file(state, folder / "abc.safetensors", metadata=words)
    else:
        package = {"klass": htdemucs.HTDemucs, "args": (["drums", "bass"],), "kwargs": sizes, "state": state}
        torch.save(package, folder / "abc-12345678.th")
    return folder


class Sum(Separator):
    """A separator whose result is known: half of the mixture, and a quarter."""

    name, stems, sample_rate, channels, device = "sum", ("half", "quarter"), RATE, 2, torch.device("cpu")

    def estimate(self, mixture: Tensor) -> Tensor:
        assert mixture.shape[0] == 2
        return torch.stack([mixture / 2, mixture / 4])


@pytest.fixture(scope="module", params=["open_unmix", "open_unmix mono", "htdemucs", "demucs", "sum"])
def separator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Separator:
    """One of each kind."""
    folder = tmp_path_factory.mktemp("separators")
    if request.param == "sum":
        return Sum()
    if request.param == "demucs":
        return load_separator(f"demucs:{demucs_repository(folder)}/small")
    architecture, _, mono = request.param.partition(" ")
    return load_separator(tiny_network(folder / "net", architecture, 1 if mono else 2))


def music(length: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    """Noise with a tone, float32 [C, N]."""
    rng = np.random.default_rng(seed)
    tone = 0.2 * np.sin(2 * np.pi * 300 * np.arange(length) / RATE)
    return (tone + 0.05 * rng.standard_normal((channels, length))).astype(np.float32)


# --- the interface -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "rate", "channels"),
    [(RATE, RATE, 2), (RATE + 1, RATE, 2), (9001, RATE, 1), (1, RATE, 2), (4001, 11025, 2), (5999, 16000, 1)],
)
def test_stems_have_the_form_of_the_mixture(separator: Separator, length: int, rate: int, channels: int) -> None:
    mixture = music(length, channels)
    before = mixture.copy()
    stems = separator.separate(mixture, rate)
    assert tuple(stems) == separator.stems
    for audio in stems.values():
        assert audio.shape == (channels, length)
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
    np.testing.assert_array_equal(mixture, before)


def test_silence_is_separated_into_silence(separator: Separator) -> None:
    for audio in separator.separate(np.zeros((2, 5000), np.float32), RATE).values():
        np.testing.assert_allclose(audio, 0, atol=1e-7)


def test_the_same_mixture_gives_the_same_stems_at_any_level(separator: Separator) -> None:
    mixture = music(6000)
    first, again, quiet = (separator.separate(x, RATE) for x in (mixture, mixture, mixture / 64))
    for stem in separator.stems:
        np.testing.assert_array_equal(first[stem], again[stem])
        np.testing.assert_allclose(64 * quiet[stem], first[stem], atol=1e-4)


def test_what_is_no_audio_is_a_mistake_of_the_caller(separator: Separator) -> None:
    with pytest.raises(ValueError, match=r"\[C, N\], not of shape \(100,\)"):
        separator.separate(np.zeros(100, np.float32), RATE)
    with pytest.raises(ValueError, match="NaN"):
        separator.separate(np.full((2, 100), np.nan, np.float32), RATE)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_known_stems_at_other_rates_and_channels(channels: int) -> None:
    mixture = np.cumsum(music(20_000, channels), axis=1) / 50  # without highs, which 8 kHz cannot hold
    mixture -= mixture.mean(axis=1, keepdims=True)
    stems = Sum().separate(mixture.astype(np.float32), 16000)
    inner = slice(500, -500)
    for stem, share in {"half": 2, "quarter": 4}.items():
        np.testing.assert_allclose(share * stems[stem][:, inner], mixture[:, inner], atol=0.05)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 400), chunk=st.integers(2, 120), share=st.floats(0.02, 0.5), seed=st.integers(0, 9))
def test_chunks_of_what_acts_on_each_sample_equal_one_piece(length: int, chunk: int, share: float, seed: int) -> None:
    overlap = max(1, int(share * chunk))
    mixture = torch.from_numpy(np.random.default_rng(seed).standard_normal((2, length)).astype(np.float32))
    lengths = []

    def separate(part: Tensor) -> Tensor:
        lengths.append(part.shape[-1])
        return torch.stack([part, 3 * part.abs()], dim=1)

    found = separate_in_chunks(separate, mixture, chunk=chunk, overlap=overlap)
    torch.testing.assert_close(found, torch.stack([mixture, 3 * mixture.abs()]))
    assert max(lengths) <= chunk


def test_chunks_fade_into_each_other() -> None:
    calls = iter([1.0, 2.0])
    found = separate_in_chunks(
        lambda part: torch.full((1, 1, *part.shape[1:]), next(calls)), torch.zeros(1, 9), chunk=6, overlap=3
    )
    np.testing.assert_allclose(found.flatten(), [1, 1, 1, 1.25, 1.5, 1.75, 2, 2, 2])


def test_a_network_in_chunks_leaves_no_seams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    separator = load_separator(tiny_network(tmp_path))
    mixture = music(6 * RATE)
    whole = separator.separate(mixture, RATE)
    monkeypatch.setattr(trained, "CHUNK_SECONDS", 2.0)
    monkeypatch.setattr(trained, "OVERLAP_SECONDS", 0.5)
    pieces = separator.separate(mixture, RATE)
    for stem in separator.stems:
        error = np.square(pieces[stem] - whole[stem]).sum() / np.square(whole[stem]).sum()
        assert 0 < error < 1e-4, stem


def test_the_estimates_of_open_unmix_add_up_to_the_mixture(tmp_path: Path) -> None:
    mixture = music(3 * RATE + 17)
    stems = load_separator(tiny_network(tmp_path)).separate(mixture, RATE)
    np.testing.assert_allclose(sum(stems.values()), mixture, atol=1e-5)


def test_the_error_that_open_unmix_learns_from_is_that_of_its_spectrograms(tmp_path: Path) -> None:
    network, _ = read_network(tiny_network(tmp_path))
    stems = torch.from_numpy(np.stack([[music(4000, seed=s), music(4000, seed=9 + s)] for s in range(3)]))  # [B, S, ..]
    mixture = stems.sum(dim=1)
    error, energy = network.errors(mixture, stems)
    spectrum = network.spectrum(mixture)
    masks = network.masks(spectrum.abs()).transpose(1, 2)[:, :, None]  # [B, S, 1, T, heard]
    wanted = torch.stack([network.spectrum(stems[:, s]) for s in range(2)], dim=1)[..., : masks.shape[-1]]
    difference = (masks * spectrum[:, None, ..., : masks.shape[-1]] - wanted).abs().square().sum(dim=(2, 3, 4))
    torch.testing.assert_close(error, difference, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(energy, wanted.abs().square().sum(dim=(2, 3, 4)))
    assert error.requires_grad


# --- by name -----------------------------------------------------------------------------------------------------


def test_what_is_shipped_is_small_and_separates() -> None:
    assert "open_unmix_demo" in load.shipped_separators()
    for name in load.shipped_separators():
        separator = load_separator(name)
        card = json.loads((load.SHIPPED / name / "card.json").read_text())
        assert np.mean([row["usdr"] for row in card["measured"]["demo"]["test"]["separated"].values()]) > 4.5
        assert (separator.name, separator.sample_rate, separator.channels) == (name, 44100, 2)
        assert set(separator.stems) == {"drums", "bass", "other", "vocals"}
        sizes = [path.stat().st_size for path in (load.SHIPPED / name).iterdir()]
        assert max(sizes) < 8e6 and sum(sizes) < 10e6
        stems = separator.separate(music(30_001), 44100)
        np.testing.assert_allclose(sum(stems.values()), music(30_001), atol=1e-4)


def test_a_run_and_its_separator_folder_are_the_same_separator(tmp_path: Path) -> None:
    tiny_network(tmp_path / "my run" / "separator")
    names = {load_separator(path).name for path in (tmp_path / "my run", tmp_path / "my run" / "separator")}
    assert names == {"my run"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open_unmix_dem", "no such separator; did you mean open_unmix_demo?"),
        ("demucs:htdemux", "no published model; there are htdemucs, "),
        ("demucs:nowhere/htdemucs", "nowhere is no folder"),
        ("waveform", "scripts/prepare_data.py separate --with waveform"),
        ("folder", "scripts/prepare_data.py separate --with folder"),
    ],
)
def test_names_that_are_no_separators(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_separator(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_broken_folders(tmp_path: Path) -> None:
    def fails(match: str) -> None:
        with pytest.raises(UserError, match=match):
            load_separator(tmp_path)

    (tmp_path / "checkpoints").mkdir()
    fails("not finished, or trained no separator")
    tiny_network(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    content, facts = weights.read_bytes(), json.loads(config.read_text())
    weights.write_bytes(content[:-100])
    fails("broken or cut short")
    weights.unlink()
    fails("model.safetensors is missing")
    weights.write_bytes(content)
    config.write_text(json.dumps(facts | {"shape": facts["shape"] | {"hidden_size": 12}}))
    fails("blend.weight has another shape and")
    config.write_text(json.dumps(facts | {"shape": facts["shape"] | {"hidden": 12}}))
    fails("config.json: is not the config of a separator: hidden Extra inputs")
    config.write_text(json.dumps(facts | {"architecture": "spleeter"}))
    fails("config.json: is not the config of a separator: architecture")
    config.write_text("{")
    fails("config.json: is not the config of a separator")


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    network, facts = read_network(tiny_network(tmp_path / "a"))
    save_network(network, facts, tmp_path / "b", torch.float16)
    assert (tmp_path / "b/model.safetensors").stat().st_size < 0.6 * (tmp_path / "a/model.safetensors").stat().st_size
    half, again = read_network(tmp_path / "b")
    assert again == facts
    assert all(value.dtype == torch.float32 for value in half.parameters())
    mixture = torch.from_numpy(music(2000))[None]
    torch.testing.assert_close(half(mixture), network(mixture), atol=1e-3, rtol=0)


# --- the package demucs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["safetensors", "th"])
def test_models_of_demucs_are_applied_as_demucs_applies_them(tmp_path: Path, how: str) -> None:
    separator = load_separator(f"demucs:{demucs_repository(tmp_path, how)}/small")
    from demucs.apply import apply_model

    mixture = music(3 * RATE)
    wave = torch.from_numpy(mixture)
    mean, std = wave.mean(0).mean(), wave.mean(0).std()
    wanted = apply_model(separator.model, ((wave - mean) / std)[None], shifts=0, overlap=0.25)[0] * std + mean
    found = separator.separate(mixture, RATE)
    assert tuple(found) == ("drums", "bass")
    for stem, audio in zip(found, wanted.numpy(), strict=True):
        np.testing.assert_allclose(found[stem], audio, atol=1e-4)


def test_files_of_demucs_that_are_not_to_be_trusted(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    pytest.importorskip("demucs")
    (tmp_path / "small.yaml").write_text("models: ['abc']\n")
    with pytest.raises(UserError, match=r"holds no abc\.yaml, abc\.safetensors or abc-<hash>\.th"):
        load_separator(f"demucs:{tmp_path}/small")
    save_file({"x": torch.zeros(1)}, tmp_path / "abc.safetensors", metadata={"klass": "os.system", "args": '["true"]'})
    with pytest.raises(UserError, match=r"asks for os\.system"):
        load_separator(f"demucs:{tmp_path}/small")
    (tmp_path / "abc.safetensors").unlink()

    class Evil:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return exec, (f"open({str(tmp_path / 'owned')!r}, 'w')",)

    torch.save({"klass": Evil()}, tmp_path / "abc.th")
    with pytest.raises(UserError, match="cannot be read as a model of demucs"):
        load_separator(f"demucs:{tmp_path}/small")
    assert not (tmp_path / "owned").exists()
    (tmp_path / "small.yaml").write_text("weights: 3\n")
    with pytest.raises(UserError, match="does not say which models"):
        load_separator(f"demucs:{tmp_path}/small")


def test_without_a_network_it_says_which_files_to_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("demucs")
    from codec_ft.data.separators import demucs

    def offline(*_: object) -> str:
        raise OSError("no route to host")

    monkeypatch.setattr(demucs, "hf_hub_download", offline)
    with pytest.raises(UserError, match=r"no route to host.*hf download adefossez/HTDemucs-ft --local-dir htdemucs_ft"):
        load_separator("demucs:htdemucs_ft")


def test_a_published_model_is_read_from_what_the_hub_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = demucs_repository(tmp_path)
    (files / "small.yaml").rename(files / "mdx_extra.yaml")
    from codec_ft.data.separators import demucs

    monkeypatch.setattr(demucs, "hf_hub_download", lambda repository, file: str(files / file))
    separator = load_separator("demucs:mdx_extra")
    assert (separator.name, separator.stems, separator.sample_rate) == ("mdx_extra", ("drums", "bass"), RATE)


def test_without_the_package_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_network(tmp_path, "htdemucs")
    for module in [name for name in sys.modules if name.split(".")[0] == "demucs"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "demucs", None)
    for name in ("demucs:htdemucs", str(tmp_path)):
        with pytest.raises(UserError, match="Install it with: pip install demucs"):
            load_separator(name)


# --- whole data sets ---------------------------------------------------------------------------------------------


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Five stereo tracks of 1 s with bass and drums, three of them for training."""
    root = tmp_path / "set"
    for split, names in {"train": ("a", "b", "c"), "valid": ("d",), "test": ("é",)}.items():
        for seed, name in enumerate(names):
            stems = {"bass": music(RATE, seed=seed), "drums": 0.3 * music(RATE, seed=9 + seed)[:, ::-1]}
            (root / split / name).mkdir(parents=True)
            for stem, audio in {**stems, "mixture": sum(stems.values())}.items():
                soundfile.write(root / split / name / f"{stem}.wav", audio.T, RATE, subtype="PCM_16")
    return root


def made(folder: Path) -> set[str]:
    return {path.parent.relative_to(folder).as_posix() for path in folder.glob("*/*/bass.wav")}


ALL = {"train/a", "train/b", "train/c", "valid/d", "test/é"}


def test_a_separator_fills_a_data_set(data_set: Path, tmp_path: Path) -> None:
    net = tiny_network(tmp_path / "net")
    filled, levels = build_separated(data_set, SeparatorSource(str(net)))
    folder = data_set / "separated" / "net"
    assert (filled.made, filled.skipped) == (5, 0)
    assert made(folder) == ALL
    separator = load_separator(net)
    usdrs = []
    for name in ALL:
        mixture, target = (
            soundfile.read(data_set / name / f"{s}.wav", dtype="float32")[0].T for s in ("mixture", "bass")
        )
        wanted = separator.separate(mixture, RATE)["bass"]
        found = soundfile.read(folder / name / "bass.wav", dtype="float32")[0].T
        np.testing.assert_allclose(found, wanted, atol=1e-4)
        usdrs.append(10 * np.log10(np.sum(target**2) / np.sum((target - wanted) ** 2)))
        assert json.loads((folder / name / "levels.json").read_text())["bass"]["usdr"] == pytest.approx(
            usdrs[-1], abs=0.01
        )
    assert levels["bass"]["usdr"] == pytest.approx(np.mean(usdrs), abs=0.01)
    assert json.loads((folder / "origin.json").read_text())["separator"] == "net"


def test_workers_get_a_copy_that_does_the_same(data_set: Path, tmp_path: Path) -> None:
    folder = foreign(data_set, tmp_path / "other", "{track}/{stem}.wav")
    sources = [SeparatorSource(str(tiny_network(tmp_path / "net"))), make_source("folder", data_set, folder=folder)]
    track = SeparatedSet(data_set, sources[0]).tracks[0]
    for source in sources:
        stems, rate = source.separate(track)
        again, same_rate = pickle.loads(pickle.dumps(source)).separate(track)
        assert rate == same_rate == RATE
        for stem in source.stems:
            np.testing.assert_array_equal(stems[stem], again[stem])


def test_it_goes_on_where_it_was_stopped(data_set: Path, tmp_path: Path) -> None:
    source = SeparatorSource(str(tiny_network(tmp_path / "net")))
    build_separated(data_set, source)
    folder = data_set / "separated" / "net"
    (folder / "train" / "b" / "drums.wav").unlink()
    (folder / "test" / ".partial-1-é").mkdir()
    kept = (folder / "train" / "a" / "bass.wav").stat().st_mtime_ns
    filled, levels = build_separated(data_set, source)
    assert (filled.made, filled.skipped) == (1, 4)
    assert (folder / "train" / "a" / "bass.wav").stat().st_mtime_ns == kept
    assert not list(folder.rglob(".partial*"))
    assert set(levels) == {"bass", "drums"}


@pytest.mark.parametrize("count", [2, 3, 7])
def test_shards_make_every_track_once(data_set: Path, tmp_path: Path, count: int) -> None:
    source = SeparatorSource(str(tiny_network(tmp_path / "net")))
    filled = []
    for index in range(count):
        part = SeparatedSet(data_set, source)
        part.prepare(shard=Shard(index, count))
        filled.append(part.fill(shard=Shard(index, count)))
    assert sum(part.made for part in filled) == 5
    assert sum(part.skipped for part in filled) == 0
    assert made(data_set / "separated" / "net") == ALL


def test_stems_of_other_weights_are_not_mixed_in(data_set: Path, tmp_path: Path) -> None:
    build_separated(data_set, SeparatorSource(str(tiny_network(tmp_path / "net"))))
    (tmp_path / "x").mkdir()
    other = tiny_network(tmp_path / "x" / "net", channels=1)
    with pytest.raises(UserError, match=r"was made by separator net, weights_sha256 .* Choose another --name"):
        build_separated(data_set, SeparatorSource(str(other)))
    build_separated(data_set, SeparatorSource(str(other)), name="net2")
    assert made(data_set / "separated" / "net2") == ALL
    with pytest.raises(UserError, match="plain name"):
        build_separated(data_set, SeparatorSource(str(other)), name="../net2")


def test_mixtures_without_files_and_stems_without_truth(data_set: Path, tmp_path: Path) -> None:
    (data_set / "train" / "a" / "mixture.wav").unlink()
    (data_set / "train" / "b" / "drums.wav").unlink()
    _, levels = build_separated(data_set, SeparatorSource(str(tiny_network(tmp_path / "net"))))
    assert set(levels) == {"bass", "drums"}
    assert set(json.loads((data_set / "separated/net/train/b/levels.json").read_text())) == {"bass"}
    short = soundfile.read(data_set / "train" / "a" / "bass.wav")[0][:-5]
    soundfile.write(data_set / "train" / "a" / "bass.wav", short, RATE)
    (data_set / "separated/net/train/a/bass.wav").unlink()
    with pytest.raises(UserError, match=r"drums\.wav: is 2 x 8000 samples at 8000 Hz, but bass\.wav is 2 x 7995"):
        build_separated(data_set, SeparatorSource(str(tmp_path / "net")))


# --- files that another program wrote ----------------------------------------------------------------------------


def foreign(
    data_set: Path, folder: Path, pattern: str, *, rate: int = RATE, extra: int = 0, mono: bool = False
) -> Path:
    """Half of each mixture as bass, a quarter as drums, written in another layout."""
    for path in sorted(data_set.glob("*/*/mixture.wav")):
        mixture = soundfile.read(path)[0]
        if rate != RATE:
            mixture = np.repeat(mixture, rate // RATE, axis=0)
        mixture = np.pad(mixture, ((0, max(0, extra)), (0, 0)))[: len(mixture) + extra]
        for stem, share in {"bass": 2, "drums": 4}.items():
            split, track = path.parts[-3:-1]
            target = folder / pattern.format(split=split, track=track, stem=stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(target, (mixture / share).mean(axis=1) if mono else mixture / share, rate)
    return folder


@pytest.mark.parametrize(
    ("written", "pattern"),
    [
        ("{track}/{stem}.wav", "{track}/{stem}.wav"),
        ("{split}/{track}/{stem}.flac", "{split}/{track}/{stem}"),
        ("{stem}/{split}_{track}_x.wav", "{stem}/{split}_{track}_*.wav"),
        ("x_{track}_{stem}.wav", "x_{track}_{stem}.wav"),
        ("{stem} of {track}.ogg", "{stem} of {track}"),
    ],
)
def test_files_are_found_by_any_pattern(data_set: Path, tmp_path: Path, written: str, pattern: str) -> None:
    source = make_source("folder", data_set, folder=foreign(data_set, tmp_path / "spleeter", written), layout=pattern)
    assert source.stems == ("bass", "drums")
    filled, _ = build_separated(data_set, source)
    assert filled.made == 5
    for name in ALL:
        mixture = soundfile.read(data_set / name / "mixture.wav")[0]
        found = soundfile.read(data_set / "separated" / "spleeter" / name / "drums.wav")[0]
        np.testing.assert_allclose(found, mixture / 4, atol=0.05 if written.endswith("ogg") else 1e-4)


def test_files_are_brought_to_the_form_of_the_mixture(
    data_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = foreign(data_set, tmp_path / "other", "{track}/{stem}.wav", rate=2 * RATE, extra=-20, mono=True)
    with caplog.at_level(logging.WARNING):
        build_separated(data_set, make_source("folder", data_set, folder=folder))
    assert "padded by 10 samples at its end" in caplog.text
    info = soundfile.info(data_set / "separated/other/valid/d/bass.wav")
    assert (info.frames, info.samplerate, info.channels) == (RATE, RATE, 2)


def test_missing_and_extra_tracks_are_named(data_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = foreign(data_set, tmp_path / "other", "{track}/{stem}.wav")
    (folder / "a").rename(folder / "zebra")
    with caplog.at_level(logging.WARNING):
        filled, _ = build_separated(data_set, make_source("folder", data_set, folder=folder))
    assert filled.made == 4
    assert "has nothing for 1 tracks: train/a" in caplog.text
    assert "has 1 tracks that the data set has not: zebra" in caplog.text


def test_folders_that_cannot_be_used(data_set: Path, tmp_path: Path) -> None:
    folder = foreign(data_set, tmp_path / "other", "{track}/{stem}.wav", extra=RATE)

    def fails(match: str, **options: object) -> None:
        with pytest.raises(UserError, match=match):
            make_source("folder", data_set, **options)

    fails("also needs --source FOLDER")
    fails("no such folder", folder=tmp_path / "nowhere")
    fails(r"--layout \{track\}: \{stem\} is missing", folder=folder, layout="{track}")
    fails(r"\{album\} cannot be used", folder=folder, layout="{album}/{track}/{stem}")
    fails(r"\{track\} is there twice", folder=folder, layout="{track}/{track}_{stem}")
    fails("no file fits .*; there is a/bass.wav", folder=folder, layout="{stem}/x/{track}")
    fails(r"none of its tracks \(bass, drums\)", folder=folder, layout="{stem}/{track}")
    with pytest.raises(UserError, match=r"bass\.wav: is 1\.00 s longer than its mixture"):
        build_separated(data_set, FolderSource(folder, SeparatedSet(data_set, Half()).tracks))
    (folder / "b" / "drums.wav").unlink()
    fails("train/b has no drums, which other tracks have", folder=folder)
    with pytest.raises(UserError, match="takes no --source"):
        make_source("waveform", data_set, folder=folder)
    with pytest.raises(UserError, match="did you mean waveform"):
        make_source("wavform", data_set)


class Half(SeparatorSource):
    """A source that is only asked for its tracks."""

    name, stems, origin = "half", (), {}

    def __init__(self) -> None:
        pass
