"""Fine-tuning as a task of the training loop: its data, its validation, what it writes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from codec_ft.data.dataset import Batch, ExcerptDataset, PairDataset, collate
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.task import FinetuneTask

MakeTask = Callable[..., FinetuneTask]


def with_data(tiny_set: Path, **changes: object) -> dict:
    return {"data": {"root": tiny_set, "seconds": 0.5, "valid_seconds": 1.0, **changes}}


def test_the_options_of_the_thesis() -> None:
    config = FinetuneConfig(id="x")
    assert (config.stem, config.input, config.start, config.target) == ("bass", "mixture", "pretrained", "latents")
    for wrong in ({"start": "warm"}, {"target": "codes"}, {"decode": "audio"}, {"bridge": 1}):
        with pytest.raises(ValidationError):
            FinetuneConfig.model_validate({"id": "x", **wrong})


def test_training_pairs(make_task: MakeTask, tiny_set: Path) -> None:
    data = make_task().train_data(9)
    assert isinstance(data, PairDataset) and len(data) == 9
    assert {track.split for track in data.tracks} == {"train"}
    for index in range(9):
        item = data[index]
        assert item["input"].shape == item["target"].shape == (1, 4000)
        # The mixture is bass and drums: what is left has the drums' level, which fades after each beat.
        assert 0 < float((item["input"] - item["target"]).std()) < 0.2
    same = make_task().train_data(9)
    assert torch.equal(same[4]["target"], data[4]["target"])
    other = make_task(train={"seed": 1}).train_data(9)
    assert not torch.equal(other[4]["target"], data[4]["target"])

    rough = make_task(input="separated/rough").train_data(2)[1]
    torch.testing.assert_close(rough["target"], data[1]["target"])
    residue = (rough["input"] - rough["target"]) - 0.3 * (data[1]["input"] - data[1]["target"])
    assert float(residue.abs().max()) < 2e-4  # three times 16 bit


def test_remixed_pairs_when_asked_for(make_task: MakeTask, tiny_set: Path) -> None:
    data = make_task(**with_data(tiny_set, remix_probability=1.0, gain_db=(-6.0, -6.0))).train_data(3)
    plain = make_task().train_data(3)
    assert data[0]["name"].endswith("(remix)")
    torch.testing.assert_close(data[0]["target"], plain[0]["target"] * 10 ** (-6 / 20))
    separated = make_task(input="separated/rough", **with_data(tiny_set, remix_probability=1.0)).train_data(3)
    assert not separated[0]["name"].endswith("(remix)")  # nobody separated a remix


def test_validation_excerpts_are_fixed(make_task: MakeTask) -> None:
    first, second = make_task().valid_data(), make_task(train={"seed": 9}).valid_data()
    assert isinstance(first, ExcerptDataset) and isinstance(second, ExcerptDataset)
    assert [e.name for e in first.excerpts] == [e.name for e in second.excerpts]
    assert [e.track.split for e in first.excerpts] == ["valid"] * 4  # two tracks of 2 s, two excerpts of 1 s each
    assert first[0]["input"].shape == (1, 8000)


def test_other_inputs_at_the_same_places(make_task: MakeTask) -> None:
    task = make_task(input="separated/rough")
    rough, mixture = (task.excerpts("test", 1.0, 1, source) for source in ("separated/rough", "mixture"))
    assert [e.name for e in rough.excerpts] == [e.name for e in mixture.excerpts]
    for a, b in zip(rough, mixture, strict=True):
        assert torch.equal(a["target"], b["target"])
        torch.testing.assert_close(a["input"] - a["target"], 0.3 * (b["input"] - b["target"]), rtol=0, atol=2e-4)


def test_only_the_warm_encoder_is_trained(make_task: MakeTask) -> None:
    task = make_task()
    assert list(task.phases) == [task.main] == ["encoder"]
    trained = sum(p.numel() for p in task.phases["encoder"].parameters())
    fresh = sum(p.numel() for p in task.codec.new_encoder("pretrained").parameters())
    assert trained == fresh > 0


@pytest.mark.parametrize("decode", ["codes", "latents"])
@pytest.mark.parametrize("target", ["latents", "quantized"])
@torch.no_grad()
def test_validation_against_direct_computation(lively_task: MakeTask, decode: str, target: str) -> None:
    task = lively_task(decode=decode, target=target)
    codec, data = task.codec, task.valid_data()
    batch = collate([data[i] for i in range(3)])  # type: ignore[arg-type]
    # A silent part in the second item, whose frames must not count.
    batch = Batch(batch.input, batch.target.clone(), batch.names)
    batch.target[1, :, 4000:] = 0
    found = task.validate(task.step, batch)
    assert task.best_metric in found
    for i in range(3):
        source, wave = batch.input[i : i + 1], batch.target[i : i + 1]
        warm, untouched = task.step.warm_encoder(source), codec.encode(source)
        wanted_codes, quantized = codec.quantize(codec.encode(wave))
        wanted = quantized if target == "quantized" else codec.encode(wave)
        assert found["latent_mse"][i].item() == pytest.approx(float((warm - wanted).pow(2).mean()), rel=1e-3)
        assert found["latent_mse_untouched"][i].item() == pytest.approx(
            float((untouched - wanted).pow(2).mean()), rel=1e-3
        )
        codes, out = codec.quantize(warm)
        output = codec.decode(out if decode == "codes" else warm, 8000)
        for name, audio in {"usdr": output, "usdr_input": source}.items():
            ratio = 10 * torch.log10((wave.pow(2).sum() + 1e-7) / ((wave - audio).pow(2).sum() + 1e-7))
            assert found[name][i].item() == pytest.approx(float(ratio), abs=1e-2)
        loud = wave.reshape(400, 20).pow(2).mean(dim=1) > 1e-6  # -60 dB
        assert loud.sum() < 400 if i == 1 else loud.sum() > 0
        copied = codec.quantize(untouched)[0]
        for name, answer in {"token_accuracy_1": codes, "copy_input_accuracy_1": copied}.items():
            share = float((answer == wanted_codes)[0, 0, loud].double().mean())
            assert found[name][i].item() == pytest.approx(share, abs=1e-2)


def test_what_it_exports_is_the_warm_encoder(lively_task: MakeTask, tmp_path: Path) -> None:
    task = lively_task()
    task.export(task.step, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["warm_encoder.safetensors"]
    encoder = task.codec.new_encoder("random")
    encoder.load_state_dict(load_file(tmp_path / "run" / "warm_encoder.safetensors"))
    audio = 0.3 * torch.randn(1, 1, 500, generator=torch.Generator().manual_seed(0))
    assert torch.equal(encoder(audio), task.step.warm_encoder(audio))
