"""List the codecs that can be loaded by name, fetch their weights, and turn audio files into tokens and back.

python -m codec_ft.codecs list
python -m codec_ft.codecs fetch encodec_24khz dac_44khz
python -m codec_ft.codecs encode song.wav song.npz --codec demo
python -m codec_ft.codecs decode song.npz song_decoded.wav
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from codec_ft.codecs.stereo import StereoMode
from codec_ft.errors import UserError, told_to_the_user

ChunkSeconds = Annotated[float, typer.Option(min=0.001, help="Audio that is computed at once; more takes more memory.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Chunks that are computed at once; more than 1 pays on a GPU.")]
Device = Annotated[str, typer.Option(help="cpu, or cuda where there is a GPU.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it is there already.")]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command("list")
def list_codecs() -> None:
    """Show every codec with a name: its rates, its size, its licences, and whether its weights are on this machine."""
    from codec_ft.codecs.catalogue import as_table, catalogue, notes

    entries = catalogue()
    console = Console()
    console.print(as_table(entries))
    console.print(f"\n{notes(entries)}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(help="Names from the list.")]) -> None:
    """Download weights into the cache, check them, and print where they are; what is there already is only checked."""
    from codec_ft.codecs import cache
    from codec_ft.codecs.releases import RELEASES

    with told_to_the_user():
        for name in names:
            if name not in RELEASES:
                raise UserError(f"{name}: nothing to fetch by this name. Give some of {', '.join(RELEASES)}.")
        for name in names:
            print(cache.fetch(RELEASES[name]))


@app.command()
def encode(
    audio: Annotated[Path, typer.Argument(help="An audio file of any rate and length.")],
    tokens: Annotated[Path, typer.Argument(help="The .npz file to write.")],
    codec: Annotated[str, typer.Option(help="A name from the list, or a path.")] = "demo",
    stereo: Annotated[StereoMode, typer.Option(help="What a mono codec makes of stereo.")] = "mid_side",
    codebooks: Annotated[int | None, typer.Option(help="Use the first so many codebooks; all if left out.")] = None,
    chunk_seconds: ChunkSeconds = 10.0,
    batch_size: BatchSize = 1,
    device: Device = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Turn an audio file into tokens."""
    from codec_ft.codecs.convert import encode_to_file

    with told_to_the_user():
        result = encode_to_file(
            audio,
            tokens,
            codec,
            stereo=stereo,
            n_codebooks=codebooks,
            chunk_seconds=chunk_seconds,
            batch_size=batch_size,
            device=device,
            overwrite=overwrite,
        )
    print(f"{tokens}: codes {list(result.codes.shape)}, {tokens.stat().st_size / 1000:.1f} kB")


@app.command()
def decode(
    tokens: Annotated[Path, typer.Argument(help="The .npz file that encode wrote.")],
    audio: Annotated[Path, typer.Argument(help="The audio file to write; its suffix chooses the format.")],
    codec: Annotated[str | None, typer.Option(help="Where the codec is, if not where it was for encode.")] = None,
    chunk_seconds: ChunkSeconds = 10.0,
    batch_size: BatchSize = 1,
    device: Device = "cpu",
    overwrite: Overwrite = False,
) -> None:
    """Turn tokens into audio again."""
    from codec_ft.codecs.convert import decode_to_file

    with told_to_the_user():
        decode_to_file(
            tokens, audio, codec, chunk_seconds=chunk_seconds, batch_size=batch_size, device=device, overwrite=overwrite
        )


if __name__ == "__main__":
    app()
