"""From CSVs of listeners whose answers are known to shares, tests and pages."""

import csv
import io
import json
import runpy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from codec_ft.errors import UserError
from experiments.listening.analysis import analyse, p_text, write_analysis
from experiments.listening.collected import CHOICE_COLUMNS, Answer, Rating, read_results
from experiments.listening.mushra import analyse_scores, mean_score, post_screening
from experiments.listening.preferences import analyse_preferences
from experiments.tasks import PROJECT


def choice(**values: Any) -> dict[str, Any]:
    """A row of the page's CSV: participant p chose "new" over "old" for trial t."""
    row = dict.fromkeys(CHOICE_COLUMNS, "")
    row |= {"test": "t-1", "question": "nearer", "participant": "p", "kind": "comparison", "trial": "t", "stem": "bass"}
    row |= {"left": "old", "right": "new", "choice": "new", "headphones": "passed", "attention": "passed"} | values
    return row | {"side": values.get("side", "left" if row["choice"] == row["left"] else "right")}


def text(rows: Sequence[dict[str, Any]], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def saved(content: str | bytes, name: str = "a.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return saved


def answers(
    counts: dict[tuple[str, str], int], stem: str = "bass", pair: tuple[str, str] = ("new", "old")
) -> list[Answer]:
    """`counts` are (participant, choice) -> how often."""
    made = []
    for (participant, chosen), count in counts.items():
        for i in range(count):
            trial = f"{stem}-{chosen}-{i}"
            made.append(Answer("t-1", "nearer", participant, "comparison", trial, stem, pair, chosen, ()))
    return made


def test_a_preference_with_a_known_answer():
    """9 of 10: p = 22 / 1024 from the binomial coefficients, and the interval of the published tables."""
    [row] = analyse_preferences(answers({("a", "new"): 5, ("b", "new"): 4, ("b", "old"): 1})).overall
    assert (row.first, row.second, row.wins, row.trials) == ("new", "old", 9, 10)
    assert row.share == 0.9 and row.p == pytest.approx(2 * 11 / 1024) and row.p_holm == row.p
    assert (row.low, row.high) == (pytest.approx(0.555, abs=1e-3), pytest.approx(0.9975, abs=1e-3))
    assert (row.participants, row.leaning_first, row.leaning_second) == (2, 2, 0)
    assert row.p_participants == pytest.approx(0.5)


def test_people_count_once_however_much_they_answer():
    """One person's 40 answers make the binomial p tiny; of people it is three against one, and one undecided."""
    counts = {("a", "new"): 40, ("b", "new"): 2, ("b", "old"): 1, ("c", "new"): 1, ("d", "old"): 1}
    [row] = analyse_preferences(answers(counts | {("e", "old"): 2, ("e", "new"): 2})).overall
    assert row.p < 1e-6
    assert (row.participants, row.leaning_first, row.leaning_second) == (5, 3, 1)
    assert row.p_participants == pytest.approx(2 * 5 / 16)


def test_holm_over_pairs_and_over_stems():
    made = [
        *answers({("a", "new"): 9, ("a", "old"): 1}),
        *answers({("a", "mid"): 5, ("a", "new"): 5}, pair=("mid", "new")),
        *answers({("a", "new"): 8}, stem="drums"),
    ]
    result = analyse_preferences(made)
    assert [(row.first, row.second, row.wins, row.trials) for row in result.overall] == [
        ("mid", "new", 5, 10),
        ("new", "old", 17, 18),
    ]
    assert [row.p_holm for row in result.overall] == [1.0, pytest.approx(2 * 2 * 19 / 2**18)]
    by_stem = {(row.stem, row.first): row for row in result.by_stem}
    assert set(by_stem) == {("bass", "mid"), ("bass", "new"), ("drums", "new")}
    # 8 of 8 is the clearest and is multiplied by 3, 9 of 10 by 2.
    assert by_stem["drums", "new"].p_holm == pytest.approx(3 * 2 / 256)
    assert by_stem["bass", "new"].p_holm == pytest.approx(2 * 22 / 1024)


def test_one_stem_is_not_told_twice():
    assert analyse_preferences(answers({("a", "new"): 3})).by_stem == ()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=30), st.randoms())
def test_the_order_of_answers_and_the_names_do_not_matter(given_answers: list[tuple[str, bool]], random: Any):
    def build(names: tuple[str, str]) -> list[Answer]:
        pair = (min(names), max(names))
        return [
            Answer("t", "nearer", who, "comparison", str(i), "bass", pair, names[first], ())
            for i, (who, first) in enumerate(given_answers)
        ]

    made = build(("x", "y"))
    [row] = analyse_preferences(made).overall
    random.shuffle(made)
    assert analyse_preferences(made).overall == (row,)
    assert row.winner_first.share >= 0.5 and row.winner_first.winner_first == row.winner_first
    assert {row.winner_first.wins, row.trials - row.winner_first.wins} == {row.wins, row.trials - row.wins}
    [turned] = analyse_preferences(build(("y", "x"))).overall
    assert turned.share == pytest.approx(1 - row.share) and turned.p == pytest.approx(row.p)
    assert turned.low == pytest.approx(1 - row.high) and turned.p_participants == row.p_participants


def test_who_failed_a_check_is_left_out_and_counted(save: Callable[..., Path]):
    rows = [choice(participant="good", trial=str(i)) for i in range(6)]
    rows += [choice(participant="deaf", trial=str(i), choice="old", headphones="failed") for i in range(6)]
    rows += [choice(participant="lazy", trial=str(i), choice="old", attention="failed") for i in range(6)]
    rows += [
        choice(
            participant="good", trial="check-1", kind="attention", left="reference", right="noise", choice="reference"
        )
    ]
    path = save(text(rows))
    result = analyse([path]).preferences
    assert result is not None
    assert (result.participants, result.trials) == (("good",), 6)
    assert result.failed == {"deaf": ("headphones",), "lazy": ("attention",)}
    assert result.overall[0].share == 1.0
    kept = analyse([path], keep_failed=True).preferences
    assert kept is not None and kept.overall[0].share == pytest.approx(1 / 3) and len(kept.participants) == 3
    only_failed = save(text([row for row in rows if row["participant"] == "deaf"]), "b.csv")
    with pytest.raises(UserError, match="all 1 participants failed a check"):
        analyse([only_failed])


def test_two_questions_are_not_mixed(save: Callable[..., Path]):
    path = save(text([choice(), choice(trial="u", question="quality")]))
    with pytest.raises(UserError, match="nearer, quality"):
        analyse([path])


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"choice": "nobody", "side": "left"}, "'nobody' was chosen between 'old' and 'new'"),
        ({"side": "left"}, "'new' was chosen, but 'old' is on the side 'left'"),
        ({"kind": "other"}, "kind is 'other'"),
        ({"participant": " "}, "participant is empty"),
        ({"left": "new"}, "'new' was chosen between 'new' and 'new'"),
        ({"headphones": "maybe"}, "headphones is 'maybe'"),
        ({}, "this answer is there twice"),
    ],
)
def test_a_broken_row_is_rejected_with_its_line(save: Callable[..., Path], broken: dict[str, str], reason: str):
    path = save(text([choice(), choice(trial="u"), choice(**broken), choice(trial="v")]))
    found = read_results([path])
    assert [answer.trial for answer in found.answers] == ["t", "u", "v"]
    [told] = found.rejected
    assert told.startswith(f"{path}:4: ") and reason in told


def test_a_cut_off_row_is_rejected(save: Callable[..., Path]):
    whole = text([choice(), choice(trial="u")])
    path = save(whole[:-30])
    [told] = read_results([path]).rejected
    assert f"{path}:3:" in told and "cells instead of 20" in told


def test_the_same_file_twice_counts_once(save: Callable[..., Path]):
    content = text([choice()])
    found = read_results([save(content, "a.csv"), save(content, "b.csv")])
    assert len(found.answers) == 1 and "b.csv: left out, it is the same as" in found.rejected[0]


def test_what_a_spreadsheet_saved_is_read(save: Callable[..., Path]):
    content = "\ufeff" + text([choice(track="a, b"), choice(trial="u")], delimiter=";")
    assert len(read_results([save(content)]).answers) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "neither results"),
        ("a,b\n1,2\n", "neither results"),
        (b"\xff\xfe\x00", "not a text file"),
        (text([choice()]).splitlines()[0], "no answers in it"),
    ],
)
def test_a_file_of_another_kind_is_an_error(save: Callable[..., Path], content: str | bytes, message: str):
    with pytest.raises(UserError, match=message):
        read_results([save(content)])


def ratings(scores: dict[str, dict[str, list[float]]]) -> list[Rating]:
    """listener -> condition -> scores of the trials."""
    return [
        Rating("t", listener, str(trial), condition, score)
        for listener, conditions in scores.items()
        for condition, given_scores in conditions.items()
        for trial, score in enumerate(given_scores)
    ]


def test_post_screening_by_the_hidden_reference():
    """Three of twenty are 15 % and allowed; four are not. 90 is not below 90."""
    fine = [100.0] * 17 + [89.0] * 3
    late = [90.0] * 16 + [89.0] * 4
    found = post_screening(
        ratings({"fine": {"reference": fine}, "late": {"reference": late}, "x": {"reference": [90.0]}})
    )
    assert found == {"late": pytest.approx(0.2)}


def test_mean_scores_and_their_interval():
    """Listeners' means are 50, 60 and 70: t(0.975, 2) = 4.303, and a standard error of 10 / sqrt 3."""
    row = mean_score(ratings({"a": {"x": [40.0, 60.0]}, "b": {"x": [60.0]}, "c": {"x": [70.0, 70.0, 70.0]}}))
    assert row.mean == 60.0 and row.median == 65.0 and (row.listeners, row.ratings) == (3, 6)
    assert row.high - row.mean == pytest.approx(4.30265 * 10 / 3**0.5, rel=1e-4)
    assert row.mean - row.low == pytest.approx(row.high - row.mean)
    single = mean_score(ratings({"a": {"x": [40.0]}}))
    assert single.mean == 40.0 and single.low != single.low


def test_scores_leave_out_who_missed_the_reference():
    scores = {"good": {"reference": [100.0], "x": [50.0]}, "bad": {"reference": [20.0], "x": [90.0]}}
    result = analyse_scores(ratings(scores))
    assert [(row.condition, row.mean) for row in result.conditions] == [("reference", 100.0), ("x", 50.0)]
    assert result.listeners == ("good",) and result.failed == {"bad": 1.0}
    assert {row.condition: row.mean for row in analyse_scores(ratings(scores), keep_failed=True).conditions}[
        "x"
    ] == 70.0
    with pytest.raises(UserError, match="missed the hidden reference"):
        analyse_scores(ratings({"bad": scores["bad"]}))


MUSHRA = """session_test_id,age,experience,session_uuid,trial_id,rating_stimulus,rating_score,rating_time,rating_comment
mine,30,some,u1,01-bass,reference,100,1200,
mine,30,some,u1,01-bass,anchor35,20,1200,"a, comment"
mine,30,some,u2,01-bass,reference,95,1200,
mine,30,some,u2,01-bass,anchor35,30,1200,
mine,30,some,u2,02-bass,anchor35,130,1200,
mine,30,some,u2,02-bass,anchor35,,1200,
mine,30,some,u2,01-bass,reference,94,1200,
"""


def test_webmushra_results_are_read(save: Callable[..., Path]):
    path = save(MUSHRA, "mushra.csv")
    found = read_results([path])
    assert {(r.listener, r.condition, r.score) for r in found.ratings} == {
        ("u1", "reference", 100.0),
        ("u1", "anchor35", 20.0),
        ("u2", "reference", 95.0),
        ("u2", "anchor35", 30.0),
    }
    assert [told.removeprefix(f"{path}:") for told in found.rejected] == [
        "6: the score 130 is not between 0 and 100",
        "7: the score '' is no number",
        "8: this answer is there twice; the first is kept",
    ]


def test_older_webmushra_results_have_no_session_and_are_told_apart(save: Callable[..., Path]):
    rows = [line.split(",") for line in MUSHRA.splitlines()[:5]]
    path = save("\n".join(",".join(cell for i, cell in enumerate(row) if i != 3) for row in rows), "mushra.csv")
    found = read_results([path])
    assert [r.listener for r in found.ratings] == ["mushra.csv no. 1"] * 2 + ["mushra.csv no. 2"] * 2


def test_files_and_page(save: Callable[..., Path], tmp_path: Path):
    rows = [
        choice(participant=who, trial=f"{stem}{i}", stem=stem)
        for who in "abcdef"
        for i in range(3)
        for stem in ("bass", "<drums>")
    ]
    analysis = analyse([save(text([*rows, rows[0]])), save(MUSHRA, "mushra.csv")])
    written = write_analysis(analysis, tmp_path / "out")
    assert [path.name for path in written] == ["analysis.json", "analysis.csv", "scores.csv", "index.html"]
    told = json.loads(written[0].read_text())
    assert told["preferences"]["overall"][0] | {"low": 0, "p": 0, "p_holm": 0} == {
        "first": "new", "second": "old", "stem": "", "wins": 36, "trials": 36, "share": 1.0, "low": 0, "high": 1.0,
        "p": 0, "p_holm": 0, "participants": 6, "leaning_first": 6, "leaning_second": 0, "p_participants": 2 / 64,
    }  # fmt: skip
    with written[1].open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["stem"], row["wins"]) for row in table] == [("", "36"), ("<drums>", "18"), ("bass", "18")]
    with written[2].open(newline="") as file:
        scores = {row["condition"]: row for row in csv.DictReader(file)}
    assert scores["reference"]["mean"] == "97.5"
    html = written[3].read_text()
    assert "&lt;drums&gt;" in html and "<drums>" not in html and "http" not in html and "<svg" in html
    assert "this answer is there twice" in html and "not independent" not in html and "independent" in html


def test_p_values_as_papers_write_them():
    assert [p_text(p) for p in (0.00002, 0.0312, 0.25, 1.0)] == ["< 0.001", "0.031", "0.25", "1.00"]


def test_the_command(save: Callable[..., Path], tmp_path: Path):
    app = runpy.run_path(str(PROJECT / "scripts" / "listening_test.py"))["app"]
    path = save(text([choice(participant=who) for who in "abcdef"] + [choice(participant="g", kind="?")]))
    done = CliRunner().invoke(app, ["analyse", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "100.0 %" in done.output and "rejected: " in done.output and (tmp_path / "out" / "index.html").is_file()
    failed = CliRunner().invoke(app, ["analyse", str(tmp_path / "none.csv")])
    assert failed.exit_code == 2 and "no such file" in failed.output
