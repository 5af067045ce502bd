"""Measure what the README promises of `make demo` and `make test`: time, memory, and what the training gained.

python scripts/benchmark_demo.py                          fresh clone, make demo, make demo again
python scripts/benchmark_demo.py --input separated/spectrogram --input separated/waveform
python scripts/benchmark_demo.py --tests                  also make test
"""

import json
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.table import Table

from codec_ft.errors import UserError, told_to_the_user

PROJECT = Path(__file__).resolve().parents[1]
console = Console()


@dataclass
class Usage:
    """What a command took."""

    seconds: float
    peak_gb: float  # resident memory of all its processes together, sampled four times a second


def measure(command: list[str], folder: Path, log: Path) -> Usage:
    """Run a command to its end and watch its memory.

    Raises:
        UserError: it failed; says where its output is.
    """
    began, peak = time.monotonic(), 0
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        done = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.25):
                peak = max(peak, resident(process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        status = process.wait()
        done.set()
        watcher.join()
    if status:
        raise UserError(f"{' '.join(command)}: failed with status {status}; its output is in {log}.")
    return Usage(time.monotonic() - began, peak / 1e9)


def resident(pid: int) -> int:
    """Bytes of resident memory of a process and all below it; those that end meanwhile count as nothing."""
    total = 0
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in family:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def gains(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The rows of the table that say what the training changed."""
    rows = {row["role"]: row for row in results["rows"]}
    output, baseline, ceiling = rows["output"], rows["baseline"], rows["ceiling"]
    floors = [row for row in results["rows"] if row["role"] == "floor"]
    tokens = results["tokens"]
    lines = [
        ("excerpts", f"{results['excerpts']} of {results['excerpt_seconds']:g} s, split {results['report_split']}"),
        ("training", f"{results['steps']} steps, {results['seconds']:.0f} s"),
        (
            "latent MSE, untouched -> trained",
            f"{baseline['latent_mse']:.3g} -> {output['latent_mse']:.3g} "
            f"({output['latent_mse'] / baseline['latent_mse']:.0%})",
        ),
    ]
    for metric, digits in (("usdr", 1), ("si_sdr", 1), ("log_mel_distance", 3)):
        floor = ", ".join(f"{row['system']} {row['against']['target'][metric]:.{digits}f}" for row in floors)
        path = " -> ".join(f"{row['against']['target'][metric]:.{digits}f}" for row in (baseline, output))
        lines.append(
            (metric, f"{floor}; untouched -> trained {path}; ceiling {ceiling['against']['target'][metric]:.{digits}f}")
        )
    for name in ("copy_input", "majority", "trained", "idempotence"):
        lines.append((f"token accuracy 1-4, {name}", " ".join(f"{share:.3f}" for share in tokens[name][:4])))
    return lines


def main(
    input: Annotated[list[str], typer.Option(help="inputs to run the demo with")] = ["mixture"],  # noqa: B006
    extra: Annotated[str, typer.Option(help="further overrides for every run")] = "",
    tests: Annotated[bool, typer.Option(help="also time make test")] = False,
    folder: Annotated[
        Path | None, typer.Option(help="an empty folder for the clone; a temporary one if left out")
    ] = None,
) -> None:
    """Clone the committed state, run the demo, and print the table."""
    with told_to_the_user():
        root = folder or Path(tempfile.mkdtemp(prefix="demo-benchmark-"))
        clone = root / "clone"
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(clone)], check=True)
        table = Table("what", "measured", title=f"make demo, {psutil.cpu_count()} cores, in {clone}")
        for number, source in enumerate(input):
            words = f"input={source} {extra}".strip()
            first = measure(["make", "demo", f"EXTRA={words}"], clone, root / f"demo-{number}.log")
            again = measure(["make", "demo", f"EXTRA={words}"], clone, root / f"again-{number}.log")
            start = "fresh clone, install included" if number == 0 else "installed, data there"
            table.add_section()
            table.add_row(f"[bold]{source}[/]: make demo", f"{first.seconds / 60:.1f} min ({start})")
            table.add_row("peak memory", f"{first.peak_gb:.1f} GB")
            table.add_row("make demo again", f"{again.seconds:.0f} s")
            newest = max(clone.glob("runs/*/results.json"), key=lambda path: path.stat().st_mtime)
            for line in gains(json.loads(newest.read_text())):
                table.add_row(*line)
        if tests:
            usage = measure(["make", "test"], clone, root / "test.log")
            table.add_section()
            table.add_row("make test", f"{usage.seconds / 60:.1f} min, {usage.peak_gb:.1f} GB")
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
