"""A decoder that learns to play what an enhancer predicts: who changes, what is compared, and what comes of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from small_enhancer import shake, write_enhancer, write_finished

from codec_ft.audio.files import read_audio
from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.codec_training.decoder_report import report_decoder
from codec_ft.codec_training.decoder_task import DecoderStep, DecoderTask
from codec_ft.codecs.load import load_codec
from codec_ft.codecs.save import save_model
from codec_ft.data.dataset import PairDataset, collate
from codec_ft.errors import UserError
from codec_ft.finetune.load import load_enhancer
from codec_ft.metrics.waveform import usdr
from codec_ft.training.device import make_accelerator
from codec_ft.training.loop import train
from codec_ft.training.run_folder import open_run

MakeConfig = Callable[..., EncodecTrainingConfig]


@pytest.fixture
def make_config(tiny_set: Path, tiny_codec_folder: Path, tmp_path: Path) -> MakeConfig:
    """Makes the configuration of a second stage for a new enhancer, of which `facts` says more."""

    def make(facts: dict[str, Any] | None = None, **changes: Any) -> EncodecTrainingConfig:
        enhancer = tmp_path / "enhancer"
        write_enhancer(enhancer, tiny_codec_folder, **facts or {})
        settings: dict[str, Any] = {
            "id": "second",
            "run": tmp_path / "run",
            "start": str(tiny_codec_folder),
            "parts": "decoder",
            "enhancer": str(enhancer),
            "losses": {"log_mel": 2.0, "noise_to_signal": 1.0},
            "data": {
                "root": tiny_set,
                "seconds": 0.5,
                "valid_seconds": 1.0,
                "report_split": "test",
                "report_seconds": 2.0,
            },
            "train": {"steps": 15, "batch_size": 2, "validate_every": 15, "optimizer": {"learning_rate": 4e-3}},
        }
        return EncodecTrainingConfig.model_validate(settings | changes)

    return make


def make_task(config: EncodecTrainingConfig) -> DecoderTask:
    torch.manual_seed(0)
    return DecoderTask(config)


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


# What fits together


def test_an_enhancer_is_for_a_decoder_of_its_codec(make_config: MakeConfig) -> None:
    with pytest.raises(ValidationError, match="enhancer is for parts=decoder"):
        make_config(parts="all")
    with pytest.raises(ValidationError, match="enhancer needs start"):
        make_config(start=None)


def test_the_stem_is_the_enhancers(make_config: MakeConfig) -> None:
    for given in ("all", "bass"):
        task = make_task(make_config(stem=given))
        assert (task.stems, task.config.stem) == (["bass"], "bass")
    with pytest.raises(UserError, match=r"^stem=drums: enhancer=.* draws out the bass\. Leave stem out\."):
        make_task(make_config(stem="drums"))


def test_the_codec_is_the_enhancers(make_config: MakeConfig, tiny_codec_folder: Path, tmp_path: Path) -> None:
    task = make_task(make_config())
    other = task.step.model
    shake(other.decoder)
    save_model(other, tmp_path / "other decoder")
    make_task(make_config(start=str(tmp_path / "other decoder")))
    other.quantizer.layers[1].codebook.embed += 0.01
    save_model(other, tmp_path / "other codes")
    with pytest.raises(UserError, match=rf"other codes: has other codes than .*Set start={tiny_codec_folder}\."):
        make_task(make_config(start=str(tmp_path / "other codes")))
    with pytest.raises(UserError, match="no such enhancer"):
        make_task(make_config(enhancer="nothing"))


# What it hears and what it is compared with


def test_it_hears_what_the_enhancer_did(make_config: MakeConfig, tiny_set: Path) -> None:
    heard = {"input": "separated/rough", "train_inputs": {"separated/rough": 3.0, "target": 1.0}, "context": "mixture"}
    task = make_task(make_config(heard))
    data, expected = task.train_data(12), None
    expected = PairDataset(
        tracks=data.tracks,  # type: ignore[attr-defined]
        stem="bass",
        inputs={"separated/rough": 3.0, "target": 1.0},
        context=["mixture"],
        sample_rate=8000,
        seconds=0.5,
        length=12,
        seed=0,
    )
    assert {track.split for track in expected.tracks} == {"train"}
    clean = 0
    for i in range(12):
        item, same = data[i], expected[i]
        assert all(torch.equal(item[key], same[key]) for key in ("input", "target", "context"))  # type: ignore[literal-required]
        clean += torch.equal(item["input"], item["target"])
    assert 0 < clean < 12, "both inputs are met"

    valid = task.valid_data()
    song = tiny_set / "separated" / "rough" / "valid" / "valid song 0" / "bass.wav"
    whole = torch.from_numpy(read_audio(song, sample_rate=8000)[0])
    start = round(valid.excerpts[0].start_seconds * 8000)  # type: ignore[attr-defined]
    torch.testing.assert_close(valid[0]["input"], whole[:, start : start + 8000], rtol=0, atol=1e-4)


@pytest.mark.parametrize("context", [[], ["mixture", "target"]])
@torch.no_grad()
def test_before_it_has_learnt_it_is_the_codec_on_predicted_codes(make_config: MakeConfig, context: list[str]) -> None:
    task = make_task(make_config({"input": "separated/rough", "context": context}))
    assert isinstance(task.step, DecoderStep)
    task.step.eval()
    batch = collate([task.valid_data()[i] for i in range(3)])
    enhancer = task.enhancer
    codes = enhancer.codes(batch.input, batch.context)
    assert not torch.equal(codes, enhancer.codec.quantize(enhancer.codec.encode(batch.target))[0])
    output = enhancer.codec.decode(enhancer.codec.codes_to_latents(codes), 8000)
    close(task.step.estimate(batch)[0], output)
    losses = task.step(batch)
    close(batch.output, output)
    wanted = task.step.reconstruction(output, batch.target)
    close(losses["loss"], 2.0 * wanted["log_mel"].mean() + wanted["noise_to_signal"].mean())
    assert not {"commitment", "perplexity_1"} & losses.keys(), "nothing is coded here"

    found = task.validate(task.step, batch)
    assert task.best_metric in found and all(values.shape == (3,) for values in found.values())
    for name in ("reconstruction", "log_mel_distance", "usdr"):
        torch.testing.assert_close(found[name], found[f"{name}_untouched"], rtol=0, atol=1e-3)
    ratio = 10 * torch.log10(batch.target.pow(2).sum((1, 2)) / (batch.target - output).pow(2).sum((1, 2)))
    torch.testing.assert_close(found["usdr"].float(), ratio, rtol=0, atol=1e-2)


# Learning


def test_only_the_decoder_learns_and_it_plays_better(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config()
    task = make_task(config)
    enhancer, codec = state_of(task.enhancer.enhancer), state_of(task.enhancer.codec)
    model = state_of(task.step.model)
    run = open_run(config)
    train(task, run, config.train, make_accelerator(config.train))
    for before, module in ((enhancer, task.enhancer.enhancer), (codec, task.enhancer.codec)):
        assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    changed = {name for name, value in task.step.model.state_dict().items() if not torch.equal(value, model[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)
    assert all(p.grad is None for p in [*task.enhancer.enhancer.parameters(), *task.enhancer.codec.parameters()])
    last = json.loads(run.metrics.read_text().splitlines()[-1])
    assert last["reconstruction"] < last["reconstruction_untouched"] - 0.2

    # What it leaves is a codec with the same codes, and an enhancer with another voice.
    task.export(task.step.eval(), run.path)
    write_finished(run.path, config)
    trained, plain = load_enhancer(run.path), load_enhancer(config.enhancer)  # type: ignore[arg-type]
    batch = collate([task.valid_data()[0]])
    assert torch.equal(trained.codes(batch.input), plain.codes(batch.input))
    with torch.no_grad():
        close(trained.decoded(batch.input), task.step.estimate(batch)[0])
    assert float(usdr(trained.decoded(batch.input), batch.target)) > float(
        usdr(plain.decoded(batch.input), batch.target)
    )
    assert torch.equal(load_codec(run.path).codebooks(), plain.codec.codebooks())
    with torch.no_grad():
        close(load_codec(run.path).decode(plain.quantized(batch.input), 8000), trained.decoded(batch.input))


def test_against_discriminators(make_config: MakeConfig) -> None:
    config = make_config(
        balancer=True,
        losses={"log_mel": 2.0, "adversarial": 0.5, "feature": 0.5},
        discriminators={"stft_windows": [64, 32], "stft_filters": 2, "heard_after": 1},
        train={"steps": 3, "batch_size": 2, "validate_every": 3, "log_every": 1},
    )
    run = open_run(config)
    train(make_task(config), run, config.train, make_accelerator(config.train))
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert all("discriminator_loss" in line for line in lines[:3])
    heard = [{"adversarial", "feature"} <= line.keys() for line in lines[:3]]
    assert heard == [False, False, True], "discriminators are heard after they have learnt for more than one step"


def test_an_enhancer_that_gave_latents_gives_codes_to_its_decoder(make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config({"decode": "latents"})
    task = make_task(config)
    task.export(task.step.eval(), tmp_path / "run")
    trained = load_enhancer(tmp_path / "run")
    assert trained.facts.decode == "codes"
    batch = collate([task.valid_data()[0]])
    with torch.no_grad():
        close(trained.decoded(batch.input), task.step.estimate(batch)[0])


# The report


@pytest.mark.parametrize("facts", [{}, {"input": "separated/rough", "context": ["target"]}])
def test_the_table(make_config: MakeConfig, tiny_set: Path, tmp_path: Path, facts: dict[str, Any]) -> None:
    task = make_task(make_config(facts))
    shake(task.step.model.decoder)
    module = task.step.eval()
    assert isinstance(module, DecoderStep)
    found = report_decoder(task, module, tmp_path / "samples", "step 7", torch.device("cpu"))
    assert (found["report_split"], found["excerpts"], found["excerpt_seconds"]) == ("test", 2, 2.0)
    source = facts.get("input", "mixture")
    floors = ["mixture (floor)"] if not facts else ["separated/rough (floor)", "mixture (floor)", "target (floor)"]
    rows = {row["system"]: row for row in found["rows"]}
    assert list(rows) == [*floors, "untouched decoder", "output", "quantized_target (ceiling)"]
    assert [row["role"] for row in rows.values()] == ["floor"] * len(floors) + ["baseline", "output", "ceiling"]

    values: dict[str, list[float]] = {}
    codec = task.enhancer.codec
    for song in ("test song 0", "test song 1"):
        places = {"mixture": "test", "bass": "test", "rough": "separated/rough/test"}
        mixture, bass, rough = (
            torch.from_numpy(
                read_audio(tiny_set / folder / song / f"{'bass' if name == 'rough' else name}.wav", sample_rate=8000)[0]
            )[None]
            for name, folder in places.items()
        )
        audio, context = (rough, bass) if facts else (mixture, None)
        latents = task.enhancer.quantized(audio, context)
        with torch.no_grad():
            systems = {
                f"{source} (floor)": audio,
                "mixture (floor)": mixture,
                "untouched decoder": codec.decode(latents),
                "output": module.model.decoder(latents),
                "quantized_target (ceiling)": codec.decode(codec.quantize(codec.encode(bass))[1]),
            }
        for name, wave in systems.items():
            values.setdefault(name, []).append(float(usdr(wave, bass)))
    for name, both in values.items():
        assert rows[name]["against"]["target"]["usdr"] == pytest.approx(sum(both) / 2, abs=1e-2), name
    assert rows["output"]["against"]["target"]["usdr"] != rows["untouched decoder"]["against"]["target"]["usdr"]

    sample = sorted((tmp_path / "samples").iterdir())[0]
    wavs = {"input", "untouched_decoder", "output", "quantized_target", "target"}
    assert {path.stem for path in sample.glob("*.wav")} == wavs | ({"mixture", "context"} if facts else set())
    side_car = json.loads((sample / "sample.json").read_text())
    assert (side_car["stem"], side_car["input"], side_car["checkpoint"]) == ("bass", source, "step 7")
