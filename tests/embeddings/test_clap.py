"""CLAP: a tiny model with random weights, saved as the large ones are."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

from codec_ft.embeddings.clap import ClapEmbedding
from codec_ft.errors import UserError

RATE = 8000
SECONDS = 2


def tiny_clap(folder: Path, fused: bool) -> Path:
    """A CLAP that hears windows of 2 s at 8 kHz; a fused one was made for longer audio as well."""
    torch.manual_seed(0)
    config = ClapConfig(
        text_config={
            "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8, "projection_dim": 12,
        },
        audio_config={
            "spec_size": 64, "num_mel_bins": 16, "window_size": 4, "hidden_size": 8, "patch_embeds_hidden_size": 4,
            "depths": [1, 1], "num_attention_heads": [2, 2], "patch_size": 4, "patch_stride": [4, 4],
            "projection_dim": 12, "projection_hidden_size": 8, "enable_fusion": fused,
            "fusion_type": "aff_2d" if fused else None,
        },
        projection_dim=12,
    )  # fmt: skip
    model = ClapModel(config).eval()
    with torch.no_grad():  # or all vectors would be nearly equal
        for value in model.audio_projection.parameters():
            value.normal_()
    model.save_pretrained(folder)
    ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=RATE,
        max_length_s=SECONDS,
        hop_length=80,
        fft_window_size=256,
        frequency_max=4000,
        truncation="fusion" if fused else "rand_trunc",
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clap(tmp_path_factory.mktemp("clap") / "tiny_clap", request.param)


def music(seconds: float) -> Tensor:
    time = np.arange(round(seconds * RATE)) / RATE
    wave = 0.3 * np.sin(2 * np.pi * (100 + 300 * time) * time)
    return torch.from_numpy(wave.astype(np.float32))[None]


def test_vectors_of_windows(folder: Path):
    embedding = ClapEmbedding(str(folder))
    assert (embedding.name, embedding.sample_rate, embedding.dimension) == ("CLAP tiny_clap", RATE, 12)
    assert embedding.seconds_per_vector == 1.0
    audio = music(4.5)
    found = embedding(audio)
    assert found.shape == (3, 12) and not found.requires_grad  # from 0, 1 and 2 s on, each 2 s long
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    model, extractor = ClapModel.from_pretrained(folder).eval(), ClapFeatureExtractor.from_pretrained(folder)
    for start, vector in enumerate(found):
        window = audio[0, start * RATE : (start + SECONDS) * RATE].numpy()
        features = extractor(window, sampling_rate=RATE, return_tensors="pt")["input_features"]
        with torch.no_grad():
            expected = model.get_audio_features(features.float(), is_longer=torch.tensor([[False]])).pooler_output[0]
        torch.testing.assert_close(vector, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], found[2], atol=1e-2), "equal vectors prove little"


def test_the_same_twice_and_in_any_batch(folder: Path, monkeypatch: pytest.MonkeyPatch):
    embedding = ClapEmbedding(str(folder))
    found = embedding(music(6.0))
    assert torch.equal(embedding(music(6.0)), found)
    monkeypatch.setattr("codec_ft.embeddings.clap.BATCH", 2)
    torch.testing.assert_close(embedding(music(6.0)), found, rtol=1e-4, atol=1e-5)


def test_short_audio_is_one_vector(folder: Path):
    embedding = ClapEmbedding(str(folder))
    twice = embedding(torch.cat([music(1.0), music(1.0)], dim=1))
    torch.testing.assert_close(embedding(music(1.0)), twice)  # repeated to fill the window
    assert embedding(music(0.01)).shape == (1, 12)


def test_folders_that_are_no_clap(folder: Path, tiny_codec_folder: Path, tmp_path: Path):
    for missing in ("config.json", "preprocessor_config.json", "model.safetensors"):
        broken = shutil.copytree(folder, tmp_path / missing)
        (broken / missing).unlink()
        with pytest.raises(UserError, match=r"cannot be read as a CLAP .* Give a folder with"):
            ClapEmbedding(str(broken))
    for name in ("no/such", str(tmp_path / "nothing"), str(tiny_codec_folder)):
        with pytest.raises(UserError, match=f"{name}: cannot be read as a CLAP"):
            ClapEmbedding(name)
    other = shutil.copytree(folder, tmp_path / "other")
    shutil.copy(tiny_codec_folder / "model.safetensors", other)
    with pytest.raises(UserError, match=r"is no CLAP: .* is not among its weights"):
        ClapEmbedding(str(other))
