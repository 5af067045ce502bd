"""Token models on disk: what is written is what is read, and whatever is broken is told."""

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from small_enhancer import shake, write_enhancer
from torch import Tensor

from codec_ft.codecs import long
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import load_codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from token_models.apply import TrainedTokens
from token_models.config import TokenModelConfig
from token_models.load import load_token_models
from token_models.model import TokenModel
from token_models.sampling.config import SamplingConfig
from token_models.save import TokenFacts, codebook_rms, save_token_models
from token_models.windows import window_starts

SMALL = {"dim": 16, "heads": 2, "layers": 1, "dropout": 0.0, "condition": {"latents": True}}


@pytest.fixture
def folder(tmp_path: Path, tiny_codec: EncodecCodec, tiny_codec_folder: Path) -> Path:
    """Coarse and fine models with random weights, which hear a separated bass and the mixture."""
    facts = TokenFacts.model_validate(
        {
            "codec": str(tiny_codec_folder),
            "stem": "bass",
            "input": "separated/rough",
            "context": "mixture",
            "coarse": {**SMALL, "codebooks": 2},
            "fine": {**SMALL, "known": 2},
            "sampling": {"steps": 2},
            "fine_sampling": {"steps": 2},
            "seconds": 0.25,
            "fine_seconds": 0.1,
        }
    )
    torch.manual_seed(0)
    models = {
        name: TokenModel(tiny_codec, TokenModelConfig.model_validate(config), inputs=2)
        for name, config in facts.models.items()
    }
    save_token_models(models, facts, tmp_path / "models")
    return tmp_path / "models"


def sound(seconds: float, rate: int = 8000, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (channels, round(seconds * rate))
    return (0.3 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    first, second = load_token_models(folder), load_token_models(str(folder))
    audio, context = (torch.from_numpy(sound(0.6, seed=seed))[None] for seed in (0, 1))
    codes = first.codes(audio, context)
    assert codes.shape == (1, 3, 240) and torch.equal(second.codes(audio, context), codes)
    assert not torch.equal(first.codes(audio, -context), codes), "the context is heard"
    first.seed = 1
    assert not torch.equal(first.codes(audio, context), codes)
    assert (first.stem, first.input, first.context) == ("bass", "separated/rough", ["mixture"])


def test_audio_of_any_rate_channels_and_length(folder: Path) -> None:
    models = load_token_models(folder)
    audio = sound(0.7, rate=11025, channels=2)
    stem = models.enhance(audio, 11025, [audio], chunk_seconds=0.5)
    assert stem.shape == audio.shape and stem.dtype == np.float32 and np.isfinite(stem).all()
    with pytest.raises(UserError, match="hears mixture beside its input; give it as context"):
        models.enhance(audio, 11025)


@pytest.fixture
def written_in_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], TrainedTokens]:
    """Models for the demo codec that begin at the codes of what they hear, in windows of 0.4 and 0.2 s.

    Their weights are shaken, and their codes drawn at a temperature.
    """
    monkeypatch.setattr(long, "LONG_SECONDS", 1.0)  # what is longer is coded in chunks

    def make(temperature: float) -> TrainedTokens:
        sampling = {"steps": 2, "temperature": temperature, "mask_temperature": 0.0}
        facts = TokenFacts.model_validate(
            {
                "codec": "demo", "stem": "bass", "input": "mixture", "seconds": 0.4, "fine_seconds": 0.2,
                "coarse": {**SMALL, "codebooks": 2, "near": 2}, "fine": {**SMALL, "known": 2, "near": 6},
                "sampling": sampling, "fine_sampling": sampling,
            }
        )  # fmt: skip
        torch.manual_seed(0)
        codec = load_codec("demo")
        assert isinstance(codec, ResidualCodec)
        models = {name: TokenModel(codec, config) for name, config in facts.models.items()}
        if temperature:
            for model in models.values():
                shake(model, by=0.01)
        save_token_models(models, facts, tmp_path / "demo models")
        return load_token_models(tmp_path / "demo models")

    return make


def humming(seconds: float, rate: int = 16000) -> np.ndarray:
    """A steady sound with overtones, `[1, N]`."""
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * 110 * n * time + n) / n for n in range(1, 9))
    return (0.1 * wave)[None].astype(np.float32)


@torch.no_grad()
def test_whole_and_in_windows_codes_that_are_sure_are_the_same(
    written_in_windows: Callable[[float], TrainedTokens],
) -> None:
    """New models write what their input says, so all windows and chunks together give what the codec gives."""
    models, audio = written_in_windows(0.0), humming(3.0)
    codec = models.codec
    wanted = codec.decode(codec.quantize(codec.encode(torch.from_numpy(audio)[None]))[1], audio.shape[-1])
    found = models.enhance(audio, 16000, chunk_seconds=1.0)
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-4)


@torch.no_grad()
def test_settled_codes_are_the_nearest_to_the_guess(written_in_windows: Callable[[float], TrainedTokens]) -> None:
    """New models guess what they hear: whatever was drawn, the codes become those of the input."""
    models, audio = written_in_windows(0.0), torch.from_numpy(humming(1.0))[None]
    for stage in models._writer.stages.values():
        object.__setattr__(stage, "sampling", SamplingConfig(steps=2, temperature=5.0))
    wanted, _ = models.codec.quantize(models.codec.encode(audio))
    drawn = models.codes(audio)
    assert not torch.equal(drawn, wanted)
    models._writer.facts = models.facts.model_copy(update={"settle": 0})
    assert torch.equal(models.codes(audio), wanted)
    models._writer.facts = models.facts.model_copy(update={"settle": 1})
    assert torch.equal(models.codes(audio), models.codec.complete_codes(models.codec.encode(audio), drawn[:, :1]))


@torch.no_grad()
def test_the_energy_does_not_jump_where_windows_meet(written_in_windows: Callable[[float], TrainedTokens]) -> None:
    models, audio = written_in_windows(1.0), humming(8.0)
    codec = models.codec
    found = torch.from_numpy(models.enhance(audio, 16000, chunk_seconds=2.0))
    window = codec.n_frames(round(0.4 * 16000))
    starts = window_starts(found.shape[-1] // codec.hop_length, window, window // 4)[1:-1]
    joins = [start + window // 8 for start in starts]  # half of what two windows share is written anew

    def jumps(wave: Tensor) -> tuple[float, float]:
        """Mean change of the level from frame to frame where windows meet, and everywhere, dB."""
        level = 10 * wave.reshape(-1, codec.hop_length).square().mean(dim=1).log10()
        change = level.diff().abs()
        return float(torch.stack([change[join - 1] for join in joins]).mean()), float(change.mean())

    at_joins, everywhere = jumps(found)
    assert at_joins < 1.5 * everywhere
    # Windows decoded by themselves would be heard.
    codes = models.codes(torch.from_numpy(audio)[None])
    edges = [0, *joins, codes.shape[-1]]
    pieces = [
        codec.decode(codec.codes_to_latents(codes[..., a:b]), (b - a) * codec.hop_length) for a, b in pairwise(edges)
    ]
    at_joins, everywhere = jumps(torch.cat(pieces, dim=-1)[0, 0])
    assert at_joins > 1.5 * everywhere


def test_what_is_missing_or_broken_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing here: no such token models"):
        load_token_models("nothing here")
    (folder / "fine.safetensors").unlink()
    with pytest.raises(UserError, match=r"fine\.safetensors"):
        load_token_models(folder)
    (folder / "config.json").write_text('{"codec": "demo", "stem": "bass", "steam": 1}')
    with pytest.raises(UserError, match=r"config\.json: is not the config of token models: "):
        load_token_models(folder)


def test_a_codec_that_was_trained_again_is_told(folder: Path, tiny_codec: EncodecCodec) -> None:
    """Other codes of the same sizes at the same place."""
    facts = json.loads((folder / "config.json").read_text())
    sizes = codebook_rms(tiny_codec)
    (folder / "config.json").write_text(json.dumps(facts | {"codebook_rms": sizes}))
    load_token_models(folder)
    (folder / "config.json").write_text(json.dumps(facts | {"codebook_rms": [1.01 * sizes[0], *sizes[1:]]}))
    with pytest.raises(UserError, match="has other codebooks than in the training of these models"):
        load_token_models(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fine": {**SMALL, "known": 1}}, "fine.known=1: is not coarse.codebooks=2"),
        ({"coarse": {**SMALL, "codebooks": 2, "known": 1}}, "coarse.known=1: the coarse model begins with nothing"),
        ({"settle": 1}, "settle=1: does not fit the fine model"),
        ({"given": [-1]}, "greater than or equal to 0"),
        ({"given": [2], "settle": 1, "fine": {**SMALL, "known": 2, "near": 1}}, r"does not fit .* given=\[2\]"),
    ],
)
def test_models_that_are_no_pair_are_told(folder: Path, changes: dict[str, object], message: str) -> None:
    facts = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(facts | changes))
    with pytest.raises(UserError, match=message):
        load_token_models(folder)


def test_a_run_that_has_no_models_yet_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("task: masked\n")
    for name, runs in ((tmp_path / "run", None), ("run", tmp_path)):
        with pytest.raises(UserError, match=r"is a run that is not finished\. Start it again with the same command"):
            load_token_models(name, runs=runs)
    (tmp_path / "run" / "results.json").write_text("{}")
    (tmp_path / "run" / "config.yaml").write_text("task: translate\n")
    with pytest.raises(UserError, match="token models, which are those of task=masked, but a run of task=translate"):
        load_token_models(tmp_path / "run")


def test_an_exported_folder_of_a_run_finds_its_enhancer(folder: Path, tiny_codec_folder: Path, tmp_path: Path) -> None:
    write_enhancer(tmp_path / "runs" / "X9", tiny_codec_folder, input="separated/rough", context=["mixture"])
    facts = json.loads((folder / "config.json").read_text())
    shutil.copytree(folder, tmp_path / "runs" / "Y2" / "tokens")
    (tmp_path / "runs" / "Y2" / "tokens" / "config.json").write_text(json.dumps(facts | {"enhancer": "X9"}))
    for place in (tmp_path / "runs" / "Y2", tmp_path / "runs" / "Y2" / "tokens"):
        assert load_token_models(place).facts.enhancer == "X9"
    write_enhancer(tmp_path / "runs" / "X10", tiny_codec_folder, input="separated/rough")
    (tmp_path / "runs" / "Y2" / "tokens" / "config.json").write_text(json.dumps(facts | {"enhancer": "X10"}))
    with pytest.raises(UserError, match="enhancer=X10: hears nothing beside its input, but context=mixture"):
        load_token_models(tmp_path / "runs" / "Y2")
