"""Shipping a codec: half-precision weights, and a card on which every number is true."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from codec_ft.codec_training.card import card_text, ship, stages
from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.codec_training.curves import ship_curves
from codec_ft.codec_training.report import measure_codec
from codec_ft.codecs.load import load_codec
from codec_ft.config import load_config, save_yaml
from codec_ft.errors import UserError


@pytest.fixture
def data(tiny_set: Path, tmp_path: Path) -> Path:
    """The tiny set with the record that the demo composer leaves."""
    root = Path(shutil.copytree(tiny_set, tmp_path / "sets" / "small"))
    (root / "dataset.json").write_text(json.dumps({"generator": "demo", "version": 1, "seed": 5, "seconds": 2.0}))
    return root


@pytest.fixture
def run(codec_config: EncodecTrainingConfig, tiny_codec_folder: Path, data: Path, tmp_path: Path) -> Path:
    """The folder of a finished training, of the tiny codec."""
    folder = tmp_path / "runs" / "tiny-codec-1"
    shutil.copytree(tiny_codec_folder, folder / "codec")
    moved = codec_config.data.model_copy(update={"root": data})
    save_yaml(codec_config.model_copy(update={"data": moved}), folder / "config.yaml")
    results = {"steps": 60, "seconds": 5400.0, "checkpoint": "best, step 55", "device": "cpu"}
    (folder / "results.json").write_text(json.dumps(results))
    lines = [{"step": s, "split": "train", "log_mel": 1 / s, "commitment": None} for s in range(1, 9)]
    lines += [{"step": 8, "split": "valid", "log_mel": 0.2, "si_sdr": 7.0}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def test_what_is_shipped_is_what_was_measured(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "small"
    card = ship(run, folder, [data])
    assert card == folder / "card.md"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "card.md", "card.json", "curves.json", "curves.png",
    }  # fmt: skip
    assert all(value.dtype == torch.float16 for value in load_file(folder / "model.safetensors").values())

    facts = json.loads((folder / "card.json").read_text())
    codec = load_codec(str(folder))
    again = measure_codec(codec, data, "test", ["bass", "drums", "mixture"], seconds=1.0, per_track=2)
    assert facts["measured"] == {"small": json.loads(json.dumps(again))}
    assert again["excerpts"] == 12  # two tracks of 2 s, two of 1 s each, three stems
    assert facts["training_data"]["tracks"] == {"train": 4, "valid": 2, "test": 2}
    assert facts["parameters"] == sum(value.numel() for value in codec.parameters())
    assert facts["name"] == "small" and facts["compared"] is None
    (stage,) = facts["stages"]
    assert (stage["steps"], stage["hours"], stage["checkpoint"]) == (60, 1.5, "best, step 55")
    assert stage["config"]["data"]["root"] == "small" and "runs" not in stage["config"], "no folders of this machine"
    assert str(tmp_path) not in json.dumps(facts)

    text = card.read_text()
    assert text == card_text(facts)
    assert "8000 Hz mono, 400 frames per second, 4.8 kbps" in text  # 400 Hz x 3 codebooks x 4 bits
    assert "--seed 5 --seconds 2 --train 4 --valid 2 --test 2" in text
    assert "train_codec.py tiny-codec run=runs/tiny-codec`, 60 steps of 6 x 0.5 s, seed 0, 1.5 hours on CPU" in text
    values = again["rows"][1]["against"]["target"]
    assert f"| drums | {values['si_sdr']:.1f} | {values['usdr']:.1f} |" in text
    assert f"| idempotence | {' | '.join(f'{share:.2f}' for share in again['tokens']['idempotence'])} |" in text
    assert f"count the {again['frames']} non-silent frames" in text


def test_an_unfinished_run_is_not_shipped(run: Path, data: Path, tmp_path: Path) -> None:
    (run / "results.json").unlink()
    with pytest.raises(UserError, match="the training is not finished"):
        ship(run, tmp_path / "weights", [data])
    assert not (tmp_path / "weights").exists()


def test_a_codec_of_other_music_is_not_shipped(run: Path, data: Path, tmp_path: Path) -> None:
    (data / "dataset.json").unlink()
    with pytest.raises(UserError, match=r"dataset\.json: is missing; only codecs trained on music of"):
        ship(run, tmp_path / "weights", [data])
    assert not (tmp_path / "weights").exists()


def test_a_run_of_another_kind_is_not_shipped(run: Path, data: Path, tmp_path: Path) -> None:
    (run / "config.yaml").write_text("task: finetune\nid: other\ncodec: demo\n")
    with pytest.raises(UserError, match="is of a training of task 'finetune', expected a codec: encodec, dac"):
        ship(run, tmp_path / "weights", [data])


def test_a_codec_is_compared_with_the_one_before_it(run: Path, data: Path, tmp_path: Path) -> None:
    """Even if that stands in the folder that is written to: it is measured first."""
    folder = tmp_path / "weights" / "small"
    ship(run, folder, [data])
    state = load_file(run / "codec" / "model.safetensors")
    louder = {name: value * 2 if name.startswith("decoder.layers.0.") else value for name, value in state.items()}
    save_file(louder, run / "codec" / "model.safetensors", metadata={"format": "pt"})
    ship(run, folder, [data], against=str(folder))
    facts = json.loads((folder / "card.json").read_text())
    assert facts["against"] == "small"
    rows = [found["small"]["rows"][0]["against"]["target"] for found in (facts["measured"], facts["compared"])]
    assert rows[0]["usdr"] != rows[1]["usdr"]
    text = (folder / "card.md").read_text()
    assert f"| bass | {rows[0]['si_sdr']:.1f} ({rows[1]['si_sdr']:.1f}) |" in text
    assert "In brackets: `small` before" in text


def test_a_training_that_started_from_another_has_two_stages(run: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(run, tmp_path / "runs" / "second"))
    config = load_config(EncodecTrainingConfig, [run / "config.yaml"], root=tmp_path)
    save_yaml(config.model_copy(update={"start": str(run), "id": "second"}), second / "config.yaml")
    found = stages(second)
    assert [stage["config"]["id"] for stage in found] == ["tiny-codec", "second"]
    save_yaml(config.model_copy(update={"start": "demo"}), second / "config.yaml")
    assert len(stages(second)) == 1, "a shipped codec is no run"


def test_curves_are_kept_as_numbers_and_as_a_picture(run: Path, tmp_path: Path) -> None:
    ship_curves(run / "metrics.jsonl", tmp_path / "new")
    curves = json.loads((tmp_path / "new" / "curves.json").read_text())
    assert curves["train"] == {
        "log_mel": [[1, 1.0], [2, 0.5], [3, 0.3333]] + [[s, float(f"{1 / s:.4g}")] for s in range(4, 9)]
    }
    assert curves["valid"] == {"log_mel": [[8, 0.2]], "si_sdr": [[8, 7.0]]}
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")
