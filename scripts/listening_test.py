"""Make a listening test out of references and estimates, and analyse what the listeners answered.

    python scripts/listening_test.py export REFERENCES ESTIMATES [ESTIMATES ...] --out FOLDER
    python scripts/listening_test.py export RUN [RUN ...] --out FOLDER
    python scripts/listening_test.py analyse CSV [CSV ...] --out FOLDER

REFERENCES and ESTIMATES are folders in MUSDB's layout, or in any that --layout describes; "name=folder" names a system.
A RUN is a run folder or an experiment's ID: the excerpts it wrote are compared with their inputs. `export` writes
forced_choice/index.html, which runs from the disk; webmushra/, to be copied over webMUSHRA's folder; and reseval/.
`analyse` reads the CSVs of the first and webMUSHRA's mushra.csv.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from codec_ft.errors import told_to_the_user

SHOWN_NOTES = 12

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def export(
    paths: Annotated[list[str], typer.Argument(help="references and estimates, run folders, or an ID")],
    out: Annotated[Path, typer.Option(help="folder of the test")],
    kind: Annotated[
        Literal["forced_choice", "webmushra", "reseval", "all"], typer.Option(help="which form of test")
    ] = "all",
    name: Annotated[str | None, typer.Option(help="of the test; by default that of its folder")] = None,
    stem: Annotated[list[str] | None, typer.Option(help="only this stem; may be repeated")] = None,
    track: Annotated[list[str] | None, typer.Option(help="only this track; may be repeated")] = None,
    condition: Annotated[
        list[str] | None, typer.Option(help="only this system; may be repeated ['mixture' is one, too]")
    ] = None,
    input: Annotated[str | None, typer.Option(help="folder of the separated stems that were to be enhanced")] = None,
    layout: Annotated[str | None, typer.Option(help='of the estimates, such as "{stem}/{track}.wav"')] = None,
    reference_layout: Annotated[str | None, typer.Option(help="of the references, likewise")] = None,
    split: Annotated[Literal["train", "valid", "test"], typer.Option(help="of data sets with splits")] = "test",
    trials: Annotated[int, typer.Option(min=1, help="excerpts, each with all of its systems")] = 12,
    seconds: Annotated[float, typer.Option(min=1, max=60, help="length of an excerpt")] = 8.0,
    choose: Annotated[
        Literal["loudest", "random"], typer.Option(help="excerpts: where the target is loudest, or anywhere")
    ] = "loudest",
    seed: Annotated[int, typer.Option(min=0, help="decides the tracks, and the excerpts of --choose random")] = 0,
    loudness: Annotated[float, typer.Option(min=-50, max=-10, help="of every stimulus, LUFS (BS.1770)")] = -23.0,
    sample_rate: Annotated[int | None, typer.Option(min=8000, help="Hz; by default the references'")] = None,
    align: Annotated[bool, typer.Option(help="take constant delays out, instead of only telling them")] = False,
    question: Annotated[
        Literal["nearer", "quality"],
        typer.Option(help="forced choice: nearer to a reference, or better sounding without one"),
    ] = "nearer",
    comparisons: Annotated[
        int | None, typer.Option(min=1, help="forced choice: pairs for one participant, drawn at random [all]")
    ] = None,
    attention_checks: Annotated[int, typer.Option(min=0, help="forced choice: pairs with an obvious answer")] = 2,
    headphone_check: Annotated[bool, typer.Option(help="forced choice: begin with a check for headphones")] = True,
    contact: Annotated[str | None, typer.Option(help="forced choice: whom the results are to be sent to")] = None,
) -> None:
    """Write a test."""
    from experiments.evaluation.compare import read_comparison
    from experiments.listening.export import KINDS
    from experiments.listening.export import export as write
    from experiments.listening.forced_choice import Options
    from experiments.listening.trials import make_trials

    with told_to_the_user():
        comparison, _, _ = read_comparison(
            paths,
            input=input,
            layout=layout,
            reference_layout=reference_layout,
            split=split,
            stems=stem or (),
            tracks=track or (),
        )
        test = make_trials(
            comparison,
            count=trials,
            seconds=seconds,
            seed=seed,
            loudness=loudness,
            choose=choose,
            conditions=condition or (),
            sample_rate=sample_rate,
            align=align,
        )
        defaults = Options()
        options = Options(
            question=question,
            comparisons=comparisons,
            attention_checks=attention_checks,
            headphone_questions=defaults.headphone_questions if headphone_check else 0,
            contact=contact or defaults.contact,
            seed=seed,
        )
        kinds = KINDS if kind == "all" else (kind,)
        notes = write(test, out, name or out.resolve().name, kinds, options)
    for note in notes[:SHOWN_NOTES]:
        print(note)
    if len(notes) > SHOWN_NOTES:
        print(f"{len(notes) - SHOWN_NOTES} more notes are in {out / 'stimuli.json'}.")
    conditions = ", ".join(test.conditions)
    print(f"{len(test.trials)} trials of {test.seconds:g} s with {conditions}, at {test.loudness:.1f} LUFS.")
    for made in kinds:
        print(out / made / ("index.html" if made == "forced_choice" else ""))


@app.command()
def analyse(
    csv: Annotated[list[Path], typer.Argument(help="what the listeners sent, or webMUSHRA's mushra.csv")],
    out: Annotated[Path | None, typer.Option(help="folder for analysis.json, analysis.csv and index.html")] = None,
    keep_failed: Annotated[bool, typer.Option(help="also count those who failed a check or the screening")] = False,
) -> None:
    """Count, test, and write a page."""
    from experiments.listening.analysis import analyse as run
    from experiments.listening.analysis import tables, write_analysis

    with told_to_the_user():
        analysis = run(csv, keep_failed)
        written = write_analysis(analysis, out) if out else []
    console = Console()
    for reason in analysis.rejected:
        console.print(f"rejected: {reason}", markup=False, highlight=False, soft_wrap=True)
    for table in tables(analysis):
        console.print(table)
    for note in analysis.notes:
        console.print(note, markup=False, highlight=False)
    for path in written:
        print(path)


if __name__ == "__main__":
    app()
