"""Measure what stored latents and codes save in training: the same steps with them and without.

python scripts/prepare_data.py encode --stem bass --input separated/spectrogram --seconds 1 --grid 0.5
python scripts/benchmark_encoded.py [key=value ...]

Each kind of training is run twice for some steps, from the same weights on the same excerpts: once the frozen codec
codes the clean stem (and a frozen encoder the input) in every step, once that is read from the cache. The losses must
be the same; the table says by how much they differ at most. CPU time counts where other programs run, too.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader
from tqdm import tqdm

from codec_ft.atomic import atomic_path
from codec_ft.data.dataset import collate
from codec_ft.errors import told_to_the_user
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.task import FinetuneTask
from experiments.tasks import make_task, read_config

WARM_UP_STEPS = 2  # in which files come into memory and kernels are chosen
BASE = [
    "input=separated/spectrogram",
    "data.seconds=1",
    "data.grid_seconds=0.5",
    "data.gain_db=[0,0]",
    "data.remix_probability=0",
    "train.steps=20",
]
"""What the cache above was made for; words of the command line come after."""
KINDS = {
    "frozen encoder, transformer to latents (N8)": [
        "encoder=frozen",
        "bridge.kind=transformer",
        "bridge.gives=latents",
        "bridge.dropout=0",
    ],
    "frozen encoder, transformer to four codebooks (N7)": [
        "encoder=frozen",
        "bridge.kind=transformer",
        "bridge.codebooks=4",
        "bridge.dropout=0",
        "losses.latent_mse=0",
        "losses.softmax=1",
    ],
    "warm encoder, MSE (N3)": [],
    "warm encoder, MSE and residual loss (N6)": ["losses.residual=1", "residual.codebooks=4"],
}


@dataclass(frozen=True)
class Row:
    """A kind of training with and without the cache: seconds and CPU seconds of a step, and how losses compare."""

    kind: str
    seconds: float
    stored_seconds: float
    cpu_seconds: float
    stored_cpu_seconds: float
    largest_difference: float  # of the losses, relative

    @property
    def faster(self) -> float:
        """How many times as many steps per second the cache gives."""
        return self.seconds / self.stored_seconds


def train_steps(config: FinetuneConfig, steps: int, device: str) -> tuple[list[float], float, float]:
    """The losses of some steps of a training, and time and CPU time of a step, in seconds."""
    task = make_task(config)
    assert isinstance(task, FinetuneTask)
    task.to(torch.device(device))
    step = task.step.to(device).train()
    rate = config.train.optimizer.learning_rate
    optimizer = torch.optim.Adam([p for p in step.parameters() if p.requires_grad], lr=rate)
    items = task.train_data((WARM_UP_STEPS + steps) * config.train.batch_size)
    losses: list[float] = []
    began = worked = 0.0
    batches = DataLoader(items, batch_size=config.train.batch_size, collate_fn=collate, num_workers=config.data.workers)
    for number, batch in enumerate(tqdm(batches, leave=False)):
        if number == WARM_UP_STEPS:
            began, worked = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = step(batch.to(device))["loss"]
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses, (time.perf_counter() - began) / steps, (time.process_time() - worked) / steps


def compare(kind: str, words: list[str], device: str) -> Row:
    """Measure one kind of training with and without the cache."""
    found = []
    for stored in ("false", "true"):
        config = read_config([*BASE, *KINDS[kind], *words, f"data.encoded={stored}"], default="warm_encoder_demo")
        assert isinstance(config, FinetuneConfig)
        found.append(train_steps(config, config.train.steps, device))
    (made, seconds, cpu), (stored_losses, stored_seconds, stored_cpu) = found
    differences = [abs(a - b) / abs(a) for a, b in zip(made, stored_losses, strict=True)]
    return Row(kind, seconds, stored_seconds, cpu, stored_cpu, max(differences))


def as_table(rows: list[Row]) -> Table:
    """A line per kind of training."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("training", "steps/s", "steps/s, stored", "faster", "CPU ms a step", "stored", "losses differ by"):
        table.add_column(heading, justify="left" if heading == "training" else "right")
    for row in rows:
        table.add_row(
            row.kind,
            f"{1 / row.seconds:.2f}",
            f"{1 / row.stored_seconds:.2f}",
            f"{row.faster:.1f} x",
            f"{1000 * row.cpu_seconds:.0f}",
            f"{1000 * row.stored_cpu_seconds:.0f}",
            f"{row.largest_difference:.0e}",
        )
    return table


def main(words: list[str]) -> None:
    """Measure, and print the table; `json=FILE` also writes the numbers."""
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    json_paths = [Path(word.removeprefix("json=")) for word in words if word.startswith("json=")]
    with told_to_the_user():
        rows = [compare(kind, [word for word in words if not word.startswith("json=")], device) for kind in KINDS]
        Console().print(as_table(rows))
        for path in json_paths:
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
