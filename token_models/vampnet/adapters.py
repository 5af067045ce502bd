"""Adapters as VampNet's files have them: rank 8, of all linear layers but the keys."""

from collections.abc import Mapping

import torch
from torch import Tensor

from token_models.model import TokenModel
from token_models.vampnet.names import linear_layers
from token_models.vampnet.sizes import LORA_RANK, VampnetSizes, is_adapter

ALPHA = 1
"""What loralib scales by, over the rank, unless it is told otherwise; VampNet does not tell it."""


def merge(tensors: Mapping[str, Tensor], sizes: VampnetSizes) -> dict[str, Tensor]:
    """The tensors of a VampNet with its adapters added to the weights: `weight + B @ A * alpha / rank`."""
    merged = {name: value for name, value in tensors.items() if not is_adapter(name)}
    for layer in linear_layers(sizes.n_layers, sizes.embedding_dim):
        if f"{layer.theirs}.lora_A" in tensors:
            change = tensors[f"{layer.theirs}.lora_B"] @ tensors[f"{layer.theirs}.lora_A"]
            merged[f"{layer.theirs}.weight"] = merged[f"{layer.theirs}.weight"] + change * (ALPHA / LORA_RANK)
    return merged


@torch.no_grad()
def fill_adapters(model: TokenModel, tensors: Mapping[str, Tensor], sizes: VampnetSizes) -> None:
    """Give the adapters of a model the values of a VampNet's."""
    for layer in linear_layers(sizes.n_layers, sizes.embedding_dim):
        if layer.adapted:
            for part in ("lora_A", "lora_B"):
                model.get_parameter(f"{layer.ours}.{part}.default.weight").copy_(tensors[f"{layer.theirs}.{part}"])
