"""The softmax loss: cross-entropy of the codes that a bridge predicts (thesis, section 6.2.1, loss b)."""

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from codec_ft.finetune.losses.soft_labels import LayerLabels


def softmax_cross_entropy(logits: Tensor, target_codes: Tensor, labels: LayerLabels | None = None) -> Tensor:
    """`-sum_i c_i log p_i` per codebook in nats, mean over frames: `[B, K, V, T], [B, K, T] -> [B, K]`.

    Only the logits of all codebooks live until the backward pass; what else a codebook needs is computed again there.
    Half precision is left first.

    Args:
        logits: scores or log-probabilities of the codes, `[B, K, V, T]`.
        target_codes: the codes `c`, `[B, K, T]`.
        labels: distributions over codes instead, see `soft_labels`. The least that the loss can be is then their
            entropy, not zero.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check_shapes(logits, target_codes)
    layers = enumerate(zip(logits.unbind(dim=1), target_codes.long().unbind(dim=1), strict=True))
    return torch.stack(
        [
            checkpoint(_layer_entropy, scores, codes, labels, k, use_reentrant=False, preserve_rng_state=False)
            for k, (scores, codes) in layers
        ],
        dim=1,
    )


@torch.no_grad()
def softmax_accuracy(logits: Tensor, target_codes: Tensor) -> Tensor:
    """Share of frames whose likeliest code is the target's: `[B, K, V, T], [B, K, T] -> [B, K]`.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check_shapes(logits, target_codes)
    return (logits.argmax(dim=2) == target_codes).float().mean(dim=2)


def _layer_entropy(scores: Tensor, codes: Tensor, labels: LayerLabels | None, k: int) -> Tensor:
    """Cross-entropy `[B]` of one codebook, from `[B, V, T]` and `[B, T]`."""
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    wanted = codes if labels is None else labels(k).to(scores.dtype)
    return F.cross_entropy(scores, wanted, reduction="none").mean(dim=1)


def _check_shapes(logits: Tensor, target_codes: Tensor) -> None:
    if logits.dim() != 4 or target_codes.shape != (logits.shape[0], logits.shape[1], logits.shape[3]):
        raise ValueError(
            f"logits {list(logits.shape)} and target codes {list(target_codes.shape)} do not fit together: expected "
            "[B, K, V, T] and [B, K, T]"
        )
