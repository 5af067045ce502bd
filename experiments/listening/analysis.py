"""From the listeners' CSVs to tables, files and a page."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.table import Table

from codec_ft.atomic import atomic_path
from codec_ft.training.samples import plain
from experiments.listening.collected import Answer, Rating, read_results
from experiments.listening.mushra import SCREENING_SCORE, SCREENING_SHARE, Score, Scores, analyse_scores
from experiments.listening.preferences import Preference, Preferences, analyse_preferences
from experiments.listening.templates import environment
from experiments.report.wording import show_percent

NOT_INDEPENDENT = (
    "The binomial test takes every trial as independent, but the trials of one person are not: their taste and their "
    "headphones are in all of them, so that p is too small where people differ. The sign test over people, each of "
    "whom counts once, is safe from this. Believe a difference that both show."
)
QUESTIONS = {"nearer": "nearer to the reference", "quality": "better sounding"}


@dataclass(frozen=True)
class Analysis:
    """What came out.

    Attributes:
        preferences: of forced choices; None where there were none.
        scores: of MUSHRA ratings; None where there were none.
        rejected: rows and files that were left out, as "file:line: reason".
        notes: a sentence each on what to keep in mind.
    """

    preferences: Preferences | None
    scores: Scores | None
    rejected: tuple[str, ...]
    notes: tuple[str, ...]


def analyse(paths: Sequence[Path], keep_failed: bool = False) -> Analysis:
    """Read CSVs of either kind and analyse them.

    Raises:
        UserError: a file cannot be read or is of neither kind, or no answer is left.
    """
    found = read_results(paths)
    preferences = analyse_preferences(found.answers, keep_failed) if found.answers else None
    scores = analyse_scores(found.ratings, keep_failed) if found.ratings else None
    notes = [*_several_tests(found.answers), *_several_tests(found.ratings), *_notes(preferences, scores)]
    return Analysis(preferences, scores, tuple(found.rejected), tuple(notes))


def write_analysis(analysis: Analysis, folder: Path) -> list[Path]:
    """Write `analysis.json`, `analysis.csv`, `scores.csv` (of MUSHRA ratings) and `index.html`, which holds it all.

    Raises:
        UserError: the folder cannot be written to.
    """
    texts = {"analysis.json": json.dumps(plain(asdict(analysis)), indent=2, ensure_ascii=False) + "\n"}
    if analysis.preferences:
        rows = [*analysis.preferences.overall, *analysis.preferences.by_stem]
        texts["analysis.csv"] = _csv(Preference, rows)
    if analysis.scores:
        texts["scores.csv"] = _csv(Score, analysis.scores.conditions)
    view = {"analysis": analysis, "question": "", "facts": _facts(analysis), "percent": show_percent, "p_text": p_text}
    if analysis.preferences:
        view["question"] = QUESTIONS.get(analysis.preferences.question, analysis.preferences.question)
    texts["index.html"] = environment().get_template("preferences.html.j2").render(view)
    written = []
    for name, text in texts.items():
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
        written.append(folder / name)
    return written


def tables(analysis: Analysis) -> list[Table]:
    """The same for the terminal."""
    found = []
    if analysis.preferences:
        question = QUESTIONS.get(analysis.preferences.question, analysis.preferences.question)
        found.append(_preference_table(f"Chosen as {question}", analysis.preferences.overall))
        for stem in dict.fromkeys(row.stem for row in analysis.preferences.by_stem):
            found.append(_preference_table(stem, [row for row in analysis.preferences.by_stem if row.stem == stem]))
    if analysis.scores:
        table = Table("condition", title="Mean scores (MUSHRA)")
        for heading in ("mean", "95 %", "median", "listeners", "ratings"):
            table.add_column(heading, justify="right")
        for row in analysis.scores.conditions:
            interval = "–" if row.listeners < 2 else f"{row.low:.1f}–{row.high:.1f}"
            numbers = (f"{row.mean:.1f}", interval, f"{row.median:.1f}", str(row.listeners), str(row.ratings))
            table.add_row(row.condition, *numbers)
        found.append(table)
    return found


def p_text(p: float) -> str:
    """A p-value as papers write it."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _preference_table(title: str, rows: Sequence[Preference]) -> Table:
    table = Table(title=title)
    table.add_column("preferred", overflow="fold")
    for heading in ("chosen", "95 %", "trials", "p (Holm)", "people", "p (people)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in (row.winner_first for row in rows):
        table.add_row(
            f"{row.first}\nover {row.second}",
            f"{100 * row.share:.1f} %",
            f"{100 * row.low:.0f}–{100 * row.high:.0f} %",
            str(row.trials),
            p_text(row.p_holm),
            f"{row.leaning_first} : {row.leaning_second}",
            p_text(row.p_participants),
        )
    return table


def _facts(analysis: Analysis) -> list[tuple[str, str]]:
    """Name and value of what a reader wants to know before the results."""
    facts: list[tuple[str, str]] = []
    if analysis.preferences:
        facts += [
            ("participants", str(len(analysis.preferences.participants))),
            ("comparisons", str(analysis.preferences.trials)),
            ("failed a check", _failed(len(analysis.preferences.failed), analysis.preferences.kept_failed)),
        ]
    if analysis.scores:
        facts += [
            ("MUSHRA listeners", str(len(analysis.scores.listeners))),
            ("missed the hidden reference", _failed(len(analysis.scores.failed), analysis.scores.kept_failed)),
        ]
    return [*facts, ("rows rejected", str(len(analysis.rejected)))]


def _failed(count: int, kept: bool) -> str:
    return f"{count}{', taken all the same' if kept else ', left out'}" if count else "0"


def _several_tests(rows: Sequence[Answer | Rating]) -> list[str]:
    tests = sorted({row.test for row in rows})
    return [f"Answers to {len(tests)} tests are taken together: {', '.join(tests)}."] if len(tests) > 1 else []


def _notes(preferences: Preferences | None, scores: Scores | None) -> list[str]:
    notes = []
    if preferences:
        notes.append(NOT_INDEPENDENT)
        what = "taken all the same" if preferences.kept_failed else "left out"
        for participant, checks in sorted(preferences.failed.items()):
            notes.append(f"Participant {participant} failed the {' and '.join(checks)} check and is {what}.")
    if scores:
        notes.append(
            f"A listener who gave the hidden reference less than {SCREENING_SCORE:g} points in more than "
            f"{SCREENING_SHARE:.0%} of the trials is found by the post-screening of ITU-R BS.1534-3."
        )
        what = "taken all the same" if scores.kept_failed else "left out"
        for listener, share in sorted(scores.failed.items()):
            notes.append(f"Listener {listener} did so in {share:.0%} of the trials and is {what}.")
    return notes


def _csv(kind: type, rows: Sequence[Any]) -> str:
    """Dataclasses of one kind as a CSV with a line each; what is not defined is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(kind)], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values: Mapping[str, Any] = plain(asdict(row))
        writer.writerow({name: f"{value:.6g}" if isinstance(value, float) else value for name, value in values.items()})
    return text.getvalue()
