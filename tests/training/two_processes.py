"""Run by a test in two processes: the toy training; each process writes what it saw and what it has.

python two_processes.py FOLDER STEPS
"""

import json
import signal
import sys
from pathlib import Path

import torch
from toy import ToyTask, toy_config

from codec_ft.training.device import make_accelerator
from codec_ft.training.loop import train
from codec_ft.training.run_folder import open_run


def main(folder: Path) -> None:
    config = toy_config(folder / "run", batch_size=2, accumulate=2, checkpoint_every=5, optimizer={"clip": 0.5})
    accelerator = make_accelerator(config.train)
    with accelerator.main_process_first():
        run = open_run(config)
    stop_at = 4 * 8 + 7  # the last item of step 5, which only the second process reads
    first_part = ToyTask(adversarial=True, on_read=lambda index: _signal(index == stop_at))
    assert not train(first_part, run, config.train, accelerator).finished
    task = ToyTask(adversarial=True)
    result = train(task, run, config.train, accelerator)
    assert first_part.data is not None and task.data is not None
    mine = folder / f"process {accelerator.process_index}"
    torch.save({name: phase.state_dict() for name, phase in task.phases.items()}, f"{mine}.pt")
    facts = {
        "processes": accelerator.num_processes,
        "step": result.step,
        "before": first_part.data.seen,
        "after": task.data.seen,
    }
    Path(f"{mine}.json").write_text(json.dumps(facts))
    accelerator.end_training()


def _signal(now: bool) -> None:
    if now:
        signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
