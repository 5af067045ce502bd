"""The latents of a codec as an embedding: there whenever a codec is, without any further weights."""

import torch
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.codecs.long import latents_in_chunks
from codec_ft.embeddings.base import Embedding, check_mono


class CodecEmbedding(Embedding):
    """A codec's latents before they are quantized, one vector per frame; a stereo codec hears mono in both channels.

    A codec that normalises its segments (the 48 kHz EnCodec) gives latents in which loudness is missing, and a few
    frames of every overlap of its segments twice.

    Args:
        codec: on any device.
        chunk_seconds: audio that is computed at once.
    """

    def __init__(self, codec: Codec, *, chunk_seconds: float = 10.0):
        self.codec = codec
        self.chunk_seconds = chunk_seconds
        self.name = f"{codec.name} latents"
        self.sample_rate = codec.sample_rate
        self.dimension = codec.latent_dim
        self.seconds_per_vector = codec.hop_length / codec.sample_rate

    def __call__(self, audio: Tensor) -> Tensor:
        """See `Embedding`: `codec.n_frames(N)` vectors."""
        mono = check_mono(audio)
        items = mono.expand(self.codec.channels, -1)[None]
        parts = latents_in_chunks(self.codec, items, chunk_seconds=self.chunk_seconds)
        return torch.cat([latents[0].T.cpu() for latents in parts])
