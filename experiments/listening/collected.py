"""Read what listeners answered: the CSVs of our forced-choice page, and webMUSHRA's `mushra.csv`."""

import csv
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codec_ft.errors import UserError

CHOICE_COLUMNS = (
    "test", "question", "participant", "seed", "position", "kind", "trial", "track", "stem", "left", "right", "choice",
    "side", "seconds", "plays_reference", "plays_left", "plays_right", "headphones", "attention", "timestamp",
)  # fmt: skip
"""Columns of the CSV that the forced-choice page writes, one row per answer.

`left`, `right` and `choice` are conditions, `side` says on which side the choice was; `kind` is "comparison" or
"attention"; `headphones` and `attention` say whether the participant passed these checks ("none": there was none).
"""

RATING_COLUMNS = ("session_test_id", "trial_id", "rating_stimulus", "rating_score")
"""Columns of webMUSHRA's CSV that are needed; between the first two are the answers to its questionnaire."""
SESSION = "session_uuid"
"""Column that newer versions of webMUSHRA have: tells listeners apart."""


@dataclass(frozen=True)
class Answer:
    """A choice between two conditions.

    Attributes:
        test: the test's ID.
        question: "nearer" or "quality".
        participant: who chose.
        kind: "comparison" or "attention".
        trial: the excerpt's ID.
        stem: what was heard.
        pair: the two conditions, sorted.
        choice: one of them.
        failed: checks that this participant failed, such as ("headphones",).
    """

    test: str
    question: str
    participant: str
    kind: str
    trial: str
    stem: str
    pair: tuple[str, str]
    choice: str
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Rating:
    """Points between 0 and 100 that a listener gave to a condition ("reference" is the hidden one) of a trial."""

    test: str
    listener: str
    trial: str
    condition: str
    score: float


@dataclass
class Collected:
    """What was found in some CSVs.

    Attributes:
        answers: forced choices, without duplicates.
        ratings: of MUSHRA tests, without duplicates.
        rejected: rows and files that were left out, as "file:line: reason".
    """

    answers: list[Answer] = field(default_factory=list)
    ratings: list[Rating] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)


def read_results(paths: Sequence[Path]) -> Collected:
    """Read any number of CSVs, of either kind; rows that are broken or there twice are rejected, not fatal.

    Raises:
        UserError: a file is missing, not a CSV of either kind, or nothing is left.
    """
    found = Collected()
    seen_files: dict[str, Path] = {}
    seen: set[tuple[object, ...]] = set()
    parse: Callable[[Mapping[str, str]], Answer | Rating]
    for path in paths:
        content = _read(Path(path))
        digest = hashlib.sha256(content.encode()).hexdigest()
        if digest in seen_files:
            found.rejected.append(f"{path}: left out, it is the same as {seen_files[digest]}")
            continue
        seen_files[digest] = Path(path)
        rows = list(_rows(content))
        header = rows[0][1] if rows else []
        if set(CHOICE_COLUMNS) <= set(header):
            parse = _answer
        elif set(RATING_COLUMNS) <= set(header):
            parse = _rating
            rows = rows[:1] + _with_sessions(rows[1:], header, Path(path).name)
            header = [*header, _LISTENER]
        else:
            raise UserError(
                f"{path}: neither results of the forced-choice page nor webMUSHRA's mushra.csv: the first line has no "
                f"columns {', '.join(CHOICE_COLUMNS[:3])}, ... or {', '.join(RATING_COLUMNS)}. Leave the file out."
            )
        for line, cells in rows[1:]:
            try:
                if len(cells) != len(header):
                    raise ValueError(f"{len(cells)} cells instead of {len(header)}")
                row = parse(dict(zip(header, cells, strict=True)))
                key = _key(row)
                if key in seen:
                    raise ValueError("this answer is there twice; the first is kept")
            except ValueError as error:
                found.rejected.append(f"{path}:{line}: {error}")
                continue
            seen.add(key)
            if isinstance(row, Answer):
                found.answers.append(row)
            else:
                found.ratings.append(row)
    if not found.answers and not found.ratings:
        reasons = f" ({found.rejected[0]})" if found.rejected else ""
        raise UserError(f"{', '.join(map(str, paths))}: no answers in it{reasons}. Give the CSVs of the listeners.")
    return found


_LISTENER = "listener"


def _read(path: Path) -> str:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give the CSVs that the listeners sent.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text file in UTF-8. Give the CSV as it was downloaded.") from error


def _rows(content: str) -> Iterable[tuple[int, list[str]]]:
    """Line number and cells of every row that is not empty; spreadsheets of some countries write semicolons."""
    first = content.partition("\n")[0]
    reader = csv.reader(content.splitlines(), delimiter=";" if first.count(";") > first.count(",") else ",")
    for cells in reader:
        if any(cells):
            yield reader.line_num, cells


def _answer(row: Mapping[str, str]) -> Answer:
    """Raises ValueError for a row that cannot be right."""
    for column in ("test", "question", "participant", "trial", "stem", "left", "right", "choice"):
        if not row[column].strip():
            raise ValueError(f"{column} is empty")
    left, right, choice = row["left"], row["right"], row["choice"]
    if row["kind"] not in ("comparison", "attention"):
        raise ValueError(f"kind is {row['kind']!r}, not comparison or attention")
    if left == right or choice not in (left, right):
        raise ValueError(f"{choice!r} was chosen between {left!r} and {right!r}")
    if choice != row.get(row["side"]):
        raise ValueError(f"{choice!r} was chosen, but {row.get(row['side'])!r} is on the side {row['side']!r}")
    failed = []
    for check in ("headphones", "attention"):
        if row[check] not in ("passed", "failed", "none"):
            raise ValueError(f"{check} is {row[check]!r}, not passed, failed or none")
        if row[check] == "failed":
            failed.append(check)
    first, second = sorted((left, right))
    return Answer(
        test=row["test"],
        question=row["question"],
        participant=row["participant"],
        kind=row["kind"],
        trial=row["trial"],
        stem=row["stem"],
        pair=(first, second),
        choice=choice,
        failed=tuple(failed),
    )


def _rating(row: Mapping[str, str]) -> Rating:
    """Raises ValueError for a row that cannot be right."""
    try:
        score = float(row["rating_score"])
    except ValueError:
        raise ValueError(f"the score {row['rating_score']!r} is no number") from None
    if not 0 <= score <= 100:
        raise ValueError(f"the score {score:g} is not between 0 and 100")
    if not row["trial_id"] or not row["rating_stimulus"]:
        raise ValueError("trial_id or rating_stimulus is empty")
    return Rating(row["session_test_id"], row[_LISTENER], row["trial_id"], row["rating_stimulus"], score)


def _with_sessions(
    rows: Sequence[tuple[int, list[str]]], header: Sequence[str], file: str
) -> list[tuple[int, list[str]]]:
    """Add who the listener was: the session's ID, or, where older versions wrote none, a number.

    webMUSHRA appends a session as a whole, so a new listener begins where a trial's condition comes up again.
    """
    numbered = []
    number, seen = 1, set[tuple[str, str]]()
    for line, cells in rows:
        row = dict(zip(header, cells, strict=False))
        rated = (row.get("trial_id", ""), row.get("rating_stimulus", ""))
        if rated in seen:
            number, seen = number + 1, set()
        seen.add(rated)
        numbered.append((line, [*cells, row.get(SESSION) or f"{file} no. {number}"]))
    return numbered


def _key(row: Answer | Rating) -> tuple[object, ...]:
    """What may be there only once."""
    if isinstance(row, Answer):
        return (row.test, row.participant, row.trial, row.pair)
    return (row.test, row.listener, row.trial, row.condition)
