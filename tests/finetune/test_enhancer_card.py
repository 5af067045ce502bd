"""Shipping an enhancer: half-precision weights, and a card on which every number is true."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_enhancer import shake, write_finished

from codec_ft.audio.files import read_audio
from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.codec_training.enhancer_card import card_text, ship_enhancer
from codec_ft.codecs import load as codecs_load
from codec_ft.codecs.load import load_codec
from codec_ft.config import config_hash, load_config
from codec_ft.errors import UserError
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.load import EXPORTED, load_enhancer
from codec_ft.finetune.save import save_enhancer
from codec_ft.finetune.task import FinetuneTask
from codec_ft.metrics.waveform import si_sdr, usdr
from codec_ft.training import stem_cards
from codec_ft.training.stem_results import report

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(
    make_task: Callable[..., FinetuneTask],
    composed_set: Path,
    tiny_codec_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> MakeRun:
    """Leaves the folder of a finished fine-tuning of a codec that everybody has, called tiny."""
    monkeypatch.setattr(codecs_load, "SHIPPED", tiny_codec_folder.parent)

    def make(name: str = "run", **changes: Any) -> Path:
        settings = {"root": composed_set, "seconds": 0.5, "valid_seconds": 1.0, "report_seconds": 0.5}
        changes = {"codec": "tiny", **changes, "data": settings | changes.get("data", {})}
        task, folder = make_task(**changes), tmp_path / "runs" / name
        shake(task.step.enhancer)
        write_finished(folder, task.config)
        task.export(task.step, folder)
        return folder

    return make


def config_of(run: Path, *changes: str) -> FinetuneConfig:
    return load_config(FinetuneConfig, [run / "config.yaml"], changes, root=run)


def add_decoder(run: Path, decoder_run: Path) -> Path:
    """Leave the folder of a finished training of a decoder for the enhancer of `run`."""
    trained = load_enhancer(run)
    decoder = load_codec("tiny").get_submodule("decoder")
    shake(decoder, by=0.01)
    save_enhancer(
        trained.enhancer, trained.facts.model_copy(update={"decode": "codes"}), decoder_run / EXPORTED, decoder=decoder
    )
    settings = {
        "id": "second",
        "start": "tiny",
        "parts": "decoder",
        "enhancer": str(run),
        "losses": {"log_mel": 1.0},
        "data": {"root": config_of(run).data.root},
    }
    write_finished(decoder_run, EncodecTrainingConfig.model_validate(settings))
    return decoder_run


def test_what_is_shipped_is_what_was_measured(make_run: MakeRun, composed_set: Path, tmp_path: Path) -> None:
    run, folder = make_run(), tmp_path / "weights" / "tiny_bass"
    assert ship_enhancer(run, folder) == folder / "card.md"
    assert {path.name for path in folder.iterdir()} == {
        "config.json", "model.safetensors", "card.md", "card.json", "training.yaml",
    }  # fmt: skip
    assert all(value.dtype == torch.float16 for value in load_file(folder / "model.safetensors").values())
    facts, text = json.loads((folder / "card.json").read_text()), (folder / "card.md").read_text()
    assert text == card_text(facts)
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), "no folders of this machine"

    # The report of a training whose weights are those that were written.
    task = FinetuneTask(config_of(run, "data.report_split=test"), load_codec("tiny"))
    task.step.enhancer.load_state_dict(
        {n: v.half().float() for n, v in load_file(run / "enhancer.safetensors").items()}
    )
    wanted = report(task, task.step.eval(), tmp_path / "samples", "", torch.device("cpu"))
    assert facts["measured"]["rows"] == json.loads(json.dumps(wanted["rows"]))
    assert facts["measured"]["tokens"] == json.loads(json.dumps(wanted["tokens"]))
    assert facts["measured"]["report_split"] == "test" and config_of(run).data.report_split == "valid"


def test_the_numbers_against_direct_computation(make_run: MakeRun, composed_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "weights" / "tiny_bass"
    run = make_run(data={"report_seconds": 2.0})  # whole songs
    text = ship_enhancer(run, folder).read_text()
    facts = json.loads((folder / "card.json").read_text())
    trained = load_enhancer(folder)
    levels: dict[str, list[tuple[float, float]]] = {"output": [], "mixture (floor)": []}
    hits, frames = torch.zeros(3), 0
    for song in sorted((composed_set / "test").iterdir()):
        mixture, bass = (
            torch.from_numpy(read_audio(song / f"{name}.wav", sample_rate=8000)[0])[None]
            for name in ("mixture", "bass")
        )
        codes, wanted = trained.codes(mixture), trained.codec.quantize(trained.codec.encode(bass))[0]
        loud = bass.reshape(-1, 20).pow(2).mean(dim=1) > 1e-6  # -60 dB
        hits += (codes == wanted)[0, :, loud].sum(dim=1)
        frames += int(loud.sum())
        for system, audio in (("output", trained.decoded(mixture)), ("mixture (floor)", mixture)):
            levels[system].append((float(si_sdr(audio, bass)), float(usdr(audio, bass))))
    for system, values in levels.items():
        means = [sum(column) / 2 for column in zip(*values, strict=True)]
        assert f"| {system} | {means[0]:.1f} | {means[1]:.1f} |" in text
    assert f"| this enhancer | {' | '.join(f'{float(share):.3f}' for share in hits / frames)} |" in text
    assert f"in {frames} non-silent frames" in text
    assert facts["parameters"] == sum(p.numel() for p in trained.enhancer.parameters())


def test_how_it_was_made(make_run: MakeRun, composed_set: Path, tmp_path: Path) -> None:
    run = make_run(
        input="separated/rough",
        context="mixture",
        bridge={"kind": "rotary", "gives": "latents", "layers": 1, "heads": 2},
    )
    text = ship_enhancer(run, tmp_path / "tiny_bass").read_text()
    assert "Hears the bass as `rough` separates it, with `mixture` beside it and gives the bass" in text
    assert "a trained copy of the codec's encoder and a rotary bridge to latents" in text
    assert "8000 Hz mono. The codec's decoder makes sound of its codes. " in text and "Licence: MIT." in text
    assert "prepare_data.py demo --root data/small --seed 5 --seconds 2 --train 4 --valid 2 --test 2 --no-sep" in text
    assert "prepare_data.py separate --with rough --root data/small`" in text
    assert (
        "train_codec.py FOLDER/training.yaml run=runs/tiny`, 60 steps of 8 x 0.5 s, seed 0, 1.5 hours on CPU; "
        "the best, step 55." in text
    )
    assert "ship_enhancer.py runs/tiny FOLDER`" in text
    again = load_config(FinetuneConfig, [tmp_path / "tiny_bass" / "training.yaml"], root=Path("/elsewhere"))
    assert again.data.root == Path("/elsewhere/data/small")
    assert config_hash(again) == config_hash(config_of(run)), "the same training"


@pytest.mark.parametrize(
    ("cut", "words"),
    [({"whole": True}, "--whole"), ({"grid_seconds": 0.25}, "--seconds 0.5 --grid 0.25")],
)
def test_what_was_stored_before_is_told(make_run: MakeRun, tmp_path: Path, cut: dict[str, Any], words: str) -> None:
    run = make_run(input="separated/rough", context="mixture", data={"encoded": True, **cut})
    text = ship_enhancer(run, tmp_path / "tiny_bass").read_text()
    command = f"encode --root data/small --codec tiny --stem bass --input separated/rough --input mixture {words}`"
    assert text.count(f"- Latents: `python scripts/prepare_data.py {command}") == 1


def test_remixes_beside_the_songs(make_run: MakeRun, composed_set: Path, tmp_path: Path) -> None:
    more = Path(shutil.copytree(composed_set, tmp_path / "sets" / "more"))
    made = {"generator": "remix", "seed": 6, "seconds": 10.0, "gain_db": [-6.0, 3.0], "source": "small"}
    described = made | {"source_made_by": json.loads((composed_set / "dataset.json").read_text())}
    (more / "dataset.json").write_text(json.dumps(described))
    run, folder = make_run(input="separated/rough", data={"extra": [str(more)]}), tmp_path / "tiny_bass"
    text = ship_enhancer(run, folder).read_text()
    assert "demo --root data/small --seed 5" in text
    assert (
        "prepare_data.py remix --root data/small --out data/more --tracks 4 --seconds 10 --gain-db -6 3 --seed 6`"
        in text
    )
    assert all(f"separate --with rough --root data/{name}`" in text for name in ("small", "more"))
    again = load_config(FinetuneConfig, [folder / "training.yaml"], root=tmp_path)
    assert [path.name for path in again.data.extra] == ["more"]
    assert yaml.safe_load((folder / "training.yaml").read_text())["data"]["extra"] == ["data/more"]

    (more / "dataset.json").write_text(json.dumps(described | {"source_made_by": None}))
    with pytest.raises(UserError, match="only enhancers trained on music of"):
        ship_enhancer(run, folder)


def test_with_a_decoder_of_its_own(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(decode="latents")
    decoder_run = add_decoder(run, tmp_path / "runs" / "second")
    folder = tmp_path / "tiny_bass"
    text = ship_enhancer(run, folder, decoder_run).read_text()
    facts = json.loads((folder / "card.json").read_text())
    assert load_enhancer(folder).player is not load_enhancer(folder).codec
    rows = {row["system"]: row for row in facts["measured"]["rows"]}
    assert list(rows)[2:] == [
        "output, by the codec's decoder", "output", "quantized_target (ceiling)",
    ]  # fmt: skip
    assert rows["output"]["role"] == "output" and rows["output, by the codec's decoder"]["role"] == "baseline"
    assert (
        rows["output"]["against"]["target"]["usdr"]
        != rows["output, by the codec's decoder"]["against"]["target"]["usdr"]
    )
    assert facts["own_decoder"] and facts["decode"] == "codes"
    assert "A decoder of its own, trained on what it predicts makes sound of its codes." in text
    assert "train_codec.py FOLDER/decoder_training.yaml run=runs/second`" in text
    assert "FOLDER --decoder DECODER_RUN`" in text
    second = yaml.safe_load((folder / "decoder_training.yaml").read_text())
    assert (second["enhancer"], second["start"], second["data"]["root"]) == ("tiny_bass", "tiny", "data/small")
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()

    ship_enhancer(run, folder)
    assert not (folder / "decoder.safetensors").exists() and not (folder / "decoder_training.yaml").exists()


def test_the_decoder_of_another_enhancer_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    run, other = make_run(), make_run("other")
    decoder_run = add_decoder(other, tmp_path / "runs" / "second")
    stranger = load_enhancer(decoder_run)
    shake(stranger.enhancer, seed=3)
    save_enhancer(
        stranger.enhancer, stranger.facts, decoder_run / EXPORTED, decoder=stranger.player.get_submodule("decoder")
    )
    with pytest.raises(
        UserError, match=r"second: trained no decoder for .*run, but for another enhancer\. Train one: "
    ):
        ship_enhancer(run, tmp_path / "tiny_bass", decoder_run)
    with pytest.raises(UserError, match="is of a training of task 'finetune', expected a decoder: encodec, dac"):
        ship_enhancer(run, tmp_path / "tiny_bass", other)
    assert not (tmp_path / "tiny_bass").exists()


def test_what_is_not_shipped(
    make_run: MakeRun, composed_set: Path, tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(run: Path, match: str) -> None:
        with pytest.raises(UserError, match=match):
            ship_enhancer(run, tmp_path / "tiny_bass")
        assert not (tmp_path / "tiny_bass").exists()

    refused(make_run("own", codec=str(tiny_codec_folder)), "lies in a folder of this machine. What is shipped needs a")
    refused(make_run("song", data={"scope": "song"}), r"has learnt one song by heart\. Ship a run with data\.scope=set")
    run = make_run()
    monkeypatch.setattr(stem_cards, "LARGEST_MB", 0.001)
    refused(run, r"MB of weights in half precision, more than the 0\.001 MB that are shipped")
    monkeypatch.undo()
    monkeypatch.setattr(codecs_load, "SHIPPED", tiny_codec_folder.parent)
    (composed_set / "dataset.json").unlink()
    refused(run, r"dataset\.json: is missing; only enhancers trained on music of")
    (run / "results.json").unlink()
    refused(run, "the training is not finished")
    with pytest.raises(UserError, match="sets: is not empty and holds no enhancer"):
        ship_enhancer(run, tmp_path / "sets")
    with pytest.raises(UserError, match="tiny: is not empty and holds no enhancer"):
        ship_enhancer(run, tiny_codec_folder)
    assert (composed_set / "test").is_dir() and (tiny_codec_folder / "config.json").is_file()
