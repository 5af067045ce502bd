"""What the one training loop asks of a trainer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.data.dataset import Batch
from codec_ft.training.config import OptimizerConfig, TrainConfig


class Task(ABC):
    """A trainer: its modules with their losses, its data, and how it is validated.

    A step of the loop goes through the phases in order (one for fine-tuning; generator, then discriminator, for
    adversarial training). A phase is a module whose `forward(batch)` returns named scalar losses, of which
    `"loss"` is minimised by the phase's own optimiser; what the main one makes of a batch it may leave in
    `batch.output` for those after it. Everything that needs gradients happens inside that
    `forward`, because it is what distributed training wraps. Frozen parts are kept outside the module registry:
    they are neither saved nor wrapped nor switched to training mode. Randomness comes from torch's generators, whose
    state is part of a checkpoint, and data from the item's index.

    Attributes:
        phases: trainable modules by name, in the order of a step; the first is the main one, which is validated and has
            the EMA.
        best_metric: the validation metric by which the best checkpoint is kept; lower is better, and it must be finite.
    """

    phases: dict[str, nn.Module]
    best_metric: str

    @property
    def main(self) -> str:
        """Name of the phase that is validated."""
        return next(iter(self.phases))

    def optimizer_config(self, phase: str, train: TrainConfig) -> OptimizerConfig:
        """Options of a phase's optimiser; the common ones unless a trainer says otherwise."""
        del phase
        return train.optimizer

    def order(self, step: int) -> Sequence[str]:
        """The phases that step `step` goes through; the main one is always among them."""
        del step
        return tuple(self.phases)

    def to(self, device: torch.device) -> None:
        """Move the frozen parts, which the loop does not know of."""
        del device

    @abstractmethod
    def train_data(self, items: int) -> Dataset:
        """A map-style data set of `items` training items; item `i` is the same on every machine and in every order."""

    @abstractmethod
    def valid_data(self) -> Dataset:
        """The fixed excerpts on which the best checkpoint is chosen."""

    @abstractmethod
    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Metrics of each item of a batch, `[B]` each, of the main phase's module; the loop averages them."""

    @abstractmethod
    def export(self, module: nn.Module, folder: Path) -> None:
        """Write what others load (a codec, an encoder) into the run folder."""
