"""What the commands `write` and `regenerate` do: files in, a file out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codec_ft.audio.files import read_audio
from codec_ft.command_line import check_alike, check_audio_output, check_device, check_holds, write_audio_output
from codec_ft.errors import UserError
from token_models.apply import TrainedTokens
from token_models.load import load_token_models
from token_models.masks.kept import Kept
from token_models.sampling.choose import check_temperature
from token_models.vampnet.files import is_vampnet


@dataclass(frozen=True)
class Asked:
    """Which models are to write, and how.

    Attributes:
        models: a name or a folder, see `load_token_models`.
        steps: of sampling; None for those of the models.
        seed: of sampling, and of what is forgotten.
        temperature: of the codes that are drawn; None for those of the models.
        device: where to compute.
    """

    models: str
    steps: int | None = None
    seed: int = 0
    temperature: float | None = None
    device: str = "cpu"

    def load(self) -> TrainedTokens:
        """The models, set up.

        Raises:
            UserError: there are no such models or device, or the temperature is below zero.
        """
        if self.temperature is not None:
            try:
                check_temperature("--temperature", self.temperature)
            except ValueError as error:
                raise UserError(f"{error}.") from error
        check_device(self.device)
        trained = load_token_models(self.models, self.device)
        trained.steps, trained.seed, trained.temperature = self.steps, self.seed, self.temperature
        return trained


def write_file(asked: Asked, audio: Path, stem: Path, *, context: Sequence[Path] = (), overwrite: bool = False) -> None:
    """Draw a stem out of a file.

    Args:
        asked: which models, and how.
        audio: the input.
        stem: the file to write, at the input's rate.
        context: what is heard beside the input.
        overwrite: replace what is at `stem`.

    Raises:
        UserError: the output is there already or of no known format, a file cannot be read, files differ in length,
            there are no such models, or they hear something else.
    """
    (sound, *beside), rate = _read([audio, *context], stem, overwrite)
    # Of VampNet that is known before it is fetched.
    trained = None if is_vampnet(asked.models) else asked.load()
    if trained is None or not trained.listens:
        raise UserError(f"{asked.models}: hears nothing of an input. Its models write sounds anew: use regenerate.")
    write_audio_output(stem, trained.enhance(sound, rate, beside), rate)


def regenerate_file(
    asked: Asked, audio: Path, output: Path, kept: Kept, *, heard: Sequence[Path] = (), overwrite: bool = False
) -> None:
    """Write another version of a sound.

    Args:
        asked: which models, and how.
        audio: the sound.
        output: the file to write, at its rate.
        kept: what stays of it.
        heard: what the models are shown.
        overwrite: replace what is at `output`.

    Raises:
        UserError: as of `write_file`, or more is to be kept than there is.
    """
    (sound, *beside), rate = _read([audio, *heard], output, overwrite)
    write_audio_output(output, asked.load().regenerate(sound, rate, kept, beside), rate)


def _read(files: Sequence[Path], output: Path, overwrite: bool) -> tuple[list[np.ndarray], int]:
    """Audio files of the same music, all as long as the first and with its rate and channels, and that rate.

    Raises:
        UserError: one cannot be read, they differ in length, or the output is there already or of another kind of
            format.
    """
    check_audio_output(output, overwrite)
    audio, rate = read_audio(files[0])
    channels, length = audio.shape
    check_holds(output, rate, channels)
    check_alike(files[0], files[1:])
    beside = [read_audio(file, sample_rate=rate, channels=channels)[0][:, :length] for file in files[1:]]
    return [audio, *(np.pad(other, ((0, 0), (0, length - other.shape[1]))) for other in beside)], rate
