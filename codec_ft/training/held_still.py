"""A module that gradients pass through without leaving any in it."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def held_still(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through `module`, but none to its parameters.

    For what judges in another module's phase: gradients left in it would be wasted work, and in a distributed training
    they would be exchanged out of turn.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
