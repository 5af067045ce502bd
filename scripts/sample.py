"""Make the samples of a run again, or hear what it makes of other music.

python scripts/sample.py RUN                          the samples of the run's report split, and its page
python scripts/sample.py RUN --track NAME             an excerpt of a track of the data set
python scripts/sample.py RUN --audio song.mp3         any audio file, without a target
python scripts/sample.py RUN --audio bass.wav --context mixture.wav    the same, for a run that hears both
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from codec_ft.errors import UserError, told_to_the_user
from experiments.sampling import sample_file, sample_report, sample_track


def main(
    run: Annotated[Path, typer.Argument(help="run folder of what draws out a stem")],
    track: Annotated[str | None, typer.Option(help="name of a track of the data set, in any split")] = None,
    audio: Annotated[Path | None, typer.Option(help="an audio file: wav, flac, ogg or mp3")] = None,
    context: Annotated[
        list[Path], typer.Option(help="with --audio: what the run hears beside its input; once for each")
    ] = [],  # noqa: B006
    start: Annotated[float, typer.Option(min=0, help="where the excerpt begins, in seconds")] = 0.0,
    seconds: Annotated[float | None, typer.Option(min=0.01, help="its length; to the end if left out")] = None,
    decode: Annotated[str | None, typer.Option(help="codes or latents, instead of a fine-tuning's own choice")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cuda" if torch.cuda.is_available() else "cpu",
) -> None:
    """Write input, output, quantized_input, quantized_target and target wavs into the run's samples folder."""
    with told_to_the_user():
        if audio is not None and track is not None:
            raise UserError("--track and --audio: give one of them.")
        if context and audio is None:
            raise UserError("--context: is for --audio; a track brings its own.")
        if audio is not None:
            folder = sample_file(
                run, audio, context=context, start=start, seconds=seconds, decode=decode, device=device
            )
        elif track is not None:
            folder = sample_track(run, track, start=start, seconds=seconds, decode=decode, device=device)
        else:
            folder = sample_report(run, decode=decode, device=device)
        print(folder)


if __name__ == "__main__":
    typer.run(main)
