"""Audio through a codec and an embedding, for what an evaluation asks of them: ceiling, tokens, Frechet distance."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codec_ft.audio.files import to_channels
from codec_ft.audio.resample import resample
from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import load_codec
from codec_ft.codecs.long import decode_long, latents_in_chunks
from codec_ft.embeddings.base import Embedding
from codec_ft.embeddings.load import load_embedding
from codec_ft.errors import UserError
from codec_ft.metrics.token_counts import TokenCounts, count_tokens
from codec_ft.metrics.tokens import active_frames


@dataclass(frozen=True, eq=False)
class Coded:
    """What a codec makes of audio.

    Attributes:
        audio: `[1, 1, n]` at the codec's rate.
        latents: `[1, D, T]`.
        codes: `[1, K, T]`.
    """

    audio: Tensor
    latents: Tensor
    codes: Tensor


class Coder:
    """A codec on a device, with what is measured through it."""

    def __init__(self, name: str, device: str) -> None:
        """Load the codec, once per process.

        Raises:
            UserError: there is no such codec, or it is not for mono audio.
        """
        self.name = Path(name).name
        self.codec, self.codebooks = _load_codec(name, device)
        self.device = device

    @property
    def ceiling(self) -> str:
        """The name in tables of the reference after it went through the codec."""
        return f"{self.name} codec"

    @property
    def facts(self) -> dict[str, str | int]:
        """What a reader wants to know about the codec."""
        return {
            "name": self.name,
            "sample_rate": self.codec.sample_rate,
            "n_codebooks": self.codec.n_codebooks,
            "codebook_size": self.codec.codebook_size,
        }

    @torch.no_grad()
    def code(self, audio: np.ndarray, sample_rate: int) -> Coded:
        """Encode audio `[C, N]`: mono, at the codec's rate."""
        mono = _mono_at(audio, sample_rate, self.codec.sample_rate)[None].to(self.device)
        latents = torch.cat(list(latents_in_chunks(self.codec, mono)), dim=2)
        codes, _ = self.codec.quantize(latents)
        return Coded(mono, latents, codes)

    def decode(self, coded: Coded) -> np.ndarray:
        """The audio that the codes stand for, `[1, n]` at the codec's rate."""
        return decode_long(self.codec, coded.codes, coded.audio.shape[2])[0].cpu().numpy()

    @torch.no_grad()
    def count(self, coded: Coded, target: Coded) -> TokenCounts:
        """Tokens against those of the target, in the frames in which it is not silent."""
        active = active_frames(target.audio, self.codec.hop_length)
        ranks = self.codec.ranks(coded.latents, coded.codes, target.codes)
        return count_tokens(coded.codes, target.codes, active, self.codebooks, ranks=ranks)


def embed(name: str, audio: np.ndarray, sample_rate: int, device: str) -> np.ndarray:
    """The embeddings `[n, D]` of audio `[C, N]`.

    Raises:
        UserError: the embedding cannot be loaded.
    """
    embedding = _load_embedding(name, device)
    return embedding(_mono_at(audio, sample_rate, embedding.sample_rate)).numpy()


@lru_cache(maxsize=1)
def _load_codec(name: str, device: str) -> tuple[Codec, Tensor]:
    codec = load_codec(name)
    if codec.channels != 1:
        raise UserError(
            f"--codec {name}: is a stereo codec, but tokens and ceilings are measured in mono. Choose a mono codec, "
            "as encodec_24khz or dac_44khz, or none."
        )
    codec = codec.to(device)
    with torch.no_grad():
        return codec, codec.codebooks()


@lru_cache(maxsize=1)
def _load_embedding(name: str, device: str) -> Embedding:
    return load_embedding(name, device)


def _mono_at(audio: np.ndarray, rate_in: int, rate_out: int) -> Tensor:
    """The channels' mean `[1, n]` at another rate."""
    return torch.from_numpy(np.ascontiguousarray(resample(to_channels(audio, 1), rate_in, rate_out)))
