"""What finished runs have found, kept beside the table, which has it also when their folders lie elsewhere."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from codec_ft.atomic import atomic_path
from codec_ft.config import Config
from codec_ft.errors import UserError
from experiments.report.run_folder import mapping
from experiments.results_table.numbers import read_numbers

DIGITS = 6
"""How many significant ones of a number are kept."""


class Record(Config):
    """What a finished run has found.

    Attributes:
        numbers: what was measured, by the names of `results_table.numbers`; None of a run that draws out no stem.
        findings: what it says itself, a sentence each.
        excerpts: how many it was measured on.
        excerpt_seconds: how long these are.
        device: what it ran on.
        rounded: whether the numbers are those of a table, to its digits, because the run itself was not kept; what the
            table did not show is missing.
    """

    numbers: dict[str, float] | None = None
    findings: list[str] = Field(default_factory=list)
    excerpts: int = 0
    excerpt_seconds: float = 0.0
    device: str = ""
    rounded: bool = False


def read_record(results_file: Path, source: str | None) -> Record:
    """The record of a run.

    Args:
        results_file: its `results.json`.
        source: what it heard, as its configuration says; None if the results say it.

    Raises:
        ValueError: the file is damaged.
    """
    results = mapping(json.loads(results_file.read_text(encoding="utf-8")))
    heard = source or results.get("input")
    numbers = read_numbers(results, heard) if isinstance(heard, str) and results else None
    return Record(
        numbers=numbers and {name: float(f"{value:.{DIGITS}g}") for name, value in numbers.items()},
        findings=[str(sentence) for sentence in results.get("findings", [])],
        excerpts=int(results.get("excerpts", 0)),
        excerpt_seconds=results.get("excerpt_seconds", 0),
        device=str(results.get("device")),
    )


def records_file(table: Path) -> Path:
    """Where the records of a table lie: beside it.

    Raises:
        UserError: the table would lie there itself.
    """
    file = table.with_suffix(".json")
    if file == table:
        raise UserError(f"{table}: is where its numbers are written. Choose another --out, such as {table.stem}.md.")
    return file


def read_records(file: Path) -> dict[str, Record]:
    """What `write_records` wrote, by the names of the runs; nothing if there is no such file.

    Raises:
        UserError: the file is damaged, or holds something else.
    """
    if not file.exists():
        return {}
    try:
        return {name: Record.model_validate(record) for name, record in json.loads(file.read_bytes()).items()}
    except (ValidationError, ValueError, AttributeError, OSError) as error:
        raise UserError(
            f"{file}: does not hold the numbers of a table of results ({str(error).splitlines()[0]}). "
            "Choose another --out, or take the file away."
        ) from None


def write_records(records: Mapping[str, Record], file: Path) -> None:
    """Write records by the names of their runs, a line each and in order, so that changes can be read."""
    lines = [
        f"{json.dumps(name)}: {json.dumps(records[name].model_dump(exclude_defaults=True))}" for name in sorted(records)
    ]
    with atomic_path(file) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
