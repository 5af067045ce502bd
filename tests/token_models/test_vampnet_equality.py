"""VampNet's files in our model compute what VampNet computes, as an independent description of it says."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import vampnet_format as vampnet
from torch import Tensor
from vampnet_format import C2F, COARSE, State

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.lac import LacConfig, LacModel
from codec_ft.weights import load_weights, save_weights
from token_models.model import TokenModel
from token_models.sampling.config import SamplingConfig
from token_models.sampling.sample import sample
from token_models.vampnet.load import VampnetModel, load_vampnet
from token_models.vampnet.releases import PUBLISHED
from token_models.vampnet.sizes import adapter_shapes, tensor_shapes

FRAMES = 140
"""Longer than the distance from which on all frames share a bucket."""


@pytest.fixture(scope="module")
def codec() -> DacCodec:
    """VampNet's codec with few channels and 16 codes; codebooks get finer, as trained ones do."""
    torch.manual_seed(2)
    model = LacModel(LacConfig(encoder_hidden_size=2, decoder_hidden_size=64, codebook_size=16))
    codec = DacCodec(model, "small")
    for k, table in enumerate(tables(codec)):
        torch.nn.init.normal_(table, std=2 * 0.8**k)
    return codec


def tables(codec: DacCodec) -> list[Tensor]:
    return [layer.codebook.weight.detach() for layer in codec.layers]


def grid(kwargs: dict[str, Any], items: int = 2, frames: int = FRAMES) -> tuple[Tensor, Tensor]:
    """Codes and a mask, which hides most of the first item and little of the second."""
    generator = torch.Generator().manual_seed(3)
    shape = (items, kwargs["n_codebooks"], frames)
    codes = torch.randint(kwargs["vocab_size"], shape, generator=generator)
    shares = torch.linspace(0.8, 0.1, items)[:, None, None]
    mask = torch.rand(shape, generator=generator) < shares
    mask[:, : kwargs["n_conditioning_codebooks"]] = False
    return codes, mask


def expected(state: State, kwargs: dict[str, Any], codec: DacCodec, codes: Tensor, mask: Tensor) -> Tensor:
    """What VampNet says of the masked cells, one after the other."""
    known = kwargs["n_conditioning_codebooks"]
    everywhere = vampnet.logits(state, kwargs, tables(codec), codes, mask)  # [B, V, T * P]
    predicted = kwargs["n_codebooks"] - known
    cells = [everywhere[b, :, t * predicted + k - known] for b, k, t in mask.nonzero().tolist()]
    return torch.stack(cells).float()


@torch.no_grad()
def check(model: TokenModel, state: State, kwargs: dict[str, Any], codec: DacCodec) -> Tensor:
    """Compare on a grid; gives the logits."""
    codes, mask = grid(kwargs)
    wanted = expected(state, kwargs, codec, codes, mask)
    found = model(codes, mask)
    assert wanted.std() > 1, "so small logits prove little"
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)
    return found


@pytest.mark.parametrize("kwargs", [COARSE, C2F], ids=["coarse", "c2f"])
@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "adapters inside"])
def test_computes_what_vampnet_computes(tmp_path: Path, codec: DacCodec, kwargs: dict[str, Any], adapted: bool) -> None:
    state = vampnet.random_state(kwargs)
    if adapted:
        state |= vampnet.random_adapters(kwargs)
    model = load_vampnet(vampnet.write(tmp_path / "model.pth", state, kwargs), codec)
    assert not model.training
    assert (model.n_codebooks, model.known) == (kwargs["n_codebooks"], kwargs["n_conditioning_codebooks"])
    check(model, state, kwargs, codec)


@pytest.mark.parametrize("kwargs", [COARSE, C2F], ids=["coarse", "c2f"])
@pytest.mark.parametrize("whole", [False, True], ids=["adapters alone", "whole model"])
@pytest.mark.parametrize("merge_lora", [True, False], ids=["merged", "kept"])
def test_adapters_of_another_file_replace_its_own(
    tmp_path: Path, codec: DacCodec, kwargs: dict[str, Any], whole: bool, merge_lora: bool
) -> None:
    if not merge_lora:
        pytest.importorskip("peft")
    base = vampnet.random_state(kwargs) | vampnet.random_adapters(kwargs, seed=1)
    tuned = vampnet.random_adapters(kwargs, seed=5)
    if whole:
        tuned |= vampnet.random_state(kwargs, seed=6)
        lora = vampnet.write(tmp_path / "lora.pth", tuned, kwargs)
    else:
        lora = tmp_path / "lora.pth"
        torch.save(tuned, lora)
    path = vampnet.write(tmp_path / "model.pth", base, kwargs)
    model = load_vampnet(path, codec, lora, merge_lora)
    found = check(model, base | tuned, kwargs, codec)
    with torch.no_grad():
        assert (found - load_vampnet(path, codec)(*grid(kwargs))).abs().max() > 0.1, "the adapters change nothing"


@pytest.mark.parametrize(
    "bucket, offsets",
    [(0, [0]), (3, [-3]), (16 + 7, [7]), (8, [-11, -10, -9, -8]), (16 + 15, list(range(91, FRAMES)))],
)
def test_distances_have_their_buckets(tmp_path: Path, codec: DacCodec, bucket: int, offsets: list[int]) -> None:
    """Of two queries at the ends of a grid, which keys a bucket of the table reaches."""
    state = vampnet.random_state(COARSE)
    table = state["transformer.layers.0.self_attn.relative_attention_bias.weight"]
    table.zero_()[bucket] = 5.0
    model = load_vampnet(vampnet.write(tmp_path / "model.pth", state, COARSE), codec)
    added = model.layers.rel_pos(FRAMES, FRAMES)[0]  # [query, key]
    query = 0 if offsets[0] > 0 else FRAMES - 1
    assert ((added[query] != 0).nonzero().flatten() - query).tolist() == offsets
    torch.testing.assert_close(added[query, query + offsets[0]], torch.tensor(5.0))


def test_older_and_newer_notations(tmp_path: Path, codec: DacCodec) -> None:
    state = vampnet.random_state(COARSE)
    wanted = load_vampnet(vampnet.write(tmp_path / "a.pth", state, COARSE), codec).state_dict()
    older = {key: value for key, value in COARSE.items() if key != "dropout"} | {"seq_len": 1024, "some_option": None}
    newer = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for key, value in state.items()
    }
    for path in (
        vampnet.write(tmp_path / "older.pth", state, older),
        vampnet.write(tmp_path / "newer.pth", newer, COARSE),
    ):
        found = load_vampnet(path, codec).state_dict()
        assert all(torch.equal(found[key], wanted[key]) for key in wanted), path


def test_half_precision_is_read_as_single(tmp_path: Path, codec: DacCodec) -> None:
    state = {key: value.half() for key, value in vampnet.random_state(COARSE).items()}
    model = load_vampnet(vampnet.write(tmp_path / "model.pth", state, COARSE), codec)
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    check(model, state, COARSE, codec)


def test_kept_adapters_are_all_that_learns_and_merge_in_the_end(tmp_path: Path, codec: DacCodec) -> None:
    pytest.importorskip("peft")
    from token_models.adapters import merge_adapters

    state = vampnet.random_state(C2F) | vampnet.random_adapters(C2F)
    path = vampnet.write(tmp_path / "model.pth", state, C2F)
    model = load_vampnet(path, codec, merge_lora=False)
    plain = load_vampnet(path, codec)
    assert {name for name, value in model.named_parameters() if value.requires_grad} == {
        f"layers.layers.{layer}.1.{part}.{matrix}.default.weight"
        for i in range(2)
        for layer, parts in ((2 * i, ("to_q", "to_v", "to_out")), (2 * i + 1, ("ff.0.proj", "ff.2")))
        for part in parts
        for matrix in ("lora_A", "lora_B")
    }
    codes, mask = grid(C2F, frames=20)
    before = model(codes, mask)
    torch.nn.functional.cross_entropy(before, codes[mask]).backward()
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                assert value.grad is not None and value.grad.abs().max() > 0
                value.sub_(0.1 * value.grad)
        after = model(codes, mask)
    assert (after - before).abs().max() > 1e-3
    merge_adapters(model)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert all(value.requires_grad for value in model.parameters())
    torch.testing.assert_close(model(codes, mask), after, atol=1e-4, rtol=0)


def test_new_adapters_change_nothing(tmp_path: Path, codec: DacCodec) -> None:
    pytest.importorskip("peft")
    state = vampnet.random_state(COARSE)
    model = load_vampnet(vampnet.write(tmp_path / "model.pth", state, COARSE), codec, merge_lora=False)
    assert any("lora_A" in name for name, _ in model.named_parameters())
    check(model, state, COARSE, codec)


def test_licence_is_shown_and_told(tmp_path: Path, codec: DacCodec, caplog: pytest.LogCaptureFixture) -> None:
    path = vampnet.write(tmp_path / "model.pth", vampnet.random_state(COARSE), COARSE)
    lora = tmp_path / "lora.pth"
    torch.save(vampnet.random_adapters(COARSE), lora)
    model = load_vampnet(path, codec, lora)
    assert (model.facts.path, model.facts.lora, model.facts.licence) == (path, lora, "CC BY-NC-SA 4.0")
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text.split(": ")[0] for text in warnings] == [str(path), str(lora)]
    assert all("CC BY-NC-SA 4.0" in text and "fine-tuned from them inherits this licence" in text for text in warnings)


@torch.no_grad()
def test_is_a_token_model_like_any_other(tmp_path: Path, codec: DacCodec) -> None:
    """Its weights fit one that is built from its config, and it fills grids."""
    state = vampnet.random_state(C2F) | vampnet.random_adapters(C2F)
    model = load_vampnet(vampnet.write(tmp_path / "model.pth", state, C2F), codec)
    assert isinstance(model, VampnetModel)
    save_weights(model, tmp_path / "model.safetensors")
    again = TokenModel(codec, model.facts.config)
    load_weights(again, tmp_path / "model.safetensors")
    codes, mask = grid(C2F, frames=20)
    assert torch.equal(again.eval()(codes, mask), model(codes, mask))
    filled = sample(model, codes, mask, SamplingConfig(steps=2), [1, 2])
    assert torch.equal(filled[~mask], codes[~mask])


@pytest.mark.parametrize(
    "kind, parameters, adapters",
    [
        # Ten squares of the width in each layer, two norms; embedding, bias table, last norm, classifier.
        ("coarse", 20 * (10 * 1280**2 + 2 * 1280) + 33 * 1280 + 32 + 640 + 1280 + 4096 * 1282, 20 * 8 * 1280 * 14),
        ("c2f", 16 * (10 * 1280**2 + 2 * 1280) + 113 * 1280 + 112 + 640 + 1280 + 10240 * 1282, 16 * 8 * 1280 * 14),
    ],
)
def test_published_sizes(kind: str, parameters: int, adapters: int) -> None:
    sizes = PUBLISHED[kind]
    assert sum(math.prod(shape) for shape in tensor_shapes(sizes).values()) == parameters
    assert sum(math.prod(shape) for shape in adapter_shapes(sizes).values()) == adapters
    assert sizes.config().dim // sizes.config().heads == 64
