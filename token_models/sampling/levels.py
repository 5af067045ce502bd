"""Codebook after codebook (Borsos et al., SoundStorm, 2023; Ziv et al., MAGNeT, 2024)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from token_models.masks.checks import check_whole
from token_models.sampling.choose import Filter
from token_models.sampling.maskgit import maskgit
from token_models.sampling.predict import OnStep, Predict, ask


def levels(
    predict: Predict,
    codes: Tensor,
    mask: Tensor,
    *,
    steps: Sequence[int],
    generators: Sequence[torch.Generator],
    schedule: str = "cosine",
    temperature: float = 1.0,
    mask_temperature: float = 10.5,
    filters: Sequence[Filter] = (),
    on_step: OnStep | None = None,
) -> Tensor:
    """Fill the masked cells of one codebook after the other, each by confidence: `[B, K, T]`.

    While a codebook is filled, those behind it stay masked. One with nothing masked takes no steps. A residual
    quantiser's first codebooks say most, and want the most steps: SoundStorm takes 16 for the first and one for each
    other, MAGNeT 20 and 10.

    Args:
        predict: the model.
        codes: `[B, K, T]`.
        mask: the cells to fill; no others are touched.
        steps: for each of the K codebooks.
        generators: one for each item, see `item_generators`.
        schedule: as of `maskgit`, as are the following; each codebook begins it anew.
        temperature: of the codes.
        mask_temperature: of the choice of cells.
        filters: of the codes.
        on_step: is told of each step.

    Raises:
        ValueError: there are not as many numbers of steps as codebooks, or as of `maskgit`.
    """
    n_codebooks = codes.shape[1]
    if len(steps) != n_codebooks:
        raise ValueError(f"expected steps for each of {n_codebooks} codebooks, got {len(steps)} numbers")
    for count in steps:
        check_whole("steps", count, 1)
    book = torch.arange(n_codebooks, device=mask.device)[:, None]
    for k, count in enumerate(steps):
        later = mask & (book > k)
        codes = maskgit(
            _with_others_masked(predict, later),
            codes,
            mask & (book == k),
            steps=count,
            generators=generators,
            schedule=schedule,
            temperature=temperature,
            mask_temperature=mask_temperature,
            filters=filters,
            on_step=None if on_step is None else _telling_all(on_step, later),
        )
    return codes


def _with_others_masked(predict: Predict, others: Tensor) -> Predict:
    """`predict` for a mask, with `others` masked as well: their logits are asked for and left."""

    def predict_level(codes: Tensor, mask: Tensor) -> Tensor:
        unknown = mask | others
        return ask(predict, codes, unknown)[mask[unknown]]

    return predict_level


def _telling_all(on_step: OnStep, others: Tensor) -> OnStep:
    """`on_step` with `others` masked as well."""
    return lambda codes, mask: on_step(codes, mask | others)
