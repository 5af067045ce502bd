"""`python -m codec_ft.codecs`, as a person reads and types it."""

from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from codec_ft.codecs import cache
from codec_ft.codecs.__main__ import app
from codec_ft.codecs.catalogue import as_table, catalogue, notes
from codec_ft.codecs.load import codec_names
from codec_ft.codecs.releases import RELEASES


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HOME", str(tmp_path))


def rows(width: int) -> dict[str, str]:
    """The table's lines by the name at their beginning."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(as_table(catalogue()))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert all(len(line) <= width for line in lines)
    return {line.split()[0]: line for line in lines if line.split()[0] in codec_names()}


@pytest.mark.parametrize("width", [80, 120])
def test_every_codec_has_one_line_at_any_usual_width(width: int) -> None:
    table = rows(width)
    assert sorted(table) == codec_names()
    assert "…" not in "".join(table.values())
    assert table["demo"].split() == ["demo", "16", "1", "100.0", "8", "8.0", "1.9", "MIT", "MIT", "always"]
    assert table["encodec_48khz"].split() == [
        "encodec_48khz", "48", "2", "150.0", "16", "24.0", "14.9", "MIT", "not", "stated", "no",
    ]  # fmt: skip
    assert table["dac_44khz_16kbps"].split()[1:7] == ["44.1", "1", "86.1", "18", "15.5", "64.2"]
    assert table["vampnet"].endswith("?  MIT     CC BY-NC-SA 4.0 no".replace("?  ", "? "))


def test_what_is_in_the_cache_is_marked(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / RELEASES["vampnet"].file).write_bytes(b"weights")
    theirs = tmp_path / ".cache" / "descript" / "dac"
    theirs.mkdir(parents=True)
    (theirs / RELEASES["dac_16khz"].file).write_bytes(b"weights")
    kept = {entry.name: entry.kept for entry in catalogue()}
    assert {name for name, word in kept.items() if word == "yes"} == {"vampnet", "dac_16khz"}
    assert kept["demo"] == "always"


def test_the_notes_say_where_the_cache_is_and_what_is_not_known(tmp_path: Path) -> None:
    text = notes(catalogue())
    assert f"Cache: {tmp_path / 'cache'}" in text
    assert "not stated: the authors gave a licence for the code, and none for the weights." in text
    assert "no commercial use" in text


def test_a_pipe_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    done = CliRunner().invoke(app, ["list"])
    assert done.exit_code == 0
    assert "\x1b" not in done.stdout
    words = [line.split()[0] for line in done.stdout.splitlines() if line.split()]
    assert [word for word in words if word in codec_names()] == [
        *(name for name in codec_names() if name not in RELEASES),
        *RELEASES,
    ]
    assert "Cache:" in words


def test_fetch_prints_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache" / RELEASES["dac_44khz_16kbps"].file
    path.parent.mkdir()
    path.write_bytes(b"weights")
    monkeypatch.setattr(cache, "urlopen", None)
    done = CliRunner().invoke(app, ["fetch", "dac_44khz_16kbps"])
    assert done.exit_code == 0
    assert done.stdout == f"{path}\n"


def test_fetch_tells_a_mistake_in_one_line() -> None:
    done = CliRunner().invoke(app, ["fetch", "dac_16khz", "dac_48khz"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: dac_48khz: nothing to fetch by this name. Give some of encodec_24khz,")
    assert done.stderr.count("\n") == 1
