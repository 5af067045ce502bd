"""The cross-entropy of masked cells, with labels that may be spread over other codes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from codec_ft.codecs.residual import ResidualCodec
from codec_ft.finetune.losses.soft_labels import layer_labels


def masked_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of each masked cell, in nats, `[M]` (VampNet, section 3.3).

    Args:
        logits: `[M, V]`.
        targets: the codes that stand there, `[M]`.
        smoothing: share of the label that all codes have in equal parts (Szegedy et al., 2016).
    """
    return F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def soft_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each masked cell against a distribution over codes, in nats, `[M]`.

    Args:
        logits: `[M, V]`.
        labels: `[M, V]`, each row adding up to one.
    """
    return -(labels * logits.log_softmax(dim=-1)).sum(dim=-1)


def label_tables(codec: ResidualCodec, n_codebooks: int, tau: float) -> Tensor:
    """For each code of the first codebooks the distribution that stands for it, `[K, V, V]` (see `soft_labels`)."""
    every = torch.arange(codec.codebook_size, device=next(codec.parameters()).device)[None]
    return torch.stack([layer_labels(codec, k, every, tau)[0].t() for k in range(n_codebooks)])
