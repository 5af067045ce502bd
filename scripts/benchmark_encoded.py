"""Measure what stored latents save: reading and coding the pairs of a training step, against reading what is stored.

python scripts/prepare_data.py encode --stem bass --input separated/spectrogram --seconds 1 --grid 0.5
python scripts/benchmark_encoded.py --stem bass --input separated/spectrogram --seconds 1 --grid 0.5

This is what a step does before the model that is trained begins: the audio is read, and the frozen codec makes latents
and codes of the clean stem, and latents of the input too where the encoder is frozen.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from codec_ft.atomic import atomic_path
from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import load_codec
from codec_ft.data.dataset import Batch, PairDataset, collate
from codec_ft.data.tracks import find_tracks
from codec_ft.encoded.pairs import EncodedPairs
from codec_ft.encoded.write import encode_excerpts
from codec_ft.errors import told_to_the_user

DEMO_ROOT = Path(__file__).resolve().parent.parent / "data" / "demo"
WARM_UP_STEPS = 2  # in which kernels are chosen
FROZEN = "frozen encoder"
WARM = "warm encoder"


@dataclass(frozen=True)
class Row:
    """One way to come by a batch.

    `encoder` says what the model needs: with a warm encoder the input's audio, with a frozen one its latents. `stored`
    is whether latents are read; `seconds` the time of a step, `cpu_seconds` what all threads worked in it, which is
    more telling where other programs run.
    """

    encoder: str
    stored: bool
    seconds: float
    cpu_seconds: float


def read_and_code(pairs: PairDataset, codec: Codec, encoder: str) -> Callable[[list[int]], Batch]:
    """A function that reads some items and codes them, as a training without stored latents does."""

    def make(indices: list[int]) -> Batch:
        batch = collate([pairs[i] for i in indices])
        batch.target_latents, batch.target_codes = encode_excerpts(codec, batch.target)
        if encoder == FROZEN:
            with torch.no_grad():
                batch.input_latents = codec.encode(batch.input.to(batch.target_latents.device))
        return batch

    return make


def read_stored(pairs: PairDataset, codec: Codec, encoder: str) -> Callable[[list[int]], Batch]:
    """A function that reads what a training with stored latents needs of some items."""
    data = EncodedPairs(pairs, codec, inputs=encoder == FROZEN, audio=encoder == WARM)
    device = next(codec.parameters()).device
    return lambda indices: collate([data[i] for i in indices]).to(device)


def measure(make: Callable[[list[int]], Batch], batch_size: int, steps: int, device: str) -> tuple[float, float]:
    """Time and CPU time of a step, in seconds."""
    began = worked = 0.0
    for step in tqdm(range(WARM_UP_STEPS + steps), leave=False):
        if step == WARM_UP_STEPS:
            began, worked = time.perf_counter(), time.process_time()
        make(list(range(step * batch_size, (step + 1) * batch_size)))
        if device == "cuda":
            torch.cuda.synchronize()
    return (time.perf_counter() - began) / steps, (time.process_time() - worked) / steps


def as_table(rows: list[Row]) -> Table:
    """A line per way, and how many times faster the stored one is."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("training of a", "latents", "ms a step", "CPU ms a step", "steps/s", "faster"):
        table.add_column(heading, justify="left" if heading in ("training of a", "latents") else "right")
    made = {row.encoder: row for row in rows if not row.stored}
    for row in rows:
        table.add_row(
            row.encoder,
            "stored" if row.stored else "made",
            f"{1000 * row.seconds:.1f}",
            f"{1000 * row.cpu_seconds:.1f}",
            f"{1 / row.seconds:.1f}",
            f"{made[row.encoder].seconds / row.seconds:.1f} x" if row.stored else "",
        )
    return table


def main(
    stem: Annotated[str, typer.Option(help="target")] = "bass",
    input: Annotated[str, typer.Option(help="what is heard: mixture or separated/<separator>")] = "mixture",
    root: Annotated[Path, typer.Option(help="folder of the data set")] = DEMO_ROOT,
    codec: Annotated[str, typer.Option(help="name or folder of the codec")] = "demo",
    seconds: Annotated[float, typer.Option(min=0.01, help="length of an excerpt")] = 2.0,
    grid: Annotated[float, typer.Option(min=0.01, help="seconds from one start to the next")] = 0.5,
    batch_size: Annotated[int, typer.Option(min=1, help="excerpts in a step")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="steps that are measured")] = 20,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cuda" if torch.cuda.is_available() else "cpu",
    json_path: Annotated[Path | None, typer.Option("--json", help="also write the numbers here")] = None,
) -> None:
    """Measure, and print the table."""
    with told_to_the_user():
        coder = load_codec(codec).to(device)
        pairs = PairDataset(
            tracks=find_tracks(root, "train"),
            stem=stem,
            input=input,
            sample_rate=coder.sample_rate,
            channels=coder.channels,
            seconds=seconds,
            grid_seconds=grid,
            length=(WARM_UP_STEPS + steps) * batch_size,
            seed=0,
        )
        for index in tqdm(range(len(pairs)), "reading audio", leave=False):
            pairs[index]  # files come into memory now, and not in what is measured first
        ways = [
            (encoder, stored, (read_stored if stored else read_and_code)(pairs, coder, encoder))
            for encoder in (WARM, FROZEN)
            for stored in (False, True)
        ]
        rows = [Row(encoder, stored, *measure(make, batch_size, steps, device)) for encoder, stored, make in ways]
        Console().print(as_table(rows))
        if json_path is not None:
            with atomic_path(json_path) as temporary:
                temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
