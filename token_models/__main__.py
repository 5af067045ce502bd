"""Let trained token models draw a stem out of a song, or write a sound anew.

python -m token_models list
python -m token_models write song.mp3 bass.wav --models demo_bass
python -m token_models write separated.wav bass.wav --models runs/Y1.bass-... --context song.wav
python -m token_models regenerate loop.wav other.wav --models vampnet --period 13 --onsets 1 --codebooks 3
"""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from codec_ft.errors import UserError, in_words, told_to_the_user

Models = Annotated[str, typer.Option(help="A name from the list, or the folder of a run.")]
AnyModels = Annotated[str, typer.Option(help="As of write; also vampnet, or a folder with its files.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the random numbers that sampling draws; shipped models draw none.")]
Temperature = Annotated[
    float | None,
    typer.Option(
        help="Of the codes that are drawn; 0 takes the likeliest. As it was set if left out: for shipped models, 0."
    ),
]
Steps = Annotated[int | None, typer.Option(min=1, help="How often each model is asked; as it was set if left out.")]
Device = Annotated[str, typer.Option(help="cpu, or cuda where there is a GPU.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there already.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command("list")
def list_models() -> None:
    """Show the token models that come with this package, and what they are for."""
    from token_models.load import SHIPPED, token_model_names
    from token_models.save import read_facts

    for name in token_model_names():
        facts = read_facts(SHIPPED / name)
        beside = f" (beside it: {', '.join(facts.context)})" if facts.context else ""
        print(f"{name:24}{facts.input}{beside} -> {facts.stem}")
    print(f"{'vampnet':24}music -> other versions of it (regenerate); VampNet's published models, which are fetched")


@app.command()
def write(
    audio: Annotated[Path, typer.Argument(help="The input: what the models were trained to hear, as a mixture.")],
    stem: Annotated[Path, typer.Argument(help="The audio file to write; its suffix chooses the format.")],
    models: Models,
    context: Annotated[list[Path], typer.Option(help="What they hear beside it; once for each.")] = [],  # noqa: B006
    steps: Steps = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Draw a stem out of a file of any rate and length."""
    from token_models.at_work import Asked, write_file

    with told_to_the_user():
        write_file(Asked(models, steps, seed, temperature, device), audio, stem, context=context, overwrite=overwrite)
    print(stem)


@app.command()
def regenerate(
    audio: Annotated[Path, typer.Argument(help="The sound: of the stem that the models know, or any for VampNet.")],
    output: Annotated[Path, typer.Argument(help="The audio file to write; its suffix chooses the format.")],
    models: AnyModels,
    heard: Annotated[list[Path], typer.Option(help="What they are shown while they write; once for each.")] = [],  # noqa: B006
    period: Annotated[int | None, typer.Option(min=1, help="Keep one of so many frames.")] = None,
    width: Annotated[int, typer.Option(min=1, help="With --period: keep so many of each instead.")] = 1,
    prefix: Annotated[float, typer.Option(min=0, help="Keep the first so many seconds.")] = 0.0,
    suffix: Annotated[float, typer.Option(min=0, help="Keep the last so many seconds.")] = 0.0,
    onsets: Annotated[
        int | None, typer.Option(min=0, help="Keep frames in which a note begins; so many after.")
    ] = None,
    codebooks: Annotated[int | None, typer.Option(min=0, help="Of kept frames, the first so many codebooks.")] = None,
    forgotten: Annotated[float, typer.Option(min=0, max=1, help="Share of the kept cells to drop at random.")] = 0.0,
    steps: Steps = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    device: Device = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Write another version of a sound: what is kept stays, all else is made anew."""
    from token_models.at_work import Asked, regenerate_file
    from token_models.masks.kept import Kept

    with told_to_the_user():
        try:
            kept = Kept(
                period=period, width=width, prefix=prefix, suffix=suffix, onsets=onsets, codebooks=codebooks,
                forgotten=forgotten,
            )  # fmt: skip
        except ValidationError as error:
            problem = error.errors()[0]
            option = "".join(f"--{name}: " for name in problem["loc"])
            raise UserError(f"{option}{in_words(problem['msg'])}.") from error
        asked = Asked(models, steps, seed, temperature, device)
        regenerate_file(asked, audio, output, kept, heard=heard, overwrite=overwrite)
    print(output)


if __name__ == "__main__":
    app()
