"""Score separators: folders of audio against references, training runs, or an experiment.

    python scripts/evaluate.py REFERENCES ESTIMATES [ESTIMATES ...]
    python scripts/evaluate.py RUN [RUN ...]
    python scripts/evaluate.py ID

REFERENCES and ESTIMATES are folders in MUSDB's layout, <track>/<stem>.wav with or without train/, valid/ and test/
above, or in any other that --layout describes; "name=folder" names a system. A RUN is a run folder, whose samples are
scored; an ID stands for the finished runs of an experiment. Writes results.json, results.csv and index.html.
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from codec_ft.errors import told_to_the_user

NONE = "none"


def main(
    paths: Annotated[list[str], typer.Argument(help="references and estimates, run folders, or an ID")],
    out: Annotated[Path, typer.Option(help="folder of the results and the page")] = Path("evaluation"),
    input: Annotated[str | None, typer.Option(help="folder of the separated stems that were to be enhanced")] = None,
    layout: Annotated[str | None, typer.Option(help='of the estimates, such as "{stem}/{track}.wav"')] = None,
    reference_layout: Annotated[str | None, typer.Option(help="of the references, likewise")] = None,
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="of data sets with splits")] = "test",
    stem: Annotated[list[str] | None, typer.Option(help="score only this stem; may be repeated")] = None,
    track: Annotated[list[str] | None, typer.Option(help="score only this track; may be repeated")] = None,
    sample_rate: Annotated[int | None, typer.Option(min=8000, help="Hz; by default the references'")] = None,
    mono: Annotated[bool, typer.Option(help="average the channels first")] = False,
    align: Annotated[bool, typer.Option(help="take constant delays out, instead of only telling them")] = False,
    codec: Annotated[str | None, typer.Option(help="for ceiling and tokens, or none [demo, or a run's]")] = None,
    codec_seconds: Annotated[
        float, typer.Option(min=0, help="tokens and Frechet distance take the loudest so many seconds; 0 takes all")
    ] = 10.0,
    embedding: Annotated[
        str | None, typer.Option(help="of the Frechet distance: a codec, vggish=FILE or clap=FOLDER [--codec]")
    ] = None,
    fad_reference: Annotated[
        Path | None, typer.Option(help="data set whose train split the Frechet distance is measured from")
    ] = None,
    bss: Annotated[bool, typer.Option(help="also ISR, SIR and SAR (museval's projections)")] = False,
    tool: Annotated[list[str] | None, typer.Option(help="also ask an installed tool: visqol or peaq_odg")] = None,
    listen: Annotated[list[str] | None, typer.Option(help="hear this track, instead of best and worst")] = None,
    listen_seconds: Annotated[float, typer.Option(min=0.5, max=60, help="length of what is heard")] = 10.0,
    audio: Annotated[bool, typer.Option(help="write what is heard on the page")] = True,
    device: Annotated[str, typer.Option(help="for codec and embedding: cpu or cuda")] = "cpu",
    jobs: Annotated[int | None, typer.Option(min=1, help="processes; by default one per core")] = None,
    overwrite: Annotated[bool, typer.Option(help="replace the evaluation that is in the folder")] = False,
) -> None:
    """Measure, and write the page."""
    from experiments.evaluation.compare import read_comparison
    from experiments.evaluation.evaluate import Listening, evaluate
    from experiments.evaluation.settings import Settings
    from experiments.evaluation.terminal import short_tables

    with told_to_the_user():
        comparison, title, own_codec = read_comparison(
            paths,
            input=input,
            layout=layout,
            reference_layout=reference_layout,
            split=split,
            stems=stem or (),
            tracks=track or (),
        )
        chosen = codec or own_codec or "demo"
        results = evaluate(
            comparison,
            Settings(
                sample_rate=sample_rate,
                channels=1 if mono else None,
                align=align,
                codec=None if chosen == NONE else chosen,
                codec_seconds=codec_seconds or None,
                embedding=embedding,
                fad_reference=fad_reference,
                bss=bss,
                tools=tuple(tool or ()),
                device=device,
            ),
            out,
            title=title,
            command=shlex.join(["python", "scripts/evaluate.py", *sys.argv[1:]]),
            listening=Listening(listen_seconds if audio else 0.0, tuple(listen or ())),
            jobs=jobs,
            overwrite=overwrite,
        )
    console = Console()
    for table in short_tables(results):
        console.print(table)
    console.print(f"Open {out / 'index.html'}")


if __name__ == "__main__":
    typer.run(main)
