"""From the words of a command line to what is compared: folders of audio, run folders, or an experiment's ID."""

from collections.abc import Sequence
from pathlib import Path

from codec_ft.errors import UserError
from experiments.evaluation.systems import Comparison, compare_folders, is_run


def read_comparison(
    paths: Sequence[str],
    *,
    input: str | None = None,
    layout: str | None = None,
    reference_layout: str | None = None,
    split: str = "test",
    stems: Sequence[str] = (),
    tracks: Sequence[str] = (),
) -> tuple[Comparison, str, str | None]:
    """The comparison that words mean, a title for it, and the codec that runs use (None: none, or several).

    Args:
        paths: references and then estimates; or run folders and IDs of experiments.
        input: see `compare_folders`, as the others; only `stems` and `tracks` are for runs, too.
        layout: of the estimates.
        reference_layout: of the references.
        split: of data sets with splits.
        stems: compare only these; () is all.
        tracks: compare only these; () is all.

    Raises:
        UserError: the words mean nothing, or what they mean cannot be compared.
    """
    if Path(paths[0]).is_dir() and not is_run(Path(paths[0])):
        if len(paths) == 1:
            raise UserError(f"{paths[0]}: not a run folder. To compare folders, give references and then estimates.")
        comparison = compare_folders(
            Path(paths[0]),
            paths[1:],
            input=input,
            layout=layout,
            reference_layout=reference_layout,
            split=split,
            stems=stems,
            tracks=tracks,
        )
        return comparison, ", ".join(s.name for s in comparison.systems if s.role == "system"), None
    if input or layout or reference_layout:
        raise UserError("--input, --layout and --reference-layout are for folders of audio, not for runs.")
    from experiments.evaluation.runs import compare_runs, find_runs  # here: they know all trainers, which takes seconds

    comparison, codec = compare_runs(find_runs(paths), stems=stems, tracks=tracks)
    return comparison, ", ".join(paths), codec
