"""Token models trained by the script in two processes, for real: torchrun, gloo, CPU."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_enhancer import write_enhancer

from experiments.places import PROJECT
from token_models.load import load_token_models

pytestmark = pytest.mark.slow


def test_two_processes_train_the_models_together(tiny_set: Path, tiny_codec_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["coarse.codebooks=1", "coarse.near=1", "fine.known=1", "fine.near=2", "coarse_errors=0.5"]
    words += [f"{stage}.{size}" for stage in ("coarse", "fine") for size in ("dim=16", "layers=1", "heads=2")]
    words += ["input=separated/rough", "fine_seconds=0.2", "sampling.steps=2", "fine_sampling.steps=1"]
    words += [f"data.root={tiny_set}", "data.seconds=0.5", "data.valid_seconds=1", "data.report_seconds=1"]
    write_enhancer(tmp_path / "enhancer", tiny_codec_folder, input="separated/rough")
    words += [
        f"enhancer={tmp_path / 'enhancer'}",
        "train.steps=6",
        "train.validate_every=3",
        "train.batch_size=2",
        "train.tensorboard=false",
    ]
    script = [PROJECT / "scripts" / "train_tokens.py", "tokens_demo", f"codec={tiny_codec_folder}", f"run={run}"]
    # `accelerate launch --cpu --num_processes 2` runs one process, and torchrun without the variable two separate ones.
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script, *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "results.json").read_text())["processes"] == 2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "valid"] == [3, 6]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert losses and all(math.isfinite(loss) for loss in losses)
    assert set(load_token_models(run).models) == {"coarse", "fine"}
