"""Codecs by name and by path, and what is said about folders that are none."""

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from original_models import DAC, LAC, OriginalDac, OriginalEncodec
from safetensors.torch import load_file, save_file
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

from codec_ft.codecs import cache, load
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.lac import LacConfig, LacModel
from codec_ft.codecs.load import as_codec, codec_names, load_codec, read_model
from codec_ft.codecs.models import CodecConfig
from codec_ft.codecs.releases import RELEASES
from codec_ft.errors import UserError


@pytest.fixture
def folder(tiny_codec_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny codec to spoil."""
    return Path(shutil.copytree(tiny_codec_folder, tmp_path / "my codec"))


def refusal(name: str | Path) -> str:
    """What `load_codec` says, which is one line."""
    with pytest.raises(UserError) as caught:
        load_codec(str(name))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_by_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = load_codec(str(folder))
    assert isinstance(codec, EncodecCodec)
    assert codec.name == str(folder)
    assert (codec.sample_rate, codec.hop_length, codec.n_codebooks, codec.codebook_size, codec.latent_dim) == (
        8000, 20, 3, 16, 8,
    )  # fmt: skip
    monkeypatch.chdir(folder.parent)
    assert load_codec("my codec").hop_length == 20
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_codec("~/my codec").hop_length == 20


def test_by_the_run_folder_of_its_training(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "codec-1234"
    shutil.copytree(folder, run / "codec")
    (run / "config.yaml").write_text("task: codec\n")
    assert load_codec(str(run)).n_codebooks == 3


def test_by_the_name_of_what_is_shipped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(folder, tmp_path / "weights" / "mine")
    (tmp_path / "weights" / "no codec").mkdir()
    monkeypatch.setattr(load, "SHIPPED", tmp_path / "weights")
    assert codec_names() == sorted([*RELEASES, "mine"])
    assert load_codec("mine").name == "mine"


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal("encodec_24kz")
    assert text.startswith("encodec_24kz: no such codec.")
    assert all(name in text for name in codec_names())
    monkeypatch.setattr(load, "SHIPPED", tmp_path / "nothing is shipped")
    assert "encodec_24khz" in refusal("demo")
    (tmp_path / "empty").mkdir()
    assert "a folder with config.json and model.safetensors" in refusal(tmp_path / "empty")


SMALL_DAC = DacConfig(
    sampling_rate=8000,
    encoder_hidden_size=4,
    downsampling_ratios=[2, 4],
    decoder_hidden_size=16,
    n_codebooks=3,
    codebook_size=16,
    codebook_dim=3,
)
SMALL_LAC = LacConfig(44100, 4, (2, 6), 16, (6, 2), 3, 16, 3)
SMALL: dict[str, CodecConfig] = {
    "encodec_24khz": EncodecConfig(upsampling_ratios=(4, 3), codebook_size=16, target_bandwidths=[24.0]),
    "encodec_48khz": EncodecConfig(
        sampling_rate=48000, audio_channels=2, upsampling_ratios=(4, 3), codebook_size=16, target_bandwidths=[48.0]
    ),
    **dict.fromkeys(["dac_44khz", "dac_44khz_16kbps", "dac_24khz", "dac_16khz"], SMALL_DAC),
    "vampnet": SMALL_LAC,
}
"""What the files in the cache below hold instead of the full models: 3 codebooks of 16 codes."""


@pytest.fixture
def small_releases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A cache with a small file for every release, and the releases made to match; no network."""
    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", str(tmp_path))
    monkeypatch.setattr(cache, "urlopen", None)
    paths = {}
    for name, config in SMALL.items():
        small = replace(RELEASES[name], config=config, sha256=None, file=f"{name}.bin", original_cache=None)
        monkeypatch.setitem(RELEASES, name, small)
        paths[name] = tmp_path / small.file
        if isinstance(config, EncodecConfig):
            OriginalEncodec(grouped=name == "encodec_48khz").save(paths[name])
        else:
            OriginalDac(LAC if name == "vampnet" else DAC, is_lac=name == "vampnet").save(paths[name])
    return paths


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_every_published_name(small_releases: dict[str, Path]) -> None:
    assert SMALL.keys() == RELEASES.keys()
    for name, path in small_releases.items():
        codec = load_codec(name)
        assert codec.name == name
        assert (codec.n_codebooks, codec.codebook_size) == (3, 16)
        assert codec.sample_rate == SMALL[name].sampling_rate
        audio = 0.1 * torch.randn(1, codec.channels, 1000)
        assert codec.reconstruct(audio).shape == audio.shape
        assert path.with_name(f"{path.name}.sha256").is_file(), "trusted on first use"
        assert type(load_codec(path)) is type(codec), "the file by its path is the same"


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_file_that_changes_is_refused(small_releases: dict[str, Path]) -> None:
    path = small_releases["dac_16khz"]
    load_codec("dac_16khz")
    OriginalDac(DAC).save(path)
    text = refusal("dac_16khz")
    assert "when it was first used" in text
    assert str(path) in text


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_another_codec_under_a_name_is_refused_and_not_trusted(small_releases: dict[str, Path]) -> None:
    path = small_releases["dac_24khz"]
    OriginalDac(DAC | {"sample_rate": 24000}).save(path)
    text = refusal("dac_24khz")
    assert "is not dac_24khz (8000 Hz, 1 channel, 8 samples per frame, 3 codebooks of 16)" in text
    assert "another codec (24000 Hz," in text
    path.write_bytes(path.read_bytes()[:-100])
    assert "broken, cut short" in refusal("dac_24khz")
    assert not path.with_name(f"{path.name}.sha256").exists()


def test_without_network_the_name_says_what_to_put_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(cache, "urlopen", offline)
    text = refusal("encodec_24khz")
    assert "encodec_24khz-d7cc33bc.th (93 MB; licence of the weights: not stated)" in text
    assert str(tmp_path / "encodec_24khz-d7cc33bc.th") in text


def test_by_the_name_of_a_model_on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        assert name == "mozart/requiem_24khz"
        assert allow_patterns == ["config.json", "model.safetensors"], "no pickles"
        return str(folder)

    monkeypatch.setattr(load, "snapshot_download", snapshot)
    codec = load_codec("mozart/requiem_24khz")
    assert codec.name == "mozart/requiem_24khz"
    assert codec.hop_length == 20
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal("mozart/requiem_24khz")


def test_a_hub_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = refusal("mozart/requiem_24khz")  # the tests run with HF_HUB_OFFLINE
    assert "mozart/requiem_24khz: is no folder or file here, and no model that could be fetched" in text
    assert "`hf download mozart/requiem_24khz config.json model.safetensors --local-dir requiem_24khz`" in text


def test_a_misspelt_path_is_no_name_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(load, "snapshot_download", None)
    for name in ("runs/codec-1234", "./codec", "a/b/c", str(tmp_path / "codec"), "~/codec"):
        assert f"{name}: no such codec." in refusal(name)


def test_official_weights_from_a_local_folder(full_size_folder: Path) -> None:
    codec = load_codec(str(full_size_folder))
    assert (codec.sample_rate, codec.hop_length, codec.n_codebooks, codec.codebook_size, codec.latent_dim) == (
        24000, 320, 32, 1024, 128,
    )  # fmt: skip


def test_each_model_gets_the_adapter_it_needs() -> None:
    small = {"num_filters": 4, "hidden_size": 8, "upsampling_ratios": (4, 2), "target_bandwidths": [60.0]}
    stereo = {"audio_channels": 2, "normalize": True, "chunk_length_s": 1.0, "overlap": 0.01}
    for model, adapter in (
        (EncodecModel(EncodecConfig(**small)), EncodecCodec),
        (EncodecModel(EncodecConfig(**small, **stereo)), SegmentedEncodecCodec),
        (DacModel(SMALL_DAC), DacCodec),
        (LacModel(SMALL_LAC), DacCodec),
    ):
        codec = as_codec(model, "any")
        assert type(codec) is adapter
        assert codec.name == "any"


def test_dac_in_the_format_of_transformers(even_dac_model: DacModel, tmp_path: Path) -> None:
    even_dac_model.save_pretrained(tmp_path)
    codec = load_codec(tmp_path)
    assert isinstance(codec, DacCodec)
    assert (codec.sample_rate, codec.hop_length, codec.n_codebooks) == (8000, 8, 4)
    audio = 0.3 * torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(0))
    assert torch.equal(codec.encode(audio), even_dac_model.encoder(audio))
    state = load_file(tmp_path / "model.safetensors")
    state["decoder.block.0.conv_t1.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"do not fit the config: decoder.block.0.conv_t1.bias has another shape"):
        read_model(tmp_path)


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("weights", ["missing", "cut short"])
def test_pickles_are_never_read(folder: Path, tmp_path: Path, weights: str) -> None:
    mark = tmp_path / "code was run"
    for name in ("pytorch_model.bin", "model.bin", "pytorch_model.pt"):
        (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    safetensors = folder / "model.safetensors"
    if weights == "missing":
        safetensors.unlink()
        assert "model.safetensors is missing" in refusal(folder)
    else:
        safetensors.write_bytes(safetensors.read_bytes()[:-1000])
        assert "broken or cut short" in refusal(folder)
    assert not mark.exists()
    pickle.loads((folder / "model.bin").read_bytes())
    assert mark.exists(), "the bomb is none, so that the test proves nothing"


@pytest.mark.parametrize("rest", [0, 4, 100, 5000, -1])
def test_weights_that_are_cut_short(folder: Path, rest: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:rest])
    assert refusal(folder).startswith(f"{path}: broken or cut short")


def test_weights_that_are_no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"RIFF" * 500)
    assert "model.safetensors: broken" in refusal(folder)


def spoil_weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def set_config(**values: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return spoil


EMBED = "quantizer.layers.1.codebook.embed"


@pytest.mark.parametrize(
    "spoil, words",
    [
        (spoil_weights(lambda state: state.pop(EMBED)), f"the weights do not fit the config: {EMBED} is missing"),
        (spoil_weights(lambda state: state.update({EMBED: torch.zeros(16, 9)})), f"{EMBED} has another shape"),
        (spoil_weights(lambda state: state.update(extra=torch.zeros(1))), "extra is not part of the model"),
        (set_config(target_bandwidths=[1.6]), "is not part of the model and 3 more."),
        (set_config(target_bandwidths=[16.0]), "is missing and"),
        (set_config(hidden_size=16, codebook_dim=16), "has another shape"),
        (set_config(model_type="dac"), "decoder.block.0.conv_t1.bias is missing and"),
        (set_config(model_type="mimi"), "config.json: model_type is 'mimi', expected one of encodec, dac"),
        (set_config(model_type=None), "config.json: model_type is None, expected one of encodec, dac"),
        (set_config(num_filters="many"), "config.json: cannot be read as the config of a codec: "),
        (set_config(num_filters=-3), "cannot be read as a codec: "),
        (set_config(target_bandwidths=[]), "cannot be read as a codec: "),
        (set_config(codebook_size=17), "cannot be read as a codec: "),
        (set_config(normalize=True), "only mono EnCodec models without normalisation"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": '), "as the config of a codec: "),
        (lambda folder: (folder / "config.json").write_text("[1]"), "as the config of a codec: "),
        (lambda folder: (folder / "config.json").write_bytes(bytes(range(256))), "as the config of a codec: "),
    ],
)
def test_folders_that_hold_no_such_codec(folder: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(folder)
    text = refusal(folder)
    assert str(folder) in text
    assert words in text
