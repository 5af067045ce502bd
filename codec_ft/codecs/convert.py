"""What the commands `encode` and `decode` do: an audio file becomes a file of tokens, and the other way round."""

from pathlib import Path

from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import load_codec
from codec_ft.codecs.stereo import StereoMode
from codec_ft.codecs.tokens import TokenizedAudio, decode_tokens, encode_file
from codec_ft.command_line import check_audio_output, check_device, check_output, write_audio_output
from codec_ft.errors import UserError


def encode_to_file(
    audio: Path,
    tokens: Path,
    codec_name: str,
    *,
    stereo: StereoMode = "mid_side",
    n_codebooks: int | None = None,
    chunk_seconds: float = 10.0,
    batch_size: int = 1,
    device: str = "cpu",
    overwrite: bool = False,
) -> TokenizedAudio:
    """Write the tokens of an audio file, with a progress bar, and return them; see `encode_file` for the options.

    Raises:
        UserError: the output is there already or is no `.npz`, the audio cannot be read, there is no such codec or
            device, or the codec has fewer codebooks.
    """
    check_output(tokens, overwrite)
    if tokens.suffix != ".npz":
        raise UserError(f"{tokens}: tokens are kept in .npz files. Choose a name that ends in .npz.")
    codec = _load(codec_name, device)
    if n_codebooks is not None and not 1 <= n_codebooks <= codec.n_codebooks:
        raise UserError(f"--codebooks {n_codebooks}: {codec_name} has {codec.n_codebooks}. Ask for 1 to that many.")
    result = encode_file(
        codec,
        audio,
        stereo=stereo,
        n_codebooks=n_codebooks,
        chunk_seconds=chunk_seconds,
        batch_size=batch_size,
        progress=True,
    )
    result.save(tokens)
    return result


def decode_to_file(
    tokens: Path,
    audio: Path,
    codec_name: str | None = None,
    *,
    chunk_seconds: float = 10.0,
    batch_size: int = 1,
    device: str = "cpu",
    overwrite: bool = False,
) -> None:
    """Write the audio of a file of tokens, with a progress bar.

    Args:
        tokens: what `encode_to_file` wrote.
        audio: the file to write; its suffix chooses the format, 16 bits where it has a choice.
        codec_name: where the codec is now; where it was when the tokens were made if None.
        chunk_seconds: see `decode_long`.
        batch_size: see `decode_long`.
        device: where to compute.
        overwrite: replace what is at `audio`.

    Raises:
        UserError: the output is there already, the tokens cannot be read or are of another codec, there is no such
            codec or device, or the format is unknown.
    """
    check_audio_output(audio, overwrite)
    content = TokenizedAudio.load(tokens)
    try:
        codec = _load(codec_name or content.codec, device)
    except UserError as error:
        if codec_name is not None:
            raise
        raise UserError(
            f"{tokens}: was made with {content.codec}. Say with --codec where that is now. {error}"
        ) from error
    try:
        samples = decode_tokens(codec, content, chunk_seconds=chunk_seconds, batch_size=batch_size, progress=True)
    except ValueError as error:
        raise UserError(
            f"{tokens}: does not fit the codec ({error}). It was made with {content.codec}; say with --codec where "
            "that is now."
        ) from error
    write_audio_output(audio, samples, codec.sample_rate)


def _load(name: str, device: str) -> Codec:
    check_device(device)
    return load_codec(name).to(device)
