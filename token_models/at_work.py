"""What the commands `write` and `regenerate` do: files in, a file out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codec_ft.audio.files import read_audio
from codec_ft.command_line import check_audio_output, check_device, check_holds, write_audio_output
from codec_ft.errors import UserError
from token_models.apply import TrainedTokens
from token_models.load import load_token_models
from token_models.masks.kept import Kept
from token_models.vampnet.files import is_vampnet


def write_file(
    models: str,
    audio: Path,
    stem: Path,
    *,
    context: Sequence[Path] = (),
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    overwrite: bool = False,
) -> None:
    """Draw a stem out of a file.

    Args:
        models: a name or a folder, see `load_token_models`.
        audio: the input.
        stem: the file to write, at the input's rate.
        context: what is heard beside the input.
        steps: of sampling; None for those of the models.
        seed: of sampling.
        device: where to compute.
        overwrite: replace what is at `stem`.

    Raises:
        UserError: the output is there already or of no known format, a file cannot be read, files differ in length,
            rate or channels, there are no such models or device, or they hear something else.
    """
    (sound, *beside), rate = _read([audio, *context], stem, overwrite)
    # Of VampNet that is known before it is fetched.
    trained = None if is_vampnet(models) else _load(models, device, steps, seed)
    if trained is None or not trained.listens:
        raise UserError(f"{models}: hears nothing of an input. Its models write sounds anew: use regenerate.")
    write_audio_output(stem, trained.enhance(sound, rate, beside), rate)


def regenerate_file(
    models: str,
    audio: Path,
    output: Path,
    kept: Kept,
    *,
    heard: Sequence[Path] = (),
    steps: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    overwrite: bool = False,
) -> None:
    """Write another version of a sound.

    Args:
        models: a name or a folder, see `load_token_models`.
        audio: the sound.
        output: the file to write, at its rate.
        kept: what stays of it.
        heard: what the models are shown.
        steps: of sampling; None for those of the models.
        seed: of sampling, and of what is forgotten.
        device: where to compute.
        overwrite: replace what is at `output`.

    Raises:
        UserError: as of `write_file`, or more is to be kept than there is.
    """
    (sound, *beside), rate = _read([audio, *heard], output, overwrite)
    trained = _load(models, device, steps, seed)
    write_audio_output(output, trained.regenerate(sound, rate, kept, beside), rate)


def _load(models: str, device: str, steps: int | None, seed: int) -> TrainedTokens:
    check_device(device)
    trained = load_token_models(models, device)
    trained.steps, trained.seed = steps, seed
    return trained


def _read(files: Sequence[Path], output: Path, overwrite: bool) -> tuple[list[np.ndarray], int]:
    """Audio files of the same music, and their rate; the output must be able to hold the like.

    Raises:
        UserError: one cannot be read, they differ in length, rate or channels, or the output is there already or of
            another kind of format.
    """
    check_audio_output(output, overwrite)
    read = [read_audio(file) for file in files]
    (first, rate), *others = read
    check_holds(output, rate, len(first))
    for file, (audio, other_rate) in zip(files[1:], others, strict=True):
        if (audio.shape, other_rate) != (first.shape, rate):
            raise UserError(
                f"{file}: {_words(audio, other_rate)}, but {files[0]}: {_words(first, rate)}. Give the same music, cut "
                "and mixed alike."
            )
    return [audio for audio, _ in read], rate


def _words(audio: np.ndarray, rate: int) -> str:
    return f"{audio.shape[1]} samples at {rate} Hz, {audio.shape[0]} channel{'s' * (len(audio) > 1)}"
