"""Shipping a codec: half-precision weights, and a card on which every number is true."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from codec_ft.codec_training.card import card_text, plot_curves, ship
from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.codec_training.report import measure_codec
from codec_ft.codecs.load import load_codec
from codec_ft.config import save_yaml
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
    results = {"status": "finished", "steps": 60, "seconds": 5400.0, "checkpoint": "best, step 55"}
    (folder / "results.json").write_text(json.dumps(results))
    lines = [{"step": s, "split": "train", "mel": 1 / s, "commitment": None} for s in range(1, 9)]
    lines += [{"step": 8, "split": "valid", "mel": 0.2, "si_sdr": 7.0}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def test_what_is_shipped_is_what_was_measured(run: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "small"
    card = ship(run, folder, [data])
    assert card == folder / "card.md"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "card.md", "card.json", "curves.png",
    }  # fmt: skip
    assert all(value.dtype == torch.float16 for value in load_file(folder / "model.safetensors").values())

    facts = json.loads((folder / "card.json").read_text())
    codec = load_codec(str(folder))
    again = measure_codec(codec, data, "test", ["bass", "drums", "mixture"], seconds=1.0, per_track=2)
    assert facts["measured"] == {"small": json.loads(json.dumps(again))}
    assert again["excerpts"] == 12  # two tracks of 2 s, two of 1 s each, three stems
    assert facts["training_data"]["tracks"] == {"train": 4, "valid": 2, "test": 2}
    assert facts["parameters"] == sum(value.numel() for value in codec.parameters())
    assert (facts["name"], facts["steps"], facts["hours"], facts["checkpoint"]) == ("small", 60, 1.5, "best, step 55")
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")

    text = card.read_text()
    assert text == card_text(facts)
    assert "8000 Hz mono, 400 frames per second, 4.8 kbps" in text  # 400 Hz x 3 codebooks x 4 bits
    assert "--seed 5 --seconds 2 --train 4 --valid 2 --test 2" in text
    assert "60 steps of 6 x 0.5 s, seed 0, 1.5 hours" in text
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
    with pytest.raises(UserError, match="codec"):
        ship(run, tmp_path / "weights", [data])


def test_curves_of_a_run_without_some_terms(run: Path, tmp_path: Path) -> None:
    plot_curves(run / "metrics.jsonl", tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").stat().st_size > 1000
