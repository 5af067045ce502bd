"""The table of results, from made-up run folders."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from codec_ft.errors import UserError
from codec_ft.training.run_folder import run_path
from experiments.places import PROJECT
from experiments.registry.catalogue import choose
from experiments.registry.resolve import resolve
from experiments.registry.state import record_failure
from experiments.results_table.entries import read_sections
from experiments.results_table.make import make_table
from experiments.results_table.markdown import MARK, render_table, write_table

Finish = Callable[..., Path]


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    return [f"runs={tmp_path / 'runs'}"]


@pytest.fixture
def finish(words: list[str]) -> Finish:
    """Writes the finished run folder of an ID, with some numbers."""

    def write(name: str, usdr: float = 5.0, accuracy: float = 0.25, **more: object) -> Path:
        config = resolve(choose([name])[0], words)
        source = getattr(config, "input", "")
        levels = {
            f"{source} (floor)": ("floor", 3.25),
            "mixture (floor)": ("floor", -1.5),
            "untouched encoder": ("baseline", 2.0),
            "output": ("output", usdr),
            "quantized_target (ceiling)": ("ceiling", 18.9),
        }
        results = {
            "status": "finished",
            "seconds": 90.0,
            "steps": 400,
            "device": "cpu",
            "excerpts": 6,
            "excerpt_seconds": 6.0,
            "finished_at": "1999-12-31 23:59",
            "rows": [
                {
                    "system": system,
                    "role": role,
                    "against": {"target": {"usdr": level, "log_mel_distance": level / 10}},
                    "latent_mse": 0.5 if role == "output" else 1.25 if role == "baseline" else None,
                }
                for system, (role, level) in levels.items()
                if source == "mixture" or system != "mixture"
            ],
            "tokens": {
                "trained": [accuracy, 0.1],
                "copy_input": [0.2, 0.1],
                "majority": [0.05, 0.0],
                "idempotence": [0.9, 0.8],
            },
            **more,
        }
        folder = run_path(config)
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"id: {name}\n")
        (folder / "results.json").write_text(json.dumps(results))
        return folder

    return write


def render(names: list[str], words: list[str]) -> str:
    return render_table(read_sections(choose(names), words, "demo"), "demo", words)


def line(text: str, start: str) -> list[str]:
    """The cells of the only line of a table that begins so."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"| {start} |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_a_row_has_floors_ceiling_and_what_stands_beside(finish: Finish, words: list[str]) -> None:
    finish("N5.bass", usdr=5.04)
    text = render(["N5.bass"], words)
    assert line(text, "`N5.bass`") == [
        "`N5.bass`",
        "bass",
        "−1.5",
        "3.2",
        "**5.0**",
        "18.9",
        "**25 %** (20 %; 5.0 %; 90 %)".replace(" %", "\u00a0%"),
        "**0.504** (0.325; 1.89)",
        "**0.500** (1.25)",
        "1 min 30 s",
    ]
    assert "**1 of 1 experiments are finished." in text
    assert (
        "Codec `demo`; data `demo`; 400 steps of 8 excerpts of 1 s; `adam`, learning rate 0.001; measured on 6 excerpts"
        in text
    )
    assert "on `cpu`; 1 min 30 s of training." in text and "runs=" not in text
    assert "; with `train.steps=9`." in render(["N5.bass"], [*words, "train.steps=9"])


def test_findings_are_judged_with_their_numbers(finish: Finish, words: list[str]) -> None:
    """M1 claims 3 dB above the mixture for both, M2 no more than 0.5 dB above M1."""
    finish("M1.bass", usdr=5.0)
    finish("M1.drums", usdr=6.2)
    finish("M2.bass", usdr=5.9)
    text = render(["M1", "M2"], words)
    (decent,) = [one for one in text.splitlines() if "performed decently" in one]
    assert decent.endswith("`5.0 > -1.5 + 3 and 6.2 > -1.5 + 3` | **shown** |")
    (again,) = [one for one in text.splitlines() if "no improvement" in one]
    assert again.endswith("less than 0.5 dB above M1: needs M2.drums | open |")
    assert "**3 of 6 experiments are finished. 1 shown, 1 open of 2 findings.**" in text
    finish("M2.drums")
    assert "5.9 < 5.0 + 0.5 and 5.0 < 6.2 + 0.5` | **not shown** |" in render(["M2"], words)


def test_a_claim_finds_its_numbers_in_runs_that_have_no_row(finish: Finish, words: list[str]) -> None:
    finish("N5.bass", accuracy=0.2)
    finish("N7.first", accuracy=0.5)
    text = render(["N7"], words)
    assert "`0.5 > 0.2 + 0.1` | **shown** |" in text and "`N5.bass`" not in text


def test_what_has_no_numbers_says_why(finish: Finish, words: list[str], tmp_path: Path) -> None:
    record_failure(resolve(choose(["N5.song"])[0], words), "no | fire\nat all")
    stopped = run_path(resolve(choose(["N5.drums"])[0], words))
    stopped.mkdir(parents=True)
    (stopped / "config.yaml").write_text("id: N5.drums\n")
    (stopped / "metrics.jsonl").write_text('{"step": 120, "split": "train", "loss": 1.0}\n')
    text = render(["N5"], words)
    assert "| `N5.song` | one song |  |  | failed: no \\| fire at all |  |  |  |  |  |" in text
    assert line(text, "`N5.drums`")[4] == "unfinished at step 120 of 400"
    assert line(text, "`N5.bass`")[4] == "not run"
    assert "**0 of 4 experiments are finished. 3 open of 3 findings.**" in text
    assert len({one.count("|") for one in text.splitlines() if one.startswith("| `N5.") and "fire" not in one}) == 1


def test_everything_has_its_section(finish: Finish, words: list[str]) -> None:
    findings = ["Bass 18.9 dB.", "Drums 11.6 dB."]
    finish("A1", findings=findings)
    text = render(["all"], words)
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    thesis = [*(f"A{n}" for n in range(1, 7)), *(f"N{n}" for n in range(1, 9)), *(f"M{n}" for n in range(8))]
    assert headings[: len(thesis)] == thesis
    assert "- Bass 18.9 dB.\n- Drums 11.6 dB." in text and "Not run." in text
    assert "Left out: the thesis trained its RAVE codec" in text and "[M4](#m4)" in text
    for name in headings:
        assert f"[{name}](#{name.lower()})" in text
    assert "M4" not in render(["N1"], words)


def test_the_same_folders_give_the_same_bytes_whenever(finish: Finish, words: list[str], tmp_path: Path) -> None:
    finish("M1.bass")
    first, second = tmp_path / "first.md", tmp_path / "second.md"
    for path in (first, second, first):
        write_table(read_sections(choose(["all"]), words, "demo"), path, scale="demo", overrides=words)
    assert first.read_bytes() == second.read_bytes()
    assert "1999" not in first.read_text() and "nan" not in first.read_text().lower().split()


def test_only_a_table_of_its_own_is_replaced(words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    out.write_text("# Mine\n")
    sections = read_sections(choose(["N1"]), words, "demo")
    with pytest.raises(UserError, match=r"RESULTS\.md: was not written by this command"):
        write_table(sections, out, scale="demo")
    assert out.read_text() == "# Mine\n"
    with pytest.raises(UserError, match="was not written by this command"):
        write_table(sections, tmp_path, scale="demo")
    out.unlink()
    write_table(sections, out, scale="demo")
    assert out.read_text().startswith(MARK)
    write_table(sections, out, scale="demo")


def test_damaged_results_are_told(finish: Finish, words: list[str]) -> None:
    (finish("N1.bass") / "results.json").write_text('{"rows": [')
    with pytest.raises(UserError, match=r"results\.json: cannot be parsed. Remove the file and run N1\.bass again"):
        render(["N1"], words)


def test_overrides_that_fit_only_what_was_asked_for(words: list[str]) -> None:
    """M6's finding needs M5, for which target_codebooks means nothing."""
    assert "needs M6.bass, M5.bass" in render(["M6"], [*words, "target_codebooks=2"])
    with pytest.raises(UserError, match=r"^M5\.bass: .*target_codebooks is for target=quantized"):
        render(["M5"], [*words, "target_codebooks=2"])


@pytest.mark.parametrize(
    ("usdr", "verdict"), [(5.0, "| **not shown**. Drums do; bass misses it by a hair. |"), (50.0, "| **shown** |")]
)
def test_what_the_demo_does_not_show_is_told_with_its_reason(
    words: list[str], finish: Finish, usdr: float, verdict: str
) -> None:
    for stem in ("bass", "drums", "vocals", "other"):
        finish(f"X10.{stem}", usdr=usdr)
    (row,) = [row for row in render(["X10"], words).splitlines() if "as well as a small separator does" in row]
    assert row.endswith(verdict)


def test_the_table_of_the_project_gives_a_reason_wherever_something_is_not_shown() -> None:
    rows = [row for row in (PROJECT / "RESULTS.md").read_text().splitlines() if "| **not shown**" in row]
    assert rows and all(len(row.rpartition("| **not shown**. ")[2]) > 20 for row in rows)


def test_the_table_stays_where_run_folders_do_not(finish: Finish, words: list[str], tmp_path: Path) -> None:
    """The numbers beside it make the same table again, of runs of the same settings; they are never thrown away."""
    out, numbers = tmp_path / "table.md", tmp_path / "table.json"
    finish("M1.bass", usdr=5.00004)
    finish("A1", findings=["Bass 18.9 dB."])
    chosen = choose(["A", "M1", "M2"])
    assert make_table(chosen, out, scale="demo", overrides=words) == f"{out}: 2 finished runs"
    first = out.read_bytes()
    shutil.rmtree(tmp_path / "runs")
    assert make_table(chosen, out, scale="demo", overrides=words).endswith(f"2 finished runs, 2 of them from {numbers}")
    assert out.read_bytes() == first
    (name,) = [name for name in json.loads(numbers.read_text()) if name.startswith("M1.bass-")]
    assert json.loads(numbers.read_text())[name]["numbers"]["usdr"] == 5.00004

    finish("M1.drums", usdr=6.0)
    told = make_table(choose(["M1"]), out, scale="demo", overrides=words)
    assert told == f"{out}: 2 finished runs, 1 of them from {numbers}"
    assert "`5.0 > -1.5 + 3 and 6.0 > -1.5 + 3` | **shown** |" in out.read_text()
    others = [*words, "train.steps=9"]
    assert make_table(choose(["M1"]), out, scale="demo", overrides=others) == f"{out}: 0 finished runs"
    assert len(json.loads(numbers.read_text())) == 3
    make_table(chosen, out, scale="demo", overrides=words)
    assert "**3 of 12 experiments" in out.read_text() and "- Bass 18.9 dB." in out.read_text()


def test_a_run_that_lies_here_is_told_and_not_what_is_known_of_it(
    finish: Finish, words: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "table.md"
    folder = finish("M1.bass", usdr=5.0)
    make_table(choose(["M1"]), out, scale="demo", overrides=words)
    shutil.rmtree(folder)
    finish("M1.bass", usdr=7.0)
    make_table(choose(["M1"]), out, scale="demo", overrides=words)
    assert line(out.read_text(), "`M1.bass`")[4] == "**7.0**"
    (folder / "results.json").unlink()
    make_table(choose(["M1"]), out, scale="demo", overrides=words)
    assert line(out.read_text(), "`M1.bass`")[4] == "**7.0**"


@pytest.mark.parametrize("text", ['{"M1.bass-1": {', "[]", '{"M1.bass-1": {"number": 1}}'])
def test_other_numbers_are_left_as_they_are(words: list[str], tmp_path: Path, text: str) -> None:
    out, numbers = tmp_path / "table.md", tmp_path / "table.json"
    numbers.write_text(text)
    with pytest.raises(UserError, match=r"table\.json: does not hold the numbers of a table of results"):
        make_table(choose(["M1"]), out, scale="demo", overrides=words)
    assert numbers.read_text() == text and not out.exists()
    with pytest.raises(UserError, match=r"table\.json: is where its numbers are written.* such as table\.md"):
        make_table(choose(["M1"]), numbers, scale="demo", overrides=words)


def test_the_table_of_the_project_is_that_of_its_numbers_and_cards(words: list[str], tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    shutil.copy(PROJECT / "RESULTS.json", tmp_path)
    make_table(choose(["all"]), out, scale="demo", overrides=words)
    assert out.read_text() == (PROJECT / "RESULTS.md").read_text(), "run scripts/run_experiment.py table"
    assert (tmp_path / "RESULTS.json").read_text() == (PROJECT / "RESULTS.json").read_text()
