"""Codes by their nearness to guessed latents, and fine codes that go on from wrong coarse ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_enhancer import shake, write_enhancer
from small_models import tiny_dac
from torch import Tensor

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.data.dataset import Batch, collate
from codec_ft.finetune.load import load_enhancer
from codec_ft.finetune.losses.soft_labels import code_spacing
from codec_ft.finetune.near_codes import START_TAU
from token_models.conditioning.heard import Heard, Listener
from token_models.config import ConditionConfig, TokenModelConfig
from token_models.model import TokenModel
from token_models.near import PACE
from token_models.training.config import TokenTrainingConfig
from token_models.training.given import Given
from token_models.training.task import TokenModels, TokenTask

SMALL = {"dim": 16, "heads": 2, "layers": 1, "dropout": 0.0}
HEARS = {"latents": True, "drop": 0.0}


@pytest.fixture(params=["encodec", "dac"])
def codec(request: pytest.FixtureRequest, tiny_codec: EncodecCodec) -> ResidualCodec:
    return tiny_codec if request.param == "encodec" else DacCodec(tiny_dac(), "dac")


def make_model(codec: ResidualCodec, inputs: int = 1, **options: Any) -> TokenModel:
    torch.manual_seed(0)
    settings = {**SMALL, "near": 9, "condition": HEARS} | options
    return TokenModel(codec, TokenModelConfig.model_validate(settings), inputs).eval()


def latents_of(codec: ResidualCodec, frames: int = 12, items: int = 2, inputs: int = 1) -> Tensor:
    audio = 0.3 * torch.randn(items * inputs, 1, frames * codec.hop_length, generator=torch.Generator().manual_seed(1))
    return codec.encode(audio).unflatten(0, (items, inputs)).flatten(1, 2)


@torch.no_grad()
def test_a_new_model_says_what_its_input_says(codec: ResidualCodec) -> None:
    """Layer by layer, each from what the likeliest codes before it leave, as the codec itself chooses."""
    model, latents = make_model(codec, inputs=2), latents_of(codec, inputs=2)
    expected, _ = codec.quantize(latents[:, : codec.latent_dim])
    mask = torch.ones_like(expected, dtype=torch.bool)
    logits = model(torch.full_like(expected, -1), mask, Heard(latents=latents))
    found = torch.zeros_like(expected).masked_scatter(mask, logits.argmax(dim=-1))
    assert torch.equal(found, expected)


@torch.no_grad()
def test_from_other_coarse_codes_it_says_what_completes_them(codec: ResidualCodec) -> None:
    """Whether they are always given, or known in this grid."""
    latents = latents_of(codec)
    coarse = torch.randint(codec.codebook_size, (2, 1, 12), generator=torch.Generator().manual_seed(2))
    expected = codec.complete_codes(latents, coarse)
    mask = torch.ones_like(expected, dtype=torch.bool)
    mask[:, :1] = False
    for model in (make_model(codec), make_model(codec, known=1)):
        logits = model(torch.cat([coarse, torch.zeros_like(expected[:, 1:])], dim=1), mask, Heard(latents=latents))
        assert torch.equal(logits.argmax(dim=-1), expected[mask])


@torch.no_grad()
def test_logits_by_hand(tiny_codec: EncodecCodec) -> None:
    model, latents = make_model(tiny_codec, near=1), latents_of(tiny_codec, items=1)
    torch.nn.init.normal_(model.classifier)
    torch.nn.init.normal_(model.nearness.change.weight)  # type: ignore[union-attr]
    codes, mask = torch.zeros(1, 3, 12, dtype=torch.long), torch.ones(1, 3, 12, dtype=torch.bool)
    logits, guess = model.answer(codes, mask, Heard(latents=latents))
    shown = model.shown(Heard(latents=latents))
    features = model.features(codes, mask, shown)[0]
    change = features @ model.nearness.change.weight.t() + model.nearness.change.bias  # type: ignore[union-attr]
    assert guess is not None
    torch.testing.assert_close(guess[0].t(), latents[0].t() + change)
    t, table = 5, tiny_codec.table(0)
    distances = (table - guess[0, :, t]).square().sum(dim=1)
    near = -distances / (START_TAU * code_spacing(tiny_codec, 0))
    expected = (near + model.classifier[0] @ features[t]).log_softmax(dim=0)
    torch.testing.assert_close(logits[t].log_softmax(dim=0), expected, rtol=1e-4, atol=1e-4)
    # Of the other codebooks the classifier alone decides.
    torch.testing.assert_close(logits[12 + t], model.classifier[1] @ features[t], rtol=1e-4, atol=1e-4)


def test_a_classification_does_not_move_the_guess(tiny_codec: EncodecCodec) -> None:
    model, latents = make_model(tiny_codec), latents_of(tiny_codec)
    codes, mask = torch.zeros(2, 3, 12, dtype=torch.long), torch.ones(2, 3, 12, dtype=torch.bool)
    logits, guess = model.answer(codes, mask, Heard(latents=latents))
    logits.square().sum().backward(retain_graph=True)
    assert model.nearness is not None and model.nearness.change.weight.grad is None
    found = model.nearness.log_sharpness.grad
    assert found is not None, "of the first codebook it is known what was before, of the others it is not"
    assert (found != 0).tolist() == [[True, False, False], [False, True, True]]
    assert guess is not None
    guess.square().sum().backward()
    assert model.nearness.change.weight.grad is not None


@torch.no_grad()
def test_a_dropped_item_begins_with_nothing(tiny_codec: EncodecCodec) -> None:
    model, latents = make_model(tiny_codec, condition={"latents": True, "drop": 0.5}), latents_of(tiny_codec, items=64)
    assert model.condition is not None
    torch.manual_seed(3)
    shown = model.condition.train()(Heard(latents=latents))
    nothing = model.condition.without(64, 12)
    gone = (shown.features == nothing.features).flatten(1).all(dim=1)
    assert 16 <= int(gone.sum()) <= 48 and nothing.start is None
    assert not shown.start[gone].any() and torch.equal(shown.start[~gone], latents[~gone])


# Training


@pytest.fixture
def make_task(tiny_set: Path, tiny_codec_folder: Path, tiny_codec: EncodecCodec) -> Callable[..., TokenTask]:
    def make(**changes: Any) -> TokenTask:
        settings: dict[str, Any] = {
            "id": "tokens",
            "codec": str(tiny_codec_folder),
            "input": "separated/rough",
            "coarse": {**SMALL, "codebooks": 1, "near": 1, "condition": HEARS},
            "fine": {**SMALL, "known": 1, "near": 2, "condition": HEARS},
            "fine_seconds": 0.25,
            "data": {"root": tiny_set, "seconds": 0.5},
        }
        torch.manual_seed(0)
        return TokenTask(TokenTrainingConfig.model_validate(settings | changes), tiny_codec)

    return make


def batch_and_steps(task: TokenTask) -> tuple[Batch, Given, dict[str, Any]]:
    data, module = task.train_data(8), task.phases["models"]
    assert isinstance(module, TokenModels)
    batch = collate([data[i] for i in range(4)])
    return batch, module.given(batch), dict(module.steps())


def test_guessed_latents_have_a_loss_of_their_own(make_task: Callable[..., TokenTask]) -> None:
    task = make_task(latent_mse=3.0)
    batch, given, steps = batch_and_steps(task)
    losses = steps["coarse"](given)
    codec = task.codec
    by_hand = (codec.encode(batch.input) - codec.encode(batch.target)).square().mean()
    torch.testing.assert_close(losses["latent_mse"], by_hand)
    torch.testing.assert_close(losses["loss"], losses["cross_entropy"] + 3 * by_hand)
    plain = make_task(coarse={**SMALL, "codebooks": 1, "condition": HEARS}, fine=None)
    _, given, steps = batch_and_steps(plain)
    assert given.latents is None and "latent_mse" not in steps["coarse"](given)


def test_a_model_tells_the_next_what_it_would_write(make_task: Callable[..., TokenTask]) -> None:
    """A new one writes what the input says, whatever the clean stem has there."""
    task = make_task(coarse_errors=1.0)
    batch, given, _ = batch_and_steps(task)
    module = task.phases["models"].train()
    assert isinstance(module, TokenModels)
    (_, coarse, nothing), (_, fine, written) = module.in_turn(given)
    said, _ = task.codec.quantize(task.codec.encode(batch.input), 1)
    assert nothing is None and written is not None
    assert torch.equal(written, said) and not torch.equal(written, given.codes[:, :1])
    assert coarse.model.training, "it goes on learning"
    part = fine.part(given, 30, 90, written)
    wanted = task.codec.complete_codes(task.codec.encode(batch.target)[..., 30:90], said[..., 30:90])
    assert torch.equal(part.codes, wanted)


def test_the_fine_model_learns_from_the_draft_that_it_will_be_given(
    make_task: Callable[..., TokenTask], tiny_codec_folder: Path, tmp_path: Path
) -> None:
    """The input's codes or the enhancer's, whatever the coarse model would write: generation keeps them."""
    write_enhancer(tmp_path / "helper", tiny_codec_folder, input="separated/rough")
    helper = load_enhancer(tmp_path / "helper")
    for options in ({}, {"enhancer": str(tmp_path / "helper")}):
        task = make_task(coarse_errors=1.0, given=[1], **options)
        batch, given, _ = batch_and_steps(task)
        kept = helper.codes(batch.input) if options else task.codec.quantize(task.codec.encode(batch.input))[0]
        module = task.phases["models"]
        assert isinstance(module, TokenModels)
        (_, _, nothing), (_, fine, written) = module.in_turn(given)
        assert nothing is None and written is not None and torch.equal(written, kept)
        part = fine.part(given, 30, 90, written)
        assert torch.equal(part.codes[:, :1], kept[:, :1, 30:90])
        assert torch.isfinite(module(batch)["loss"])
        separated = task.separate(module.eval(), batch.input)
        assert separated.codes is not None and torch.equal(separated.codes[:, :1], kept[:, :1])


def test_the_fine_model_learns_to_go_on_from_wrong_coarse_codes(make_task: Callable[..., TokenTask]) -> None:
    task = make_task(coarse_errors=0.5)
    codec, (_, given, steps) = task.codec, batch_and_steps(task)
    step, codes, wanted = steps["fine"], given.codes, given.latents
    assert wanted is not None
    written = (codes[:, :1] + 1) % codec.codebook_size
    found = step.with_errors(codes, wanted, written)
    wrong = (found[:, 0] != codes[:, 0]).float().mean()
    assert 0.35 < wrong < 0.65
    same = (found[:, 0] == codes[:, 0])[:, None].expand_as(codes)
    assert torch.equal(found[same], codes[same]), "where the coarse code is right, so are the others"
    assert bool(((found[:, 0] == codes[:, 0]) | (found[:, 0] == written[:, 0])).all())

    # What completes wrong codes comes nearer to the stem than what completed the right ones.
    def distance(grid: Tensor) -> Tensor:
        return (codec.codes_to_latents(grid) - wanted).square().mean()

    stale = torch.cat([found[:, :1], codes[:, 1:]], dim=1)
    assert distance(found) < distance(stale)
    assert torch.equal(found, codec.complete_codes(wanted, found[:, :1]))
    assert torch.isfinite(step(given, written)["loss"])
    assert step(given).keys() == step(given, written).keys()


@torch.no_grad()
def test_a_new_model_begins_at_what_an_enhancer_prefers(tiny_codec_folder: Path, tmp_path: Path) -> None:
    """The codes of the first codebooks are those of the enhancer, and the others complete them."""
    torch.manual_seed(1)
    bridge = {"kind": "rotary", "gives": "both", "codebooks": 2, "dim": 16, "layers": 1, "heads": 2}
    write_enhancer(tmp_path / "enhancer", tiny_codec_folder, encoder="frozen", bridge=bridge)
    enhancer = load_enhancer(tmp_path / "enhancer")
    shake(enhancer.enhancer.bridge.preference, by=5.0)  # type: ignore[union-attr]
    codec = enhancer.codec
    assert isinstance(codec, ResidualCodec) and enhancer.preferring == 2
    condition = ConditionConfig(enhanced=True, drop=0.5)
    config = TokenModelConfig.model_validate(SMALL | {"near": 3, "condition": condition})
    torch.manual_seed(0)
    model = TokenModel(codec, config, preferring=enhancer.preferring)
    assert model.nearness is not None and model.nearness.trust is not None and model.nearness.trust.shape == (2,)
    audio = torch.randn(1, 1, codec.hop_length * 12)
    heard = Listener(codec, [condition], enhancer).hear(audio)
    codes = torch.zeros(1, 3, 12, dtype=torch.long)
    mask = torch.ones_like(codes, dtype=torch.bool)
    model.nearness.log_sharpness[:, :2] = enhancer.enhancer.near_codes.log_sharpness / PACE
    found = model.eval()(codes, mask, heard).argmax(dim=-1).reshape(1, 3, 12)
    assert torch.equal(found, enhancer.codes(audio))
    assert not torch.equal(found, codec.quantize(enhancer.latents(audio))[0]), "the nearest would be others"
    # An item that goes without is not told what is preferred either.
    assert model.condition is not None and heard.preferred is not None
    many = Heard(enhanced=heard.enhanced.repeat(64, 1, 1), preferred=heard.preferred.repeat(64, 1, 1, 1))
    dropped = model.condition.train()(many)
    gone = (dropped.start == 0).flatten(1).all(dim=1)
    assert gone.any() and not dropped.preferred[gone].any() and dropped.preferred[~gone].any()


@torch.no_grad()
def test_preferences_count_for_codebooks_that_are_predicted(tiny_codec: EncodecCodec) -> None:
    hears = {"enhanced": True}
    for known, preferring, counted in ((0, 2, 2), (1, 2, 1), (2, 2, 0), (0, 0, 0)):
        config = TokenModelConfig.model_validate(SMALL | {"near": 3, "known": known, "condition": hears})
        nearness = TokenModel(tiny_codec, config, preferring=preferring).nearness
        assert nearness is not None and (0 if nearness.trust is None else len(nearness.trust)) == counted


@torch.no_grad()
def test_the_inputs_own_codes_speak_for_themselves(tiny_codec: EncodecCodec) -> None:
    """By one nat at first; those of an item that goes without do not."""
    model = make_model(tiny_codec, near=2, condition={"tokens": True, "drop": 0.5})
    nearness = model.nearness
    assert nearness is not None and nearness.log_copies is not None and model.condition is not None
    codes = torch.randint(16, (2, 3, 12), generator=torch.Generator().manual_seed(3))
    grid, mask = torch.zeros_like(codes), torch.ones_like(codes, dtype=torch.bool)
    shown = model.condition(Heard(codes=codes))
    assert torch.equal(shown.codes, codes)
    features = model.features(grid, mask, shown)
    guess = nearness.guess(features, shown.start)
    silent = codes.clone()
    silent[1] = -1
    found, without = model.logits(features, mask, grid, guess, None, silent), model.logits(features, mask, grid, guess)
    gained = (found - without).reshape(2, 3, 12, 16)
    own = torch.nn.functional.one_hot(codes, 16).float()
    # What is held for the likeliest may have changed, and with it what is left of the guess for the next codebook.
    torch.testing.assert_close(gained[0, 0], own[0, 0], rtol=1e-4, atol=1e-4)
    assert not gained[1].any() and not gained[0, 2].any(), "of the last codebook the classifier alone decides"
    assert make_model(tiny_codec, condition={"latents": True}).nearness.log_copies is None  # type: ignore[union-attr]


def test_how_much_speaks_for_a_copy_is_learnt(tiny_codec: EncodecCodec) -> None:
    model = make_model(tiny_codec, condition={"tokens": True, "drop": 0.0})
    codes = torch.randint(16, (2, 3, 12), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(codes, dtype=torch.bool)
    model(torch.zeros_like(codes), mask, Heard(codes=codes)).logsumexp(dim=1).sum().backward()
    assert model.nearness is not None and model.nearness.log_copies is not None
    assert model.nearness.log_copies.grad is not None and bool(model.nearness.log_copies.grad.all())
