"""Initial weights through which the signal passes."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import DacConfig, EncodecConfig, EncodecModel
from transformers.models.dac.modeling_dac import DacDecoder, DacEncoder

from codec_ft.codecs.base import fold_weight_norm
from codec_ft.codecs.initial import _SNAKE_POWER, preserve_signal


def sounds(seed: int) -> dict[str, Tensor]:
    """Audio `[1, 1, 6400]` of -20 dBFS: white, and with the low-pitched spectrum of music."""
    white = torch.randn(1, 1, 6400, generator=torch.Generator().manual_seed(seed))
    spectrum = torch.fft.rfft(white)
    frequencies = torch.linspace(0, 8000, spectrum.shape[-1])
    coloured = torch.fft.irfft(spectrum / (1 + (frequencies / 300).pow(2)).sqrt())
    return {name: 0.1 * sound / sound.std() for name, sound in (("white", white), ("coloured", coloured))}


def small_dac(strides: list[int], channels: int) -> tuple[DacEncoder, DacDecoder]:
    config = DacConfig(
        encoder_hidden_size=channels, decoder_hidden_size=128, downsampling_ratios=strides, hidden_size=64
    )
    return DacEncoder(config), DacDecoder(config)


def test_snake_of_a_unit_normal() -> None:
    x = torch.randn(10**6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float((x + x.sin().pow(2)).pow(2).mean()) == pytest.approx(_SNAKE_POWER, rel=0.01)


@torch.no_grad()
@pytest.mark.parametrize("strides, channels", [([4, 4, 10], 8), ([2, 4, 8, 8], 16)])
@pytest.mark.parametrize("seed", range(3))
def test_a_dac_neither_damps_nor_amplifies(strides: list[int], channels: int, seed: int) -> None:
    torch.manual_seed(seed)
    encoder, decoder = small_dac(strides, channels)
    preserve_signal(encoder)
    preserve_signal(decoder)
    inner: list[float] = []
    for block in [*encoder.block, encoder.conv2, decoder.conv1, *decoder.block]:
        block.register_forward_hook(lambda module, given, made: inner.append(float(made.std())))
    for audio in sounds(seed).values():
        made = decoder(encoder(audio))
        assert 0.04 < float(made.std()) < 0.25
    assert len(inner) == 2 * (2 * len(strides) + 2)
    assert min(inner) > 0.4 and max(inner) < 2.5, "music of -20 dBFS has about unit variance inside"


@torch.no_grad()
def test_a_quiet_signal_passes_where_torchs_own_weights_give_biases() -> None:
    torch.manual_seed(0)
    encoder, decoder = small_dac([2, 4, 8, 8], 8)
    audio = 0.1 * sounds(0)["white"]  # -40 dBFS

    def effect() -> float:
        """Of the audio on the output."""
        return float((decoder(encoder(audio)) - decoder(encoder(torch.zeros_like(audio)))).std())

    assert effect() < 2e-4
    preserve_signal(encoder)
    preserve_signal(decoder)
    assert 0.003 < effect() < 0.03


def test_every_convolution_is_weight_normed_and_free_of_bias() -> None:
    torch.manual_seed(0)
    encoder, decoder = small_dac([4, 4, 10], 8)
    for part in (encoder, decoder):
        preserve_signal(part)
        for layer in part.modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                assert parametrize.is_parametrized(layer, "weight")
                assert layer.bias is not None and not layer.bias.any()


def test_the_draws_of_an_encodec_are_those_of_the_trained_configs() -> None:
    model = EncodecModel(EncodecConfig(num_filters=4, hidden_size=8, upsampling_ratios=[4, 2], num_lstm_layers=1))
    torch.manual_seed(3)
    preserve_signal(model)
    fold_weight_norm(model)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)]
    torch.manual_seed(3)
    for layer in convolutions:
        stride = layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 1
        drawn = torch.randn(layer.weight.shape) / math.sqrt(layer.in_channels * layer.kernel_size[0] / stride)
        torch.testing.assert_close(layer.weight.detach(), drawn)
