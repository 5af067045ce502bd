"""Training with two processes, for real: torchrun, gloo, CPU."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toy import ToyTask

from codec_ft.errors import UserError
from codec_ft.training.loop import TrainResult
from codec_ft.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an adversarial toy training with two processes, stopped after step 5 and gone on with."""
    folder = tmp_path_factory.mktemp("two")
    script = Path(__file__).with_name("two_processes.py")
    # `accelerate launch --cpu --num_processes 2` runs one process, and torchrun without the variable two separate ones.
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script, folder]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return folder


def facts(folder: Path, process: int) -> dict:
    return json.loads((folder / f"process {process}.json").read_text())


def test_both_took_part_and_saw_different_items(two_processes: Path) -> None:
    seen = []
    for process in (0, 1):
        found = facts(two_processes, process)
        assert found["processes"] == 2 and found["step"] == 12
        # Both stopped after step 5, though only the second one was asked to, and each saw every item once.
        assert max(found["before"]) < 5 * 8 <= min(found["after"])
        seen.append(found["before"] + found["after"])
    assert set(seen[0]).isdisjoint(seen[1])
    assert sorted(seen[0] + seen[1]) == list(range(12 * 8))


def test_both_hold_equal_parameters(two_processes: Path) -> None:
    states = [torch.load(two_processes / f"process {process}.pt", weights_only=True) for process in (0, 1)]
    torch.testing.assert_close(*states, rtol=0, atol=0)


def test_they_compute_what_one_process_does_with_the_doubled_batch(
    two_processes: Path, train_toy: Callable[..., tuple[TrainResult, RunFolder]]
) -> None:
    task = ToyTask(adversarial=True)
    _, run = train_toy(task, batch_size=4, accumulate=2, optimizer={"clip": 0.5})
    state = {name: phase.state_dict() for name, phase in task.phases.items()}
    together = torch.load(two_processes / "process 0.pt", weights_only=True)
    torch.testing.assert_close(together, state, rtol=1e-4, atol=1e-6)
    lines = [
        [json.loads(line) for line in folder.joinpath("metrics.jsonl").read_text().splitlines()]
        for folder in (two_processes / "run", run.path)
    ]
    for a, b in zip(*lines, strict=True):
        assert (a["step"], a["split"]) == (b["step"], b["split"])
        # Losses are means over both processes' items, validation shares the excerpts out.
        for key in {"loss", "error", "critic_loss", "gradient_norm", "some"} & a.keys():
            assert a[key] == pytest.approx(b[key], rel=1e-3, nan_ok=True), (a["step"], key)


def test_going_on_with_another_number_of_processes_is_refused(
    two_processes: Path, train_toy: Callable[..., tuple[TrainResult, RunFolder]]
) -> None:
    with pytest.raises(UserError, match="trained by 2 processes and cannot go on with 1"):
        train_toy(
            ToyTask(adversarial=True),
            two_processes / "run",
            batch_size=2,
            accumulate=2,
            checkpoint_every=5,
            optimizer={"clip": 0.5},
        )
