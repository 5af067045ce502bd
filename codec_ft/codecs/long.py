"""Files of any length through a codec in bounded memory, with the codes and the audio that one piece would give.

Only a few chunks are on the codec's device at a time; audio and codes stay where they are, usually on the CPU.
Convolutions see their surroundings and LSTMs keep their state (see `codec_ft.codecs.chunks`), so that nothing depends
on where a chunk begins, up to rounding: where two codes are almost equally near, the other one may come out. In ten
minutes of music and noise that were none of the demo codec's 480 008 codes, and 10 of as many of a small random DAC,
in 3 of 60 001 frames. A codec with segments of its own is cut there, as it always is.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from tqdm import tqdm

from codec_ft.codecs.base import Codec
from codec_ft.codecs.chunks import run_in_chunks
from codec_ft.codecs.dac import DacCodec, whole_frames
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec

LONG_SECONDS = 20.0
"""What is longer is coded in chunks by those who have the choice, with the same latents."""


def encode_long(
    codec: Codec,
    audio: Tensor,
    n_codebooks: int | None = None,
    *,
    chunk_seconds: float = 10.0,
    batch_size: int = 1,
    progress: bool = False,
) -> Tensor:
    """The codes of audio of any length.

    Args:
        codec: on any device.
        audio: `[B, C, N]` at the codec's sample rate, on any device.
        n_codebooks: K, all of the codec's if None.
        chunk_seconds: length of a chunk, of whole segments where the codec has such.
        batch_size: chunks of each item that are computed at once. Memory grows with it; it pays on a GPU.
        progress: show a bar.

    Returns:
        Codes `[B, K, T]` on the device of `audio`, `T = codec.n_frames(N)`.

    Raises:
        ValueError: the audio is not what the codec takes, or it has fewer codebooks.
    """
    n_codebooks = codec.check_codebooks(n_codebooks)
    codec.check_audio(audio)
    n_frames = codec.n_frames(audio.shape[-1])
    codes = torch.empty(audio.shape[0], n_codebooks, n_frames, dtype=torch.long, device=audio.device)
    first = 0
    with _bar("encode", n_frames, progress) as bar:
        for latents in latents_in_chunks(codec, audio, chunk_seconds=chunk_seconds, batch_size=batch_size):
            part, _ = codec.quantize(latents, n_codebooks)
            codes[..., first : first + part.shape[-1]] = part
            first += part.shape[-1]
            bar.update(part.shape[-1])
    return codes


def decode_long(
    codec: Codec,
    codes: Tensor,
    length: int | None = None,
    scales: Tensor | None = None,
    *,
    chunk_seconds: float = 10.0,
    batch_size: int = 1,
    progress: bool = False,
) -> Tensor:
    """The audio of codes of any length.

    Args:
        codec: on any device.
        codes: `[B, K', T]` of the first `K'` codebooks, on any device.
        length: samples wanted; all that the frames give if None.
        scales: `[B, S]`, for a codec that normalises (see `Codec.scales`).
        chunk_seconds: length of a chunk. A codec with segments of its own decodes these one by one.
        batch_size: chunks of each item that are computed at once. Memory grows with it; it pays on a GPU.
        progress: show a bar.

    Returns:
        Audio `[B, C, length]` on the device of `codes`.

    Raises:
        ValueError: codes, length or scales do not fit the codec.
    """
    chunk, batch_size = _sizes(codec, chunk_seconds, batch_size)
    codec.check_codes(codes)
    length = codec.check_length(codes.shape[-1], length)
    if isinstance(codec, SegmentedEncodecCodec):
        return _decode_segments(codec, codes, length, scales)
    codec.check_no_scales(scales)
    # Zeros: where a ratio is odd, a DAC gives fewer samples than its frames stand for.
    audio = torch.zeros(codes.shape[0], codec.channels, length, device=codes.device)
    first = 0
    with _bar("decode", length, progress) as bar:
        for decoded in _audio_in_chunks(codec, codes, chunk, batch_size):
            part = decoded[..., : length - first]
            audio[..., first : first + part.shape[-1]] = part
            first += part.shape[-1]
            bar.update(part.shape[-1])
    return audio


@torch.no_grad()
def latents_in_chunks(
    codec: Codec,
    audio: Tensor,
    *,
    chunk_seconds: float = 10.0,
    batch_size: int = 1,
    encoder: nn.Module | None = None,
) -> Iterator[Tensor]:
    """The latents of audio of any length, part by part; all of them may be more than the memory holds.

    Args:
        codec: on any device.
        audio: `[B, C, N]` at the codec's sample rate, on any device.
        chunk_seconds: see `encode_long`.
        batch_size: see `encode_long`.
        encoder: one that `codec.new_encoder` has made, in `eval()`, which may hear more channels than the codec.

    Yields:
        Consecutive parts `[B, D, t]` on the device of `codec`.
    """
    chunk, batch_size = _sizes(codec, chunk_seconds, batch_size)
    if encoder is None:
        codec.check_audio(audio)
    if isinstance(codec, SegmentedEncodecCodec):
        yield from _segments_in_batches(codec, audio, chunk, batch_size)
        return
    parts = _parts(codec, audio, chunk * batch_size)
    if isinstance(codec, DacCodec):
        parts = (whole_frames(part, codec.hop_length) for part in parts)  # changes only the last
    chain = codec.encoder_chain(encoder)
    yield from _outside_autocast(codec, run_in_chunks(chain, parts, chunk=chunk, batch_size=batch_size))


@torch.no_grad()
def encode_each(codec: Codec, sources: Tensor) -> Tensor:
    """Latents of each of `sources [B, S, N]`, one below the other, `[B, S * D, T]`; in chunks where they are long."""
    one_by_one = sources.flatten(0, 1).unsqueeze(1)
    if is_long(codec, sources):
        latents = torch.cat(list(latents_in_chunks(codec, one_by_one)), dim=-1)
    else:
        latents = codec.encode(one_by_one)
    return latents.unflatten(0, sources.shape[:2]).flatten(1, 2)


def is_long(codec: Codec, audio: Tensor) -> bool:
    """Whether audio `[..., N]` is better coded in chunks."""
    return audio.shape[-1] > LONG_SECONDS * codec.sample_rate


@torch.no_grad()
def _audio_in_chunks(codec: Codec, codes: Tensor, chunk: int, batch_size: int) -> Iterator[Tensor]:
    """Consecutive parts `[B, C, n]` of the audio of `codes [B, K', T]`, `chunk` samples in each."""
    frames = chunk // codec.hop_length
    parts = (codec.codes_to_latents(part.to(_device(codec))) for part in codes.split(frames * batch_size, dim=-1))
    yield from _outside_autocast(
        codec, run_in_chunks(codec.decoder_chain(), parts, chunk=frames, batch_size=batch_size)
    )


def _segments_in_batches(codec: SegmentedEncodecCodec, audio: Tensor, chunk: int, batch_size: int) -> Iterator[Tensor]:
    """Latents of all segments, in chunks of whole segments, of which `batch_size` are encoded at once."""
    n_segments = max(1, chunk // codec.segment_stride)
    step = n_segments * codec.segment_stride
    length = step - codec.segment_stride + codec.segment_length
    frames = n_segments * codec.segment_length // codec.hop_length
    n_samples = audio.shape[-1]
    n_chunks = max(0, (n_samples - length) // step + 1)
    for first in range(0, n_chunks, batch_size):
        count = min(batch_size, n_chunks - first)
        window = audio[..., first * step : (first + count - 1) * step + length].to(_device(codec))
        chunks = window.unfold(-1, length, step).permute(2, 0, 1, 3).flatten(0, 1)  # [count * B, C, length]
        # Taken for a file of its own, each ends with the beginning of a next segment, which is dropped.
        latents = codec.encode(chunks)[..., :frames]
        yield latents.unflatten(0, (count, -1)).permute(1, 2, 0, 3).flatten(2)
    if n_chunks * step < n_samples:
        yield codec.encode(audio[..., n_chunks * step :].to(_device(codec)))


@torch.no_grad()
def _decode_segments(codec: SegmentedEncodecCodec, codes: Tensor, length: int, scales: Tensor | None) -> Tensor:
    """The codec's own way of decoding, which holds one segment at a time besides its latents and its audio."""
    device = _device(codec)
    latents = codec.codes_to_latents(codes.to(device))
    return codec.decode(latents, length, None if scales is None else scales.to(device)).to(codes.device)


def _sizes(codec: Codec, chunk_seconds: float, batch_size: int) -> tuple[int, int]:
    """Samples of a chunk, which are whole frames, and the number of chunks in a batch."""
    if not chunk_seconds > 0 or batch_size < 1:
        raise ValueError(f"chunks must be longer than 0 s and batches at least 1, not {chunk_seconds} and {batch_size}")
    return math.ceil(chunk_seconds * codec.sample_rate / codec.hop_length) * codec.hop_length, batch_size


def _parts(codec: Codec, audio: Tensor, size: int) -> Iterator[Tensor]:
    """Audio in parts of `size` samples, as the codec's modules take it."""
    return (part.to(_device(codec)).float() for part in audio.split(size, dim=-1))


def _outside_autocast(codec: Codec, parts: Iterator[Tensor]) -> Iterator[Tensor]:
    """The same parts, each computed outside autocast; in between, the caller's own state holds."""
    device = _device(codec)
    while True:
        with torch.autocast(device.type, enabled=False):
            part = next(parts, None)
        if part is None:
            return
        yield part


def _device(codec: Codec) -> torch.device:
    return next(codec.parameters()).device


def _bar(what: str, total: int, shown: bool) -> tqdm:
    return tqdm(desc=what, total=total, disable=not shown, bar_format="{l_bar}{bar}| {elapsed}<{remaining}")
