"""The benchmark of sampling runs, and finds a sampler that gives other codes."""

import re
import runpy
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark_sampling.py"


def run(*words: object, **changes: object) -> Result:
    import typer

    names = runpy.run_path(str(SCRIPT))
    names["main"].__globals__.update(changes)
    app = typer.Typer()
    app.command()(names["main"])
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def words(tiny_codec_folder: Path) -> list[object]:
    return ["--codec", tiny_codec_folder, "--seconds", 0.2, "--steps", 1, "--steps", 3, "--batch", 2, "--device", "cpu"]


def test_it_measures_and_the_plain_sampler_agrees(words: list[object]) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines() if re.match(r"\s+\d+\s+2\s", line)]
    assert [row[:2] for row in rows] == [["1", "2"], ["3", "2"]]
    for _, _, seconds, speed in rows:  # the numbers belong together: 2 items of 0.2 s, seconds rounded to 0.01
        assert float(speed) == pytest.approx(0.4 / float(seconds), abs=0.4 / float(seconds) ** 2 * 0.006 + 0.01)
    assert "times as long), 0 codes" in " ".join(result.stdout.split())


def test_other_codes_are_a_failure(words: list[object]) -> None:
    names = runpy.run_path(str(SCRIPT))

    def wrong(*given: object, **options: object) -> object:
        return (names["maskgit"](*given, **options) + 1) % 16

    result = run(*words, maskgit=wrong)
    assert result.exit_code == 1 and "320 codes" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("more", "message"),
    [(["--size", "huge"], "--size huge: no such size; there are demo, small, vampnet."), (["--steps", 0], "steps")],
)
def test_mistakes_are_told(words: list[object], more: list[object], message: str) -> None:
    result = run(*words, *more)
    assert result.exit_code == 2 and message in result.output
