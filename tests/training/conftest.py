"""Running the toy trainer."""

from collections.abc import Callable
from pathlib import Path

import pytest
from toy import ToyTask, toy_config

from codec_ft.training.device import make_accelerator
from codec_ft.training.loop import TrainResult, train
from codec_ft.training.run_folder import RunFolder, open_run


@pytest.fixture
def train_toy(tmp_path: Path) -> Callable[..., tuple[TrainResult, RunFolder]]:
    """A function that trains a toy task in the run folder `name`, or goes on with it."""

    def run(task: ToyTask, name: str = "run", *, workers: int = 0, **options: object) -> tuple[TrainResult, RunFolder]:
        config = toy_config(tmp_path / name, **options)
        folder = open_run(config)
        return train(task, folder, config.train, make_accelerator(config.train), workers=workers), folder

    return run
