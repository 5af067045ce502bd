"""Run folders: one configuration, one folder."""

import json
import math
from pathlib import Path

import pytest
from toy import toy_config

from codec_ft.atomic import TEMPORARY_PREFIX
from codec_ft.config import load_config
from codec_ft.errors import UserError
from codec_ft.training.config import ExperimentConfig
from codec_ft.training.run_folder import RunFolder, open_run


def test_new_folder_is_named_by_id_and_hash_and_found_again(tmp_path: Path) -> None:
    config = ExperimentConfig.model_validate({"id": "toy", "runs": tmp_path, "data": {"root": tmp_path}})
    run = open_run(config)
    assert run.path.parent == tmp_path and run.path.name.startswith("toy-")
    assert load_config(ExperimentConfig, [run.config], root=Path("/elsewhere")) == config
    assert run.checkpoints.is_dir() and not run.finished
    before = run.config.stat().st_mtime_ns
    assert open_run(config).path == run.path and run.config.stat().st_mtime_ns == before
    other = ExperimentConfig.model_validate({"id": "toy", "runs": tmp_path, "train": {"steps": 5}})
    assert open_run(other).path != run.path


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path) -> None:
    open_run(toy_config(tmp_path / "run", steps=700))
    config = toy_config(tmp_path / "run", steps=900, seed=1, log_every=5)
    with pytest.raises(UserError, match=r"train\.seed: 0 -> 1; train\.steps: 700 -> 900\)") as caught:
        open_run(config)
    assert "log_every" not in str(caught.value) and str(tmp_path / "run") in str(caught.value)


def test_runtime_options_may_change(tmp_path: Path) -> None:
    open_run(toy_config(tmp_path / "run", log_every=1))
    open_run(toy_config(tmp_path / "run", log_every=7, checkpoint_every=3))


def test_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    run = open_run(toy_config(tmp_path / "run"))
    run.config.write_text(run.config.read_text() + "warp: 9\n")
    with pytest.raises(UserError, match=r"another version or trainer.*warp: unknown key"):
        open_run(toy_config(tmp_path / "run"))


def test_folder_that_is_no_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(UserError, match=r"photos: is not empty and holds no config\.yaml"):
        open_run(toy_config(tmp_path / "photos"))
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]
    with pytest.raises(UserError, match=r"cat\.jpg: is not empty"):
        open_run(toy_config(tmp_path / "photos" / "cat.jpg"))


def test_killed_while_the_folder_was_made(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f"{TEMPORARY_PREFIX}123-config.yaml").write_text("id: to")
    run = open_run(toy_config(tmp_path / "run"))
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "config.yaml"]


def test_metrics_are_lines_of_json(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log({"step": 1, "split": "train", "loss": 0.5})
    run.log({"step": 2, "split": "valid", "usdr": math.nan, "worst": -math.inf})
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert lines == [
        {"step": 1, "split": "train", "loss": 0.5},
        {"step": 2, "split": "valid", "usdr": None, "worst": None},
    ]


def test_steps_that_will_be_taken_again_are_forgotten(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.forget_after(0)  # nothing there yet
    for step in (1, 2, 3):
        run.log({"step": step})
    with run.metrics.open("a") as file:
        file.write('{"step": 4, "lo')
    run.forget_after(2)
    assert run.metrics.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_results_finish_a_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.finish({"steps": 3})
    assert run.finished and json.loads(run.results.read_text()) == {"steps": 3}
