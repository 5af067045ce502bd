"""Training a codec: its shape, its data, its losses, and that it learns."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.utils.data import DataLoader

from codec_ft.audio.files import read_audio
from codec_ft.codec_training.config import EncodecTrainingConfig
from codec_ft.codec_training.encodec_model import EncodecShape, make_encodec
from codec_ft.codec_training.start import make_network
from codec_ft.codec_training.step import CodecStep
from codec_ft.codec_training.task import CodecTask
from codec_ft.codecs.load import load_codec
from codec_ft.data.dataset import Batch, collate
from codec_ft.data.interleaved import Interleaved
from codec_ft.metrics.spectral import log_mel_distance


def make_step(config: EncodecTrainingConfig, **changes: object) -> CodecStep:
    torch.manual_seed(0)
    changed = EncodecTrainingConfig.model_validate({**config.model_dump(exclude_unset=True), **changes})
    return CodecStep(changed, make_network(changed))


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The model


@pytest.mark.parametrize(
    "shape, frame_rate",
    [
        ({"sample_rate": 16000, "strides": (5, 4, 4, 2), "n_codebooks": 8, "codebook_size": 1024}, 100),
        ({"sample_rate": 24000, "strides": (2, 4, 5, 8), "n_codebooks": 32, "codebook_size": 1024}, 75),
        # 2.03 kbps as a float is a hair less than 2030 bits, which would cost the last codebook.
        ({"sample_rate": 56, "strides": (8,), "n_codebooks": 29, "codebook_size": 1024}, 7),
        ({"sample_rate": 300, "strides": (2, 50), "n_codebooks": 31, "codebook_size": 2048}, 3),
        ({"sample_rate": 44100, "strides": (4, 8, 10), "n_codebooks": 1, "codebook_size": 2}, 138),  # 137.8 and up
    ],
)
def test_a_codec_has_the_size_asked_for(shape: dict, frame_rate: int) -> None:
    wanted = EncodecShape(**shape, n_filters=2, latent_dim=3)
    model = make_encodec(wanted)
    assert model.config.frame_rate == frame_rate
    assert model.config.num_quantizers == len(model.quantizer.layers) == wanted.n_codebooks
    assert model.quantizer.layers[0].codebook.embed.shape == (wanted.codebook_size, 3)
    strides = [layer.conv.stride[0] for layer in model.encoder.layers if hasattr(layer, "conv")]
    assert [stride for stride in strides if stride > 1] == list(wanted.strides)


def test_a_codebook_size_that_bits_cannot_count_is_refused() -> None:
    with pytest.raises(ValidationError, match="must be a power of two"):
        EncodecShape(codebook_size=1000)


@torch.no_grad()
def test_an_untrained_codec_lets_the_signal_through() -> None:
    torch.manual_seed(0)
    model = make_encodec(EncodecShape(strides=(5, 4, 4, 2), n_filters=8, latent_dim=16, lstm_layers=1, n_codebooks=1))
    assert 0.1 < float(model.encoder(0.1 * noise(1, 1, 4000)).std()) < 10, "about one at -20 dBFS"
    for level in (1.0, 0.01):
        silent, sounding = (model.decoder(model.encoder(gain * noise(1, 1, 4000))) for gain in (0.0, level))
        # What the signal changes, beside the LSTMs' biases; with the usual initial weights, 0.00001 of it.
        assert 0.1 < float((sounding - silent).std()) / level < 100


# The data


def test_items_are_the_stems_and_the_mixture_in_turn(codec_config: EncodecTrainingConfig) -> None:
    task = CodecTask(codec_config)
    assert task.stems == ["bass", "drums", "mixture"]
    data = task.train_data(7)
    assert isinstance(data, Interleaved) and len(data) >= 7
    for index in range(7):
        item = data[index]
        assert torch.equal(item["input"], item["target"])
        name, start = item["name"].removesuffix(" s").split(" @ ")
        path = codec_config.data.root / "train" / name / f"{task.stems[index % 3]}.wav"
        whole = torch.from_numpy(read_audio(path, sample_rate=8000, channels=1)[0])[0]
        # The name rounds the start to a tenth of a second: look for the item near it.
        near = whole[max(0, round((float(start) - 0.06) * 8000)) :][: 4000 + 960].unfold(0, 4000, 1)
        assert float((near - item["target"]).abs().amax(dim=1).min()) < 1e-6
    assert not torch.equal(data[0]["target"], data[3]["target"])


def test_one_stem_can_be_asked_for(codec_config: EncodecTrainingConfig) -> None:
    task = CodecTask(codec_config.model_copy(update={"stem": "drums"}))
    assert task.stems == ["drums"]
    assert len(task.train_data(5)) == 5  # type: ignore[arg-type]


def test_validation_has_every_stem_of_every_track(codec_config: EncodecTrainingConfig) -> None:
    data = CodecTask(codec_config).valid_data()
    tracks = [data[i]["track"] for i in range(len(data))]  # type: ignore[arg-type]
    assert tracks == ["valid song 0", "valid song 1"] * 3


# The losses


def test_the_loss_is_the_weighted_sum_of_its_terms(codec_config: EncodecTrainingConfig) -> None:
    weights = {"log_mel": 3.0, "noise_to_signal": 0.5, "commitment": 0.7, "latent_scale": 0.3}
    step = make_step(codec_config, losses=weights)
    audio = 0.1 * noise(2, 1, 4000)
    step.learner.step.fill_(step.learner.config.start_step)
    losses = step(Batch(audio, audio, ["a", "b"]))
    assert losses["commitment"] > 0 and losses["latent_scale"] > 0
    variance = step.model.encoder(audio).var()
    torch.testing.assert_close(losses["latent_scale"], variance.log() ** 2)
    torch.testing.assert_close(losses["latent_std"], variance.sqrt())
    expected = 3.0 * losses["log_mel"] + 0.5 * losses["noise_to_signal"]
    torch.testing.assert_close(losses["reconstruction"], expected)
    expected = expected + 0.7 * losses["commitment"] + 0.3 * losses["latent_scale"]
    torch.testing.assert_close(losses["loss"], expected)
    health = {f"{name}_{k}" for name in ("perplexity", "dead") for k in (1, 2, 3)}
    assert health | {"codes_replaced", "latent_std"} <= losses.keys()
    assert all(value.dim() == 0 for value in losses.values())


def test_every_parameter_learns(codec_config: EncodecTrainingConfig) -> None:
    step = make_step(codec_config)
    audio = 0.1 * noise(2, 1, 4000)
    for started in (False, True):
        if started:
            step.learner.step.fill_(codec_config.quantizer.start_step)
        step.zero_grad()
        step(Batch(audio, audio, ["a", "b"]))["loss"].backward()
        for name, parameter in step.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert (parameter.grad != 0).any(), name


def test_half_precision_does_not_reach_the_codebooks(codec_config: EncodecTrainingConfig) -> None:
    step = make_step(codec_config)
    step.learner.step.fill_(codec_config.quantizer.start_step)
    audio = 0.1 * noise(2, 1, 4000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latents = step.model.encoder(audio)
        assert latents.dtype == torch.bfloat16, "autocast is not on"
        step(Batch(audio, audio, ["a", "b"]))["loss"].backward()
        step.eval()
        _, quantized = step.reconstruct(audio)
    assert quantized.latents.dtype == torch.float32
    with torch.no_grad():
        assert quantized.codes is not None
        assert torch.equal(quantized.codes, step.learner(latents.float()).codes)


# Learning


def test_it_learns_and_what_it_exports_is_a_codec(codec_config: EncodecTrainingConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task, train = CodecTask(codec_config), codec_config.train
    optimizer = torch.optim.Adam(task.step.parameters(), lr=3e-3)
    batches = DataLoader(task.train_data(train.steps * train.batch_size), train.batch_size, collate_fn=collate)  # type: ignore[arg-type, var-annotated]
    losses = []
    for batch in batches:
        found = task.step(batch)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(found["reconstruction"].item())
    assert len(losses) == 60
    # In the very first steps the output is noise, with a signal-to-noise ratio of 0 dB at best.
    assert sum(losses[-10:]) / 10 < sum(losses[:3]) / 3 - 0.5
    assert found["perplexity_1"] > 4

    step = task.step.eval()
    valid = collate([task.valid_data()[i] for i in range(6)])
    with torch.no_grad():
        metrics = task.validate(step, valid)
        reconstruction, quantized = step.reconstruct(valid.target)
    assert {name: value.shape for name, value in metrics.items()} == {
        name: (6,) for name in ("log_mel", "noise_to_signal", "reconstruction", "log_mel_distance", "si_sdr")
    }
    assert task.best_metric in metrics
    torch.testing.assert_close(metrics["log_mel_distance"], log_mel_distance(reconstruction, valid.target, 8000))

    assert quantized.codes is not None
    task.export(step, tmp_path)
    codec = load_codec(str(tmp_path))  # the run folder
    latents = codec.encode(valid.target)
    assert float(latents.std()) == pytest.approx(1.0, abs=1e-3), "of all validation excerpts"
    codes, _ = codec.quantize(latents)
    assert float((codes == quantized.codes).float().mean()) > 0.99  # rounding may tip one or the other
    decoded = codec.decode(codec.codes_to_latents(quantized.codes), 8000)
    torch.testing.assert_close(decoded, reconstruction, rtol=0, atol=1e-5)
    assert step.model.encoder.layers[0].conv.parametrizations, "the exported model can be trained on"
