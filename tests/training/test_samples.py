"""Samples on disk."""

import json
import math
from pathlib import Path

import pytest
import soundfile
import torch

from codec_ft.training.samples import plain, write_sample


def test_sample_holds_its_waves_and_their_facts(tmp_path: Path) -> None:
    waves = {"input": torch.tensor([[0.5, -0.25, 0.0]]), "output": torch.tensor([[0.125, 0.0, 0.0]])}
    write_sample(tmp_path / "song @ 1.0 s", waves, 8000, {"track": "sóng", "value": math.nan, "codes": torch.arange(3)})
    folder = tmp_path / "song @ 1.0 s"
    assert sorted(path.name for path in folder.iterdir()) == ["input.wav", "output.wav", "sample.json"]
    audio, rate = soundfile.read(folder / "input.wav")
    assert rate == 8000 and audio.tolist() == [0.5, -0.25, 0.0]
    facts = json.loads((folder / "sample.json").read_text())
    assert facts == {"track": "sóng", "value": None, "codes": [0, 1, 2], "scale": 1.0}


def test_loud_samples_are_scaled_alike(tmp_path: Path) -> None:
    write_sample(tmp_path, {"input": torch.tensor([[1.998, 0.0]]), "output": torch.tensor([[-0.5, 0.0]])}, 8000, {})
    assert json.loads((tmp_path / "sample.json").read_text())["scale"] == pytest.approx(0.5)
    audio = {name: soundfile.read(tmp_path / f"{name}.wav")[0][0] for name in ("input", "output")}
    assert audio == pytest.approx({"input": 0.999, "output": -0.25}, abs=1e-4)


def test_silence_is_written_as_it_is(tmp_path: Path) -> None:
    write_sample(tmp_path, {"output": torch.zeros(1, 4)}, 8000, {})
    assert soundfile.read(tmp_path / "output.wav")[0].tolist() == [0, 0, 0, 0]


def test_plain_values() -> None:
    value = {1: torch.tensor([1.0, float("inf")]), "a": (2, "b", None, True), "c": torch.tensor(3)}
    assert plain(value) == {"1": [1.0, None], "a": [2, "b", None, True], "c": 3}
