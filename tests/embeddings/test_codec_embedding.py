"""Latents of codecs as embeddings."""

import math

import pytest
import torch
from torch import Tensor

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.load import load_codec
from codec_ft.embeddings.codec import CodecEmbedding


def noise(n_samples: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(1, n_samples, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["demo", "demo_dac"])
def test_one_latent_per_frame(name: str):
    codec = load_codec(name)
    embedding = CodecEmbedding(codec, chunk_seconds=0.25)
    audio = noise(codec.sample_rate + 7)
    vectors = embedding(audio)
    assert vectors.shape == (codec.n_frames(audio.shape[1]), codec.latent_dim)
    assert vectors.dtype == torch.float32 and not vectors.requires_grad
    expected = codec.encode(audio[None])[0].T
    torch.testing.assert_close(vectors, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert embedding.name == f"{name} latents"
    assert (embedding.sample_rate, embedding.dimension) == (codec.sample_rate, codec.latent_dim)
    assert len(vectors) * embedding.seconds_per_vector == pytest.approx(1.0, abs=2 * embedding.seconds_per_vector)


def test_a_stereo_codec_hears_mono_in_both_channels(stereo_codec: SegmentedEncodecCodec):
    embedding = CodecEmbedding(stereo_codec)
    audio = noise(2500)
    expected = stereo_codec.encode(torch.cat([audio, audio])[None])[0].T
    torch.testing.assert_close(embedding(audio), expected, rtol=1e-4, atol=1e-5)
    assert embedding(audio).shape == (stereo_codec.n_frames(2500), embedding.dimension)


def test_a_single_sample_is_a_frame(tiny_codec: EncodecCodec):
    assert CodecEmbedding(tiny_codec)(noise(1)).shape == (1, tiny_codec.latent_dim)


@pytest.mark.parametrize(
    "audio, words",
    [
        (torch.zeros(2, 100), r"\[2, 100\]"),
        (torch.zeros(100), r"\[100\]"),
        (torch.zeros(1, 0), r"\[1, 0\]"),
        (torch.zeros(1, 100, dtype=torch.int16), "int16"),
        (torch.full((1, 100), math.nan), "NaN"),
    ],
)
def test_what_is_not_mono_audio_is_refused(tiny_codec: EncodecCodec, audio: Tensor, words: str):
    with pytest.raises(ValueError, match=words):
        CodecEmbedding(tiny_codec)(audio)
