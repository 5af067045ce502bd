"""The scale of a codec's latents, which its losses leave free."""

import torch
from torch import Tensor, nn
from transformers import EncodecModel


@torch.no_grad()
def rescale_latents(model: EncodecModel, factor: float) -> None:
    """Multiply a codec's latents by `factor` in place: encoder and codebooks up, decoder down.

    Codes and audio stay the same. At unit variance latent errors can be read, and an optimiser's step means something.
    """
    last, first = _conv(model.encoder.layers[-1]), _conv(model.decoder.layers[0])
    _weight(last).mul_(factor)
    if last.bias is not None:
        last.bias.mul_(factor)
    for name, value in model.quantizer.named_buffers():
        if name.endswith(("embed", "embed_avg")):
            value.mul_(factor)
    _weight(first).div_(factor)


def _conv(layer: nn.Module) -> nn.Conv1d:
    conv = layer.conv
    assert isinstance(conv, nn.Conv1d)
    return conv


def _weight(layer: nn.Conv1d) -> Tensor:
    """What scales the weight of a layer: with weight norm its lengths, else itself."""
    return dict(layer.named_parameters()).get("parametrizations.weight.original0", layer.weight)
