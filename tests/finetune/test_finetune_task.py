"""Fine-tuning as a task of the training loop: its data, its validation, what it writes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from codec_ft.data.dataset import Batch, ExcerptDataset, PairDataset, collate
from codec_ft.errors import UserError
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.enhancer import Enhancer
from codec_ft.finetune.task import WEIGHTS, FinetuneTask

MakeTask = Callable[..., FinetuneTask]
ROTARY = {"bridge": {"kind": "rotary", "gives": "latents", "heads": 2, "layers": 1}}


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
        warm, untouched = task.step.enhancer(source).latents, codec.encode(source)
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


@pytest.mark.parametrize(
    "changes", [{}, {"context": "separated/rough", **ROTARY}], ids=["encoder", "context and bridge"]
)
def test_what_it_exports_is_the_enhancer(lively_task: MakeTask, tmp_path: Path, changes: dict) -> None:
    task = lively_task(**changes)
    task.export(task.step, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == [WEIGHTS] == ["enhancer.safetensors"]
    config = task.config
    torch.manual_seed(9)
    inputs = 2 if changes else 1
    enhancer = Enhancer(task.codec, start="random", bridge=config.bridge, inputs=inputs).eval()
    audio = 0.3 * torch.randn(1, inputs, 500, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(enhancer(audio).latents, task.step.enhancer(audio).latents)
    weights = load_file(tmp_path / "run" / WEIGHTS)
    assert all(name.startswith(("warm_encoder.", "bridge.")) for name in weights)
    enhancer.load_state_dict(weights)
    assert torch.equal(enhancer(audio).latents, task.step.enhancer(audio).latents)


# Inputs and scopes


@pytest.mark.parametrize("scope", ["song", "segment"])
@pytest.mark.parametrize("song", [None, "train song 2"])
def test_what_overfits_is_judged_on_what_it_overfits(
    make_task: MakeTask, tiny_set: Path, scope: str, song: str | None
) -> None:
    task = make_task(**with_data(tiny_set, scope=scope, song=song))
    name, data = song or "train song 0", task.train_data(6)
    assert isinstance(data, PairDataset)
    assert {track.name for track in data.tracks} == {name} and task.report_split == "train"
    items = [data[index] for index in range(6)]
    alike = [torch.equal(items[0]["target"], item["target"]) for item in items[1:]]
    assert all(alike) if scope == "segment" else not all(alike)
    valid, reported = task.valid_data(), task.excerpts(task.report_split, 1.0, 2, "mixture")
    assert isinstance(valid, ExcerptDataset)
    for excerpts in (valid, reported):
        assert {excerpt.track.name for excerpt in excerpts.excerpts} == {name}
    if scope == "segment":  # its very samples
        assert len(valid) == len(reported) == 1
        assert torch.equal(valid[0]["target"], items[0]["target"])
        assert torch.equal(reported[0]["target"], items[0]["target"])
        assert torch.equal(reported[0]["input"], items[0]["input"])
    assert [track.name for track in task.tracks("valid")] == [name]


def test_an_unknown_song_is_refused_with_the_nearest(make_task: MakeTask, tiny_set: Path) -> None:
    with pytest.raises(
        UserError, match=r"data\.song=train song 9: no such train track .* Did you mean train song"
    ) as e:
        make_task(**with_data(tiny_set, scope="song", song="train song 9")).train_data(1)
    assert "\n" not in str(e.value)


def test_the_set_is_judged_on_other_songs(make_task: MakeTask, tiny_set: Path) -> None:
    task = make_task()
    assert task.report_split == "test" and {track.split for track in task.tracks("valid")} == {"valid"}
    more = make_task(**with_data(tiny_set, extra=[str(tiny_set)]))
    data = more.train_data(1)
    assert isinstance(data, PairDataset) and len(data.tracks) == 8 and len(more.tracks("train")) == 4


def test_training_draws_from_several_inputs(make_task: MakeTask) -> None:
    """Half of the items are clean, the others rough: the rough ones differ from the target, the clean ones do not."""
    task = make_task(input="separated/rough", train_inputs={"separated/rough": 1.0, "target": 1.0})
    data = task.train_data(40)
    clean = [torch.equal(data[index]["input"], data[index]["target"]) for index in range(40)]
    assert 10 <= sum(clean) <= 30
    valid = task.valid_data()
    assert not any(torch.equal(valid[i]["input"], valid[i]["target"]) for i in range(len(valid)))  # type: ignore[arg-type]


def test_excerpts_are_played_faster_and_slower_in_training_alone(make_task: MakeTask, tiny_set: Path) -> None:
    task, plain = make_task(**with_data(tiny_set, speed=[0.8, 1.25])), make_task()
    speeds = [task.pairs(40).draw(index).speed for index in range(40)]
    assert 80 <= min(speeds) < 85 and 119 < max(speeds) <= 125
    assert {plain.pairs(40).draw(index).speed for index in range(40)} == {100}
    assert torch.equal(task.valid_data()[0]["target"], plain.valid_data()[0]["target"])


def test_context_comes_with_every_item(make_task: MakeTask) -> None:
    task, mixture = make_task(input="separated/rough", context="mixture"), make_task()
    for data, other in ((task.train_data(3), mixture.train_data(3)), (task.valid_data(), mixture.valid_data())):
        assert torch.equal(data[1]["context"], other[1]["input"]) and torch.equal(data[1]["target"], other[1]["target"])
        assert not torch.equal(data[1]["context"], data[1]["input"])
    batch = collate([task.valid_data()[i] for i in range(2)])  # type: ignore[misc]
    found = task.validate(task.step.eval(), batch)
    torch.testing.assert_close(found["latent_mse"], found["latent_mse_untouched"], rtol=1e-3, atol=0)


# Phases and checkpoints


def test_the_discriminator_learns_in_its_steps(make_task: MakeTask) -> None:
    options = {"start_step": 3, "update_every": 2, "hidden": 5, "optimizer": {"learning_rate": 2e-4}}
    task = make_task(losses={"latent_mse": 1.0, "adversarial": 0.1}, discriminator=options)
    assert list(task.phases) == ["encoder", "discriminator"] and task.main == "encoder"
    assert all(task.order(step)[0] == "encoder" for step in range(9))
    assert [step for step in range(9) if "discriminator" in task.order(step)] == [3, 5, 7]
    assert task.optimizer_config("discriminator", task.config.train).learning_rate == 2e-4
    assert task.optimizer_config("encoder", task.config.train).learning_rate == 1e-3
    shapes = [tuple(parameter.shape) for parameter in task.phases["discriminator"].parameters()]
    assert shapes == [(5, 8), (5,), (1, 5), (1,)]


def test_without_an_adversarial_term_there_is_no_discriminator(make_task: MakeTask) -> None:
    task = make_task(discriminator={"start_step": 7})
    assert list(task.phases) == ["encoder"] and [task.order(step) for step in range(9)] == [["encoder"]] * 9


@pytest.mark.parametrize(
    ("settings", "metric"),
    [
        ({}, "latent_mse"),
        ({"losses": {"latent_l1": 1.0, "latent_mse": 0.0}}, "latent_mse"),
        ({"losses": {"latent_mse": 1.0, "residual": 0.1}}, "token_error_1"),
        ({"losses": {"softmax": 1.0}, "bridge": {"kind": "dense"}}, "token_error_1"),
    ],
)
@torch.no_grad()
def test_who_asks_for_codes_is_judged_by_codes(make_task: MakeTask, settings: dict, metric: str) -> None:
    task = make_task(**settings)
    assert task.best_metric == metric
    data = task.valid_data()
    found = task.validate(task.step.eval(), collate([data[i] for i in range(2)]))  # type: ignore[misc]
    assert found[metric].shape == (2,) and found[metric].isfinite().all()
    torch.testing.assert_close(found["token_error_1"], 1 - found["token_accuracy_1"])


@torch.no_grad()
def test_accuracies_are_those_of_the_codebooks_that_are_predicted(lively_task: MakeTask) -> None:
    task = lively_task(losses={"softmax": 1.0}, bridge={"kind": "dense", "codebooks": 2})
    data = task.valid_data()
    batch = collate([data[i] for i in range(2)])  # type: ignore[misc]
    found, codec = task.validate(task.step, batch), task.codec
    wanted = codec.quantize(codec.encode(batch.target))[0][:, :2]
    predicted = task.step.separate(batch.input).codes
    copied = codec.quantize(codec.encode(batch.input))[0][:, :2]
    loud = batch.target.reshape(2, 400, 20).square().mean(dim=2) > 1e-6  # -60 dB
    for name, codes in (("token_accuracy", predicted), ("copy_input_accuracy", copied)):
        for item in range(2):
            share = (codes == wanted)[item][:, loud[item]].double().mean().item()
            assert found[name][item].item() == pytest.approx(share, abs=1e-6)
