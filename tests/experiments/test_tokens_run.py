"""Analyses from their configuration to their page, and experiments by their IDs."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from matplotlib import image
from test_report_page import read
from test_run import everything

from codec_ft.config import Config, config_hash
from codec_ft.errors import UserError
from experiments.registry.catalogue import Experiment, experiments
from experiments.registry.resolve import resolve
from experiments.registry.resolve import run as run_any
from experiments.tokens import run as tokens_run
from experiments.tokens.config import TokensConfig
from experiments.tokens.run import ANALYSES

IDS = ["A1", "A2", "A3", "A4", "A5", "A6"]
TINY = ["data.seconds=0.5", "points=15", "steps=3", "passes=2"]

Read = Callable[..., Config]


@pytest.fixture
def tiny(tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> Read:
    """The configuration of an ID at tiny size."""

    def read_tiny(name: str, *more: str) -> Config:
        places = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", f"runs={tmp_path / 'runs'}"]
        sources = ["sources=[bass,drums,bass+drums]"] if name == "A4" else []  # the tiny set has no vocals
        return resolve(experiments()[name], [*places, *TINY, *sources, *more])

    return read_tiny


def test_every_analysis_has_an_id() -> None:
    assert set(IDS) <= set(experiments())
    configs = [resolve(experiments()[name]) for name in IDS]
    assert [config.analysis for config in configs if isinstance(config, TokensConfig)] == list(ANALYSES)
    assert [config.id for config in configs if isinstance(config, TokensConfig)] == IDS


@pytest.mark.parametrize("name", IDS)
def test_from_configuration_to_page(tiny: Read, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(name)
    run = run_any(config)
    assert run.path.name == f"{name}-{config_hash(config)}" and run.finished
    results = json.loads(run.results.read_text())
    assert results["status"] == "finished" and len(results["findings"]) >= 2
    assert (results["split"], results["tracks"], results["codec"]["n_codebooks"]) == ("test", 2, 3)
    for figure in results["figures"]:
        height, width, _ = image.imread(run.path / figure["file"]).shape
        assert width == 1650 and height > 300
    for table in results["tables"].values():
        with (run.path / table["file"]).open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(file))
        assert len(lines) == 1 + len(table["rows"]) and {len(line) for line in lines} == {1 + len(table["columns"])}

    page = read(run.path / "index.html")
    assert ANALYSES[config.analysis].title in page.text and ANALYSES[config.analysis].question in page.text  # type: ignore[attr-defined]
    assert all(" ".join(finding.replace("\u00a0", " ").split()) in page.text for finding in results["findings"])
    assert "missing or damaged" not in page.text and "nan" not in page.text.lower().split()
    addresses = [address for address in page.addresses if not address.startswith(("#", "data:"))]
    assert addresses and all((run.path / unquote(address)).is_file() for address in addresses)
    assert "http" not in (run.path / "index.html").read_text()
    assert "Done. Open" in capsys.readouterr().err


def test_a_finished_one_says_so_and_does_nothing(tiny: Read, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_any(tiny("A6"))
    before = everything(run.path)
    capsys.readouterr()
    run_any(tiny("A6"))
    assert everything(run.path) == before
    assert f"{run.path} is finished. Its page: {run.path / 'index.html'}" in capsys.readouterr().err
    run_any(
        resolve(Experiment(str(run.config), "", run.config), [f"runs={run.path.parent}"])
    )  # the command that the page gives
    assert everything(run.path) == before


@pytest.mark.parametrize("moment", ["save_outcome", "write_analysis_page"])
def test_stopped_it_finishes_when_run_again(tiny: Read, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tokens_run, moment, stop)
        run_any(tiny("A6"))
    run = run_any(tiny("A6"))
    assert run.finished and (run.path / "index.html").is_file()


def test_mistakes_are_told_in_one_line(tiny: Read, tmp_path: Path) -> None:
    for name, words, message in [
        ("A1", ["sources=[kazoo]"], "no stem kazoo"),
        ("A5", ["pair=[bass,vocals]"], "pair: vocals is not among the sources"),
        ("A4", ["points=100000"], "points=100000: "),
        ("A1", ["codec=nowhere"], "nowhere: no such codec"),
        ("A1", [f"data.root={tmp_path / 'nowhere'}"], "nowhere: no such folder"),
        ("A1", ["data.seconds=99"], "shorter than the 99 s"),
    ]:
        with pytest.raises(UserError, match=message) as caught:
            run_any(tiny(name, *words))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"passess: unknown key in the command line; did you mean passes\?"):
        tiny("A6", "passess=3")
    with pytest.raises(UserError, match="analysis: "):
        tiny("A6", "analysis=astrology")
