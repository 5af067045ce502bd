"""Trained enhancers: from a folder or a run back to the network, applied to audio of any kind, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_enhancer import shake, write_enhancer, write_finished

from codec_ft.codec_training.enhancer_card import card_text
from codec_ft.errors import UserError
from codec_ft.finetune import load
from codec_ft.finetune.load import enhancer_names, load_enhancer
from codec_ft.finetune.save import facts_of, save_enhancer
from codec_ft.finetune.task import FinetuneTask
from codec_ft.training.stem_cards import LARGEST_MB

RATE = 8000
KINDS: dict[str, dict[str, Any]] = {
    "encoder": {},
    "unquantised": {"decode": "latents"},
    "first codebooks": {"target": "quantized", "target_codebooks": 2},
    "context": {"input": "separated/rough", "context": "mixture"},
    "two contexts": {"input": "separated/rough", "context": ["mixture", "target"]},
    "dense": {
        "encoder": "frozen",
        "bridge": {"kind": "dense", "codebooks": 2},
        "losses": {"softmax": 1.0, "latent_mse": 0.0},
    },
    "transformer": {"bridge": {"kind": "transformer", "gives": "latents", "layers": 1}},
    "rotary": {"bridge": {"kind": "rotary", "gives": "latents", "layers": 1, "heads": 2}},
}


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal up to rounding, which may depend on where in memory a tensor lies."""
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def music(seconds: float, seed: int = 0) -> np.ndarray:
    """Tones that come and go, `[1, N]`."""
    time = np.arange(round(seconds * RATE)) / RATE
    waves = [np.sin(2 * np.pi * f * time) * (1 + np.sin(2 * np.pi * f / 97 * time + seed)) for f in (110, 233, 587)]
    return (0.1 * sum(waves))[None].astype(np.float32)


@pytest.fixture
def folder(tiny_codec_folder: Path, tmp_path: Path) -> Path:
    """An exported enhancer of the tiny codec."""
    write_enhancer(tmp_path / "bass", tiny_codec_folder)
    return tmp_path / "bass"


# Back to the network


@pytest.mark.parametrize("kind", KINDS)
def test_exported_or_in_its_run_it_does_what_it_was_trained_to(
    kind: str, lively_task: Callable[..., FinetuneTask], tmp_path: Path
) -> None:
    task = lively_task(**KINDS[kind])
    task.export(task.step, tmp_path / "run")
    write_finished(tmp_path / "run", task.config)
    save_enhancer(task.step.enhancer, facts_of(task.config), tmp_path / "exported")
    audio = noise(2, 1, 1003)
    beside = len(task.config.context)
    context = noise(2, beside, 1003, seed=1) if beside else None
    wanted = task.step.separate(audio, context, task.config.decode)
    for place in ("run", "exported"):
        trained = load_enhancer(tmp_path / place)
        assert torch.equal(trained.codes(audio, context), wanted.codes)
        close(trained.latents(audio, context), wanted.latents)
        close(trained.decoded(audio, context), wanted.output)
        close(trained.quantized(audio, context), task.codec.codes_to_latents(wanted.codes))
        assert trained.facts == facts_of(task.config)
        assert (trained.stem, trained.input, trained.context) == ("bass", task.config.input, task.config.context)
        assert trained.sample_rate == trained.codec.sample_rate == RATE
        assert trained.player is trained.codec
        assert not trained.enhancer.training and not any(p.requires_grad for p in trained.enhancer.parameters())


def test_half_precision_is_of_parameters_only(tiny_codec_folder: Path, tmp_path: Path) -> None:
    """The frequencies of rotary positions are no parameters; rounded, distant frames would be told apart wrongly."""
    bridge = {"kind": "rotary", "gives": "latents", "layers": 1, "heads": 2}
    facts = write_enhancer(tmp_path / "whole", tiny_codec_folder, bridge=bridge)
    trained = load_enhancer(tmp_path / "whole")
    save_enhancer(trained.enhancer, facts, tmp_path / "half", dtype=torch.float16)
    state = load_file(tmp_path / "half" / "model.safetensors")
    parameters = {name for name, _ in trained.enhancer.named_parameters()}
    assert {name for name, value in state.items() if value.dtype == torch.float16} == parameters < state.keys()
    half = load_enhancer(tmp_path / "half")
    assert all(p.dtype == torch.float32 for p in half.enhancer.parameters())
    audio = noise(1, 1, 800)
    assert float((half.latents(audio) - trained.latents(audio)).abs().max()) < 0.01 * float(
        trained.latents(audio).std()
    )


def test_a_decoder_of_its_own(folder: Path) -> None:
    plain = load_enhancer(folder)
    decoder = load_enhancer(folder).codec.get_submodule("decoder")
    shake(decoder)
    save_enhancer(plain.enhancer, plain.facts, folder, decoder=decoder)
    trained = load_enhancer(folder)
    audio = noise(1, 1, 800)
    assert torch.equal(trained.codes(audio), plain.codes(audio))
    close(trained.codec.decode(trained.quantized(audio)), plain.decoded(audio))
    with torch.no_grad():
        close(trained.decoded(audio), decoder(trained.quantized(audio)))
    assert not torch.allclose(trained.decoded(audio), plain.decoded(audio), atol=1e-3)
    save_enhancer(plain.enhancer, plain.facts, folder)
    close(load_enhancer(folder).decoded(audio), plain.decoded(audio))  # the older decoder is gone


# Any audio


@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(1, 3000),
    channels=st.integers(1, 3),
    rate=st.sampled_from([8000, 11025, 44100, 48000]),
    silent=st.booleans(),
)
def test_any_rate_length_and_number_of_channels(
    length: int, channels: int, rate: int, silent: bool, tiny_enhancer: load.TrainedEnhancer
) -> None:
    audio = (0.0 if silent else 1.0) * noise(channels, length).numpy()
    output = tiny_enhancer.enhance(audio, rate)
    assert output.shape == audio.shape and output.dtype == np.float32
    assert np.isfinite(output).all()


@pytest.fixture(scope="module")
def tiny_enhancer(tiny_codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> load.TrainedEnhancer:
    """One that is loaded once."""
    folder = tmp_path_factory.mktemp("enhancers") / "bass"
    write_enhancer(folder, tiny_codec_folder)
    return load_enhancer(folder)


def test_at_the_codecs_rate_it_is_what_the_network_gives(tiny_enhancer: load.TrainedEnhancer) -> None:
    audio = music(0.4)
    np.testing.assert_array_equal(
        tiny_enhancer.enhance(audio, RATE), tiny_enhancer.decoded(torch.from_numpy(audio)[None])[0].numpy()
    )


def test_channels_are_heard_by_themselves(folder: Path, tiny_codec_folder: Path, tmp_path: Path) -> None:
    facts = write_enhancer(tmp_path / "both", tiny_codec_folder, input="separated/rough", context="mixture")
    assert facts.context == load_enhancer(tmp_path / "both").context == ["mixture"]
    stereo = np.concatenate([music(0.3), music(0.3, seed=2)])
    context = np.concatenate([music(0.3, seed=3), music(0.3, seed=4)])
    for trained, beside in ((load_enhancer(folder), []), (load_enhancer(tmp_path / "both"), [context])):
        output = trained.enhance(stereo, RATE, beside)
        for channel in (0, 1):
            alone = [other[[channel]] for other in beside]
            np.testing.assert_array_equal(output[[channel]], trained.enhance(stereo[[channel]], RATE, alone))
        assert not np.array_equal(output[0], output[1])
    swapped = load_enhancer(tmp_path / "both").enhance(context, RATE, [stereo])
    assert not np.allclose(swapped, output), "input and context are not the same thing"


@pytest.mark.parametrize("decode", ["codes", "latents"])
def test_in_chunks_as_in_one_piece(decode: str, tiny_codec_folder: Path, tmp_path: Path) -> None:
    write_enhancer(tmp_path / "bass", tiny_codec_folder, decode=decode)
    trained = load_enhancer(tmp_path / "bass")
    audio = music(6.013)
    whole = trained.enhance(audio, RATE)[0]
    chunked = trained.enhance(audio, RATE, chunk_seconds=1.0)[0]
    error = chunked - whole
    assert np.abs(error).max() > 0, "it was heard in chunks"
    size = np.sqrt(np.mean(whole**2))
    assert np.sqrt(np.mean(error**2)) < 0.03 * size
    # Chunks of 1 s share 0.1 s: they begin and end at multiples of 0.9 s, and 0.1 s after.
    seams = [round(RATE * (0.9 * k + edge)) for k in range(1, 6) for edge in (0.0, 0.1)]
    jumps = np.abs(np.diff(error))
    assert max(jumps[seam - 2 : seam + 2].max() for seam in seams) < 0.02 * np.abs(np.diff(whole)).max()


def test_a_chunk_is_never_too_short(tiny_enhancer: load.TrainedEnhancer) -> None:
    audio = music(0.2)
    assert np.isfinite(tiny_enhancer.enhance(audio, RATE, chunk_seconds=0.001)).all()


def test_silence_stays_next_to_silent(tiny_codec_folder: Path, tmp_path: Path) -> None:
    """A network whose codec turns silence into silence, up to its biases: what comes out does not change."""
    write_enhancer(tmp_path / "bass", tiny_codec_folder)
    trained = load_enhancer(tmp_path / "bass")
    output = trained.enhance(np.zeros((1, 8000), np.float32), RATE)
    assert np.isfinite(output).all()
    middle = output[0, 2000:-2000].reshape(-1, 20)
    np.testing.assert_allclose(middle, np.broadcast_to(middle[:1], middle.shape), atol=1e-4)


def test_audio_that_is_none(tiny_enhancer: load.TrainedEnhancer) -> None:
    with pytest.raises(ValueError, match=r"audio must be \[C, N\] with C, N > 0, not of shape \[5\]"):
        tiny_enhancer.enhance(np.zeros(5, np.float32), RATE)
    with pytest.raises(ValueError, match=r"not of shape \[1, 0\]"):
        tiny_enhancer.enhance(np.zeros((1, 0), np.float32), RATE)
    with pytest.raises(ValueError, match="audio holds NaN"):
        tiny_enhancer.enhance(np.full((1, 5), np.nan, np.float32), RATE)
    with pytest.raises(ValueError, match=r"expected audio \[B, 1, N\]"):
        tiny_enhancer.codes(torch.zeros(1, 2, 50))


def test_context_where_there_is_one(
    tiny_enhancer: load.TrainedEnhancer, tiny_codec_folder: Path, tmp_path: Path
) -> None:
    audio = music(0.1)
    with pytest.raises(UserError, match=r"was trained without a context; leave it out\."):
        tiny_enhancer.enhance(audio, RATE, [audio])
    write_enhancer(tmp_path / "both", tiny_codec_folder, context="mixture")
    both = load_enhancer(tmp_path / "both")
    with pytest.raises(UserError, match=r"hears mixture beside its input; give it as context\."):
        both.enhance(audio, RATE)
    with pytest.raises(UserError, match="hears mixture"):
        both.codes(noise(1, 1, 50))
    with pytest.raises(ValueError, match=r"audio \[1, 800\] and context \[1, 799\] differ in shape"):
        both.enhance(audio, RATE, [audio[:, 1:]])
    with pytest.raises(ValueError, match="context holds NaN"):
        both.enhance(audio, RATE, [np.full_like(audio, np.nan)])
    with pytest.raises(UserError, match="hears mixture beside its input"):
        both.codes(noise(1, 1, 50), noise(1, 2, 50))
    with pytest.raises(ValueError, match=r"audio \[1, 1, 50\] and context \[1, 1, 49\] differ in shape"):
        both.codes(noise(1, 1, 50), noise(1, 1, 49))


def test_several_contexts_have_an_order(tiny_codec_folder: Path, tmp_path: Path) -> None:
    write_enhancer(tmp_path / "three", tiny_codec_folder, input="separated/rough", context=["mixture", "separated/b"])
    three = load_enhancer(tmp_path / "three")
    audio, first, second = (music(0.5, seed=seed) for seed in range(3))
    output = three.enhance(audio, RATE, [first, second])
    at_once = torch.from_numpy(np.concatenate([first, second]))[None]
    np.testing.assert_array_equal(output, three.decoded(torch.from_numpy(audio)[None], at_once)[0].numpy())
    assert not np.array_equal(output, three.enhance(audio, RATE, [second, first]))
    for beside in ([], [first], [first, second, first]):
        with pytest.raises(UserError, match=r"hears mixture, separated/b beside its input; give them, in this order,"):
            three.enhance(audio, RATE, beside)


# Names


def test_names(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(load, "SHIPPED", folder.parent)
    assert enhancer_names() == ["bass"]
    assert load_enhancer("bass").name == "bass"
    with pytest.raises(UserError, match=r"^bas: no such enhancer; did you mean bass\? There are bass\. Or give"):
        load_enhancer("bas")
    monkeypatch.setattr(load, "SHIPPED", folder / "nothing")
    with pytest.raises(UserError, match=r"^bas: no such enhancer\. None comes with this package\. Or"):
        load_enhancer("bas")


@pytest.mark.parametrize("name", enhancer_names())
def test_what_is_shipped(name: str) -> None:
    folder = load.SHIPPED / name
    trained = load_enhancer(name)
    assert name.endswith(trained.stem)
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < LARGEST_MB * 1e6
    card = json.loads((folder / "card.json").read_text())
    assert (folder / "card.md").read_text() == card_text(card)
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 16000), dtype=np.float32)
    stem = trained.enhance(noise, 16000, [noise for _ in trained.context])
    assert stem.shape == noise.shape and np.isfinite(stem).all()


# Broken folders


def refused(folder: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load_enhancer(folder)
    assert "\n" not in str(caught.value)


def test_broken_folders(folder: Path) -> None:
    weights, config = folder / "model.safetensors", folder / "config.json"
    state, facts, content = load_file(weights), json.loads(config.read_text()), weights.read_bytes()
    name = min(state)
    weights.write_bytes(content[:-10])
    refused(folder, r"model\.safetensors: broken or cut short")
    weights.unlink()
    refused(folder, r"model\.safetensors is missing; copy it there")
    save_file({n: value for n, value in state.items() if n != name}, weights)
    refused(folder, f"do not fit the config: {name} is missing\\.")
    save_file(state | {"more": torch.zeros(1), "most": torch.zeros(1)}, weights)
    refused(folder, r"do not fit the config: more is not part of the network and 1 more\.")
    save_file(state | {name: torch.zeros(1)}, weights)
    refused(folder, f"do not fit the config: {name} has another shape")
    weights.write_bytes(content)
    config.write_text(json.dumps(facts | {"codec": "dem0"}))
    refused(folder, r"config\.json: its codec cannot be loaded\. dem0: no such codec")
    config.write_text(json.dumps(facts | {"stems": "bass"}))
    refused(folder, r"config\.json: is not the config of an enhancer: stems Extra inputs")
    config.write_text("{")
    refused(folder, r"config\.json: is not the config of an enhancer")


def test_a_run_that_is_not_finished_or_no_fine_tuning(make_task: Callable[..., FinetuneTask], tmp_path: Path) -> None:
    task, run = make_task(), tmp_path / "run"
    write_finished(run, task.config)
    refused(run, r"enhancer\.safetensors is missing")
    (run / "results.json").unlink()
    refused(run, "the training is not finished")
    write_finished(run, task.config)
    (run / "config.yaml").write_text("task: separator\nid: other\n")
    refused(run, "is of a training of task 'separator', expected an enhancer: finetune")
