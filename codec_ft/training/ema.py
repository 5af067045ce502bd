"""Moving averages of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of a module's parameters; buffers stay the module's own.

    The decay rises as `min(decay, (1 + n) / (10 + n))` with the updates n, so that the start is forgotten soon
    even in short trainings.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.module = module
        self.decay = decay
        self.updates = 0
        self.average = {name: value.detach().clone() for name, value in self._parameters().items()}

    def _parameters(self) -> dict[str, nn.Parameter]:
        return {name: value for name, value in self.module.named_parameters() if value.requires_grad}

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the module's present parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in self._parameters().items():
            self.average[name].lerp_(value, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the module has the averaged parameters; afterwards its own again."""
        own = {name: value.detach().clone() for name, value in self._parameters().items()}
        self._load(self.average)
        try:
            yield
        finally:
            self._load(own)

    @torch.no_grad()
    def _load(self, values: dict[str, Tensor]) -> None:
        for name, value in self._parameters().items():
            value.copy_(values[name])

    def state_dict(self) -> dict[str, int | dict[str, Tensor]]:
        """What `load_state_dict` needs to go on."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict) -> None:
        """Go on from `state_dict()`."""
        self.updates = state["updates"]
        for name, value in self.average.items():
            value.copy_(state["average"][name])
