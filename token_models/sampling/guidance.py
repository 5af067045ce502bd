"""Classifier-free guidance (Ho and Salimans, 2022), on log-probabilities of codes."""

import torch
from torch import Tensor

from token_models.sampling.predict import Predict, ask


def guided(
    conditional: Predict, unconditional: Predict, mask: Tensor, *, scale: float, final_scale: float | None = None
) -> Predict:
    """A model that leans towards its condition: `log u + scale * (log c - log u)`.

    Here `c` are the probabilities with the condition and `u` those without it. Scale 1 is the conditional model, 0 the
    other one, and above 1 the difference that the condition makes is exaggerated. A code that either holds impossible
    stays so. The outcome is not normalised.

    With a final scale, an item's scale goes from `scale` to `final_scale` with the share of its cells that are still
    masked, all codebooks together (after the annealing of Ziv et al., MAGNeT, 2024): the condition decides what is
    filled first, and the context what is filled last.

    Args:
        conditional: the model with its condition.
        unconditional: the same without; not asked where both scales are 1.
        mask: what is masked at the start, `[B, K, T]`.
        scale: 0 or above.
        final_scale: 0 or above; None: the scale stays the same.

    Raises:
        ValueError: a scale is below zero or not finite.
    """
    final = scale if final_scale is None else final_scale
    for name, value in (("scale", scale), ("final_scale", final)):
        if not 0 <= value < torch.inf:
            raise ValueError(f"guidance: {name} must be zero or above, and finite; got {value}")
    if scale == final == 1:
        return conditional
    at_start = mask.flatten(1).sum(dim=1).clamp(min=1)

    def predict(codes: Tensor, mask: Tensor) -> Tensor:
        counts = mask.flatten(1).sum(dim=1)
        scales = final + (scale - final) * counts / at_start
        with_condition = ask(conditional, codes, mask).log_softmax(dim=-1)
        without = ask(unconditional, codes, mask).log_softmax(dim=-1)
        impossible = with_condition.isneginf() | without.isneginf()
        leaning = without.lerp(with_condition, scales.repeat_interleave(counts)[:, None])
        return leaning.masked_fill(impossible, -torch.inf)

    return predict
