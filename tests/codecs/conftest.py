"""Codecs of every kind, tiny and with random weights."""

import math
from pathlib import Path

import pytest
import torch
from small_models import segmented_config
from torch import nn
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

from codec_ft.codecs.base import Codec
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.lac import LacConfig, LacModel
from codec_ft.codecs.load import SHIPPED, load_codec


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def bring_encodec_to_life(model: EncodecModel) -> None:
    """Latents of zero mean and unit variance, and random codebooks as wide, ever finer.

    Untrained, the latents are nearly constant and the codebooks all zeros, so that all codes would be equal.
    """
    if model.config.norm_type == "weight_norm":  # the other one has it already
        last = model.encoder.layers[-1].conv
        latents = model.eval().encoder(0.3 * noise(1, 1, 4000))[0]
        mean, width = latents.mean(dim=1), latents.std(dim=1)
        last.bias.copy_((last.bias - mean) / width)
        last.parametrizations.weight.original0 /= width[:, None, None]
    for k, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.copy_(0.9**k * noise(*layer.codebook.embed.shape, seed=k))


@torch.no_grad()
def bring_dac_to_life(model: DacModel | LacModel) -> None:
    """Weights that let the signal through, latents as above, and codes of about the size of what they stand for.

    Projections are orthonormal, so that every layer takes something off its residual.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            stride = layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 1
            nn.init.normal_(layer.weight, std=math.sqrt(stride / (layer.in_channels * layer.kernel_size[0])))
            nn.init.normal_(layer.bias, std=0.1)
    for name, value in model.named_parameters():
        if name.endswith("alpha"):
            value.copy_(0.5 + torch.rand_like(value))
    last = model.encoder.conv2
    latents = model.encoder(0.3 * noise(1, 1, 200 * model.config.hop_length))[0]
    mean, width = latents.mean(dim=1), latents.std(dim=1)
    last.bias.copy_((last.bias - mean) / width)
    last.weight /= width[:, None, None]
    for layer in model.quantizer.quantizers:
        nn.init.orthogonal_(layer.in_proj.weight)
        layer.out_proj.weight.copy_(layer.in_proj.weight.transpose(0, 1))
        nn.init.zeros_(layer.in_proj.bias)
        nn.init.zeros_(layer.out_proj.bias)
        nn.init.normal_(layer.codebook.weight, std=0.5)


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny causal EnCodec of odd ratios."""
    torch.manual_seed(11)
    model = EncodecModel(
        EncodecConfig(
            sampling_rate=6000,
            upsampling_ratios=(5, 3),
            num_filters=4,
            hidden_size=6,
            codebook_size=8,
            target_bandwidths=[2.4],  # 2 codebooks x 3 bits x 400 frames per second
        )
    )
    bring_encodec_to_life(model)
    folder = tmp_path_factory.mktemp("codecs") / "causal"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def full_size_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An EnCodec of the size of the official 24 kHz one, with random weights, in the format of transformers itself."""
    torch.manual_seed(5)
    model = EncodecModel(EncodecConfig())
    bring_encodec_to_life(model)
    folder = tmp_path_factory.mktemp("codecs") / "encodec_24khz"
    model.save_pretrained(folder)
    return folder


FOLDERS = {"tiny": "tiny_codec_folder", "causal": "causal_folder", "full_size": "full_size_folder"}


@pytest.fixture(scope="module", params=[*FOLDERS, "demo"])
def any_folder(request: pytest.FixtureRequest) -> Path:
    """The folder of each mono EnCodec in turn."""
    return SHIPPED / "demo" if request.param == "demo" else request.getfixturevalue(FOLDERS[request.param])


def segmented_model() -> EncodecModel:
    """The model of `segmented_config`."""
    torch.manual_seed(3)
    model = EncodecModel(segmented_config()).eval()
    bring_encodec_to_life(model)
    return model


def dac_model(ratios: tuple[int, ...]) -> DacModel:
    torch.manual_seed(4)
    model = DacModel(
        DacConfig(
            sampling_rate=8000,
            encoder_hidden_size=4,
            downsampling_ratios=ratios,
            decoder_hidden_size=16,
            n_codebooks=4,
            codebook_size=16,
            codebook_dim=3,
        )
    ).eval()
    bring_dac_to_life(model)
    return model


def lac_model() -> LacModel:
    torch.manual_seed(6)
    config = LacConfig(
        encoder_hidden_size=4,
        downsampling_ratios=(2, 6),
        decoder_hidden_size=16,
        upsampling_ratios=(6, 2),
        codebook_size=16,
        codebook_dim=2,
    )
    model = LacModel(config).eval()
    bring_dac_to_life(model)
    return model


@pytest.fixture
def segmented() -> SegmentedEncodecCodec:
    """A small stereo EnCodec with segments."""
    return SegmentedEncodecCodec(segmented_model(), "segmented")


@pytest.fixture
def even_dac_model() -> DacModel:
    """A tiny DAC of even ratios: 8 samples per frame, 4 codebooks of 16 codes in 3 dimensions."""
    return dac_model((2, 4))


@pytest.fixture
def odd_dac_model() -> DacModel:
    """The same of odd ratios: 15 samples per frame."""
    return dac_model((3, 5))


MODELS = {
    "segmented": lambda: SegmentedEncodecCodec(segmented_model(), "segmented"),
    "dac": lambda: DacCodec(dac_model((2, 4)), "dac"),
    "dac_odd": lambda: DacCodec(dac_model((3, 5)), "dac_odd"),
    "lac": lambda: DacCodec(lac_model(), "lac"),
}


SHIPPED_NAMES = sorted(config.parent.name for config in SHIPPED.glob("*/config.json"))


@pytest.fixture(scope="module", params=[*FOLDERS, *MODELS, *SHIPPED_NAMES])
def any_codec(request: pytest.FixtureRequest) -> Codec:
    """A codec of each kind in turn, and those that are shipped."""
    if request.param in MODELS:
        return MODELS[request.param]()
    if request.param in FOLDERS:
        return load_codec(str(request.getfixturevalue(FOLDERS[request.param])))
    return load_codec(request.param)
