"""Codecs of both geometries with the codebooks that a test wants."""

import copy
from functools import cache

import torch
from torch import Tensor
from transformers import DacConfig, DacModel

from codec_ft.codec_training.encodec_model import EncodecShape, make_encodec
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec


@cache
def _encodec(n_codebooks: int, size: int, dim: int) -> EncodecCodec:
    shape = EncodecShape(
        n_filters=2, strides=(2,), latent_dim=dim, lstm_layers=1, n_codebooks=n_codebooks, codebook_size=size
    )
    return EncodecCodec(make_encodec(shape), "euclidean")


@cache
def _dac(n_codebooks: int, size: int, dim: int) -> DacCodec:
    config = DacConfig(
        encoder_hidden_size=2,
        downsampling_ratios=[2],
        decoder_hidden_size=2,
        n_codebooks=n_codebooks,
        codebook_size=size,
        codebook_dim=dim,
    )
    return DacCodec(DacModel(config), "cosine")


@torch.no_grad()
def euclidean(*tables: Tensor) -> EncodecCodec:
    """An EnCodec whose layers have the codes `[V, D]`."""
    codec = copy.deepcopy(_encodec(len(tables), *tables[0].shape))
    for k, table in enumerate(tables):
        codec.table(k).copy_(table)
    return codec


@torch.no_grad()
def cosine(*tables: Tensor) -> DacCodec:
    """A DAC whose layers have the codes `[V, d]`, with random projections from and to four dimensions."""
    codec = copy.deepcopy(_dac(len(tables), *tables[0].shape))
    random = torch.Generator().manual_seed(4)
    for k, table in enumerate(tables):
        codec.table(k).copy_(table)
        for projection in (codec.layers[k].in_proj, codec.layers[k].out_proj):
            for value in projection.parameters():
                value.copy_(0.7 * torch.randn(value.shape, generator=random))
    return codec


KINDS = {"euclidean": euclidean, "cosine": cosine}
