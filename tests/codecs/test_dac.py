"""DAC behind the interface: the same numbers as transformers' model, and worked examples of its quantiser."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import DacConfig, DacModel

from codec_ft.codecs.dac import DacCodec


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=["even", "odd"])
def model(request: pytest.FixtureRequest) -> DacModel:
    return request.getfixturevalue(f"{request.param}_dac_model")


@torch.no_grad()
def test_it_equals_transformers_model_with_the_same_weights(model: DacModel) -> None:
    audio = 0.3 * noise(2, 1, 100 * model.config.hop_length)
    encoded = model.encode(audio)
    decoded = model.decode(audio_codes=encoded.audio_codes).audio_values
    codec = DacCodec(model, "dac")
    latents = codec.encode(audio)
    codes, quantized = codec.quantize(latents)
    assert torch.equal(codes, encoded.audio_codes)
    assert torch.equal(codec.match_space(latents), encoded.projected_latents)
    torch.testing.assert_close(quantized, encoded.quantized_representation)
    found = codec.decode(quantized)[:, 0]
    assert torch.equal(found[:, : decoded.shape[1]], decoded)
    fewer = model.encode(audio, n_quantizers=2)
    assert torch.equal(codec.quantize(latents, 2)[0], fewer.audio_codes)


@torch.no_grad()
def test_weight_norm_is_the_same_model(model: DacModel) -> None:
    audio = 0.3 * noise(1, 1, 20 * model.config.hop_length)
    model.apply_weight_norm()
    encoded = model.encode(audio)
    codec = DacCodec(model, "dac")
    assert not any(parametrize.is_parametrized(module) for module in codec.modules())
    assert torch.equal(codec.quantize(codec.encode(audio))[0], encoded.audio_codes)


def test_what_odd_ratios_lack_is_silent(odd_dac_model: DacModel) -> None:
    # Each odd ratio costs a sample, which the ratios after it multiply: 1 * 3 + 1 of 15 per frame.
    codec = DacCodec(odd_dac_model, "odd")
    latents = noise(2, codec.latent_dim, 6)
    decoded = codec.decode(latents)
    assert decoded.shape == (2, 1, 90)
    assert torch.equal(decoded[..., :86], codec.decoder(latents))
    assert decoded[..., 85].abs().min() > 0 and decoded[..., 86:].abs().max() == 0
    assert torch.equal(codec.decode(latents, 88), decoded[..., :88])


def test_even_ratios_lack_nothing(even_dac_model: DacModel) -> None:
    codec = DacCodec(even_dac_model, "even")
    latents = noise(1, codec.latent_dim, 3)
    assert torch.equal(codec.decode(latents), codec.decoder(latents))


def test_the_last_frame_is_filled_up_with_zeros(model: DacModel) -> None:
    codec = DacCodec(model, "dac")
    audio = 0.3 * noise(1, 1, 4 * codec.hop_length + 1)
    whole = F.pad(audio, (0, codec.hop_length - 1))
    assert whole.shape[-1] == 5 * codec.hop_length
    assert torch.equal(codec.encode(audio), codec.encode(whole))
    assert torch.equal(codec.new_encoder("pretrained")(audio), codec.new_encoder("pretrained")(whole))


@pytest.fixture
def hand() -> DacCodec:
    """Two dimensions, projections that change nothing, and two codebooks: (3, 0) and (0, 0.5), then (1, 1), (-4, 0)."""
    config = DacConfig(
        encoder_hidden_size=1,
        downsampling_ratios=[2],
        decoder_hidden_size=2,
        n_codebooks=2,
        codebook_size=2,
        codebook_dim=2,
    )
    model = DacModel(config)
    tables = ([[3.0, 0.0], [0.0, 0.5]], [[1.0, 1.0], [-4.0, 0.0]])
    with torch.no_grad():
        for layer, table in zip(model.quantizer.quantizers, tables, strict=True):
            for projection in (layer.in_proj, layer.out_proj):
                projection.weight.copy_(torch.eye(2)[..., None])
                projection.bias.zero_()
            layer.codebook.weight.copy_(torch.tensor(table))
    return DacCodec(model, "hand")


LATENTS = torch.tensor([[[1.0, 0.0], [0.5, 2.0]]])  # [B=1, D=2, T=2]: the points (1, 0.5) and (0, 2)


def test_quantising_by_hand(hand: DacCodec) -> None:
    # (1, 0.5) lies nearer to (0, 0.5) but at a smaller angle to (3, 0), which leaves (-2, 0.5): nearly the direction of
    # (-4, 0). (0, 2) has that of (0, 0.5), which leaves (0, 1.5): 45 degrees from (1, 1), 90 from (-4, 0).
    codes, quantized = hand.quantize(LATENTS)
    assert codes.tolist() == [[[0, 1], [1, 0]]]
    assert quantized.tolist() == [[[-1.0, 1.0], [0.0, 1.5]]]
    assert hand.quantize(LATENTS, 1)[1].tolist() == [[[3.0, 0.0], [0.0, 0.5]]]


def test_match_space_by_hand(hand: DacCodec) -> None:
    own = [[[1.0, 0.0], [0.5, 2.0], [-2.0, 0.0], [0.5, 1.5]]]
    assert hand.match_space(LATENTS).tolist() == own
    # Taught the other codes, (1, 0.5) - (0, 0.5) and (0, 2) - (3, 0) remain.
    taught = torch.tensor([[[1, 0], [0, 0]]])
    assert hand.match_space(LATENTS, taught).tolist() == [[[1.0, 0.0], [0.5, 2.0], [1.0, -3.0], [0.0, 2.0]]]
    assert hand.match_space(LATENTS, taught[:, :1]).tolist() == [[[1.0, 0.0], [0.5, 2.0]]]


def test_logits_by_hand(hand: DacCodec) -> None:
    found = hand.logits(LATENTS, temperature=0.5)[0, :, 0]  # [K, T]: of code 0
    # Cosines of (1, 0.5) with both codes: 2 and 1 over the root of 5; of (-2, 0.5): -1.5 over the root of 8.5, and 2
    # over that of 4.25. Of (0, 2): 0 and 1; of (0, 1.5): the root of a half, and 0.
    cosines = [
        [(2 / math.sqrt(5), 1 / math.sqrt(5)), (0.0, 1.0)],
        [(-1.5 / math.sqrt(8.5), 2 / math.sqrt(4.25)), (math.sqrt(0.5), 0.0)],
    ]
    wanted = [[-math.log1p(math.exp((other - own) / 0.5)) for own, other in row] for row in cosines]
    assert found.tolist() == [pytest.approx(row, rel=1e-5) for row in wanted]


RELEASES = {
    "44 kHz": (dict(sampling_rate=44100, n_codebooks=9), 512, 862),
    "44 kHz, 16 kbps": (dict(sampling_rate=44100, n_codebooks=18, hidden_size=128), 512, 862),
    "24 kHz": (dict(sampling_rate=24000, n_codebooks=32, downsampling_ratios=[2, 4, 5, 8]), 320, 750),
    "16 kHz": (dict(sampling_rate=16000, n_codebooks=12, downsampling_ratios=[2, 4, 5, 8]), 320, 500),
}


@pytest.mark.parametrize("name", RELEASES)
def test_the_sizes_that_were_released(name: str) -> None:
    options, hop_length, frames = RELEASES[name]
    with torch.device("meta"):  # sizes without memory
        codec = DacCodec(DacModel(DacConfig(**options)), name)
    assert (codec.hop_length, codec.n_frames(10 * codec.sample_rate)) == (hop_length, frames)
    assert (codec.n_codebooks, codec.codebook_size) == (options["n_codebooks"], 1024)
    audio = torch.zeros(1, 1, 2 * hop_length + 1, device="meta")
    latents = codec.encoder(F.pad(audio, (0, hop_length - 1)))
    assert latents.shape == (1, codec.latent_dim, 3)
    assert codec.latent_dim == options.get("hidden_size", 1024)
