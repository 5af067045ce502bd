"""Training translation models: losses, the token cache, what is validated, and a whole run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.data.dataset import Batch, collate
from codec_ft.errors import UserError
from codec_ft.metrics.tokens import active_frames, token_accuracy
from codec_ft.weights import load_weights
from experiments.run import run_experiment
from experiments.tasks import make_task, read_config
from token_models.translation.config import TranslationConfig, WritingConfig
from token_models.translation.model import TranslationModel
from token_models.translation.step import TranslationStep, heard_codes
from token_models.translation.task import WEIGHTS, TranslationTask

SMALL = {"codebooks": 2, "dim": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}
MakeTask = Callable[..., TranslationTask]


@pytest.fixture
def make_config(tiny_set: Path, tiny_codec_folder: Path, tmp_path: Path) -> Callable[..., TranslationConfig]:
    def make(**changes: Any) -> TranslationConfig:
        settings: dict[str, Any] = {
            "id": "translation",
            "run": tmp_path / "run",
            "codec": str(tiny_codec_folder),
            "input": "separated/rough",
            "model": SMALL,
            "data": {
                "root": tiny_set,
                "seconds": 0.25,
                "valid_seconds": 0.25,
                "report_split": "test",
                "report_seconds": 0.5,
            },
            "train": {"steps": 4, "batch_size": 2, "validate_every": 2, "tensorboard": False},
        }
        return TranslationConfig.model_validate(settings | changes)

    return make


@pytest.fixture
def make(make_config: Callable[..., TranslationConfig], tiny_codec: EncodecCodec) -> MakeTask:
    def make(**changes: Any) -> TranslationTask:
        torch.manual_seed(0)
        return TranslationTask(make_config(**changes), tiny_codec)

    return make


def step_of(task: TranslationTask) -> TranslationStep:
    step = task.phases["model"]
    assert isinstance(step, TranslationStep)
    return step


def batch_of(task: TranslationTask) -> Batch:
    data = task.train_data(8)
    return collate([data[i] for i in range(2)])


# A step


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_that_of_the_true_codes(make: MakeTask, smoothing: float) -> None:
    task = make(label_smoothing=smoothing, context="mixture")
    step, batch, codec = step_of(task), batch_of(task), task.codec
    codes = codec.quantize(codec.encode(batch.target))[0][:, :2]
    assert batch.context is not None
    heard = torch.cat([codec.quantize(codec.encode(audio))[0] for audio in (batch.input, batch.context)], dim=1)
    losses, logits = step(batch), step.model(heard, codes)
    by_hand = torch.stack(
        [F.cross_entropy(logits[:, k].transpose(1, 2), codes[:, k], label_smoothing=smoothing) for k in range(2)]
    )
    torch.testing.assert_close(losses["loss"], by_hand.mean())
    right = (logits.argmax(dim=-1) == codes).float()
    torch.testing.assert_close(losses["accuracy"], right.mean())
    torch.testing.assert_close(losses["accuracy_1"], right[:, 0].mean())
    assert set(losses) == {"loss", "accuracy", "accuracy_1"}


def test_the_first_codebooks_of_each_input_are_heard(tiny_codec: EncodecCodec) -> None:
    noise = 0.3 * torch.randn(2, 3, 400, generator=torch.Generator().manual_seed(0))
    audio, context = noise[:, :1], noise[:, 1:]
    heard = heard_codes(tiny_codec, 2, audio, context)
    sources = [audio, context[:, :1], context[:, 1:]]
    assert torch.equal(
        heard, torch.cat([tiny_codec.quantize(tiny_codec.encode(each))[0][:, :2] for each in sources], dim=1)
    )


@pytest.mark.parametrize("pattern", ["flattened", "delay"])
def test_it_learns_one_batch_by_heart(make: MakeTask, pattern: str) -> None:
    data = {**make().config.data.model_dump(), "seconds": 0.1}
    task = make(model={**SMALL, "dim": 32, "pattern": pattern, "aligned": True}, data=data, label_smoothing=0.0)
    step, batch = step_of(task), batch_of(task)
    optimizer = torch.optim.Adam(step.parameters(), lr=1e-2)
    for _ in range(60):
        losses = step(batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
    assert losses["accuracy"] > 0.98
    codes, _ = step.given(batch)
    written = task.separate(step.eval(), batch.input).codes
    assert (written == codes).float().mean() > 0.9, "what it knows by heart, it writes without being told"


def test_the_cache_gives_the_same_losses(make: MakeTask, tiny_codec: EncodecCodec) -> None:
    task = make(context="mixture")
    step, plain = step_of(task), batch_of(task)
    assert plain.context is not None
    inputs = torch.cat([tiny_codec.encode(audio) for audio in (plain.input, plain.context)], dim=1)
    cached = Batch(
        torch.empty(2, 1, 0),
        torch.empty(2, 1, 0),
        plain.names,
        indices=plain.indices,
        target_codes=tiny_codec.quantize(tiny_codec.encode(plain.target))[0],
        input_latents=inputs,
    )
    for name, value in step(plain).items():
        assert step(cached)[name].item() == pytest.approx(value.item(), rel=1e-5), name


# Validation


def test_what_is_validated_counts_frames_that_sound(make: MakeTask) -> None:
    task = make()
    step, data = step_of(task), task.valid_data()
    batch = collate([data[i] for i in range(2)])
    batch.target[0, :, 1000:] = 0.0
    codes, heard = step.given(batch)
    active = active_frames(batch.target, task.codec.hop_length)
    assert 0 < int(active[0].sum()) < active.shape[1]

    def knows_what_sounds(heard: Tensor, codes: Tensor) -> Tensor:
        return 50.0 * F.one_hot(torch.where(active[:, None], codes, (codes + 1) % 16), 16).float()

    step.model.forward = knows_what_sounds  # type: ignore[method-assign]
    found = task.validate(step, batch)
    torch.testing.assert_close(found["cross_entropy"], torch.zeros(2), atol=1e-5, rtol=0)
    assert found["accuracy"].tolist() == found["accuracy_1"].tolist() == [1.0, 1.0]
    for i, copied in enumerate(found["copy_input_accuracy_1"].tolist()):
        one = slice(i, i + 1)
        assert copied == pytest.approx(float(token_accuracy(heard[one, :1], codes[one, :1], active[one])[0]))
    assert task.best_metric in found


# A run


def test_a_run_makes_samples(make_config: Callable[..., TranslationConfig], tiny_codec: EncodecCodec) -> None:
    config = make_config(context="mixture", writing={"temperature": 0.8, "top_k": 8})
    folder = run_experiment(config)
    assert folder.finished
    samples = sorted(folder.samples.glob("*"))
    names = {"input.wav", "mixture.wav", "output.wav", "quantized_input.wav", "quantized_target.wav", "target.wav"}
    assert samples and all(names <= {path.name for path in sample.iterdir()} for sample in samples)
    told = json.loads((samples[0] / "sample.json").read_text())
    assert told["writing"] == {"temperature": 0.8, "top_k": 8}
    results = json.loads(folder.results.read_text())
    assert len(results["tokens"]["trained"]) == 2 and len(results["tokens"]["copy_input"]) == 3
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    valid = [line for line in lines if line["split"] == "valid"]
    assert len(valid) == 2 and {"cross_entropy", "accuracy_1", "copy_input_accuracy_1"} <= set(valid[0])
    fresh = TranslationModel(tiny_codec, config.model, inputs=2)
    load_weights(fresh, folder.path / WEIGHTS)


def test_it_trains_from_the_token_cache_without_audio(make: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "token_models.translation.task.EncodedPairs", lambda pairs, codec, **options: asked.append(options)
    )
    data = make().config.data.model_copy(update={"encoded": True})
    make(data=data.model_dump()).train_data(4)
    assert asked == [{"inputs": True, "whole": False, "audio": False}]


def test_the_same_input_always_gives_the_same(make: MakeTask) -> None:
    task = make(writing={"temperature": 1.0})
    step = step_of(task).eval()
    audio = 0.3 * torch.randn(2, 1, 2201, generator=torch.Generator().manual_seed(0))
    both, alone = task.separate(step, audio), task.separate(step, audio[1:])
    assert both.codes.shape == (2, 2, 111) and both.output.shape == audio.shape and both.input_codes.shape[1] == 3
    assert torch.equal(both.codes[1:], alone.codes)
    decoded = task.codec.decode(task.codec.codes_to_latents(both.codes), 2201)
    torch.testing.assert_close(both.output, decoded)


# Configuration


def test_the_demo_is_known_to_the_command_line() -> None:
    config = read_config(["translation_demo"], default="demo")
    assert isinstance(config, TranslationConfig)
    task = make_task(config)
    assert isinstance(task, TranslationTask)
    assert sum(weight.numel() for weight in step_of(task).parameters()) < 2_000_000


def test_more_codebooks_than_the_codec_has_are_told_before_any_work(make_config, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.codebooks=9: .* has 3"):
        run_experiment(make_config(model={**SMALL, "codebooks": 9}))
    assert not (tmp_path / "run").exists()


def test_a_pattern_that_there_is_not_is_told_with_its_key() -> None:
    with pytest.raises(UserError, match=r"model\.pattern.*'flattened' or 'delay'"):
        read_config(["translation_demo", "model.pattern=spiral"], default="demo")


def test_choices_that_make_no_sense_are_refused() -> None:
    for wrong in ({"temperature": -1.0}, {"top_k": 0}):
        with pytest.raises(ValidationError, match="greater than or equal to"):
            WritingConfig.model_validate(wrong)
