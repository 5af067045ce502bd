"""Run by a test on a machine with a GPU: the toy training in bf16, whole and resumed.

python gpu_training.py FOLDER
"""

import contextlib
import sys
from pathlib import Path

import torch
from toy import ToyTask, toy_config

from codec_ft.training.device import make_accelerator
from codec_ft.training.loop import train
from codec_ft.training.run_folder import open_run


def main(folder: Path) -> None:
    tasks = {}
    for name, stop_at in {"whole": None, "parted": 20}.items():
        config = toy_config(folder / name, mixed_precision="bf16", ema_decay=0.9, accumulate=2)
        accelerator = make_accelerator(config.train)
        assert accelerator.device.type == "cuda" and accelerator.mixed_precision == "bf16"

        def stop(index: int, stop_at: int | None = stop_at) -> None:
            if index == stop_at:
                raise KeyboardInterrupt

        if stop_at is not None:
            with contextlib.suppress(KeyboardInterrupt):
                train(ToyTask(dropout=0.3, on_read=stop), open_run(config), config.train, accelerator)
        tasks[name] = ToyTask(dropout=0.3)
        result = train(tasks[name], open_run(config), config.train, accelerator)
        assert result.finished and result.best_value < 1.0
        weight = tasks[name].step.linear.weight
        assert weight.device.type == "cuda" and weight.dtype == torch.float32
    torch.testing.assert_close(tasks["whole"].step.linear.weight, tasks["parted"].step.linear.weight)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
