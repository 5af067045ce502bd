"""Confidence re-masking (Chang et al., MaskGIT, 2022, section 3.2; Flores García et al., VampNet, 2023)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from token_models.sampling.choose import Filter, check_temperature, draw
from token_models.sampling.filling import Step, fill_in_steps
from token_models.sampling.noise import gumbel
from token_models.sampling.predict import OnStep, Predict, counts_by_item
from token_models.sampling.ranks import lowest


def maskgit(
    predict: Predict,
    codes: Tensor,
    mask: Tensor,
    *,
    steps: int,
    generators: Sequence[torch.Generator],
    schedule: str = "cosine",
    temperature: float = 1.0,
    mask_temperature: float = 10.5,
    filters: Sequence[Filter] = (),
    on_step: OnStep | None = None,
) -> Tensor:
    """Fill the masked cells, those first that the model is surest of: `[B, K, T]`.

    Each step draws a code for every masked cell and keeps those with the highest

        log p(code) + mask_temperature * (1 - r) * G

    where `r` is the share of steps that are taken, this one included, and `G` is Gumbel noise. As many are kept as the
    schedule says of the item; the others are masked again, and drawn anew in the next step. The noise keeps the first
    steps from taking only the safest codes, such as silence.

    Args:
        predict: the model.
        codes: `[B, K, T]`.
        mask: the cells to fill; no others are touched.
        steps: how often the model is asked; 1 is a single draw.
        generators: one for each item, see `item_generators`.
        schedule: how much stays masked as the steps go on, by name.
        temperature: of the codes; 0 takes the likeliest.
        mask_temperature: of the choice of cells; 0 goes by confidence alone.
        filters: of the codes, see `choose`.
        on_step: is told of each step.

    Raises:
        ValueError: no steps, a temperature below zero, an unknown schedule.
    """
    check_temperature("temperature", temperature)
    check_temperature("mask_temperature", mask_temperature)

    def fill(step: Step) -> tuple[Tensor, Tensor]:
        found, sureness = draw(step.logits, step.mask, generators, temperature=temperature, filters=filters)
        if weight := mask_temperature * (1 - step.progress):
            sureness = sureness + weight * gumbel(counts_by_item(step.mask), generators)
        filled = step.mask & ~lowest(sureness, step.mask, step.stays)
        return filled, found[filled[step.mask]]

    return fill_in_steps(predict, codes, mask, fill, steps=steps, schedule=schedule, on_step=on_step)
