"""Audio files as tokens: from any file to codes, into a small file of their own, and back to audio."""

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from codec_ft.atomic import atomic_path
from codec_ft.audio.files import read_audio, to_channels
from codec_ft.codecs.base import Codec
from codec_ft.codecs.long import decode_long, encode_long
from codec_ft.codecs.stereo import StereoMode, join_stereo, split_stereo
from codec_ft.errors import UserError

FORMAT = "token-separation tokens 1"
"""Written into every file of tokens; another number would be another layout."""


@dataclass(frozen=True, eq=False)
class TokenizedAudio:
    """What a codec made of an audio file, and what it takes to make audio of it again.

    Attributes:
        codes: `[C', K, T]`: one row of grids for mono and for stereo codecs, two for stereo in a mono codec.
        length: samples at `sample_rate`.
        sample_rate: Hz, the codec's.
        codec: what the codec was loaded as.
        stereo: what the two rows are, None where there is one.
        scales: `[1, S]` of a codec that normalises, else None.
    """

    codes: Tensor
    length: int
    sample_rate: int
    codec: str
    stereo: StereoMode | None = None
    scales: Tensor | None = None

    def save(self, path: Path) -> None:
        """Write an `.npz` file, in full or not at all; codes take two bytes each and are compressed.

        Raises:
            UserError: the disk is full, or the folder cannot be written to.
        """
        small = int(self.codes.max()) <= np.iinfo(np.uint16).max
        content: dict[str, np.ndarray] = {
            "format": np.array(FORMAT),
            "codes": self.codes.cpu().numpy().astype(np.uint16 if small else np.int64),
            "length": np.array(self.length),
            "sample_rate": np.array(self.sample_rate),
            "codec": np.array(self.codec),
            "stereo": np.array(self.stereo or ""),
        }
        if self.scales is not None:
            content["scales"] = self.scales.cpu().numpy()
        packed = io.BytesIO()
        np.savez_compressed(packed, **content)  # type: ignore[arg-type]  # numpy's stubs take one for a flag
        with atomic_path(path) as temporary:
            temporary.write_bytes(packed.getbuffer())

    @classmethod
    def load(cls, path: Path) -> "TokenizedAudio":
        """Read what `save` wrote; nothing in the file is run.

        Raises:
            UserError: it is missing, broken, or no file of tokens.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file. Check the path.") from error
        except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"{path}: is broken or no file of tokens. Make it again with `encode`.") from error
        if content.get("format") != FORMAT:
            raise UserError(f"{path}: is no file of tokens that this version knows. Make it again with `encode`.")
        return cls(
            codes=torch.from_numpy(content["codes"].astype(np.int64)),
            length=int(content["length"]),
            sample_rate=int(content["sample_rate"]),
            codec=str(content["codec"]),
            stereo=next((mode for mode in get_args(StereoMode) if mode == content["stereo"]), None),
            scales=torch.from_numpy(content["scales"]) if "scales" in content else None,
        )


def encode_file(
    codec: Codec,
    path: Path,
    *,
    stereo: StereoMode = "mid_side",
    n_codebooks: int | None = None,
    chunk_seconds: float = 10.0,
    batch_size: int = 1,
    progress: bool = False,
) -> TokenizedAudio:
    """The tokens of an audio file of any length and rate.

    A mono codec codes stereo as two items and anything else as one, of more than two channels their average; a stereo
    codec takes mono twice.

    Args:
        codec: on any device.
        path: the file.
        stereo: what a mono codec codes of a stereo file.
        n_codebooks: K, all of the codec's if None.
        chunk_seconds: audio that is computed at once, of both items together.
        batch_size: see `encode_long`.
        progress: show a bar.

    Raises:
        UserError: the file is missing, broken, or holds NaN.
        ValueError: the codec has fewer codebooks.
    """
    samples, rate = read_audio(path, sample_rate=codec.sample_rate)
    as_pair = codec.channels == 1 and samples.shape[0] == 2
    audio = torch.from_numpy(samples if as_pair else to_channels(samples, codec.channels))[None]
    items = split_stereo(audio, stereo) if as_pair else audio
    codes = encode_long(
        codec, items, n_codebooks, chunk_seconds=chunk_seconds / len(items), batch_size=batch_size, progress=progress
    )
    return TokenizedAudio(codes, audio.shape[-1], rate, codec.name, stereo if as_pair else None, codec.scales(items))


def decode_tokens(
    codec: Codec,
    tokens: TokenizedAudio,
    *,
    chunk_seconds: float = 10.0,
    batch_size: int = 1,
    progress: bool = False,
) -> np.ndarray:
    """The audio of tokens: float32 `[C, tokens.length]` at the codec's sample rate, as many channels as were coded.

    Args:
        codec: the codec that made them, on any device.
        tokens: of `encode_file`.
        chunk_seconds: audio that is computed at once, of both items together.
        batch_size: see `decode_long`.
        progress: show a bar.

    Raises:
        ValueError: the tokens are not of this codec: another sample rate, or codes, length or scales that do not fit.
    """
    codec.check_sample_rate(tokens.sample_rate)
    codec.check_codes(tokens.codes)
    expected = (1 if tokens.stereo is None else 2, codec.n_frames(tokens.length))
    if (tokens.codes.shape[0], tokens.codes.shape[2]) != expected:
        raise ValueError(
            f"{codec.name}: expected codes [{expected[0]}, K, {expected[1]}] for {tokens.length} samples of "
            f"stereo={tokens.stereo}, got {list(tokens.codes.shape)}"
        )
    items = decode_long(
        codec,
        tokens.codes,
        tokens.length,
        tokens.scales,
        chunk_seconds=chunk_seconds / len(tokens.codes),
        batch_size=batch_size,
        progress=progress,
    )
    audio = items if tokens.stereo is None else join_stereo(items, tokens.stereo)
    return audio[0].numpy()
