"""The entry point of sampling: a grid, a mask and a configuration in, the filled grid out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from token_models.sampling.config import SamplingConfig
from token_models.sampling.corrector import correct, least_likely, present_log_probabilities
from token_models.sampling.guidance import guided
from token_models.sampling.levels import levels
from token_models.sampling.maskgit import maskgit
from token_models.sampling.noise import item_generators
from token_models.sampling.order import halton
from token_models.sampling.predict import OnStep, Predict, check_grid


@torch.no_grad()
def sample(
    predict: Predict,
    codes: Tensor,
    mask: Tensor,
    config: SamplingConfig,
    seeds: Sequence[int],
    *,
    unconditional: Predict | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """The grid with all masked cells filled, `[B, K, T]`; the others stay as they are.

    An item of a batch comes out as it would alone with the same seed, as far as the model itself treats it alike. With
    nothing masked, the grid is given back and the model is not asked.

    Args:
        predict: the model, with its condition if it has one.
        codes: `[B, K, T]` int64; not changed. What stands under the mask is a draft with `config.doubt`, and otherwise
            not looked at.
        mask: `[B, K, T]` bool, True where a code is to be found; not changed.
        config: how.
        seeds: one for each item.
        unconditional: the model without its condition, for guidance.
        on_step: is told of each step, also of those of the corrector.

    Raises:
        ValueError: before the model is asked: grid, mask, seeds and configuration do not fit together.
    """
    check_grid(codes, mask)
    if len(seeds) != len(codes):
        raise ValueError(f"{len(codes)} items need a seed each, got {len(seeds)}")
    if isinstance(config.steps, list) and len(config.steps) != codes.shape[1]:
        raise ValueError(f"steps has {len(config.steps)} numbers, but the grid {codes.shape[1]} codebooks")
    if config.guidance.active and unconditional is None:
        raise ValueError(f"guidance.scale={config.guidance.scale:g} needs a model without its condition beside it")
    if not mask.any():
        return codes
    if unconditional is not None:
        guidance = config.guidance
        predict = guided(predict, unconditional, mask, scale=guidance.scale, final_scale=guidance.final_scale)
    generators = item_generators(seeds, codes.device)
    if config.doubt is not None:
        doubts = present_log_probabilities(predict, codes, mask, groups=config.corrector.groups, generators=generators)
        mask = least_likely(doubts, mask, config.doubt)
    fill = partial(_fill, predict, config=config, generators=generators, on_step=on_step)
    codes = fill(codes, mask, steps=config.steps)
    corrector = config.corrector
    for _ in range(corrector.passes):
        codes = correct(
            predict,
            codes,
            mask,
            partial(fill, steps=corrector.steps or config.steps),
            share=corrector.share,
            groups=corrector.groups,
            generators=generators,
        )
    return codes


def _fill(
    predict: Predict,
    codes: Tensor,
    mask: Tensor,
    *,
    config: SamplingConfig,
    steps: int | list[int],
    generators: Sequence[torch.Generator],
    on_step: OnStep | None,
) -> Tensor:
    """Fill by the configured method."""
    options: dict[str, Any] = {
        "generators": generators,
        "schedule": config.schedule,
        "temperature": config.temperature,
        "filters": config.filters,
        "on_step": on_step,
    }
    if config.method == "levels":
        by_level = steps if isinstance(steps, list) else [steps] * codes.shape[1]
        return levels(predict, codes, mask, steps=by_level, mask_temperature=config.mask_temperature, **options)
    assert isinstance(steps, int)  # the configuration sees to it
    if config.method == "halton":
        return halton(predict, codes, mask, steps=steps, **options)
    return maskgit(predict, codes, mask, steps=steps, mask_temperature=config.mask_temperature, **options)
