"""What is refused of VampNet's files, before anything is computed and in one line; and files by name."""

import os
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import vampnet_format as vampnet
from transformers import DacConfig, DacModel
from vampnet_format import C2F, COARSE, State

from codec_ft.codecs import cache
from codec_ft.codecs.base import Codec
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.lac import LacConfig, LacModel
from codec_ft.errors import UserError
from token_models.vampnet import load
from token_models.vampnet.load import load_vampnet

CODES: dict[str, Any] = {"codebook_size": 16, "codebook_dim": 8}


def lac(**changes: Any) -> DacCodec:
    torch.manual_seed(0)
    config = LacConfig(encoder_hidden_size=2, decoder_hidden_size=64, **(CODES | changes))
    return DacCodec(LacModel(config), "small")


@pytest.fixture(scope="module")
def codec() -> DacCodec:
    """VampNet's with few channels and 16 codes."""
    return lac()


@pytest.fixture(autouse=True)
def _computes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a network, nor a cache, nor a model is to be had."""

    def offline(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError(OSError("no route to host"))

    def no_model(*_: Any) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "urlopen", offline)
    monkeypatch.setattr(load, "VampnetModel", no_model)


def refusal(what: str | Path, codec: Codec, lora: Path | None = None, merge_lora: bool = True) -> str:
    with pytest.raises(UserError) as caught:
        load_vampnet(what, codec, lora, merge_lora)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NAME = "transformer.layers.1.self_attn.w_ks.weight"
ADAPTER = "transformer.layers.1.feed_forward.w_2.lora_B"


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda state: state.pop(NAME), f"{NAME} is missing"),
        (lambda state: state.update({NAME: state[NAME][:-1]}), f"{NAME} has shape [31, 32], expected [32, 32]"),
        (lambda state: state.update(more=torch.zeros(2)), "more is not part of the model"),
        (lambda state: state.pop("embedding.special.MASK"), "embedding.special.MASK is missing"),
        (lambda state: state.update({NAME.replace("weight", "lora_A"): torch.zeros(8, 32)}), "w_ks.lora_A is not part"),
        (lambda state: state.pop(ADAPTER), f"{ADAPTER} is missing. Give the file of that model"),
        (lambda state: state.update({ADAPTER: torch.zeros(32, 4)}), f"{ADAPTER} has shape [32, 4], expected [32, 8]"),
        (lambda state: state.update({NAME: state[NAME] / 0}), f"{NAME} holds NaN or infinite numbers"),
    ],
)
def test_tensors_that_are_not_all_and_no_others(
    tmp_path: Path, codec: DacCodec, spoil: Callable[[State], object], words: str
) -> None:
    state = vampnet.random_state(COARSE) | vampnet.random_adapters(COARSE)
    spoil(state)
    path = vampnet.write(tmp_path / "model.pth", state, COARSE)
    text = refusal(path, codec)
    assert text.startswith(f"{path}: ")
    assert words in text


@pytest.mark.parametrize(
    "change, words",
    [
        ({"n_layers": 4}, "transformer.layers.3.self_attn.w_qs.weight is missing and 7 more"),
        ({"n_layers": 2}, "transformer.layers.2.norm_1.weight is not part of the model and 7 more"),
        ({"n_heads": 4}, "relative_attention_bias.weight has shape [32, 2], expected [32, 4]"),
        ({"n_codebooks": 5}, "embedding.special.MASK has shape [4, 8], expected [5, 8] and 4 more"),
        ({"n_conditioning_codebooks": 1}, "classifier.layers.0.weight_g has shape [64, 1, 1], expected [48, 1, 1]"),
        ({"vocab_size": 32}, "classifier.layers.0.weight_g has shape [64, 1, 1], expected [128, 1, 1]"),
        ({"embedding_dim": 64}, "embedding.out_proj.weight has shape [32, 32, 1], expected [64, 32, 1]"),
        ({"latent_dim": 4}, "embedding.special.MASK has shape [4, 8], expected [4, 4]"),
        ({"n_heads": 5}, "metadata.kwargs: embedding_dim 32 is no multiple of n_heads 5"),
        ({"n_layers": 0}, "metadata.kwargs.n_layers: Input should be greater than 0"),
        ({"n_layers": "many"}, "metadata.kwargs.n_layers: Input should be a valid integer"),
        ({"n_layers": None}, "metadata.kwargs.n_layers: Input should be a valid integer"),
        ({"n_conditioning_codebooks": 4}, "n_conditioning_codebooks 4 of n_codebooks 4 leave nothing to predict"),
        ({"dropout": 1.5}, "metadata.kwargs.dropout: Input should be less than 1"),
        ({"r_cond_dim": 64}, "metadata.kwargs.r_cond_dim: Input should be 0"),
        ({"noise_mode": "random"}, "metadata.kwargs.noise_mode: Input should be 'mask'"),
        ({"num_reg_tokens": 4}, "num_reg_tokens is no option of a model that can be computed here"),
        ({"flash_attn": True}, "is an older VampNet with flash_attn"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path: Path, codec: DacCodec, change: dict[str, Any], words: str) -> None:
    path = vampnet.write(tmp_path / "model.pth", vampnet.random_state(COARSE), COARSE | change)
    text = refusal(path, codec)
    assert text.startswith(f"{path}: ")
    assert words in text


def test_flash_attention_is_known_by_its_tensors_too(tmp_path: Path, codec: DacCodec) -> None:
    state = vampnet.random_state(COARSE)
    attention = "transformer.layers.0.self_attn"
    for name in ("w_qs", "w_ks", "w_vs", "fc"):
        del state[f"{attention}.{name}.weight"]
    state |= {f"{attention}.Wqkv.weight": torch.zeros(96, 32), f"{attention}.out_proj.weight": torch.zeros(32, 32)}
    path = vampnet.write(tmp_path / "model.pth", state, COARSE)
    assert "is an older VampNet with flash_attn, whose attention has other tensors" in refusal(path, codec)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"codebook_dim": 4}, "codec=small, which has codes of 4 numbers, not 8. Set codec=vampnet."),
        ({"codebook_size": 32}, "codec=small, which has 32 codes in a codebook, not 16. Set codec=vampnet."),
        ({"n_codebooks": 9}, "codec=small, which has 9 codebooks, fewer than 14. Set codec=vampnet."),
    ],
)
def test_codecs_of_another_size(tmp_path: Path, changes: dict[str, int], words: str) -> None:
    path = vampnet.write(tmp_path / "c2f.pth", vampnet.random_state(C2F), C2F)
    assert refusal(path, lac(**changes)) == f"{path}: does not fit {words}"


def test_other_codecs(tmp_path: Path, tiny_codec: EncodecCodec) -> None:
    """A DAC has codebooks of the same size, so that its codes would be taken without a word."""
    path = vampnet.write(tmp_path / "coarse.pth", vampnet.random_state(COARSE), COARSE)
    dac = DacModel(DacConfig(encoder_hidden_size=2, decoder_hidden_size=64, n_codebooks=14, **CODES))
    for other in (DacCodec(dac, "dac"), tiny_codec):
        assert refusal(path, other) == (
            f"{path}: VampNet's models know the codes of its own codec only, and codec={other.name} is another one. "
            "Set codec=vampnet."
        )
    assert "codec=small is another one" in refusal("coarse", lac(n_codebooks=9)), "the published one has 14"


@pytest.mark.parametrize(
    "adapters, words",
    [
        (vampnet.random_adapters(C2F), "its tensors do not make up the adapters of a VampNet of 4 codebooks"),
        (vampnet.random_adapters(C2F), "transformer.layers.2.self_attn.w_qs.lora_A is missing and 9 more"),
        (vampnet.random_adapters(COARSE | {"embedding_dim": 16}), "w_qs.lora_A has shape [8, 16], expected [8, 32]"),
        ({ADAPTER: torch.zeros(32, 8)}, "is missing and 28 more"),
        (vampnet.random_state(COARSE) | {"more": torch.zeros(2)}, "more is not part of the model"),
        ({"lora_A": torch.zeros(2)}, "embedding.special.MASK is missing and 32 more"),
        ({}, "holds nothing, not the tensors of a VampNet"),
    ],
)
def test_adapters_of_another_model(tmp_path: Path, codec: DacCodec, adapters: State, words: str) -> None:
    path = vampnet.write(tmp_path / "model.pth", vampnet.random_state(COARSE), COARSE)
    torch.save(adapters, tmp_path / "lora.pth")
    text = refusal(path, codec, tmp_path / "lora.pth")
    assert text.startswith(f"{tmp_path / 'lora.pth'}: ")
    assert words in text


def test_adapters_are_no_model(tmp_path: Path, codec: DacCodec) -> None:
    torch.save(vampnet.random_adapters(COARSE), tmp_path / "lora.pth")
    assert "If they are adapters, give the file as lora" in refusal(tmp_path / "lora.pth", codec)


def test_adapters_cannot_be_kept_without_peft(tmp_path: Path, codec: DacCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    path = vampnet.write(tmp_path / "model.pth", vampnet.random_state(COARSE), COARSE)
    text = refusal(path, codec, merge_lora=False)
    assert "need peft, which is not installed" in text


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.mark),))


def test_code_in_a_pickle_is_not_run(tmp_path: Path, codec: DacCodec) -> None:
    mark, path = tmp_path / "code was run", tmp_path / "coarse.pth"
    torch.save({"state_dict": vampnet.random_state(COARSE), "metadata": {"kwargs": Bomb(mark)}}, path)
    text = refusal(path, codec)
    assert f"wants to run {os.mkdir.__module__}.mkdir" in text
    assert not mark.exists()


@pytest.mark.parametrize(
    "content, words",
    [
        ([1, 2], "holds list, not the tensors of a VampNet"),
        ({"state_dict": [1]}, "holds state_dict, not the tensors"),
        ({"state_dict": {"a": 1}, "metadata": {}}, "holds state_dict, metadata, not the tensors"),
        ({"state_dict": {"a": torch.ones(1)}, "metadata": {}}, "metadata.kwargs, which tell the size"),
        ({"state_dict": {"a": torch.ones(1)}}, "metadata.kwargs, which tell the size"),
        (
            {"state_dict": {"a": torch.ones(1)}, "metadata": {"kwargs": COARSE}},
            "embedding.special.MASK is missing and 32 more",
        ),
    ],
)
def test_checkpoints_of_something_else(tmp_path: Path, codec: DacCodec, content: object, words: str) -> None:
    torch.save(content, tmp_path / "model.pth")
    assert words in refusal(tmp_path / "model.pth", codec)


def test_files_that_cannot_be_read(tmp_path: Path, codec: DacCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    path = vampnet.write(tmp_path / "model.pth", vampnet.random_state(COARSE), COARSE)
    path.write_bytes(path.read_bytes()[:1000])
    assert "is broken, cut short, or no checkpoint" in refusal(path, codec)
    assert refusal("kaorse", codec) == (
        "kaorse: there is no such file. Give that of a VampNet model, or coarse or c2f by name."
    )

    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(torch, "load", closed)
    assert "cannot be read (Permission denied)" in refusal(path, codec)


@pytest.mark.parametrize("kind, size", [("coarse", "1344 MB"), ("c2f", "1111 MB")])
def test_without_a_network_it_says_which_file_to_put_where(
    tmp_path: Path, codec: DacCodec, kind: str, size: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = refusal(kind, codec)
    assert text.startswith(f"VampNet {kind}: vampnet_{kind}.pth ({size}; licence of the weights: CC BY-NC-SA 4.0) is")
    assert f"download https://huggingface.co/hugggof/vampnet/resolve/main/{kind}.pth and save it as" in text
    assert text.endswith(str(tmp_path / "cache" / f"vampnet_{kind}.pth"))
    assert f"vampnet_{kind}.pth: no hash was published to check it by" in caplog.text


def test_published_names(tmp_path: Path, codec: DacCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("TOKEN_SEPARATION_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "cache" / "vampnet_c2f.pth"
    file.parent.mkdir()
    vampnet.write(file, vampnet.random_state(COARSE), COARSE)
    assert refusal("c2f", codec) == (
        f"{file}: is not VampNet's c2f (14 codebooks, 4 of them known) but another model (4 codebooks, 0 of them "
        "known). Delete it, and the right one is fetched; load it by its path, if it is the one you want."
    )
    assert not Path(f"{file}.sha256").exists(), "what is wrong is not trusted"
    vampnet.write(file, vampnet.random_state(C2F), C2F)
    model = load_vampnet("c2f", codec)
    assert (model.facts.path, model.facts.lora) == (file, None)
    assert Path(f"{file}.sha256").is_file()
    vampnet.write(file, vampnet.random_state(C2F, seed=1), C2F)
    assert "when it was first used" in refusal("c2f", codec)
