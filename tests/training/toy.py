"""A trainer small enough to be computed again by hand: it learns to shift eight numbers by one place."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.data.dataset import Batch, Item
from codec_ft.training.config import ExperimentConfig, OptimizerConfig, TrainConfig
from codec_ft.training.task import Task

SIZE = 8


def toy_item(index: int) -> Item:
    """Item `index`: eight random numbers and the same, shifted."""
    numbers = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(index))
    return {"input": numbers, "target": numbers.roll(1, dims=-1), "name": f"item {index}"}


class ToyData(Dataset[Item]):
    """Counts what was read; items in `poisoned` are not a number, and `on_read` sees every index."""

    def __init__(self, items: int, poisoned: Iterable[int] = (), on_read: Callable[[int], None] | None = None):
        self.items = items
        self.poisoned = set(poisoned)
        self.on_read = on_read
        self.seen: list[int] = []

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, index: int) -> Item:
        self.seen.append(index)
        if self.on_read:
            self.on_read(index)
        item = toy_item(index)
        if index in self.poisoned:
            item["target"] = item["target"] * float("nan")
        return item


class ToyStep(nn.Module):
    """A linear map with dropout; with a critic, also what the critic thinks of it."""

    def __init__(self, dropout: float, critic: "ToyCritic | None" = None, *, steep: bool = False):
        super().__init__()
        self.linear = nn.Linear(SIZE, SIZE)
        self.dropout = nn.Dropout(dropout)
        self._critic = (critic,)  # outside the registry: it is trained in its own phase
        self.steep = steep

    def estimate(self, numbers: Tensor) -> Tensor:
        return self.dropout(self.linear(numbers))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        estimate = self.estimate(batch.input)
        batch.output = estimate.detach()
        error = (estimate - batch.target).pow(2).mean()
        loss = error
        if self._critic[0] is not None:
            # Gradients of this flow into the critic's parameters too, where they do not belong.
            loss = loss - 0.1 * self._critic[0].score(estimate).mean()
        if self.steep:
            loss = loss + (0 * self.linear.weight).sum().abs().sqrt()  # adds 0, with a gradient that is none
        return {"loss": loss, "error": error}


class ToyCritic(nn.Module):
    """Learns to tell targets from estimates."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = nn.Linear(SIZE, 1)

    def score(self, numbers: Tensor) -> Tensor:
        return self.judge(numbers)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        assert batch.output is not None
        return {"loss": (self.score(batch.output) - self.score(batch.target)).tanh().mean()}


class ToyTask(Task):
    """One phase, or two with `adversarial`."""

    best_metric = "error"

    def __init__(
        self,
        *,
        dropout: float = 0.0,
        adversarial: bool = False,
        steep: bool = False,
        poisoned: Iterable[int] = (),
        poisoned_valid: Iterable[int] = (),
        on_read: Callable[[int], None] | None = None,
    ):
        torch.manual_seed(5)
        critic = ToyCritic() if adversarial else None
        self.step = ToyStep(dropout, critic, steep=steep)
        self.phases = {"step": self.step}
        if critic is not None:
            self.phases = {"step": self.step, "critic": critic}
        self._poisoned, self._poisoned_valid, self._on_read = poisoned, poisoned_valid, on_read
        self.data: ToyData | None = None

    def optimizer_config(self, phase: str, train: TrainConfig) -> OptimizerConfig:
        return train.optimizer.model_copy(update={"learning_rate": 3e-3}) if phase == "critic" else train.optimizer

    def train_data(self, items: int) -> Dataset:
        torch.rand(1)  # someone draws randomness while things are built; the steps must not notice
        self.data = ToyData(items, self._poisoned, self._on_read)
        return self.data

    def valid_data(self) -> Dataset:
        return ToyData(5, self._poisoned_valid)

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        assert isinstance(module, ToyStep) and not module.training
        error = (module.estimate(batch.input) - batch.target).pow(2).mean(dim=(1, 2))
        # A metric with randomness, and one that is undefined for some items.
        return {"error": error, "noise": torch.rand(len(error)), "some": torch.where(error > 1, error, torch.nan)}

    def export(self, module: nn.Module, folder: Path) -> None:
        del module, folder


def toy_config(folder: Path, **train: object) -> ExperimentConfig:
    """A run in `folder` of twelve steps of four items, with the given options of training."""
    options = {"steps": 12, "batch_size": 4, "validate_every": 4, "log_every": 1, "tensorboard": False, **train}
    return ExperimentConfig.model_validate({"id": "toy", "run": folder, "train": options})
