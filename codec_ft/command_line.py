"""What all commands that write a file have in common: what they refuse before any work, and how audio is written."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch

from codec_ft.audio.files import audio_info, write_audio
from codec_ft.errors import UserError

ALIKE_SECONDS = 0.001
"""By how much the lengths of files of the same music may differ: one that was resampled may have a sample more."""
INTEGER_FORMATS = (".wav", ".flac", ".aiff")
"""Suffixes of formats that hold 16-bit samples; the others have one way of their own."""


def check_output(path: Path, overwrite: bool) -> None:
    """Make sure that nothing is lost.

    Raises:
        UserError: the file is there already, and is not to be replaced.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path}: is there already. Add --overwrite to replace it, or choose another name.")


def check_audio_output(path: Path, overwrite: bool) -> None:
    """The same for audio.

    Raises:
        UserError: as of `check_output`, or the format cannot be written.
    """
    check_output(path, overwrite)
    form = path.suffix.lstrip(".").upper()
    if form not in soundfile.available_formats() or not soundfile.check_format(form, _subtype(path)):
        raise UserError(f"{path}: is of no format that can be written. Choose .wav, .flac, .ogg or .mp3.")


def check_holds(path: Path, sample_rate: int, channels: int) -> None:
    """Make sure that a format holds such audio; MP3, for one, has neither 96 kHz nor six channels.

    Raises:
        UserError: it does not.
    """
    form = path.suffix.lstrip(".").upper()
    try:
        soundfile.write(io.BytesIO(), np.zeros((1, channels)), sample_rate, format=form, subtype=_subtype(path))
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"{path}: this format cannot hold {channels} channels at {sample_rate} Hz. Choose .wav or .flac."
        ) from error


def write_audio_output(path: Path, audio: np.ndarray, sample_rate: int) -> None:
    """Write audio `[C, N]` in the usual form of its format.

    Raises:
        UserError: as of `write_audio`.
    """
    write_audio(path, audio, sample_rate, _subtype(path))


def _subtype(path: Path) -> str | None:
    return "PCM_16" if path.suffix.lower() in INTEGER_FORMATS else None


def check_alike(audio: Path, beside: Sequence[Path]) -> None:
    """Make sure that files of the same music last equally long.

    Raises:
        UserError: one does not, or cannot be read.
    """
    length = audio_info(audio).seconds
    for path in beside:
        other = audio_info(path).seconds
        if abs(length - other) > ALIKE_SECONDS:
            raise UserError(
                f"{path}: lasts {other:.3f} s, but {audio} lasts {length:.3f} s. Give the same music, cut alike."
            )


def check_device(device: str) -> None:
    """Make sure that something can be computed there.

    Raises:
        UserError: it cannot.
    """
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: cannot be used here. Use cpu, or cuda where there is a GPU.") from error
