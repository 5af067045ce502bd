"""How much of a grid is masked as its completion goes on (Chang et al., MaskGIT, 2022, section 3.3).

In training the progress of an item is drawn and its schedule says which share is masked; in sampling the progress is
the share of steps taken, and the schedule says which share stays masked.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from token_models.masks.checks import check_share, check_whole

Schedule = Callable[[Tensor], Tensor]
"""From progress in 0..1 to the masked share in 1..0, elementwise, both of any one shape; float64."""


def cosine(progress: Tensor) -> Tensor:
    """`cos(pi r / 2)`: few cells at first, while little is known, and many at the end."""
    # cos(pi / 2) in floating point is not 0, and may lie on either side of it.
    return (check_share("progress", progress) * (math.pi / 2)).cos().clamp(min=0.0)


def linear(progress: Tensor) -> Tensor:
    """`1 - r`: equally many in each step."""
    return 1 - check_share("progress", progress)


def square(progress: Tensor) -> Tensor:
    """`1 - r^2`: like the cosine, and a little more is left for the end."""
    return 1 - check_share("progress", progress) ** 2


SCHEDULES: dict[str, Schedule] = {"cosine": cosine, "linear": linear, "square": square}
"""The schedules by name. All are concave, which `masked_counts` needs for what it promises."""

_ROUNDING = 1e-6
"""Added before a floor, in cells: `(1 - 9/10) * 10` comes out a little below 1. Far above float64's error for grids of
up to 10^9 cells, far below what could add a cell."""


def masked_counts(schedule: str, n_masked: Tensor, step: int, steps: int) -> Tensor:
    """How many cells of each item stay masked after a step of sampling: `[B] -> [B]`, int64.

    With `N0` masked cells of an item before the first step, and `N(s)` after step `s`,

        N(s) = max(0, min(max(1, floor(gamma((s + 1) / steps) * N0)), N(s - 1) - 1)),  N(-1) = N0,  N(steps - 1) = 0

    An item's counts do not depend on the others of the batch. They fall with every step until they are 0:

    - with at least as many masked cells as steps, every step fills one or more, and the last one all that are left;
    - with fewer, each of the first `N0` steps fills one, and the item is done then: 0 from there on.

    Args:
        schedule: a name in `SCHEDULES`.
        n_masked: `N0`, whole numbers `[B]` of 0 or more.
        step: `s`, of which 0 is the first.
        steps: how many there are.

    Raises:
        ValueError: the schedule is unknown, a number is negative or no whole one, or the step is not one of `steps`.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"no schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
    steps = check_whole("steps", steps, 1)
    step = check_whole("step", step, 0, steps - 1)
    if n_masked.ndim != 1 or n_masked.is_floating_point() or n_masked.dtype == torch.bool or (n_masked < 0).any():
        raise ValueError(f"n_masked must be whole numbers [B] of 0 or more, got {n_masked}")
    n_masked = n_masked.long()
    if step == steps - 1:
        return torch.zeros_like(n_masked)
    # The recursion resolved: each step so far bounds this count by its own less one for every step since.
    past = torch.arange(step + 1, device=n_masked.device)
    shares = SCHEDULES[schedule]((past + 1).double() / steps)
    wanted = (shares[:, None] * n_masked + _ROUNDING).floor().long().clamp(min=1)  # [step + 1, B]
    counts = (wanted + past[:, None]).amin(dim=0) - step
    return torch.minimum(counts, n_masked - 1 - step).clamp(min=0)
