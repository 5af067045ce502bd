"""The table of results and the numbers beside it, from run folders and from what an earlier table has of others."""

from collections.abc import Sequence
from pathlib import Path

from codec_ft.training.run_folder import run_name
from experiments.registry.card import ScaleName
from experiments.registry.catalogue import Experiment
from experiments.results_table.entries import read_sections
from experiments.results_table.markdown import write_table
from experiments.results_table.record import read_records, records_file, write_records


def make_table(experiments: Sequence[Experiment], out: Path, *, scale: ScaleName, overrides: Sequence[str] = ()) -> str:
    """Write the table of results, and beside it the numbers of its runs as JSON.

    A run whose folder does not lie here, or is not finished, is told by the numbers that the JSON has of a run of the
    same configuration. What it has of other configurations stays in it.

    Args:
        experiments: which.
        out: the table's file; one that was written by this is replaced.
        scale: of the runs.
        overrides: the `key=value` words that they were started with.

    Returns:
        In words where it lies and how many of its runs are known from the JSON only.

    Raises:
        UserError: a configuration or a claim of a card is wrong, a run's results are damaged, or one of the files
            holds something else.
    """
    numbers = records_file(out)
    records = read_records(numbers)
    sections = read_sections(experiments, overrides, scale, records)
    write_table(sections, out, scale=scale, overrides=overrides)
    finished = [entry for section in sections for entry in section.entries if entry.record is not None]
    write_records(records | {run_name(entry.config): entry.record for entry in finished if entry.record}, numbers)
    elsewhere = sum(entry.elsewhere for entry in finished)
    kept = f", {elsewhere} of them from {numbers}" if elsewhere else ""
    return f"{out}: {len(finished)} finished runs{kept}"
