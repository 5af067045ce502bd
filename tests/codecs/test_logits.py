"""Logits of both geometries over random codecs, against distances and angles from torch's own functions in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.residual import ResidualCodec


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def euclidean(n_codebooks: int, bits: int, latent_dim: int) -> EncodecCodec:
    config = EncodecConfig(
        sampling_rate=100,
        upsampling_ratios=(2,),
        num_filters=2,
        hidden_size=latent_dim,
        codebook_size=2**bits,
        target_bandwidths=[n_codebooks * bits * 0.05 + 1e-6],  # 50 frames per second
    )
    model = EncodecModel(config)
    for k, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.normal_(std=0.7**k)
    return EncodecCodec(model, "euclidean")


@torch.no_grad()
def cosine(n_codebooks: int, bits: int, latent_dim: int) -> DacCodec:
    config = DacConfig(
        encoder_hidden_size=latent_dim,
        downsampling_ratios=[2],
        decoder_hidden_size=2,
        n_codebooks=n_codebooks,
        codebook_size=2**bits,
        codebook_dim=max(2, latent_dim // 2),
    )
    model = DacModel(config)
    for layer in model.quantizer.quantizers:
        for value in layer.parameters():
            value.normal_()
    return DacCodec(model, "cosine")


KINDS = {"euclidean": euclidean, "cosine": cosine}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    n_codebooks=st.integers(1, 5),
    bits=st.integers(1, 7),
    latent_dim=st.integers(1, 9),
    width=st.sampled_from([0.0, 1e-3, 1.0, 30.0]),
    temperature=st.sampled_from([0.05, 1.0, 10.0]),
)
def test_the_likeliest_codes_are_the_codec_s_own(
    kind: str, seed: int, n_codebooks: int, bits: int, latent_dim: int, width: float, temperature: float
) -> None:
    torch.manual_seed(seed)
    codec = KINDS[kind](n_codebooks, bits, latent_dim)
    assert (codec.n_codebooks, codec.geometry) == (n_codebooks, kind)
    latents = width * noise(2, codec.latent_dim, 6, seed=seed)
    codes, _ = codec.quantize(latents)
    logits = codec.logits(latents, temperature=temperature)
    likeliest = logits.argmax(dim=2)
    # Where they differ, the scores must be the same up to rounding.
    scores = temperature * logits
    own, best = (scores.gather(2, chosen[:, :, None]) for chosen in (codes, likeliest))
    size = max(1.0, width**2 * latent_dim) if kind == "euclidean" else 1.0
    assert (best - own).max() <= 1e-5 * size
    assert (codes == likeliest).float().mean() > 0.7 or width < 1


def residuals(codec: ResidualCodec, latents: Tensor, codes: Tensor) -> list[Tensor]:
    """What each layer is given, `[B, D, T]` in float64, when those before it take these codes."""
    found = [latents.double()]
    for k in range(codes.shape[1] - 1):
        alone = codec.codes_to_latents(codes[:, : k + 1]).double()
        found.append(latents.double() - alone)
    return found


def expected_logits(codec: ResidualCodec, latents: Tensor, codes: Tensor, temperature: float) -> Tensor:
    found = []
    for k, residual in enumerate(residuals(codec, latents, codes)):
        if isinstance(codec, EncodecCodec):
            table = codec.layers[k].codebook.embed.double()
            points = residual.transpose(1, 2)
            scores = -torch.cdist(points, table.expand(len(points), -1, -1)).pow(2)  # [B, T, V]
        else:
            layer = codec.layers[k]
            weight, bias = layer.in_proj.weight.double()[..., 0], layer.in_proj.bias.double()
            points = torch.einsum("ed,bdt->bte", weight, residual) + bias
            scores = F.cosine_similarity(points[:, :, None], layer.codebook.weight.double(), dim=-1)
        found.append((scores / temperature).log_softmax(dim=-1).transpose(1, 2))
    return torch.stack(found, dim=1)


@pytest.mark.parametrize("temperature", [0.2, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_distances_and_cosines(kind: str, temperature: float) -> None:
    torch.manual_seed(1)
    codec = KINDS[kind](4, 5, 6)
    latents = noise(2, codec.latent_dim, 7)
    codes, _ = codec.quantize(latents)
    taught = torch.randint(32, codes.shape, generator=torch.Generator().manual_seed(2))
    for found, wanted in (
        (codec.logits(latents, temperature=temperature), expected_logits(codec, latents, codes, temperature)),
        (codec.logits(latents, taught, temperature), expected_logits(codec, latents, taught, temperature)),
    ):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_codes_before_are_constants_to_the_gradient(kind: str) -> None:
    torch.manual_seed(1)
    codec = KINDS[kind](3, 4, 6)
    taught = torch.randint(16, (1, 3, 2), generator=torch.Generator().manual_seed(2))
    for k in range(3):
        gradients = []
        for logits in (codec.logits, lambda x, codes: expected_logits(codec, x, codes, 1.0)):
            latents = noise(1, codec.latent_dim, 2).requires_grad_()
            logits(latents, taught)[0, k, 5].sum().backward()
            gradients.append(latents.grad)
        assert gradients[0] is not None and gradients[0].abs().min() > 0
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_temperature_sharpens(kind: str) -> None:
    torch.manual_seed(1)
    codec = KINDS[kind](2, 4, 6)
    latents = noise(1, codec.latent_dim, 5)
    entropies = [float(-(p.exp() * p).sum(dim=2).mean()) for p in (codec.logits(latents, None, t) for t in (0.1, 1, 9))]
    assert entropies[0] < entropies[1] < entropies[2] < math.log(16)
