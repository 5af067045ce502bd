"""Folders of codecs of different kinds, each written once."""

from pathlib import Path

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from codec_ft.codec_training.config import EncodecShape
from codec_ft.codec_training.task import make_encodec
from codec_ft.codecs.load import SHIPPED
from codec_ft.codecs.save import save_encodec


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def bring_to_life(model: EncodecModel) -> None:
    """Latents of zero mean and unit variance, and random codebooks as wide, ever finer.

    Untrained, the latents are nearly constant and the codebooks all zeros, so that all codes would be equal.
    """
    last = model.encoder.layers[-1].conv
    latents = model.eval().encoder(0.3 * noise(1, 1, 4000))[0]
    mean, width = latents.mean(dim=1), latents.std(dim=1)
    last.bias.copy_((last.bias - mean) / width)
    last.parametrizations.weight.original0 /= width[:, None, None]
    for k, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.copy_(0.9**k * noise(*layer.codebook.embed.shape, seed=k))


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal EnCodec of odd strides."""
    torch.manual_seed(11)
    shape = EncodecShape(
        sample_rate=6000, strides=(3, 5), n_filters=4, latent_dim=6, n_codebooks=2, codebook_size=8, causal=True
    )
    model = make_encodec(shape)
    bring_to_life(model)
    folder = tmp_path_factory.mktemp("codecs") / "causal"
    save_encodec(model, folder)
    return folder


@pytest.fixture(scope="session")
def full_size_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EnCodec of the size of the official 24 kHz one, with random weights, in the format of transformers itself."""
    torch.manual_seed(5)
    model = EncodecModel(EncodecConfig())
    bring_to_life(model)
    folder = tmp_path_factory.mktemp("codecs") / "encodec_24khz"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=["tiny", "causal", "full_size", "demo"])
def any_folder(request: pytest.FixtureRequest) -> Path:
    """The folder of each kind of codec in turn."""
    if request.param == "demo":
        if not (SHIPPED / "demo" / "config.json").is_file():
            pytest.skip("the demo codec is not shipped yet")
        return SHIPPED / "demo"
    names = {"tiny": "tiny_codec_folder", "causal": "causal_folder", "full_size": "full_size_folder"}
    return request.getfixturevalue(names[request.param])
