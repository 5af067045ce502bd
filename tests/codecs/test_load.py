"""Codecs by name and by path, and what is said about folders that are none."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from codec_ft.codecs import load
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import codec_names, load_codec
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
    assert codec_names() == ["encodec_24khz", "mine"]
    assert load_codec("mine").name == "mine"


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal("encodec_24kz")
    assert text.startswith("encodec_24kz: no such codec.")
    assert all(name in text for name in codec_names())
    monkeypatch.setattr(load, "SHIPPED", tmp_path / "nothing is shipped")
    assert "encodec_24khz" in refusal("demo")
    (tmp_path / "empty").mkdir()
    assert "a folder with config.json and model.safetensors" in refusal(tmp_path / "empty")


def test_an_official_name_without_network_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(repository: str, **options: object) -> None:
        assert options["use_safetensors"] is True
        raise OSError("We couldn't connect")

    monkeypatch.setattr(load.EncodecModel, "from_pretrained", offline)
    text = refusal("encodec_24khz")
    assert "hf download facebook/encodec_24khz config.json model.safetensors" in text
    assert "codec=PATH/TO/encodec_24khz" in text


def test_official_weights_from_a_local_folder(full_size_folder: Path) -> None:
    codec = load_codec(str(full_size_folder))
    assert (codec.sample_rate, codec.hop_length, codec.n_codebooks, codec.codebook_size, codec.latent_dim) == (
        24000, 320, 32, 1024, 128,
    )  # fmt: skip


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
        (set_config(model_type="dac"), "is of a 'dac' model, expected 'encodec'"),
        (set_config(num_filters="many"), "cannot be read as an EnCodec model: "),
        (set_config(num_filters=-3), "cannot be read as an EnCodec model: "),
        (set_config(target_bandwidths=[]), "cannot be read as an EnCodec model: "),
        (set_config(codebook_size=17), "cannot be read as an EnCodec model: "),
        (set_config(normalize=True), "only mono EnCodec models without normalisation"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": '), "cannot be read as an EnCodec model: "),
        (lambda folder: (folder / "config.json").write_text("[1]"), "cannot be read as an EnCodec model: "),
        (lambda folder: (folder / "config.json").write_bytes(bytes(range(256))), "cannot be read as an EnCodec model"),
    ],
)
def test_folders_that_hold_no_such_codec(folder: Path, spoil: Callable[[Path], None], words: str) -> None:
    spoil(folder)
    text = refusal(folder)
    assert str(folder) in text
    assert words in text
