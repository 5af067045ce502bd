"""Initial weights for codecs that are trained here."""

import math

import torch
from torch import nn
from transformers.models.dac.modeling_dac import DacDecoder, DacEncoder, DacResidualUnit

from codec_ft.codecs.base import add_weight_norm, fold_weight_norm

DAC_LEVEL = 0.1
"""RMS of the audio (-20 dBFS) to which a new DAC's inner layers answer with unit variance."""

# What Snake with alpha = 1, x + sin(x)^2, makes of the mean square of a unit normal: 1 + E[sin(x)^4].
_SNAKE_POWER = 1 + 3 / 8 - math.exp(-2) / 2 + math.exp(-8) / 8

# How much of its input a new residual unit of DAC adds to it. At full strength every unit would double the power, and
# small codecs have more than twenty in a row.
_RESIDUAL_GAIN = 0.2


def preserve_signal(module: nn.Module) -> None:
    """Draw new weights for all convolutions of `module`, such that they neither damp nor amplify; weight-normed.

    With torch's own initial weights a quiet input is damped at every layer, until the latents are biases with a
    thousandth of signal in them, and the first hundreds of steps learn nothing.

    In a DAC, Snake bends only what is about as large as 1: its encoder starts by raising audio of `DAC_LEVEL` to
    that, its decoder ends by lowering it again.
    """
    fold_weight_norm(module)
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            stride = layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 1
            inputs = layer.in_channels * layer.kernel_size[0] / stride
            nn.init.normal_(layer.weight, std=1 / math.sqrt(inputs))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    for part in module.modules():
        if isinstance(part, DacEncoder | DacDecoder):
            _balance_dac(part)
    add_weight_norm(module)


@torch.no_grad()
def _balance_dac(part: DacEncoder | DacDecoder) -> None:
    """Allow for Snake, the residual units and the level of audio."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d) and layer is not part.conv1:  # the only one without Snake
            layer.weight.div_(math.sqrt(_SNAKE_POWER))
        if isinstance(layer, DacResidualUnit):
            layer.conv2.weight.mul_(_RESIDUAL_GAIN)
    if isinstance(part, DacEncoder):
        part.conv1.weight.div_(DAC_LEVEL)
    else:
        part.conv2.weight.mul_(DAC_LEVEL)
