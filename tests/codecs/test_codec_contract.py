"""What every codec promises (`codec_ft.codecs.base.Codec`); a new codec becomes one more folder in `any_folder`."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils import parametrize

from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import load_codec


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def codec(any_folder: Path) -> Codec:
    return load_codec(str(any_folder))


@pytest.fixture(scope="module")
def audio(codec: Codec) -> Tensor:
    """Two items of nine and a bit frames."""
    return 0.3 * noise(2, 1, 9 * codec.hop_length + 3)


@pytest.fixture(scope="module")
def latents(codec: Codec, audio: Tensor) -> Tensor:
    return codec.encode(audio)


@pytest.mark.parametrize("frames, more", [(0, 1), (0, 2), (1, -1), (1, 0), (1, 1), (2, -1), (5, 0), (5, 7), (11, -3)])
def test_every_length_comes_back(codec: Codec, frames: int, more: int) -> None:
    length = frames * codec.hop_length + more
    latents = codec.encode(0.3 * noise(2, 1, length))
    assert latents.shape == (2, codec.latent_dim, math.ceil(length / codec.hop_length))
    decoded = codec.decode(latents, length)
    assert decoded.shape == (2, 1, length)
    assert decoded.isfinite().all()
    everything = codec.decode(latents)
    assert everything.shape == (2, 1, latents.shape[2] * codec.hop_length)
    assert torch.equal(everything[..., :length], decoded)


def test_items_of_a_batch_do_not_see_each_other(codec: Codec, audio: Tensor, latents: Tensor) -> None:
    alone = codec.encode(audio[1:])
    torch.testing.assert_close(alone, latents[1:], rtol=1e-4, atol=1e-4 * float(latents.abs().max()))
    decoded = codec.decode(latents)
    torch.testing.assert_close(
        codec.decode(latents[1:]), decoded[1:], rtol=1e-4, atol=1e-4 * float(decoded.abs().max())
    )


def test_codes_are_codes(codec: Codec, latents: Tensor) -> None:
    codes, quantized = codec.quantize(latents)
    assert codes.shape == (2, codec.n_codebooks, latents.shape[2])
    assert codes.dtype == torch.int64
    assert codes.min() >= 0 and codes.max() < codec.codebook_size
    assert quantized.shape == latents.shape
    assert torch.equal(codec.codes_to_latents(codes), quantized)
    assert len(codes[:, 0].unique()) > 2, "codes that are all alike would prove nothing here"


def test_fewer_codebooks_are_the_first_ones(codec: Codec, latents: Tensor) -> None:
    codes, quantized = codec.quantize(latents)
    distances = []
    for n in sorted({1, 2, codec.n_codebooks - 1, codec.n_codebooks}):
        fewer, coarser = codec.quantize(latents, n)
        assert torch.equal(fewer, codes[:, :n])
        assert torch.equal(coarser, codec.codes_to_latents(codes[:, :n]))
        distances.append(float((latents - coarser).pow(2).mean()))
    assert torch.equal(coarser, quantized)
    assert distances[-1] < distances[0], "more codebooks should come closer"


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.sampled_from([0.0, 0.01, 1.0, 30.0]),
    temperature=st.sampled_from([0.1, 1.0, 7.0]),
)
def test_the_likeliest_codes_are_the_codec_s_own(
    codec: Codec, latents: Tensor, seed: int, width: float, temperature: float
) -> None:
    any_latents = width * latents.std() * noise(2, codec.latent_dim, 4, seed=seed)
    log_probabilities = codec.logits(any_latents, temperature=temperature)
    assert log_probabilities.shape == (2, codec.n_codebooks, codec.codebook_size, 4)
    torch.testing.assert_close(log_probabilities.exp().sum(dim=2), torch.ones(2, codec.n_codebooks, 4))
    codes, _ = codec.quantize(any_latents)
    own = log_probabilities.gather(2, codes[:, :, None])[:, :, 0]
    best, argmax = log_probabilities.max(dim=2)
    rounding = 1e-6 * float(log_probabilities.abs().max())
    assert (own >= best - rounding).all()
    assert ((argmax == codes) | (best - own <= rounding)).all()


def test_the_likeliest_codes_of_real_latents(codec: Codec, latents: Tensor) -> None:
    codes, _ = codec.quantize(latents)
    assert torch.equal(codec.logits(latents).argmax(dim=2), codes)
    # Taught with its own codes, it says the same.
    torch.testing.assert_close(codec.logits(latents, target_codes=codes), codec.logits(latents))


def test_teaching_only_changes_what_follows(codec: Codec, latents: Tensor) -> None:
    codes, _ = codec.quantize(latents)
    others = (codes + 1) % codec.codebook_size
    free, forced = codec.logits(latents), codec.logits(latents, target_codes=others[:, :2])
    assert forced.shape == (2, 2, codec.codebook_size, latents.shape[2])
    assert torch.equal(forced[:, 0], free[:, 0])
    assert not torch.allclose(forced[:, 1], free[:, 1])


def test_it_stays_frozen(codec: Codec) -> None:
    assert codec.train() is codec
    codec.train(True)
    assert not any(module.training for module in codec.modules())
    assert not any(parameter.requires_grad for parameter in codec.parameters())
    assert all(value.dtype == torch.float32 for value in codec.parameters())
    holder = torch.nn.ModuleList([codec]).train()
    assert holder.training and not codec.training and not codec.encoder.training


def test_weight_norm_is_folded_away(codec: Codec) -> None:
    assert not any(parametrize.is_parametrized(module) for module in codec.modules())
    assert not any("original" in name or name.endswith(("_g", "_v")) for name, _ in codec.named_parameters())


def test_gradients_flow_through_it(codec: Codec) -> None:
    audio = (0.3 * noise(1, 1, 3 * codec.hop_length)).requires_grad_()
    latents = codec.encode(audio)
    latents.pow(2).sum().backward()
    assert audio.grad is not None and audio.grad.isfinite().all() and (audio.grad != 0).any(dim=-1).all()
    given_latents = latents.detach().requires_grad_()
    (codec.decode(given_latents).pow(2).sum() + codec.logits(given_latents)[:, :, 0].sum()).backward()
    assert given_latents.grad is not None and given_latents.grad.isfinite().all()
    assert (given_latents.grad != 0).all()
    assert all(parameter.grad is None for parameter in codec.parameters())


def test_autocast_changes_nothing(codec: Codec, audio: Tensor) -> None:
    def everything() -> list[Tensor]:
        latents = codec.encode(audio)
        codes, quantized = codec.quantize(latents)
        decoded = codec.decode(quantized, audio.shape[-1])
        return [latents, codes, quantized, decoded, codec.logits(latents), codec.codes_to_latents(codes)]

    outside = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16, "autocast is not on"
        inside = everything()
    for a, b in zip(outside, inside, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


def test_half_precision_input_is_computed_in_float32(codec: Codec, audio: Tensor, latents: Tensor) -> None:
    assert torch.equal(codec.encode(audio.half()), codec.encode(audio.half().float()))
    half = latents.half()
    assert torch.equal(codec.decode(half), codec.decode(half.float()))
    assert torch.equal(codec.quantize(half)[0], codec.quantize(half.float())[0])
    assert codec.logits(half).dtype == torch.float32


def test_new_encoders(codec: Codec, audio: Tensor, latents: Tensor) -> None:
    frozen = {value.data_ptr() for value in codec.state_dict().values()}
    scale = float(latents.abs().max())
    for start in ("pretrained", "random"):
        encoder = codec.new_encoder(start)
        assert encoder.training and all(parameter.requires_grad for parameter in encoder.parameters())
        assert frozen.isdisjoint(value.data_ptr() for value in encoder.state_dict().values())
        same = torch.allclose(encoder(audio), latents, rtol=0, atol=1e-4 * scale)
        assert same == (start == "pretrained")


def test_match_space_keeps_items_and_frames(codec: Codec, latents: Tensor) -> None:
    matched = codec.match_space(latents)
    assert (matched.shape[0], matched.shape[2]) == (latents.shape[0], latents.shape[2])


@pytest.mark.parametrize("shape", [(4000,), (1, 4000), (1, 2, 4000), (1, 1, 0), (1, 1, 1, 4000)])
def test_audio_of_another_shape_is_refused(codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected audio \[B, 1, N\] with N > 0, got \["):
        codec.encode(torch.zeros(shape))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(codec: Codec, audio: Tensor, latents: Tensor, bad: float) -> None:
    spoilt = audio.clone()
    spoilt[1, 0, 17] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        codec.encode(spoilt)
    spoilt = latents.clone()
    spoilt[1, 0, 2] = bad
    for use in (codec.quantize, codec.decode, codec.logits):
        with pytest.raises(ValueError, match="NaN or infinite"):
            use(spoilt)


def test_latents_of_another_shape_are_refused(codec: Codec, latents: Tensor) -> None:
    for bad in (latents[0], latents[:, :-1], latents[..., :0]):
        for use in (codec.quantize, codec.decode, codec.logits):
            with pytest.raises(ValueError, match=rf"expected latents \[B, {codec.latent_dim}, T\]"):
                use(bad)


def test_codes_that_do_not_exist_are_refused(codec: Codec, latents: Tensor) -> None:
    codes, _ = codec.quantize(latents)
    for bad in (-1, codec.codebook_size):
        spoilt = codes.clone()
        spoilt[0, -1, 0] = bad
        with pytest.raises(ValueError, match=rf"must lie in 0\.\.{codec.codebook_size - 1}, got .*{bad}"):
            codec.codes_to_latents(spoilt)
        with pytest.raises(ValueError, match="must lie in"):
            codec.logits(latents, target_codes=spoilt)
    for shape in (codes[0], codes[:, :0], torch.cat([codes, codes[:, :1]], dim=1)):
        with pytest.raises(ValueError, match=rf"1 <= K <= {codec.n_codebooks}"):
            codec.codes_to_latents(shape)
    for other in (codes[:1], codes[..., :1]):
        with pytest.raises(ValueError, match="differ in items or frames"):
            codec.logits(latents, target_codes=other)


def test_a_number_of_codebooks_that_it_has_not_is_refused(codec: Codec, latents: Tensor) -> None:
    for bad in (0, -1, codec.n_codebooks + 1):
        with pytest.raises(ValueError, match=f"has {codec.n_codebooks} codebooks, {bad} were asked for"):
            codec.quantize(latents, bad)


def test_a_length_that_the_frames_do_not_give_is_refused(codec: Codec, latents: Tensor) -> None:
    longest = latents.shape[2] * codec.hop_length
    for bad in (0, -5, longest + 1):
        with pytest.raises(ValueError, match=rf"{latents.shape[2]} frames give 1\.\.{longest} samples, not {bad}"):
            codec.decode(latents, bad)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_must_be_above_zero(codec: Codec, latents: Tensor, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above zero"):
        codec.logits(latents, temperature=temperature)
