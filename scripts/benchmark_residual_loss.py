"""Put the residual loss beside one written down as its equations read: the same numbers, and what both take.

python scripts/benchmark_residual_loss.py
python scripts/benchmark_residual_loss.py --form teacher --codebooks 8 --latent-dim 64 --frames 3200

Measured are a forward and a backward pass on random latents and codebooks, by default of the shape of 16 s through
EnCodec at 24 kHz. The naive one takes the differences of every frame to every code, and keeps those of all layers for
the backward pass. Where `--memory` does not hold them, it is measured with as many layers as fit, beside ours with as
many, and what it would take with all of them is scaled up from there, and said to be. Every measurement has a process
of its own. Times are those that the processor worked, all threads together, which other programs on the machine hardly
change. Exit status 1 if the two differ.
"""

import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import psutil
import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from codec_ft.codec_training.encodec_model import EncodecShape, make_encodec
from codec_ft.codecs.load import as_codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError, told_to_the_user
from codec_ft.finetune.losses.residual import residual_loss

Form = Literal["soft", "teacher"]
TOLERANCE = 1e-3  # relative; in float32 the two round differently, and the soft form carries that from layer to layer
SPREAD = 0.9  # of a layer's codes, in units of the layer's before
TAU = 20.0  # at which the probabilities of random codes are neither flat nor sharp
PROMISED_MEMORY, PROMISED_SPEED = 5, 2
console = Console()


@dataclass(frozen=True)
class Job:
    """One measurement: by whom, in which form, and how large."""

    by: Literal["naive", "ours"]
    form: Form
    layers: int
    codebook_size: int
    latent_dim: int
    frames: int
    threads: int
    device: str

    @property
    def differences_bytes(self) -> int:
        """What the differences of all frames to all codes of one layer take, `[T, V, D]` in float32."""
        return 4 * self.frames * self.codebook_size * self.latent_dim


@dataclass(frozen=True)
class Row:
    """What a job took, and what came out: cross-entropies of the layers, and the gradient at the latents.

    `scaled` says that time and memory are those of fewer layers, times how many times more layers there are.
    """

    job: Job
    seconds: float
    peak_bytes: float
    cross_entropies: Tensor
    gradient: Tensor
    scaled: bool = False


def make_inputs(job: Job) -> tuple[ResidualCodec, Tensor, Tensor]:
    """A codec with random codebooks, latents `[1, D, T]`, and codes `[1, K, T]` of other latents not far from them."""
    torch.manual_seed(0)
    shape = EncodecShape(
        n_filters=2, latent_dim=job.latent_dim, lstm_layers=1, n_codebooks=job.layers, codebook_size=job.codebook_size
    )
    codec = as_codec(make_encodec(shape), "random")
    assert isinstance(codec, ResidualCodec)
    for k in range(job.layers):
        codec.table(k).normal_(std=SPREAD**k)
    target = torch.randn(1, job.latent_dim, job.frames)
    codes, _ = codec.quantize(target)
    latents = target + 0.3 * torch.randn(target.shape)
    return codec.to(job.device), latents.to(job.device), codes.to(job.device)


def naive_loss(codec: ResidualCodec, latents: Tensor, target_codes: Tensor, form: Form) -> Tensor:
    """The cross-entropies `[1, K]` of latents `[1, D, T]` and codes `[1, K, T]` as the equations read."""
    residual = latents.transpose(1, 2)
    found = []
    for table, codes in zip(codec.codebooks(), target_codes.unbind(dim=1), strict=True):
        distances = (residual[:, :, None] - table).pow(2).sum(dim=-1)  # [1, T, V], from [1, T, V, D]
        log_probabilities = (-distances / TAU).log_softmax(dim=-1)
        found.append(-log_probabilities.gather(2, codes[:, :, None]).mean(dim=(1, 2)))
        residual = residual - (log_probabilities.softmax(dim=-1) @ table if form == "soft" else table[codes])
    return torch.stack(found, dim=1)


def our_loss(codec: ResidualCodec, latents: Tensor, target_codes: Tensor, form: Form) -> Tensor:
    """The same by `residual_loss`."""
    return residual_loss(codec, latents, target_codes, tau=TAU, form=form).cross_entropy


def measure(job: Job) -> Row:
    """Measure a job in this process."""
    torch.set_num_threads(job.threads)
    codec, latents, codes = make_inputs(job)
    loss = naive_loss if job.by == "naive" else our_loss
    few = min(8, job.frames)  # libraries are loaded before, and kernels chosen
    loss(codec, latents[:, :, :few].requires_grad_(), codes[:, :, :few], job.form).sum().backward()
    latents.requires_grad_()
    before = memory_in_use(job.device)
    began = time.process_time()
    cross_entropies = loss(codec, latents, codes, job.form)
    cross_entropies.sum().backward()
    if job.device == "cuda":
        torch.cuda.synchronize()
    seconds = time.process_time() - began
    assert latents.grad is not None
    peak = max(1, most_memory_used(job.device) - before)  # it is divided by
    return Row(job, seconds, peak, cross_entropies[0].detach().cpu(), latents.grad.cpu())


def memory_in_use(device: str) -> int:
    """Bytes of the GPU or of this process."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def most_memory_used(device: str) -> int:
    """The most that was in use at any time, in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def measure_apart(job: Job) -> Row:
    """Measure in a new process, which nothing else has used memory in.

    Raises:
        UserError: it was killed.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, job).result()
        except BrokenProcessPool:
            raise UserError(f"{job.by} with {job.layers} layers was killed, most likely for want of memory.") from None


def layers_that_fit(job: Job, memory: float) -> int:
    """Layers of which the naive loss keeps its differences in `memory` bytes, with some more for its gradients.

    Raises:
        UserError: not even one.
    """
    fitting = int(memory / job.differences_bytes) - 3
    if fitting < 1:
        needed = 4 * job.differences_bytes / 1e9
        raise UserError(f"--memory {memory / 1e9:g}: one layer of the naive loss needs {needed:.1f} GB. Allow more.")
    return min(fitting, job.layers)


def measure_all(job: Job, memory: float) -> list[Row]:
    """Naive and ours with as many layers as fit for both, then with all; the naive one's are scaled up."""
    fewer = replace(job, layers=layers_that_fit(job, memory))
    jobs = [replace(fewer, by="naive"), replace(fewer, by="ours")]
    if fewer.layers < job.layers:
        jobs.append(replace(job, by="ours"))
    rows = [measure_apart(each) for each in tqdm(jobs, desc="measure", leave=False)]
    if fewer.layers < job.layers:
        naive, factor = rows[0], job.layers / fewer.layers
        scaled = replace(naive, job=replace(job, by="naive"), scaled=True)
        rows.insert(2, replace(scaled, seconds=factor * naive.seconds, peak_bytes=factor * naive.peak_bytes))
    return rows


def difference(ours: Tensor, naive: Tensor) -> float:
    """The largest difference, as a share of the largest value."""
    return float((ours - naive).abs().max() / naive.abs().max())


def as_table(rows: list[Row]) -> Table:
    """One line per measurement; what was not measured is marked."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), show_edge=False)
    table.add_column("by", no_wrap=True)
    for heading in ("layers", "CPU\ntime (s)", "peak memory\n(MB)"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        by = f"{row.job.by} (scaled up)" if row.scaled else row.job.by
        table.add_row(by, str(row.job.layers), f"{row.seconds:.3g}", f"{row.peak_bytes / 1e6:.0f}")
    return table


def main(
    form: Annotated[Form, typer.Option(help="what a layer hands on: the thesis' soft code, or the target's")] = "soft",
    codebooks: Annotated[int, typer.Option(help="layers", min=1)] = 32,
    codebook_size: Annotated[int, typer.Option(help="codes of a layer, a power of two", min=2)] = 1024,
    latent_dim: Annotated[int, typer.Option(help="size of a latent", min=1)] = 128,
    frames: Annotated[int, typer.Option(help="frames; 1200 are 16 s at 75 Hz", min=1)] = 1200,
    memory: Annotated[float, typer.Option(help="GB that the naive one may take", min=0)] = 8.0,
    threads: Annotated[int, typer.Option(help="CPU threads", min=1)] = 1,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="what to measure on")] = "cpu",
) -> None:
    """Measure, print the table, and say what was promised."""
    with told_to_the_user():
        if device == "cuda" and not torch.cuda.is_available():
            raise UserError("--device cuda: there is no GPU that torch can use. Leave it out.")
        if codebook_size & (codebook_size - 1):
            raise UserError(f"--codebook-size {codebook_size}: must be a power of two.")
        rows = measure_all(
            Job("ours", form, codebooks, codebook_size, latent_dim, frames, threads, device), memory * 1e9
        )
    naive, ours = rows[:2]
    console.print(
        f"form {form!r}: {codebooks} layers of {codebook_size} codes in {latent_dim} dimensions, {frames} frames; "
        f"{device}, {threads} threads, torch {torch.__version__}"
    )
    console.print(as_table(rows))
    console.print(
        f"with {ours.job.layers} layers, ours takes {naive.peak_bytes / ours.peak_bytes:.0f} times less memory and is "
        f"{naive.seconds / ours.seconds:.1f} times as fast; {PROMISED_MEMORY} and {PROMISED_SPEED} are promised at "
        "32 x 1024 x 128 and 16 s",
        highlight=False,
    )
    differing = False
    for what, found, wanted in (
        ("cross-entropies", ours.cross_entropies, naive.cross_entropies),
        ("gradients", ours.gradient, naive.gradient),
    ):
        share = difference(found, wanted)
        wrong = not share <= TOLERANCE
        differing |= wrong
        console.print(f"{what} differ by {share:.1e} of the largest", style="bold red" if wrong else "")
    if differing:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
