"""Shipping token models: half-precision weights, and a card on which every number is true."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_enhancer import shake, write_enhancer, write_finished

from codec_ft.audio.files import read_audio
from codec_ft.codecs import load as codecs_load
from codec_ft.codecs.load import load_codec
from codec_ft.config import config_hash, load_config
from codec_ft.errors import UserError
from codec_ft.finetune import load as enhancers_load
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.metrics.frechet import Gaussian, frechet_distance
from codec_ft.metrics.waveform import si_sdr, usdr
from codec_ft.training import stem_cards
from token_models import load as tokens_load
from token_models.load import load_token_models
from token_models.training.card import card_text, ship_token_models
from token_models.training.config import TokenTrainingConfig
from token_models.training.task import TokenModels, TokenTask

MakeRun = Callable[..., Path]
SMALL: dict[str, Any] = {"dim": 16, "heads": 2, "layers": 1, "dropout": 0.0, "condition": {"latents": True}}


@pytest.fixture
def make_run(composed_set: Path, tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """Leaves the folder of a finished training of token models for a codec that everybody has, called tiny."""
    monkeypatch.setattr(codecs_load, "SHIPPED", tiny_codec_folder.parent)

    def make(name: str = "run", **changes: Any) -> Path:
        data = {"root": composed_set, "seconds": 0.5, "valid_seconds": 1.0, "report_seconds": 2.0}
        settings: dict[str, Any] = {
            "id": "tiny",
            "codec": "tiny",
            "input": "separated/rough",
            "coarse": {**SMALL, "codebooks": 1},
            "fine": {**SMALL, "known": 1},
            "fine_seconds": 0.25,
            "sampling": {"steps": 2},
            "fine_sampling": {"steps": 1},
        }
        settings |= changes | {"data": data | changes.get("data", {})}
        torch.manual_seed(1)
        config = TokenTrainingConfig.model_validate(settings)
        task, folder = TokenTask(config, load_codec(config.codec)), tmp_path / "runs" / name
        module = task.phases["models"]
        assert isinstance(module, TokenModels)
        shake(module)
        write_finished(folder, config)
        task.export(module, folder)
        return folder

    return make


def config_of(run: Path) -> TokenTrainingConfig:
    return load_config(TokenTrainingConfig, [run / "config.yaml"], root=run)


def test_what_is_shipped_is_what_was_measured(make_run: MakeRun, composed_set: Path, tmp_path: Path) -> None:
    run, folder = make_run(), tmp_path / "weights" / "tiny_bass"
    assert ship_token_models(run, folder) == folder / "card.md"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "coarse.safetensors", "fine.safetensors", "card.md", "card.json", "training.yaml",
    }  # fmt: skip
    assert load_file(folder / "coarse.safetensors")["classifier"].dtype == torch.float16
    facts, text = json.loads((folder / "card.json").read_text()), (folder / "card.md").read_text()
    assert text == card_text(facts)
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), "no folders of this machine"

    models = load_token_models(folder)
    hits, frames, levels, latents = torch.zeros(3), 0, [], []
    for song in sorted((composed_set / "test").iterdir()):
        heard, bass = (
            torch.from_numpy(read_audio(path, sample_rate=8000)[0])[None]
            for path in (composed_set / "separated" / "rough" / "test" / song.name / "bass.wav", song / "bass.wav")
        )
        codes, wanted = models.codes(heard), models.codec.quantize(models.codec.encode(bass))[0]
        loud = bass.reshape(-1, 20).pow(2).mean(dim=1) > 1e-6  # -60 dB
        hits += (codes == wanted)[0, :, loud].sum(dim=1)
        frames += int(loud.sum())
        output = models.decoded(heard)
        levels.append((float(si_sdr(output, bass)), float(usdr(output, bass))))
        latents.append([models.codec.encode(sound)[0].T for sound in (output, bass)])
    means = [sum(column) / 2 for column in zip(*levels, strict=True)]
    assert f"| output | {means[0]:.1f} | {means[1]:.1f} |" in text
    written, clean = (Gaussian.of(torch.cat(column)) for column in zip(*latents, strict=True))
    assert re.search(rf"\| output \|.*\| {frechet_distance(written, clean):.2f} \|\n", text)
    assert f"| these models | {' | '.join(f'{float(share):.3f}' for share in hits / frames)} |" in text
    assert f"in {frames} non-silent frames" in text
    counted = {name: sum(p.numel() for p in model.parameters()) for name, model in models.models.items()}
    assert facts["parameters"] == counted


def test_how_they_were_made(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(context="mixture", data={"encoded": True, "whole": True})
    text = ship_token_models(run, tmp_path / "tiny_bass").read_text()
    assert "Hear the bass as `rough` separates it, with `mixture` beside it, and write codes of the bass" in text
    assert "a coarse model of 1 layers of 16 channels, 0.0" in text and "Licence: MIT." in text
    assert "prepare_data.py separate --with rough --root data/small`" in text
    command = "encode --root data/small --codec tiny --stem bass --input separated/rough --input mixture --whole`"
    assert f"- Latents: `python scripts/prepare_data.py {command}" in text
    assert "scripts/train_tokens.py FOLDER/training.yaml run=runs/tiny`, 60 steps of 8 x 0.5 s, seed 0" in text
    assert "ship_tokens.py runs/tiny FOLDER`" in text
    again = load_config(TokenTrainingConfig, [tmp_path / "tiny_bass" / "training.yaml"], root=Path("/elsewhere"))
    assert again.data.root == Path("/elsewhere/data/small")
    assert config_hash(again) == config_hash(config_of(run)), "the same training"


def test_models_that_hear_nothing(make_run: MakeRun, tmp_path: Path) -> None:
    deaf = {**SMALL, "condition": {}}
    data = {"encoded": True, "whole": True}
    run = make_run(coarse={**deaf, "codebooks": 2}, fine=None, given=[1], learn=["bass", "drums"], data=data)
    text = ship_token_models(run, tmp_path / "tiny_bass").read_text()
    assert "Go on from the first codebooks of the bass as `rough` separates it, and write codes of the bass" in text
    assert "encode --root data/small --codec tiny --stem bass --stem drums --whole`" in text
    assert "fine" not in {path.stem for path in (tmp_path / "tiny_bass").iterdir()}
    run = make_run("all", coarse={**deaf, "codebooks": 1}, fine=None)
    assert "Hear nothing, and write codes of the bass" in ship_token_models(run, tmp_path / "tiny_bass").read_text()


def test_an_enhancer_that_everybody_has(
    make_run: MakeRun, tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_enhancer(tmp_path / "enhancers" / "tiny_enhancer", Path("tiny"), input="separated/rough")
    write_enhancer(tmp_path / "own", Path("tiny"), input="separated/rough")
    monkeypatch.setattr(enhancers_load, "SHIPPED", tmp_path / "enhancers")

    def through(name: str) -> Path:
        hears = {"condition": {"latents": True, "enhanced": True}}
        return make_run(enhancer=name, coarse={**SMALL, **hears, "codebooks": 1}, fine={**SMALL, **hears, "known": 1})

    text = ship_token_models(through("tiny_enhancer"), tmp_path / "tiny_bass").read_text()
    assert "separates it, through the enhancer `tiny_enhancer`, and write codes" in text
    with pytest.raises(UserError, match=r"enhancer=.*own is one of this machine\. Ship it first"):
        ship_token_models(through(str(tmp_path / "own")), tmp_path / "other")


@pytest.mark.parametrize("adapted", [False, True])
def test_what_they_began_as(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapted: bool) -> None:
    if adapted:
        pytest.importorskip("peft")
    monkeypatch.setattr(tokens_load, "SHIPPED", tmp_path / "shipped")
    assert "Began as" not in ship_token_models(make_run(), tmp_path / "shipped" / "tiny_bass").read_text()
    run = make_run("next", start="tiny_bass", adapters={"rank": 4} if adapted else None)
    text = ship_token_models(run, tmp_path / "next").read_text()
    assert "- Began as `tiny_bass`, which has a card of its own" in text
    assert ("adapters of rank 4 alone learnt" in text) == adapted


def test_what_is_not_shipped(
    make_run: MakeRun, composed_set: Path, tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(run: Path, match: str) -> None:
        with pytest.raises(UserError, match=match):
            ship_token_models(run, tmp_path / "tiny_bass")
        assert not (tmp_path / "tiny_bass").exists()

    refused(make_run("own", codec=str(tiny_codec_folder)), "lies in a folder of this machine. What is shipped needs a")
    refused(make_run("song", data={"scope": "song"}), "has learnt one song by heart")
    run = make_run()
    refused(make_run("next", start=str(run)), "start=.* is not part of this package, and nobody else could train as")
    with monkeypatch.context() as small:
        small.setattr(stem_cards, "LARGEST_MB", 0.0001)
        refused(run, r"coarse: has 0\.0 MB of weights in half precision, more than the 0\.0001 MB that are shipped")
    (composed_set / "dataset.json").unlink()
    refused(run, r"dataset\.json: is missing; only token models trained on music of")
    finetuning = FinetuneConfig.model_validate({"id": "other", "codec": "tiny", "data": {"root": composed_set}})
    write_finished(tmp_path / "runs" / "other", finetuning)
    refused(tmp_path / "runs" / "other", "is of a training of task 'finetune', expected token models: masked")
    (run / "results.json").unlink()
    refused(run, "the training is not finished")
    with pytest.raises(UserError, match="sets: is not empty and holds no token models"):
        ship_token_models(run, tmp_path / "sets")
    assert (composed_set / "test").is_dir()
