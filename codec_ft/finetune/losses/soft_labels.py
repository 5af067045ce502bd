"""Labels that are spread over the codes near the target's, so that a near miss costs little.

To a cross-entropy with one right answer, a code that sounds almost like the target's is as wrong as any other. Here the
answer is a distribution over all codes of a layer, `softmax(scores / tau)`, with the scores that the codec gives them
for the vector of the target's code: minus the squared distance to it, or the cosine of the angle.
"""

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from codec_ft.codecs.base import outside_autocast
from codec_ft.codecs.residual import ResidualCodec

LayerLabels = Callable[[int], Tensor]
"""Gives the labels `[B, V, T]` of a layer when they are needed: those of all layers at once may be gigabytes."""

SAME_CODE = 1e-5
"""Where two codes' scores with the vector of one differ by less than this share of them, it is but rounding."""

_SPACINGS: WeakKeyDictionary[ResidualCodec, dict[int, float]] = WeakKeyDictionary()
"""Spacings that were measured, by codec and layer: frozen codebooks do not change, and each training step asks."""


def code_spacing(codec: ResidualCodec, k: int) -> float:
    """The gap between a code of layer `k` and the one next to it, in units of the layer's scores; above zero.

    The gap of a code is by how much its own score with its vector exceeds the best one of another code: the squared
    distance to the nearest other code, or one minus the cosine of the smallest angle to one. The spacing is the median
    of the gaps, which a few far-off codes that nothing is coded with do not move. Codes with the same vector, as codes
    that were never trained often have, count as one. If all have the same, then any temperature gives the same
    distribution, and the spacing is 1.

    It is measured once: the codec is frozen.
    """
    known = _SPACINGS.setdefault(codec, {})
    if k not in known:
        known[k] = _measure_spacing(codec, k)
    return known[k]


@torch.no_grad()
def _measure_spacing(codec: ResidualCodec, k: int) -> float:
    table = codec.table(k)
    with outside_autocast(table):
        scores = codec.scores(k, table.t()[None])[0]  # [V, V]: row j, column i: code j with the vector of code i
    own = scores.diagonal()
    gaps = own - scores
    same = gaps <= SAME_CODE * own.abs()
    repeated = same.triu(diagonal=1).any(dim=0)
    nearest = gaps.masked_fill(same, torch.inf).amin(dim=0)[~repeated]
    nearest = nearest[nearest.isfinite()]
    return float(nearest.median()) if len(nearest) else 1.0


def layer_labels(codec: ResidualCodec, k: int, target_codes: Tensor, tau: float) -> Tensor:
    """Distributions over the codes of layer `k` around the target's codes, `[B, T] -> [B, V, T]`; no gradient.

    Args:
        codec: whose codes they are.
        k: the layer.
        target_codes: `[B, T]`, of that layer.
        tau: temperature in units of the layer's `code_spacing`. A code that is as far off as neighbours are has
            `exp(-1 / tau)` times the probability of the target's. 0 leaves the target's code alone.

    Raises:
        ValueError: `tau` is below zero or not finite.
    """
    _check_temperature(tau)
    table = codec.table(k)
    target_codes = target_codes.long()
    with torch.no_grad(), outside_autocast(table):
        if tau == 0:
            return F.one_hot(target_codes, codec.codebook_size).transpose(1, 2).to(table.dtype)
        scores = codec.scores(k, F.embedding(target_codes, table).transpose(1, 2))
        return (scores / (tau * code_spacing(codec, k))).softmax(dim=1)


def soft_labels(codec: ResidualCodec, target_codes: Tensor, tau: float) -> LayerLabels:
    """The labels around the target's codes `[B, K', T]` of the first `K'` layers, each made when it is asked for.

    `tau` is as in `layer_labels`.

    Raises:
        ValueError: codes that the codec does not have, or `tau` is below zero or not finite.
    """
    codec.check_codes(target_codes)
    _check_temperature(tau)
    return lambda k: layer_labels(codec, k, target_codes[:, k], tau)


def _check_temperature(tau: float) -> None:
    if not 0 <= tau < torch.inf:
        raise ValueError(f"the temperature of soft labels must be zero or above, and finite; got {tau}")
