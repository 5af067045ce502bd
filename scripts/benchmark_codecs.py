"""Measure how fast codecs encode and decode, and what memory they need beside their weights.

python scripts/benchmark_codecs.py demo
python scripts/benchmark_codecs.py demo encodec_24khz --seconds 10 --seconds 600 --json speed.json
python scripts/benchmark_codecs.py --random dac_44khz --chunks 10x1 --chunks 1x1 --chunks 1x8 --limit 3600

Weights change neither time nor memory: `--random` measures a published architecture without its file. Where the
packages `encodec` and `dac` are installed, they are measured beside it, in one piece as they work by themselves. Every
measurement has a process of its own, so that none pays for another's memory.
"""

import importlib.util
import json
import math
import multiprocessing
import platform
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import psutil
import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm
from transformers import DacConfig, EncodecConfig

from codec_ft.atomic import atomic_path
from codec_ft.codecs.load import as_codec, load_codec
from codec_ft.codecs.long import decode_long, encode_long
from codec_ft.codecs.models import build_model
from codec_ft.codecs.releases import RELEASES
from codec_ft.errors import UserError, told_to_the_user

SAMPLING_INTERVAL = 0.005  # seconds between two looks at the memory
WARM_UP_SECONDS = 0.5  # audio that is coded before, while libraries are loaded and kernels chosen
console = Console()


@dataclass(frozen=True)
class Job:
    """One measurement: which half of which codec, on what.

    `package` is "ours" or the original one's name; `chunk_seconds` and `batch_size` are None for an original.
    """

    codec: str
    package: str
    random: bool
    half: Literal["encode", "decode"]
    device: str
    threads: int
    seconds: float
    chunk_seconds: float | None
    batch_size: int | None


@dataclass(frozen=True)
class Row:
    """What was measured; or why nothing was.

    `seconds` is the time that passed, `cpu_seconds` what all threads of the process worked, which is more telling where
    other programs run; `peak_bytes` is the peak of memory above that of the loaded model.
    """

    job: Job
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_bytes: int | None = None
    note: str = ""


def measure(job: Job) -> Row:
    """Measure a job in this process. Memory for its input and its result is counted in."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        prepare = load_ours(job) if job.package == "ours" else load_original(job)
        prepare(WARM_UP_SECONDS)()
        with memory_peak(job.device) as peak:
            run = prepare(job.seconds)
            began, worked = time.perf_counter(), time.process_time()
            run()
            if job.device == "cuda":
                torch.cuda.synchronize()
            taken, worked = time.perf_counter() - began, time.process_time() - worked
    return Row(job, taken, worked, peak[0])


@contextmanager
def memory_peak(device: str) -> Iterator[list[int]]:
    """Bytes that the block needs at its worst beyond what was in use before: of the GPU, or of this process."""
    peak = [0]
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak[0] = torch.cuda.max_memory_allocated() - before
        return
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while not done.wait(SAMPLING_INTERVAL):
            peak[0] = max(peak[0], process.memory_info().rss - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    yield peak
    done.set()
    watcher.join()


def load_ours(job: Job) -> Callable[[float], Callable[[], Tensor]]:
    """Load this project's codec; the result takes a length in seconds and gives what is to be measured."""
    codec = as_codec(build_model(RELEASES[job.codec].config), job.codec) if job.random else load_codec(job.codec)
    codec.to(job.device)
    assert job.chunk_seconds is not None and job.batch_size is not None
    options: dict[str, Any] = {"chunk_seconds": job.chunk_seconds, "batch_size": job.batch_size}

    def prepare(seconds: float) -> Callable[[], Tensor]:
        length = round(seconds * codec.sample_rate)
        if job.half == "encode":
            audio = 0.1 * torch.randn(1, codec.channels, length)
            return lambda: encode_long(codec, audio, **options)
        codes = torch.randint(codec.codebook_size, (1, codec.n_codebooks, codec.n_frames(length)))
        return lambda: decode_long(codec, codes, length, **options)

    return prepare


def load_original(job: Job) -> Callable[[float], Callable[[], Any]]:
    """The same for the original package's model, with random weights; it works in one piece, or in its own segments."""
    return (load_encodec if job.package == "encodec" else load_dac)(job)


def load_encodec(job: Job) -> Callable[[float], Callable[[], Any]]:
    """See `load_original`."""
    from encodec import EncodecModel

    stereo = job.codec == "encodec_48khz"
    model = EncodecModel.encodec_model_48khz(False) if stereo else EncodecModel.encodec_model_24khz(False)
    model.to(job.device).eval()
    model.set_target_bandwidth(model.target_bandwidths[-1])
    config = RELEASES[job.codec].config
    assert isinstance(config, EncodecConfig)

    def prepare(seconds: float) -> Callable[[], Any]:
        length = round(seconds * model.sample_rate)
        if job.half == "encode":
            audio = 0.1 * torch.randn(1, model.channels, length, device=job.device)
            return lambda: model.encode(audio)
        segments = []
        for start in range(0, length, model.segment_stride or length):
            n_frames = math.ceil(min(model.segment_length or length, length - start) / config.hop_length)
            codes = torch.randint(config.codebook_size, (1, config.num_quantizers, n_frames), device=job.device)
            segments.append((codes, torch.ones(1, 1, device=job.device) if model.normalize else None))
        return lambda: model.decode(segments)

    return prepare


def load_dac(job: Job) -> Callable[[float], Callable[[], Any]]:
    """See `load_original`."""
    from dac import DAC

    config = RELEASES[job.codec].config
    assert isinstance(config, DacConfig)
    model = DAC(
        encoder_dim=config.encoder_hidden_size,
        encoder_rates=list(config.downsampling_ratios),
        latent_dim=config.hidden_size,
        decoder_dim=config.decoder_hidden_size,
        decoder_rates=list(config.upsampling_ratios),
        n_codebooks=config.n_codebooks,
        codebook_size=config.codebook_size,
        codebook_dim=config.codebook_dim,
        sample_rate=config.sampling_rate,
    )
    model.to(job.device).eval()

    def prepare(seconds: float) -> Callable[[], Any]:
        audio = 0.1 * torch.randn(1, 1, round(seconds * model.sample_rate), device=job.device)
        audio = model.preprocess(audio, model.sample_rate)
        if job.half == "encode":
            return lambda: model.encode(audio)
        n_frames = audio.shape[-1] // config.hop_length
        codes = torch.randint(config.codebook_size, (1, config.n_codebooks, n_frames), device=job.device)
        return lambda: model.decode(model.quantizer.from_codes(codes)[0])

    return prepare


def original_package(codec: str) -> str | None:
    """The package that a codec was published with, if it is installed."""
    package = codec.partition("_")[0]
    return package if package in ("encodec", "dac") and importlib.util.find_spec(package) else None


def measure_apart(job: Job) -> Row:
    """Measure in a process of its own; what does not fit into the memory is said in the row."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(measure, job).result()
        except BrokenProcessPool:
            return Row(job, note="failed: killed, most likely for want of memory")
        except (RuntimeError, MemoryError) as error:
            if "memory" not in str(error):
                raise
            return Row(job, note="failed: not enough memory")


def measure_lengths(job: Job, lengths: list[float], limit: float) -> Iterator[Row]:
    """Measure a job at several lengths, short ones first.

    What would take more than `limit` seconds, going by the shorter one before it, is skipped.
    """
    taken_per_second = 0.0
    for seconds in sorted(lengths):
        job = replace(job, seconds=seconds)
        if (expected := taken_per_second * seconds) > limit:
            yield Row(job, note=f"skipped: would take about {in_words(expected)}")
            continue
        row = measure_apart(job)
        taken_per_second = (row.seconds or 0.0) / seconds
        yield row


def in_words(seconds: float) -> str:
    """ "8.1 s" or "59 min"."""
    return f"{seconds:.3g} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def as_table(rows: list[Row]) -> Table:
    """One line per measurement, within 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for heading in ("codec", "half", "by", "on"):
        table.add_column(heading, no_wrap=True)
    for heading in ("audio", "chunks", "time", "CPU\ntime", "x real\ntime", "memory\n(GB)"):
        table.add_column(heading, no_wrap=True, justify="right")
    for row in rows:
        job = row.job
        if row.seconds is not None and row.cpu_seconds is not None and row.peak_bytes is not None:
            table.add_row(
                *(job.codec, job.half, job.package, job.device, in_words(job.seconds), chunks_in_words(job)),
                *(in_words(row.seconds), in_words(row.cpu_seconds), f"{job.seconds / row.seconds:.2f}"),
                f"{row.peak_bytes / 1e9:.2f}",
            )
    return table


def notes(rows: list[Row]) -> list[str]:
    """What was not measured, and why."""
    return [
        f"{row.job.codec} {row.job.half} by {row.job.package} on {row.job.device}, {in_words(row.job.seconds)} as "
        f"{chunks_in_words(row.job)}: {row.note}"
        for row in rows
        if row.note
    ]


def chunks_in_words(job: Job) -> str:
    """ "10x1", or that the audio was coded whole."""
    return "whole" if job.chunk_seconds is None else f"{job.chunk_seconds:g}x{job.batch_size}"


def parse_chunks(words: str) -> tuple[float, int]:
    """ "10x1" -> chunks of 10 s, one at a time.

    Raises:
        UserError: it is of another form.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)x(\d+)", words)
    if not match or float(match[1]) == 0 or int(match[2]) == 0:
        raise UserError(f"--chunks {words}: expected SECONDSxCHUNKS_AT_ONCE, as 10x1 or 0.5x16.")
    return float(match[1]), int(match[2])


def list_jobs(codecs: list[str], random: list[str], devices: list[str], chunks: list[str], threads: int) -> list[Job]:
    """Everything that is to be measured, at a length that is still to be chosen.

    Raises:
        UserError: there is nothing to measure, or a name or a way to cut is unknown.
    """
    for name in random:
        if name not in RELEASES:
            raise UserError(f"--random {name}: no published codec. Give one of {', '.join(RELEASES)}.")
    if not codecs and not random:
        raise UserError("nothing to measure: name codecs, or published ones behind --random.")
    jobs = []
    for name, is_random in [*((name, False) for name in codecs), *((name, True) for name in random)]:
        original = original_package(name) if name in RELEASES else None
        for device in devices:
            for half in ("encode", "decode"):
                ours = Job(name, "ours", is_random, half, device, threads, 0.0, None, None)
                for words in chunks:
                    chunk_seconds, batch_size = parse_chunks(words)
                    jobs.append(replace(ours, chunk_seconds=chunk_seconds, batch_size=batch_size))
                if original is not None:
                    jobs.append(replace(ours, package=original, random=True))
    return jobs


def main(
    codecs: Annotated[list[str] | None, typer.Argument(help="names or paths for load_codec")] = None,
    random: Annotated[list[str], typer.Option(help="a published codec, with random weights")] = [],  # noqa: B006
    seconds: Annotated[list[float], typer.Option(help="length of the audio", min=0.1)] = [10, 600],  # noqa: B006
    chunks: Annotated[list[str], typer.Option(help="seconds of a chunk x chunks at once")] = ["10x1"],  # noqa: B006
    device: Annotated[list[str], typer.Option(help="cpu or cuda; both where there is a GPU if left out")] = [],  # noqa: B006
    threads: Annotated[int, typer.Option(help="CPU threads; torch's choice if left out", min=0)] = 0,
    limit: Annotated[float, typer.Option(help="skip what would take longer, in seconds")] = 300.0,
    json_path: Annotated[Path | None, typer.Option("--json", help="also write the numbers here")] = None,
) -> None:
    """Measure, and print the table."""
    with told_to_the_user():
        devices = device or ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
        jobs = list_jobs(codecs or [], random, devices, chunks, threads or torch.get_num_threads())
        rows: list[Row] = []
        for job in tqdm(jobs, desc="measure"):
            rows.extend(measure_lengths(job, seconds, limit))
        console.print(as_table(rows))
        for note in notes(rows):
            console.print(note, soft_wrap=True, highlight=False)
        if json_path is not None:
            machine = {
                "cpu": platform.processor() or platform.machine(),
                "threads": jobs[0].threads,
                "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                "torch": torch.__version__,
            }
            with atomic_path(json_path) as temporary:
                temporary.write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    typer.run(main)
