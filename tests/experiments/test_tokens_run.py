"""Analyses from their configuration to their page, and experiments by their IDs."""

import csv
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from matplotlib import image
from test_report_page import read
from test_run import everything

from codec_ft.config import Config, config_hash
from codec_ft.errors import UserError
from experiments import registry
from experiments.registry import choose_experiments, experiment_files, list_experiments, read_experiment
from experiments.tasks import PROJECT
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
        return read_experiment(experiment_files()[name], [*places, *TINY, *sources, *more])

    return read_tiny


def test_every_analysis_has_an_id() -> None:
    assert set(IDS) <= set(experiment_files())
    configs = [read_experiment(experiment_files()[name], []) for name in IDS]
    assert [config.analysis for config in configs if isinstance(config, TokensConfig)] == list(ANALYSES)
    assert [config.id for config in configs if isinstance(config, TokensConfig)] == IDS


@pytest.mark.parametrize("name", IDS)
def test_from_configuration_to_page(tiny: Read, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny(name)
    run = registry.run(config)
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
    run = registry.run(tiny("A6"))
    before = everything(run.path)
    capsys.readouterr()
    registry.run(tiny("A6"))
    assert everything(run.path) == before
    assert f"{run.path} is finished. Its page: {run.path / 'index.html'}" in capsys.readouterr().err
    registry.run(read_experiment(run.config, [f"runs={run.path.parent}"]))  # the command that the page gives
    assert everything(run.path) == before


@pytest.mark.parametrize("moment", ["save_outcome", "write_analysis_page"])
def test_stopped_it_finishes_when_run_again(tiny: Read, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tokens_run, moment, stop)
        registry.run(tiny("A6"))
    run = registry.run(tiny("A6"))
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
            registry.run(tiny(name, *words))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"passess: unknown key in the command line; did you mean passes\?"):
        tiny("A6", "passess=3")
    with pytest.raises(UserError, match="analysis: "):
        tiny("A6", "analysis=astrology")


def test_ids_letters_and_files_are_chosen(tmp_path: Path) -> None:
    files = experiment_files()
    assert choose_experiments(["A2", "A1", "A2"]) == [files["A2"], files["A1"]]
    assert choose_experiments(["A"])[:6] == [files[name] for name in IDS]
    assert choose_experiments([str(tmp_path / "mine.yaml")]) == [tmp_path / "mine.yaml"]
    with pytest.raises(UserError, match=r"B99: no such experiment. There are A1, .*; did you mean \w+\?"):
        choose_experiments(["B99"])


def test_two_comes_before_ten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("A10", "A2", "B1", "A1"):
        (tmp_path / f"{name}.yaml").write_text(f"# What {name} is about.\n")
    monkeypatch.setattr(registry, "EXPERIMENTS", tmp_path)
    assert list(experiment_files()) == ["A1", "A2", "A10", "B1"]
    assert list_experiments().splitlines()[2].split() == ["A10", "What", "A10", "is", "about."]
    monkeypatch.setattr(registry, "EXPERIMENTS", tmp_path / "gone")
    with pytest.raises(UserError, match="Work in a clone"):
        experiment_files()


def test_a_training_is_an_experiment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    monkeypatch.setattr(registry, "run_experiment", trained.append)
    file = tmp_path / "B1.yaml"
    file.write_text("id: B1\ntask: finetune\n")
    registry.run(read_experiment(file, ["stem=drums"]))
    assert [(config.id, config.stem) for config in trained] == [("B1", "drums")]
    file.write_text("id: B1\ntask: cooking\n")
    with pytest.raises(UserError, match=r"task: is 'cooking', but there are finetune, .*tokens"):
        read_experiment(file, [])


def test_the_command(
    tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(PROJECT / "scripts" / "run_experiment.py"))["main"]
    main([])
    assert "A6" in (told := capsys.readouterr().out) and "Idempotence" in told
    with pytest.raises(SystemExit) as caught:
        main(["A1", "A7", "codec=nowhere"])  # the last is wrong, and nothing is run
    told = capsys.readouterr().err
    assert caught.value.code == 2 and told.startswith("error: A7: no such experiment") and told.count("\n") == 1
    places = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", f"runs={tmp_path / 'runs'}"]
    main(["A1", "A6", *places, *TINY])
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "runs").iterdir()) == ["A1", "A6"]
