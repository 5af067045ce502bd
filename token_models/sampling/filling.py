"""The steps that all methods share: ask the model, fill some cells, ask again."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from token_models.masks.checks import check_whole
from token_models.masks.schedule import masked_counts
from token_models.sampling.predict import OnStep, Predict, ask


class Step(NamedTuple):
    """What a method knows when it decides which cells to fill, and with what.

    Attributes:
        logits: of the masked cells, `[M, V]`.
        mask: what is masked before the step, `[B, K, T]`.
        stays: how many cells of each item stay masked after it, `[B]`.
        progress: share of the steps that are taken after it, in (0, 1].
    """

    logits: Tensor
    mask: Tensor
    stays: Tensor
    progress: float


Fill = Callable[[Step], tuple[Tensor, Tensor]]
"""Gives the cells that are filled in a step, `[B, K, T]`, and their codes in the order of `nonzero()`."""


def fill_in_steps(
    predict: Predict,
    codes: Tensor,
    mask: Tensor,
    fill: Fill,
    *,
    steps: int,
    schedule: str,
    on_step: OnStep | None = None,
) -> Tensor:
    """The grid with all masked cells filled, a schedule's share of each item's in each step: `[B, K, T]`.

    How many cells an item has filled in a step depends on the item alone (`masked_counts`). An item that is done,
    because it had fewer masked cells than there are steps, asks for no more logits; when all are, the steps end.
    Whether the model still sees it is the model's affair, which knows what it is conditioned on only as a whole batch.

    Args:
        predict: the model.
        codes: `[B, K, T]`; not changed.
        mask: what to fill; not changed.
        fill: the method.
        steps: at most so many.
        schedule: a name in `token_models.masks.schedule.SCHEDULES`.
        on_step: is told of each step.

    Raises:
        ValueError: there are no steps, or the schedule is unknown.
    """
    at_start = mask.flatten(1).sum(dim=1)
    for step in range(check_whole("steps", steps, 1)):
        if not mask.any():
            break
        stays = masked_counts(schedule, at_start, step, steps)
        filled, found = fill(Step(ask(predict, codes, mask), mask, stays, (step + 1) / steps))
        codes = codes.masked_scatter(filled, found)
        mask = mask & ~filled
        if on_step is not None:
            on_step(codes, mask)
    return codes
