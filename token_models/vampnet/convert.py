"""The tensors of a VampNet as the weights of a `TokenModel`."""

from collections.abc import Mapping

import torch
from torch import Tensor

from codec_ft.codecs.residual import ResidualCodec
from token_models.embedding import codec_tables
from token_models.vampnet.names import FEEDFORWARD, linear_layers, our_attention, our_feedforward
from token_models.vampnet.sizes import VampnetSizes


def convert(tensors: Mapping[str, Tensor], sizes: VampnetSizes, codec: ResidualCodec) -> dict[str, Tensor]:
    """Weights with which a `TokenModel` computes what VampNet computes, under the names of the former.

    What is left is rounding: VampNet's RMSNorm adds 1e-6 to the mean square, for which x-transformers' has no place.

    Args:
        tensors: all of a VampNet; adapters among them are left out.
        sizes: of the VampNet.
        codec: whose vectors embed the codes.
    """
    width, head_dim = sizes.embedding_dim, sizes.embedding_dim // sizes.n_heads
    layers, linears = range(sizes.n_layers), linear_layers(sizes.n_layers, width)
    bias_table = tensors["transformer.layers.0.self_attn.relative_attention_bias.weight"]
    return {
        **_embedding(tensors, sizes, codec),
        **{f"{layer.ours}.weight": tensors[f"{layer.theirs}.weight"] for layer in linears},
        # x-transformers adds one to the weights of a norm.
        **{f"{our_attention(i)}.0.0.g": tensors[f"transformer.layers.{i}.norm_1.weight"] - 1 for i in layers},
        **{f"{our_feedforward(i)}.0.0.g": tensors[f"transformer.layers.{i}.norm_3.weight"] - 1 for i in layers},
        # Its gates have a bias.
        **{f"{our_feedforward(i)}.1.ff.0.proj.bias": torch.zeros(FEEDFORWARD * width) for i in layers},
        "layers.final_norm.g": tensors["transformer.norm.weight"] - 1,
        # It multiplies its table by the root of the channels of a head.
        "layers.rel_pos.relative_attention_bias.weight": bias_table / head_dim**0.5,
        **_classifier(tensors, sizes),
    }


def _embedding(tensors: Mapping[str, Tensor], sizes: VampnetSizes, codec: ResidualCodec) -> dict[str, Tensor]:
    """The embedding, which reads the codec's vectors as they are there, and codebook by codebook at unit size here."""
    theirs, ours = (codec_tables(codec, sizes.n_codebooks, unit=unit).flatten(1).norm(dim=1) for unit in (False, True))
    scale = (theirs / ours).cpu()  # [K]
    project = tensors["embedding.out_proj.weight"].squeeze(2).unflatten(1, (sizes.n_codebooks, sizes.latent_dim))
    return {
        "embedding.masked": tensors["embedding.special.MASK"] / scale[:, None],
        "embedding.project.weight": (project * scale[:, None]).flatten(1),
        "embedding.project.bias": tensors["embedding.out_proj.bias"],
    }


def _classifier(tensors: Mapping[str, Tensor], sizes: VampnetSizes) -> dict[str, Tensor]:
    """The classifier with weight norm folded in; its channels are codes times codebooks there, the latter faster."""
    directions = tensors["classifier.layers.0.weight_v"].squeeze(2)
    lengths = tensors["classifier.layers.0.weight_g"].squeeze(2)
    weight = directions * (lengths / directions.norm(dim=1, keepdim=True))
    by_codebook = (sizes.vocab_size, sizes.n_predicted)
    return {
        "classifier": weight.unflatten(0, by_codebook).transpose(0, 1).contiguous(),
        "bias": tensors["classifier.layers.0.bias"].unflatten(0, by_codebook).t().contiguous(),
    }
