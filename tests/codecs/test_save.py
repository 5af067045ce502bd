"""Codecs on disk: what is written is what is read, all or nothing."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.utils import parametrize
from transformers import DacConfig, DacModel

from codec_ft.codecs import save
from codec_ft.codecs.base import add_weight_norm
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import load_codec, read_model
from codec_ft.codecs.save import save_model


def test_float32_weights_come_back_bit_by_bit(
    tiny_codec_folder: Path, tiny_codec: EncodecCodec, tmp_path: Path
) -> None:
    save_model(read_model(tiny_codec_folder), tmp_path / "new" / "copy")
    again = load_codec(str(tmp_path / "new" / "copy"))
    assert again.state_dict().keys() == tiny_codec.state_dict().keys()
    for name, value in tiny_codec.state_dict().items():
        if not name.endswith(save.LEARNING_ONLY):
            assert torch.equal(again.state_dict()[name], value), name


def test_half_precision_weights_are_loaded_as_float32(
    tiny_codec_folder: Path, tiny_codec: EncodecCodec, tmp_path: Path
) -> None:
    save_model(read_model(tiny_codec_folder), tmp_path / "half", torch.float16)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float16}
    full, half = (folder / "model.safetensors" for folder in (tiny_codec_folder, tmp_path / "half"))
    assert half.stat().st_size < 0.7 * full.stat().st_size
    codec = load_codec(str(tmp_path / "half"))
    assert all(value.dtype == torch.float32 for value in codec.state_dict().values())
    name = "quantizer.layers.1.codebook.embed"
    assert torch.equal(codec.state_dict()[name], stored[name].float())
    audio = 0.3 * torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(codec.encode(audio), tiny_codec.encode(audio), rtol=0, atol=0.02)


@torch.no_grad()
def test_a_dac_in_training_is_saved_with_its_weight_norm_folded(even_dac_model: DacModel, tmp_path: Path) -> None:
    audio = 0.3 * torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(0))
    add_weight_norm(even_dac_model)
    latents = even_dac_model.encoder(audio)
    save_model(even_dac_model, tmp_path)
    assert parametrize.is_parametrized(even_dac_model.encoder.conv1, "weight"), "the training goes on with its own"
    assert "encoder.conv1.weight" in load_file(tmp_path / "model.safetensors")
    codec = load_codec(tmp_path)
    assert torch.equal(codec.encode(audio), latents)
    assert isinstance(read_model(tmp_path), DacModel)


def test_a_dac_that_is_not_mirrored_keeps_its_sizes(tmp_path: Path) -> None:
    config = DacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=[2, 6],
        upsampling_ratios=[3, 2, 2],
        hidden_size=6,
        decoder_hidden_size=16,
        n_codebooks=2,
    )
    save_model(DacModel(config), tmp_path, torch.float16)
    again = read_model(tmp_path).config
    assert (again.hidden_size, again.upsampling_ratios, again.hop_length) == (6, [3, 2, 2], 12)


def test_moving_averages_stay_at_home(tiny_codec_folder: Path) -> None:
    with safe_open(tiny_codec_folder / "model.safetensors", "pt") as file:
        names = list(file.keys())
        assert file.metadata()["format"] == "pt"  # transformers refuses files without it
    assert any(name.endswith("codebook.embed") for name in names)
    assert not any(name.endswith(("embed_avg", "cluster_size")) for name in names)


def test_the_config_is_complete(tiny_codec_folder: Path) -> None:
    config = json.loads((tiny_codec_folder / "config.json").read_text())
    assert config["model_type"] == "encodec"
    assert config["sampling_rate"] == 8000
    assert config["upsampling_ratios"] == [5, 4]
    assert config["use_causal_conv"] is False
    assert config["pad_mode"] == "reflect", "defaults are written as well: those of another version may differ"


def test_a_failed_write_leaves_what_was_there(
    tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = read_model(tiny_codec_folder)
    save_model(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def half_a_file(state: dict, path: Path, metadata: dict) -> None:
        path.write_bytes(b"half of it")
        raise RuntimeError("killed")

    monkeypatch.setattr(save, "save_file", half_a_file)
    with torch.no_grad():
        model.quantizer.layers[0].codebook.embed += 1
    with pytest.raises(RuntimeError, match="killed"):
        save_model(model, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
