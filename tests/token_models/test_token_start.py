"""Trainings that begin with the weights of others, all of them or through adapters; and such as take no step."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import vampnet_format as vampnet
from small_enhancer import write_enhancer
from torch import Tensor

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.lac import LacConfig, LacModel
from codec_ft.errors import UserError
from experiments.run import run_experiment
from token_models.conditioning.heard import Heard
from token_models.load import load_token_models
from token_models.model import TokenModel
from token_models.save import save_token_models
from token_models.training.config import TokenTrainingConfig
from token_models.training.task import TokenModels, TokenTask, facts_of

SMALL = {"dim": 16, "heads": 2, "layers": 1, "dropout": 0.0}
HEARS = {"latents": True, "drop": 0.0}
Make = Callable[..., TokenTrainingConfig]


@pytest.fixture
def make_config(tiny_set: Path, tiny_codec_folder: Path, tmp_path: Path) -> Make:
    def make(**changes: Any) -> TokenTrainingConfig:
        settings: dict[str, Any] = {
            "id": "tokens",
            "run": tmp_path / "run",
            "codec": str(tiny_codec_folder),
            "input": "separated/rough",
            "coarse": {**SMALL, "codebooks": 2},
            "fine": {**SMALL, "known": 2},
            "fine_seconds": 0.25,
            "data": {"root": tiny_set, "seconds": 0.5, "valid_seconds": 0.5, "report_seconds": 0.5},
            "train": {"steps": 2, "batch_size": 2, "tensorboard": False, "optimizer": {"learning_rate": 0.01}},
            "sampling": {"steps": 2},
            "fine_sampling": {"steps": 2},
        }
        return TokenTrainingConfig.model_validate(settings | changes)

    return make


def models_of(task: TokenTask) -> dict[str, TokenModel]:
    module = task.phases["models"]
    assert isinstance(module, TokenModels)
    return {name: step.model for name, step in module.steps()}


@pytest.fixture
def before(make_config: Make, tiny_codec: EncodecCodec, tmp_path: Path) -> Path:
    """Models that hear nothing, in a folder."""
    torch.manual_seed(5)
    config = make_config()
    models = models_of(TokenTask(config, tiny_codec))
    with torch.no_grad():
        for model in models.values():
            model.bias.normal_()
    save_token_models(models, facts_of(config), tmp_path / "before")
    return tmp_path / "before"


def grid(model: TokenModel, frames: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    codes = torch.randint(model.codebook_size, (2, model.n_codebooks, frames), generator=generator)
    mask = torch.rand(codes.shape, generator=generator) < 0.5
    mask[:, : model.known] = False
    return codes, mask


@torch.no_grad()
def test_models_begin_as_those_they_start_from(make_config: Make, tiny_codec: EncodecCodec, before: Path) -> None:
    task = TokenTask(make_config(start=str(before)), tiny_codec)
    theirs = load_token_models(before).models
    for name, model in models_of(task).items():
        codes, mask = grid(model)
        assert torch.equal(model.eval()(codes, mask), theirs[name](codes, mask))


@torch.no_grad()
def test_a_new_condition_is_silent_at_first(make_config: Make, tiny_codec: EncodecCodec, before: Path) -> None:
    coarse = {**SMALL, "codebooks": 2, "condition": {**HEARS, "kernel": 3}}
    task = TokenTask(make_config(start=str(before), coarse=coarse, fine=None), tiny_codec)
    model = models_of(task)["coarse"].eval()
    codes, mask = grid(model)
    heard = Heard(latents=torch.randn(2, tiny_codec.latent_dim, codes.shape[-1]))
    assert torch.equal(model(codes, mask, heard), load_token_models(before).models["coarse"](codes, mask))
    assert model.condition is not None
    with torch.enable_grad():
        model(codes, mask, heard).square().sum().backward()
    assert model.condition.norm.weight.grad is not None and model.condition.norm.weight.grad.abs().max() > 0


def test_a_guess_that_would_begin_elsewhere_is_refused(
    make_config: Make, tiny_codec: EncodecCodec, tiny_codec_folder: Path, tmp_path: Path
) -> None:
    """A model that guesses latents from nothing is another one when it is shown some."""
    coarse = {**SMALL, "codebooks": 2, "near": 2}
    run_experiment(make_config(run=tmp_path / "guessing", coarse=coarse, fine=None))
    for condition in (HEARS, {"tokens": True, "drop": 0.0}):
        config = make_config(start=str(tmp_path / "guessing"), coarse={**coarse, "condition": condition}, fine=None)
        with pytest.raises(
            UserError, match=r"its coarse model guesses latents without an input; .* Leave coarse\.cond"
        ):
            TokenTask(config, tiny_codec)
    shown = {**coarse, "condition": {"spectrogram": True, "fft_size": 64, "drop": 0.0}}
    TokenTask(make_config(start=str(tmp_path / "guessing"), coarse=shown, fine=None), tiny_codec)


def test_through_adapters_little_learns_and_the_rest_stays(
    make_config: Make, tiny_codec: EncodecCodec, before: Path
) -> None:
    coarse = {**SMALL, "codebooks": 2, "condition": HEARS}
    config = make_config(start=str(before), adapters={"rank": 2}, coarse=coarse)
    learnt = {
        name
        for name, value in models_of(TokenTask(config, tiny_codec))["coarse"].named_parameters()
        if value.requires_grad
    }
    assert {name.rsplit(".", 3)[1] for name in learnt if "lora" in name} == {"lora_A", "lora_B"}
    assert all("lora" in name or name.startswith("condition.") for name in learnt) and "condition.norm.weight" in learnt
    run = run_experiment(config)
    exported, theirs = load_token_models(run.path).models, load_token_models(before).models
    changed = {
        name
        for name, value in exported["fine"].state_dict().items()
        if not torch.equal(value, theirs["fine"].state_dict()[name])
    }
    ends = ("to_q.weight", "to_v.weight", "to_out.weight", "ff.0.proj.weight", "ff.2.weight")
    assert changed and all(name.endswith(ends) for name in changed)
    # What was exported is what was heard: adapters are merged without a loss.
    trained = torch.load(run.checkpoints / "best.pt", weights_only=True)["module"]
    task = TokenTask(config, tiny_codec)
    task.phases["models"].load_state_dict(trained)
    model = models_of(task)["fine"].eval()
    codes, mask = grid(model)
    with torch.no_grad():
        torch.testing.assert_close(exported["fine"](codes, mask), model(codes, mask))


def test_without_a_step_the_start_is_measured(make_config: Make, before: Path) -> None:
    config = make_config(start=str(before), train={"steps": 0, "batch_size": 2, "tensorboard": False})
    run = run_experiment(config)
    results = json.loads(run.results.read_text())
    assert results["steps"] == 0 and results["checkpoint"] == "best, step 0"
    (line,) = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert line["step"] == 0 and line["split"] == "valid"
    exported, theirs = load_token_models(run.path).models, load_token_models(before).models
    for name, model in exported.items():
        assert all(torch.equal(value, theirs[name].state_dict()[key]) for key, value in model.state_dict().items())
    assert run_experiment(config).finished and "step" in (run.path / "index.html").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"coarse": {**SMALL, "codebooks": 2, "dim": 32}},
            r"coarse model has dim=16, not 32\. Set coarse\.dim=16\.$",
        ),
        ({"coarse": {**SMALL, "codebooks": 2, "positions": "t5"}}, r"has positions=rotary, not t5\."),
        ({"coarse": {**SMALL, "codebooks": 1}, "fine": None}, r"has codebooks=2, not 1\. Set coarse\.codebooks=2\.$"),
        (
            {"coarse": {**SMALL, "codebooks": 2, "condition": {**HEARS, "join": "cross"}}},
            r"coarse\.condition\.join=cross: start=.* has no layers that attend to what is heard",
        ),
        ({"start": "nothing_of_that_name"}, r"nothing_of_that_name: no such token models"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    make_config: Make, tiny_codec: EncodecCodec, before: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        TokenTask(make_config(**({"start": str(before)} | changes)), tiny_codec)


def test_what_a_start_hears_is_heard_again(make_config: Make, tiny_codec: EncodecCodec, tmp_path: Path) -> None:
    coarse = {**SMALL, "codebooks": 2, "condition": HEARS}
    config = make_config(coarse=coarse, fine=None)
    save_token_models(models_of(TokenTask(config, tiny_codec)), facts_of(config), tmp_path / "before")
    same = {"start": str(tmp_path / "before"), "coarse": coarse, "fine": None}
    TokenTask(make_config(**same), tiny_codec)
    with pytest.raises(UserError, match=r"its coarse model hears another number of inputs, .*\. Set input, context"):
        TokenTask(make_config(**same, context="mixture"), tiny_codec)
    with pytest.raises(UserError, match=r"its coarse model is shown something else\. Set coarse\.condition as it was"):
        TokenTask(make_config(**same | {"coarse": {**SMALL, "codebooks": 2}}), tiny_codec)
    with pytest.raises(UserError, match=r"has no fine model\. Set fine to null"):
        TokenTask(make_config(**same | {"fine": {**SMALL, "known": 2}}), tiny_codec)


def test_vampnets_files_are_a_start_and_their_licence_goes_along(
    make_config: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(2)
    model = LacModel(LacConfig(encoder_hidden_size=2, decoder_hidden_size=64, codebook_size=16))
    codec = DacCodec(model, "small")
    folder = tmp_path / "vampnet"
    folder.mkdir()
    vampnet.write(folder / "coarse.pth", vampnet.random_state(vampnet.COARSE), vampnet.COARSE)
    vampnet.write(folder / "c2f.pth", vampnet.random_state(vampnet.C2F), vampnet.C2F)
    sizes = {"dim": 32, "positions": "t5", "activation": "gelu_tanh"}
    config = make_config(
        start=str(folder),
        coarse={**sizes, "codebooks": 4, "heads": 2, "layers": 3},
        fine={**sizes, "known": 4, "heads": 4, "layers": 2},
    )
    task = TokenTask(config, codec)
    assert task.licence == "CC BY-NC-SA 4.0"
    task.export(task.phases["models"], tmp_path / "exported")
    facts = json.loads((tmp_path / "exported" / "tokens" / "config.json").read_text())
    assert facts["licence"] == "CC BY-NC-SA 4.0"
    assert "CC BY-NC-SA 4.0" in caplog.text


def test_a_licence_is_shown_whenever_models_are_loaded(before: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_token_models(before)
    assert not caplog.records
    facts = json.loads((before / "config.json").read_text())
    (before / "config.json").write_text(json.dumps(facts | {"licence": "CC BY-NC-SA 4.0"}))
    with caplog.at_level(logging.WARNING):
        load_token_models(before)
    assert "under CC BY-NC-SA 4.0, and inherits this licence" in caplog.text


def test_adapters_need_something_to_adapt(make_config: Make) -> None:
    with pytest.raises(ValueError, match="adapters change what was learnt before; name that in start"):
        make_config(adapters={})


def test_a_start_with_another_enhancer_is_refused(
    make_config: Make, tiny_codec: EncodecCodec, tiny_codec_folder: Path, tmp_path: Path
) -> None:
    """One that prefers codes is heard otherwise than one that does not."""
    for name, gives in (("plain", "latents"), ("preferring", "both")):
        bridge = {"kind": "rotary", "gives": gives, "dim": 16, "heads": 2, "layers": 1}
        write_enhancer(tmp_path / name, tiny_codec_folder, encoder="frozen", bridge=bridge, input="separated/rough")
    coarse = {**SMALL, "codebooks": 2, "near": 2, "condition": {"enhanced": True, "drop": 0.0}}
    settings = {"coarse": coarse, "fine": None}
    plain = make_config(**settings, enhancer=str(tmp_path / "plain"))
    save_token_models(models_of(TokenTask(plain, tiny_codec)), facts_of(plain), tmp_path / "before")
    TokenTask(make_config(**settings, enhancer=str(tmp_path / "plain"), start=str(tmp_path / "before")), tiny_codec)
    with pytest.raises(UserError, match=r"its coarse model has another enhancer \(nearness\.trust\)"):
        again = make_config(**settings, enhancer=str(tmp_path / "preferring"), start=str(tmp_path / "before"))
        TokenTask(again, tiny_codec)
