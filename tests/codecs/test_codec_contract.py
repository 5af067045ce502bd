"""What every codec promises (`codec_ft.codecs.base.Codec`); a new kind of codec becomes one more `any_codec`."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

from codec_ft.codecs.base import Codec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def codec(any_codec: Codec) -> Codec:
    return any_codec


@pytest.fixture(scope="module")
def audio(codec: Codec) -> Tensor:
    """Two items of nine and a bit frames; of two segments and a bit, where there are segments."""
    frames = 9 if not isinstance(codec, SegmentedEncodecCodec) else 110
    return 0.3 * noise(2, codec.channels, frames * codec.hop_length + 3)


@pytest.fixture(scope="module")
def latents(codec: Codec, audio: Tensor) -> Tensor:
    return codec.encode(audio)


def lengths(codec: Codec) -> list[int]:
    hop = codec.hop_length
    return [1, hop - 1, hop, hop + 1, 3 * hop, 5 * hop - 3, 1009]


def test_every_length_comes_back(codec: Codec) -> None:
    for length in lengths(codec):
        latents = codec.encode(0.3 * noise(2, codec.channels, length))
        frames = codec.n_frames(length)
        if not isinstance(codec, SegmentedEncodecCodec):
            assert frames == math.ceil(length / codec.hop_length)
            assert codec.n_samples(frames) == frames * codec.hop_length
        assert latents.shape == (2, codec.latent_dim, frames)
        decoded = codec.decode(latents, length)
        assert decoded.shape == (2, codec.channels, length)
        assert decoded.isfinite().all()
        everything = codec.decode(latents)
        assert everything.shape == (2, codec.channels, codec.n_samples(frames))
        assert torch.equal(everything[..., :length], decoded)


def test_reconstructing_is_all_of_it(codec: Codec) -> None:
    for length in lengths(codec):
        audio = 0.3 * noise(2, codec.channels, length)
        codes, _ = codec.quantize(codec.encode(audio))
        found = codec.reconstruct(audio)
        assert torch.equal(found, codec.decode(codec.codes_to_latents(codes), length, codec.scales(audio)))
        assert found.shape == audio.shape
    coarse = codec.reconstruct(audio, n_codebooks=1)
    assert torch.equal(coarse, codec.decode(codec.codes_to_latents(codes[:, :1]), length, codec.scales(audio)))


def test_the_same_twice(codec: Codec, audio: Tensor, latents: Tensor) -> None:
    assert torch.equal(codec.encode(audio), latents)
    assert torch.equal(codec.quantize(latents)[0], codec.quantize(latents)[0])
    assert torch.equal(codec.reconstruct(audio), codec.reconstruct(audio))


def test_a_deep_copy_is_the_same_codec(codec: Codec, audio: Tensor) -> None:
    twin = copy.deepcopy(codec)
    assert torch.equal(twin.reconstruct(audio), codec.reconstruct(audio))
    memory = {value.data_ptr() for value in codec.state_dict().values()}
    assert memory.isdisjoint(value.data_ptr() for value in twin.state_dict().values())


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
    assert torch.equal(codec.codes_to_latents(codes.int()), quantized)
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


def test_codebooks_are_what_codes_stand_for(codec: Codec) -> None:
    tables = codec.codebooks()
    assert tables.shape == (codec.n_codebooks, codec.codebook_size, codec.latent_dim)
    assert not tables.requires_grad
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(codec.codebook_size, (2, codec.n_codebooks, 5), generator=generator)
    vectors = torch.stack([table[layer] for table, layer in zip(tables, codes.unbind(1), strict=True)])  # [K, B, T, D]
    torch.testing.assert_close(vectors.sum(dim=0).transpose(1, 2), codec.codes_to_latents(codes))


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
    torch.testing.assert_close(codec.match_space(latents, target_codes=codes), codec.match_space(latents))


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
    audio = (0.3 * noise(1, codec.channels, 3 * codec.hop_length)).requires_grad_()
    latents = codec.encode(audio)
    latents.pow(2).sum().backward()
    assert audio.grad is not None and audio.grad.isfinite().all() and (audio.grad != 0).any(dim=-1).all()
    given_latents = latents.detach().requires_grad_()
    (codec.decode(given_latents).pow(2).sum() + codec.logits(given_latents)[:, :, 0].sum()).backward()
    assert given_latents.grad is not None and given_latents.grad.isfinite().all()
    assert (given_latents.grad != 0).all()
    assert all(parameter.grad is None for parameter in codec.parameters())


def test_every_layer_teaches_the_latents(codec: Codec, latents: Tensor) -> None:
    codes, _ = codec.quantize(latents)
    for k in (0, 1, codec.n_codebooks - 1):
        given_latents = latents.detach().clone().requires_grad_()
        codec.logits(given_latents, target_codes=codes)[:, k, 0].sum().backward()
        assert given_latents.grad is not None and (given_latents.grad != 0).any(dim=1).all()


def test_autocast_changes_nothing(codec: Codec, audio: Tensor) -> None:
    def everything() -> list[Tensor]:
        latents = codec.encode(audio)
        codes, quantized = codec.quantize(latents)
        decoded = codec.decode(quantized, audio.shape[-1], codec.scales(audio))
        again = [codec.logits(latents), codec.match_space(latents), codec.codes_to_latents(codes)]
        return [latents, codes, quantized, decoded, *again]

    outside = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16, "autocast is not on"
        inside = everything()
    for a, b in zip(outside, inside, strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)


@pytest.mark.parametrize("other", [torch.float16, torch.float64])
def test_whatever_comes_in_is_computed_in_float32(
    codec: Codec, audio: Tensor, latents: Tensor, other: torch.dtype
) -> None:
    given_audio, given_latents = audio.to(other), latents.to(other)
    assert torch.equal(codec.encode(given_audio), codec.encode(given_audio.float()))
    assert torch.equal(codec.decode(given_latents), codec.decode(given_latents.float()))
    assert torch.equal(codec.quantize(given_latents)[0], codec.quantize(given_latents.float())[0])
    found = [codec.encode(given_audio), codec.decode(given_latents), codec.quantize(given_latents)[1]]
    found += [codec.logits(given_latents), codec.reconstruct(given_audio)]
    assert all(value.dtype == torch.float32 for value in found)


def test_new_encoders(codec: Codec, audio: Tensor, latents: Tensor) -> None:
    if codec.channels > 1:
        pytest.skip("has none")
    frozen = {value.data_ptr() for value in codec.state_dict().values()}
    scale = float(latents.abs().max())
    for start in ("pretrained", "random"):
        encoder = codec.new_encoder(start)
        assert encoder.training and all(parameter.requires_grad for parameter in encoder.parameters())
        assert any(parametrize.is_parametrized(module) for module in encoder.modules())
        assert frozen.isdisjoint(value.data_ptr() for value in encoder.state_dict().values())
        same = torch.allclose(encoder(audio), latents, rtol=0, atol=1e-4 * scale)
        assert same == (start == "pretrained")
        for length in lengths(codec):
            assert encoder(audio[..., :1].expand(-1, -1, length)).shape[-1] == codec.n_frames(length)


def test_the_chains_are_encoder_and_decoder(codec: Codec) -> None:
    audio = 0.3 * noise(2, codec.channels, 7 * codec.hop_length)
    latents = nn.Sequential(*codec.encoder_chain())(audio)
    assert torch.equal(latents, codec.encoder(audio))
    assert torch.equal(nn.Sequential(*codec.decoder_chain())(latents), codec.decoder(latents))
    if not isinstance(codec, SegmentedEncodecCodec):
        assert torch.equal(latents, codec.encode(audio))


def test_match_space_keeps_items_and_frames(codec: Codec, latents: Tensor) -> None:
    matched = codec.match_space(latents)
    assert (matched.shape[0], matched.shape[2]) == (latents.shape[0], latents.shape[2])


def test_silence_is_audio_like_any_other(codec: Codec) -> None:
    silence = torch.zeros(1, codec.channels, 3 * codec.hop_length).requires_grad_()
    found = codec.reconstruct(silence)
    assert found.shape == silence.shape and found.isfinite().all()
    codec.encode(silence).sum().backward()
    assert silence.grad is not None and silence.grad.isfinite().all()


def test_another_sample_rate_is_refused(codec: Codec) -> None:
    codec.check_sample_rate(codec.sample_rate)
    with pytest.raises(ValueError, match=rf"expected audio at {codec.sample_rate} Hz, got 22050 Hz"):
        codec.check_sample_rate(22050)


def test_audio_of_another_shape_is_refused(codec: Codec) -> None:
    c = codec.channels
    for shape in ((4000,), (c, 4000), (1, c + 1, 4000), (1, c, 0), (0, c, 4000), (1, 1, c, 4000)):
        with pytest.raises(ValueError) as caught:
            codec.encode(torch.zeros(shape))
        assert f"expected audio [B, {c}, N] with B, N > 0, got {list(shape)}" in str(caught.value)
        assert str(caught.value).startswith(codec.name)
    with pytest.raises(ValueError, match=r"expected audio in floating point, -1\.\.1, got torch\.int16"):
        codec.encode(torch.zeros(1, c, 4000, dtype=torch.int16))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(codec: Codec, audio: Tensor, latents: Tensor, bad: float) -> None:
    spoilt = audio.clone()
    spoilt[1, -1, 17] = bad
    for use in (codec.encode, codec.scales, codec.reconstruct):
        with pytest.raises(ValueError, match="NaN or infinite samples"):
            use(spoilt)
    spoilt = latents.clone()
    spoilt[1, 0, 2] = bad
    for use in (codec.quantize, codec.decode, codec.logits):
        with pytest.raises(ValueError, match="NaN or infinite values"):
            use(spoilt)


def test_latents_of_another_shape_are_refused(codec: Codec, latents: Tensor) -> None:
    for bad in (latents[0], latents[:, :-1], latents[..., :0], latents[:0]):
        for use in (codec.quantize, codec.decode, codec.logits):
            with pytest.raises(ValueError) as caught:
                use(bad)
            expected = f"expected latents [B, {codec.latent_dim}, T] with B, T > 0, got {list(bad.shape)}"
            assert expected in str(caught.value)
    with pytest.raises(ValueError, match=r"got torch\.int64; are they codes\?"):
        codec.decode(latents.long())


def test_codes_that_do_not_exist_are_refused(codec: Codec, latents: Tensor) -> None:
    codes, _ = codec.quantize(latents)
    for bad in (-1, codec.codebook_size):
        spoilt = codes.clone()
        spoilt[0, -1, 0] = bad
        with pytest.raises(ValueError, match=rf"must lie in 0\.\.{codec.codebook_size - 1}, got .*{bad}"):
            codec.codes_to_latents(spoilt)
        with pytest.raises(ValueError, match="must lie in"):
            codec.logits(latents, target_codes=spoilt)


def test_codes_of_another_shape_or_kind_are_refused(codec: Codec, latents: Tensor) -> None:
    codes, _ = codec.quantize(latents)
    for bad in (codes[0], codes[:, :0], torch.cat([codes, codes[:, :1]], dim=1), codes[..., :0], codes[:0]):
        with pytest.raises(ValueError) as caught:
            codec.codes_to_latents(bad)
        assert f"1 <= K <= {codec.n_codebooks} and B, T > 0, got {list(bad.shape)}" in str(caught.value)
    for kind in (torch.float32, torch.bool, torch.complex64):
        with pytest.raises(ValueError, match=rf"expected codes as whole numbers .*, got {kind}"):
            codec.codes_to_latents(codes.to(kind))
    for other in (codes[:1], codes[..., :1]):
        with pytest.raises(ValueError, match="differ in items or frames"):
            codec.logits(latents, target_codes=other)


def test_a_number_of_codebooks_that_it_has_not_is_refused(codec: Codec, audio: Tensor, latents: Tensor) -> None:
    for bad in (0, -1, codec.n_codebooks + 1):
        with pytest.raises(ValueError, match=f"has {codec.n_codebooks} codebooks, {bad} were asked for"):
            codec.quantize(latents, bad)
        with pytest.raises(ValueError, match="were asked for"):
            codec.reconstruct(audio, bad)


def test_a_length_that_the_frames_do_not_give_is_refused(codec: Codec, latents: Tensor) -> None:
    longest = codec.n_samples(latents.shape[2])
    for bad in (0, -5, longest + 1):
        with pytest.raises(ValueError, match=rf"{latents.shape[2]} frames give 1\.\.{longest} samples, not {bad}"):
            codec.decode(latents, bad)


def test_scales_that_it_did_not_give_are_refused(codec: Codec, audio: Tensor, latents: Tensor) -> None:
    scales = codec.scales(audio)
    if scales is None:
        with pytest.raises(ValueError, match="does not normalise its audio, expected scales=None"):
            codec.decode(latents, scales=torch.ones(2, 1))
    else:
        with pytest.raises(ValueError, match=r"expected scales \[B=2, \d+\], one per segment, got \[2, \d+\]"):
            codec.decode(latents, scales=scales[:, :-1])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_must_be_above_zero(codec: Codec, latents: Tensor, temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be above zero"):
        codec.logits(latents, temperature=temperature)
