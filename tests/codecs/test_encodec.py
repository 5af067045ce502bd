"""EnCodec behind the interface: the same numbers as transformers' model, and worked examples of its quantiser."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils import parametrize
from transformers import EncodecModel

from codec_ft.codec_training.encodec_model import EncodecShape, make_encodec
from codec_ft.codecs.base import add_weight_norm, fold_weight_norm
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import load_codec
from codec_ft.errors import UserError


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_it_equals_transformers_model_with_the_same_weights(any_folder: Path) -> None:
    codec, original = load_codec(str(any_folder)), EncodecModel.from_pretrained(any_folder).float().eval()
    assert any(parametrize.is_parametrized(module) for module in original.modules()), "compare with weight norm"
    length = 20 * codec.hop_length + 3
    audio = 0.3 * noise(2, 1, length)
    encoded = original.encode(audio, bandwidth=original.config.target_bandwidths[-1])
    codes, quantized = codec.quantize(codec.encode(audio))
    assert torch.equal(codes, encoded.audio_codes[0])
    decoded = original.decode(encoded.audio_codes, encoded.audio_scales).audio_values
    torch.testing.assert_close(codec.decode(quantized), decoded, rtol=0, atol=1e-6 * max(1.0, float(decoded.max())))


@pytest.fixture
def hand() -> EncodecCodec:
    """Two dimensions and two codebooks: (0, 0) and (4, 0), then (0, 0) and (1, 0)."""
    shape = EncodecShape(
        sample_rate=100, strides=(2,), n_filters=2, latent_dim=2, n_codebooks=2, codebook_size=2, causal=True
    )
    model = make_encodec(shape)
    model.quantizer.layers[0].codebook.embed.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    model.quantizer.layers[1].codebook.embed.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    return EncodecCodec(model, "hand")


LATENTS = torch.tensor([[[3.0, 0.6], [1.0, 0.0]]])  # [B=1, D=2, T=2]: the points (3, 1) and (0.6, 0)


def test_quantising_by_hand(hand: EncodecCodec) -> None:
    # (3, 1) is nearer to (4, 0); what is left, (-1, 1), to (0, 0). (0.6, 0) is nearer to (0, 0), and then to (1, 0).
    codes, quantized = hand.quantize(LATENTS)
    assert codes.tolist() == [[[1, 0], [0, 1]]]
    assert quantized.tolist() == [[[4.0, 1.0], [0.0, 0.0]]]
    assert hand.quantize(LATENTS, 1)[1].tolist() == [[[4.0, 0.0], [0.0, 0.0]]]
    assert hand.codes_to_latents(torch.tensor([[[1, 1], [1, 0]]])).tolist() == [[[5.0, 4.0], [0.0, 0.0]]]


def second_of_two(distance_0: float, distance_1: float, temperature: float = 1.0) -> float:
    """Log-probability of the second of two codes at these squared distances."""
    return -math.log1p(math.exp((distance_1 - distance_0) / temperature))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_logits_by_hand(hand: EncodecCodec, temperature: float) -> None:
    found = hand.logits(LATENTS, temperature=temperature)[0, :, 1]  # [K, T]: of code 1
    # Squared distances of (3, 1): 10 and 2; of the rest (-1, 1): 2 and 5. Of (0.6, 0): .36 and 11.56; then .36 and .16.
    assert found[0].tolist() == pytest.approx(
        [second_of_two(10, 2, temperature), second_of_two(0.36, 11.56, temperature)], rel=1e-4
    )
    assert found[1].tolist() == pytest.approx(
        [second_of_two(2, 5, temperature), second_of_two(0.36, 0.16, temperature)], rel=1e-4
    )


def test_teacher_forced_residuals_by_hand(hand: EncodecCodec) -> None:
    # Taught the wrong first codes, (0, 0) and (4, 0), the rests are (3, 1) and (-3.4, 0): squared distances from the
    # second codebook's codes 10 and 5, 11.56 and 19.36.
    target = torch.tensor([[[0, 1], [0, 0]]])
    found = hand.logits(LATENTS, target_codes=target)[0, :, 1]
    assert found[0].tolist() == pytest.approx([second_of_two(10, 2), second_of_two(0.36, 11.56)], rel=1e-4)
    assert found[1].tolist() == pytest.approx([second_of_two(10, 5), second_of_two(11.56, 19.36)], rel=1e-4)
    assert torch.equal(hand.logits(LATENTS, target_codes=target[:, :1])[0, 0, 1], found[0])


def test_no_gradient_flows_through_the_codes_of_earlier_layers(hand: EncodecCodec) -> None:
    # d/dr of log p(code 1) = (p_0) * 2 (c_1 - c_0), with the codes before it held fixed; here (1, 0) - (0, 0).
    latents = LATENTS.clone().requires_grad_()
    log_probability = hand.logits(latents, target_codes=torch.tensor([[[1, 1], [0, 0]]]))[0, 1, 1, 0]
    log_probability.backward()
    p_0 = 1 - math.exp(second_of_two(2, 5))
    assert latents.grad is not None
    assert latents.grad[0, :, 0].tolist() == pytest.approx([2 * p_0, 0.0], rel=1e-4)
    assert latents.grad[0, :, 1].tolist() == [0.0, 0.0]


def test_codes_are_the_nearest_ones(tiny_codec: EncodecCodec) -> None:
    latents = noise(3, 8, 40)
    codes, quantized = tiny_codec.quantize(latents)
    residual = latents.double()
    for k, layer in enumerate(tiny_codec.layers):
        table = layer.codebook.embed.double()
        distances = torch.cdist(residual.transpose(1, 2), table.expand(3, -1, -1))
        assert torch.equal(distances.argmin(dim=2), codes[:, k])
        residual = residual - table[codes[:, k]].transpose(1, 2)
    torch.testing.assert_close(latents - quantized, residual.float(), rtol=0, atol=1e-5)


def test_match_space_is_the_latents(tiny_codec: EncodecCodec) -> None:
    latents = noise(2, 8, 3)
    assert tiny_codec.match_space(latents) is latents
    assert tiny_codec.match_space(latents, target_codes=torch.zeros(2, 3, 3, dtype=torch.long)) is latents


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gradients_flow_through_the_lstm_on_a_gpu(tiny_codec: EncodecCodec) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        codec = tiny_codec.to(device)
        audio = (0.3 * noise(1, 1, 200)).to(device).requires_grad_()
        codec.decode(codec.encode(audio)).pow(2).sum().backward()
        assert audio.grad is not None
        found[device] = audio.grad.cpu()
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-2, atol=1e-3 * float(found["cpu"].abs().max()))


def test_the_causal_codec_sees_no_future(causal_folder: Path, tiny_codec: EncodecCodec) -> None:
    for codec, causal in ((load_codec(str(causal_folder)), True), (tiny_codec, False)):
        audio = 0.3 * noise(1, 1, 20 * codec.hop_length)
        changed = audio.clone()
        changed[..., 10 * codec.hop_length :] += 1.0
        same = torch.allclose(codec.encode(audio)[..., :10], codec.encode(changed)[..., :10], atol=1e-5)
        assert same == causal


def test_weight_norm_on_and_off_is_the_same_function() -> None:
    layer = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 4), torch.nn.ConvTranspose1d(3, 2, 4), torch.nn.Linear(7, 7))
    wave = noise(1, 2, 7)
    before = layer(wave)
    add_weight_norm(layer)
    add_weight_norm(layer)  # twice does no harm
    assert [parametrize.is_parametrized(part) for part in layer] == [True, True, False]
    torch.testing.assert_close(layer(wave), before)
    with torch.no_grad():
        layer[0].parametrizations.weight.original0 *= 2  # the length of the weights
    doubled = F.conv1d(wave, layer[0].weight, layer[0].bias)
    fold_weight_norm(layer)
    assert not any(parametrize.is_parametrized(part) for part in layer)
    torch.testing.assert_close(layer[0](wave), doubled)
    assert {name for name, _ in layer[0].named_parameters()} == {"weight", "bias"}


@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()
def test_folding_without_gradients_leaves_parameters(frozen: bool) -> None:
    layer = add_and_fold(torch.nn.Conv1d(2, 3, 4).requires_grad_(not frozen))
    assert {name for name, _ in layer.named_parameters()} == {"weight", "bias"}


def add_and_fold(layer: torch.nn.Conv1d) -> torch.nn.Conv1d:
    add_weight_norm(layer)
    fold_weight_norm(layer)
    return layer


def test_folding_a_copy_leaves_the_original_as_it_is() -> None:
    layer = torch.nn.Conv1d(2, 3, 4)
    add_weight_norm(layer)
    wave = noise(1, 2, 7)
    before = layer(wave)
    twin = copy.deepcopy(layer)
    fold_weight_norm(twin)
    assert parametrize.is_parametrized(layer) and not parametrize.is_parametrized(twin)
    assert torch.equal(layer(wave), before)
    torch.testing.assert_close(twin(wave), before)
    assert torch.equal(copy.deepcopy(layer)(wave), before)


def test_a_codec_loaded_without_gradients_is_the_same(tiny_codec_folder: Path) -> None:
    def trained(codec: EncodecCodec) -> set[str]:
        return {name for name, value in codec.new_encoder("pretrained").named_parameters() if value.requires_grad}

    with torch.no_grad():
        inside = load_codec(str(tiny_codec_folder))
    outside = load_codec(str(tiny_codec_folder))
    assert isinstance(inside, EncodecCodec) and isinstance(outside, EncodecCodec)
    assert trained(inside) == trained(outside)
    assert {name for name, _ in inside.named_parameters()} == {name for name, _ in outside.named_parameters()}


@pytest.mark.parametrize("change", [{"audio_channels": 2}, {"normalize": True}, {"chunk_length_s": 1.0}])
def test_other_kinds_of_encodec_are_refused(change: dict) -> None:
    model = make_encodec(EncodecShape(strides=(2,), n_filters=2, latent_dim=2, n_codebooks=1, codebook_size=2))
    for key, value in change.items():
        setattr(model.config, key, value)
    with pytest.raises(UserError, match="only mono EnCodec models without normalisation and segments") as caught:
        EncodecCodec(model, "other")
    assert f"{next(iter(change))}={next(iter(change.values()))}" in str(caught.value)
