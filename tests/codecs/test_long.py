"""Long audio in chunks: what one piece gives, for every kind of codec, length and chunk; and what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.long import decode_long, encode_long, latents_in_chunks

# Of each kind one: what is cut where does not depend on the width of a codec, but the time that it takes does.
pytestmark = pytest.mark.parametrize(
    "any_codec", ["tiny", "causal", "segmented", "dac", "dac_odd", "lac"], indirect=True, scope="module"
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def music(codec: Codec, n_samples: int, items: int = 1) -> Tensor:
    """Noise that comes and goes, over a tone."""
    time = torch.arange(n_samples) / codec.sample_rate
    swell = 0.05 + 0.3 * torch.sin(2 * torch.pi * 2 * time).abs()
    return 0.2 * torch.sin(2 * torch.pi * 220 * time) + swell * noise(items, codec.channels, n_samples)


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * max(1e-3, float(expected.abs().max())))


def seconds(codec: Codec, frames: int) -> float:
    return frames * codec.hop_length / codec.sample_rate


sizes = given(
    frames=st.integers(0, 60), more=st.integers(1, 15), chunk=st.integers(5, 30), batch_size=st.integers(1, 4)
)


@settings(max_examples=8, deadline=None)
@sizes
@torch.no_grad()
def test_latents_of_chunks_are_those_of_one_piece(
    any_codec: Codec, frames: int, more: int, chunk: int, batch_size: int
) -> None:
    audio = music(any_codec, frames * any_codec.hop_length + more, items=2)
    parts = latents_in_chunks(any_codec, audio, chunk_seconds=seconds(any_codec, chunk), batch_size=batch_size)
    assert_close(torch.cat(list(parts), dim=-1), any_codec.encode(audio))


@settings(max_examples=8, deadline=None)
@sizes
@torch.no_grad()
def test_audio_of_chunks_is_that_of_one_piece(
    any_codec: Codec, frames: int, more: int, chunk: int, batch_size: int
) -> None:
    n_samples = frames * any_codec.hop_length + more
    shape = (2, min(2, any_codec.n_codebooks), any_codec.n_frames(n_samples))
    codes = torch.randint(any_codec.codebook_size, shape, generator=torch.Generator().manual_seed(1))
    found = decode_long(any_codec, codes, n_samples, chunk_seconds=seconds(any_codec, chunk), batch_size=batch_size)
    assert_close(found, any_codec.decode(any_codec.codes_to_latents(codes), n_samples))


@pytest.mark.parametrize("batch_size", [1, 3])
@torch.no_grad()
def test_codes_do_not_depend_on_the_cut(any_codec: Codec, batch_size: int) -> None:
    n_samples = 400 * any_codec.hop_length + 7
    audio = music(any_codec, n_samples)
    one_piece, _ = any_codec.quantize(any_codec.encode(audio))
    in_chunks = encode_long(any_codec, audio, chunk_seconds=seconds(any_codec, 37), batch_size=batch_size)
    assert in_chunks.shape == (1, any_codec.n_codebooks, any_codec.n_frames(n_samples))
    assert in_chunks.dtype == torch.long
    assert len(in_chunks.unique()) > any_codec.codebook_size / 4, "codes that are all alike would prove nothing here"
    # A tie may go either way by rounding; then the later codes of that frame differ too.
    differing_frames = (in_chunks != one_piece).any(dim=1).float().mean()
    assert differing_frames <= 2 / in_chunks.shape[-1]


@torch.no_grad()
def test_what_fits_into_one_chunk_is_the_same_to_the_bit(any_codec: Codec) -> None:
    audio = music(any_codec, 31 * any_codec.hop_length + 3, items=2)
    codes, quantized = any_codec.quantize(any_codec.encode(audio))
    assert torch.equal(encode_long(any_codec, audio), codes)
    scales = any_codec.scales(audio)
    decoded = any_codec.decode(quantized, audio.shape[-1], scales)
    assert torch.equal(decode_long(any_codec, codes, audio.shape[-1], scales), decoded)
    assert torch.equal(decode_long(any_codec, codes, scales=scales)[..., : audio.shape[-1]], decoded)


def test_fewer_codebooks_are_the_first_ones(any_codec: Codec) -> None:
    audio = music(any_codec, 20 * any_codec.hop_length)
    everything = encode_long(any_codec, audio)
    assert torch.equal(encode_long(any_codec, audio, 1), everything[:, :1])


def test_results_ask_for_no_gradient(any_codec: Codec) -> None:
    audio = music(any_codec, 20 * any_codec.hop_length).requires_grad_()
    assert not any(part.requires_grad for part in latents_in_chunks(any_codec, audio))
    assert not decode_long(any_codec, encode_long(any_codec, audio)).requires_grad


@torch.no_grad()
def test_autocast_changes_nothing_and_comes_back(any_codec: Codec) -> None:
    audio = music(any_codec, 60 * any_codec.hop_length)
    options = {"chunk_seconds": seconds(any_codec, 10)}
    codes = encode_long(any_codec, audio, **options)
    decoded = decode_long(any_codec, codes, **options)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encode_long(any_codec, audio, **options), codes)
        assert torch.equal(decode_long(any_codec, codes, **options), decoded)
        for _ in latents_in_chunks(any_codec, audio, **options):
            assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype == torch.bfloat16


def test_a_bar_shows_how_far_it_is(any_codec: Codec, capsys: pytest.CaptureFixture[str]) -> None:
    codes = encode_long(any_codec, music(any_codec, 60 * any_codec.hop_length), progress=True)
    assert "encode: 100%" in capsys.readouterr().err
    decode_long(any_codec, codes, progress=True)
    shown = capsys.readouterr().err
    assert isinstance(any_codec, SegmentedEncodecCodec) or "decode: 100%" in shown
    encode_long(any_codec, music(any_codec, 500))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("sizes", [{"chunk_seconds": 0.0}, {"chunk_seconds": math.nan}, {"batch_size": 0}])
def test_sizes_that_make_no_sense(any_codec: Codec, sizes: dict) -> None:
    audio = music(any_codec, 100)
    with pytest.raises(ValueError, match="chunks must be longer than 0 s and batches at least 1"):
        encode_long(any_codec, audio, **sizes)
    with pytest.raises(ValueError, match="chunks must be longer than 0 s and batches at least 1"):
        decode_long(any_codec, encode_long(any_codec, audio), **sizes)


def test_what_the_codec_refuses_is_refused(any_codec: Codec) -> None:
    audio = music(any_codec, 1000)
    with pytest.raises(ValueError, match="codebooks, 99 were asked for"):
        encode_long(any_codec, audio, 99)
    spoilt = audio.clone()
    spoilt[..., 900] = math.nan
    with pytest.raises(ValueError, match="NaN or infinite samples"):
        encode_long(any_codec, spoilt)
    with pytest.raises(ValueError, match="expected audio"):
        encode_long(any_codec, audio[:, :0])
    codes = encode_long(any_codec, audio)
    with pytest.raises(ValueError, match="must lie in"):
        decode_long(any_codec, codes + any_codec.codebook_size)
    with pytest.raises(ValueError, match="samples, not 100000"):
        decode_long(any_codec, codes, 100000)
    with pytest.raises(ValueError, match="scales"):
        decode_long(any_codec, codes, scales=torch.ones(1, 99))


@pytest.mark.gpu
def test_audio_stays_on_the_cpu_while_the_codec_is_on_a_gpu(any_codec: Codec) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    audio = music(any_codec, 300 * any_codec.hop_length)
    options = {"chunk_seconds": seconds(any_codec, 37), "batch_size": 3}
    codes = encode_long(any_codec, audio, **options)
    decoded = decode_long(any_codec, codes, audio.shape[-1], **options)
    any_codec.to("cuda")
    try:
        assert (encode_long(any_codec, audio, **options) == codes).float().mean() > 0.98
        on_gpu = decode_long(any_codec, codes, audio.shape[-1], **options)
    finally:
        any_codec.to("cpu")
    assert on_gpu.device.type == "cpu"
    torch.testing.assert_close(on_gpu, decoded, rtol=0, atol=1e-2 * float(decoded.abs().max()))
