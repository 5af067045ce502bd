"""Untrained DACs: their shapes, their weight norm, and quantisers that work from the first step on."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch.nn.utils import parametrize
from transformers import DacConfig, DacModel

from codec_ft.codec_training.dac_model import DacShape, make_dac
from codec_ft.codec_training.factorized import FactorizedConfig, FactorizedLearner
from codec_ft.config import load_config
from codec_ft.errors import UserError

SMALL = DacShape(
    sample_rate=16000, strides=(4, 4, 10), encoder_channels=8, latent_dim=64, decoder_channels=128, n_codebooks=8
)


def test_the_default_is_the_published_44_khz_model() -> None:
    shape = DacShape()
    assert (shape.hop_length, shape.upsampling) == (512, (8, 8, 4, 2))
    with torch.device("meta"):
        published = DacModel(DacConfig(sampling_rate=44100, n_codebooks=9))
        assert published.config.hidden_size == 1024
    small = make_dac(shape.model_copy(update={"encoder_channels": 2, "decoder_channels": 32}))
    assert small.config.hidden_size == 32
    assert {name.replace("parametrizations.weight.original0", "weight") for name in small.state_dict()} >= {
        name for name in published.state_dict() if not name.endswith("bias")
    }
    assert (small.config.sampling_rate, small.config.n_codebooks, small.config.codebook_dim) == (44100, 9, 8)
    assert list(small.config.upsampling_ratios) == [8, 8, 4, 2]


@torch.no_grad()
def test_every_frame_becomes_a_hop_of_samples() -> None:
    model = make_dac(SMALL)
    latents = model.encoder(torch.randn(2, 1, 5 * 160))
    assert latents.shape == (2, 64, 5)
    assert model.decoder(latents).shape == (2, 1, 5 * 160)


@torch.no_grad()
def test_a_decoder_with_other_strides_survives_saving(tmp_path: Path) -> None:
    shape = DacShape(strides=(4, 4), encoder_channels=4, decoder_channels=16, decoder_strides=(2, 4, 2), latent_dim=6)
    model = make_dac(shape).eval()
    assert len(model.encoder.block) == 2 and len(model.decoder.block) == 3
    model.config.save_pretrained(tmp_path)
    config = DacConfig.from_pretrained(tmp_path)
    assert (config.hidden_size, list(config.upsampling_ratios), config.hop_length) == (6, [2, 4, 2], 16)
    again = DacModel(config)
    again.apply_weight_norm()
    again.load_state_dict(model.state_dict())
    audio = torch.randn(1, 1, 160)
    assert torch.equal(again.eval()(audio).audio_values, model(audio).audio_values)


def test_the_same_layers_are_weight_normed_as_in_the_original() -> None:
    ours = make_dac(SMALL)
    theirs = DacModel(ours.config)
    theirs.apply_weight_norm()
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    normed = [name for name, layer in ours.named_modules() if parametrize.is_parametrized(layer)]
    assert len([name for name in normed if name.startswith("quantizer")]) == 16


@pytest.mark.parametrize(
    "options, complaint",
    [
        ({"decoder_strides": (8, 8, 8, 2)}, "multiply to 1024, strides (2, 4, 8, 8) to 512"),
        ({"decoder_channels": 100}, "100 must be a multiple of 16"),
        ({"decoder_channels": 16, "decoder_strides": (8, 4, 4, 2, 2)}, "16 must be a multiple of 32"),
        ({"strides": (1, 8)}, "at least 2"),
        ({"strides": ()}, "one or more"),
        ({"codebook_size": 1000}, "power of two"),
        ({"codebook_size": 1}, "greater than or equal to 2"),
        ({"channels": 3}, "Extra inputs"),
    ],
)
def test_shapes_that_cannot_be(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError) as error:
        DacShape.model_validate(options)
    assert complaint in str(error.value)


def test_the_command_line_hears_of_it_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"decoder_channels 100 must be a multiple of 16"):
        load_config(DacShape, [], ["decoder_channels=100"], root=tmp_path)


# The quantiser at the start


def latents_of_unit_variance(seed: int) -> torch.Tensor:
    return torch.randn(4, 64, 256, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_each_layer_leaves_less_than_it_got(seed: int) -> None:
    torch.manual_seed(seed)
    model = make_dac(SMALL)
    residual = latents_of_unit_variance(seed)
    powers = [residual.pow(2).mean().item()]
    for layer in model.quantizer.quantizers:
        residual = residual - layer(residual)[0]
        powers.append(residual.pow(2).mean().item())
    assert all(after < before for before, after in pairwise(powers))
    # A layer sees 8 of 64 dimensions, and the best of 1024 directions explains most of what is seen there.
    assert powers[1] == pytest.approx(1 - 0.7 / 8, abs=0.03)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(3))
def test_codes_are_diverse_from_the_first_step(seed: int) -> None:
    torch.manual_seed(seed)
    learner = FactorizedLearner(make_dac(SMALL).quantizer, FactorizedConfig()).eval()
    found = learner(latents_of_unit_variance(seed))
    assert (found.perplexity > 500).all(), "of 1024 vectors, drawn alike in all directions"


def test_the_gradient_passes_with_the_right_sign_and_size() -> None:
    torch.manual_seed(0)
    learner = FactorizedLearner(make_dac(SMALL).quantizer, FactorizedConfig()).eval()
    latents = latents_of_unit_variance(0).requires_grad_()
    weights = latents_of_unit_variance(1)
    (learner(latents).latents * weights).sum().backward()
    assert latents.grad is not None
    # Eight layers see 8 of 64 directions each: together 1 - (1 - 1/8)^8 of them, some more than once.
    assert float((latents.grad * weights).mean()) == pytest.approx(1 - (7 / 8) ** 8, abs=0.1)
