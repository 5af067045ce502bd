"""Initial weights for codecs that are trained here."""

import math

from torch import nn

from codec_ft.codecs.base import add_weight_norm, fold_weight_norm


def preserve_signal(module: nn.Module) -> None:
    """Draw new weights for all convolutions of `module`, such that they neither damp nor amplify; weight-normed.

    With torch's own initial weights a quiet input is damped at every layer, until the latents are biases with a
    thousandth of signal in them, and the first hundreds of steps learn nothing.
    """
    fold_weight_norm(module)
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            stride = layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 1
            inputs = layer.in_channels * layer.kernel_size[0] / stride
            nn.init.normal_(layer.weight, std=1 / math.sqrt(inputs))
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    add_weight_norm(module)
