"""The benchmark of codecs: one run as a person types it, and its parts."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rich.console import Console

from codec_ft.errors import UserError

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark_codecs.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_codecs", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["benchmark_codecs"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_run_measures_skips_and_writes(tmp_path: Path, tiny_codec_folder: Path) -> None:
    words = [tiny_codec_folder, "--seconds", "0.2", "--seconds", "5000", "--limit", "0.001", "--chunks", "0.05x2"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words), "--device", "cpu", "--threads", "1", "--json", "out.json"],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "out.json").read_text())
    assert content["machine"]["threads"] == 1 and content["machine"]["torch"] == torch.__version__
    rows = content["rows"]
    assert [(row["job"]["half"], row["job"]["seconds"]) for row in rows] == [
        ("encode", 0.2),
        ("encode", 5000),
        ("decode", 0.2),
        ("decode", 5000),
    ]
    for measured, skipped in ((rows[0], rows[1]), (rows[2], rows[3])):
        assert 0 < measured["seconds"] < 60 and 0 < measured["cpu_seconds"] < 60 and measured["peak_bytes"] >= 0
        assert (measured["job"]["chunk_seconds"], measured["job"]["batch_size"]) == (0.05, 2)
        assert skipped["seconds"] is None and skipped["note"].startswith("skipped: would take about ")
    assert "skipped: would take" in done.stdout and "x real" in done.stdout


def test_memory_that_is_given_back_counts(benchmark: ModuleType) -> None:
    with benchmark.memory_peak("cpu") as peak:
        held = torch.ones(25_000_000)
        time.sleep(0.1)
        del held
        time.sleep(0.1)
    assert 0.95e8 < peak[0] < 2e8


@pytest.mark.parametrize(
    "words, parts", [("10x1", (10.0, 1)), ("0.5x16", (0.5, 16))], ids=["whole seconds", "parts of seconds"]
)
def test_chunks(benchmark: ModuleType, words: str, parts: tuple[float, int]) -> None:
    assert benchmark.parse_chunks(words) == parts


@pytest.mark.parametrize("words", ["10", "x2", "0x1", "1x0", "1x2x3", "-1x2", "1x1.5"])
def test_chunks_that_make_no_sense(benchmark: ModuleType, words: str) -> None:
    with pytest.raises(UserError, match=f"--chunks {words}: expected SECONDSxCHUNKS_AT_ONCE"):
        benchmark.parse_chunks(words)


def test_originals_stand_beside_ours(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "dac" else None)
    jobs = benchmark.list_jobs(["demo"], ["dac_44khz", "encodec_24khz"], ["cpu"], ["10x1", "1x8"], 1)
    found = [(job.codec, job.package, job.random, job.half, job.chunk_seconds, job.batch_size) for job in jobs]
    assert found == [
        ("demo", "ours", False, "encode", 10.0, 1),
        ("demo", "ours", False, "encode", 1.0, 8),
        ("demo", "ours", False, "decode", 10.0, 1),
        ("demo", "ours", False, "decode", 1.0, 8),
        ("dac_44khz", "ours", True, "encode", 10.0, 1),
        ("dac_44khz", "ours", True, "encode", 1.0, 8),
        ("dac_44khz", "dac", True, "encode", None, None),
        ("dac_44khz", "ours", True, "decode", 10.0, 1),
        ("dac_44khz", "ours", True, "decode", 1.0, 8),
        ("dac_44khz", "dac", True, "decode", None, None),
        ("encodec_24khz", "ours", True, "encode", 10.0, 1),
        ("encodec_24khz", "ours", True, "encode", 1.0, 8),
        ("encodec_24khz", "ours", True, "decode", 10.0, 1),
        ("encodec_24khz", "ours", True, "decode", 1.0, 8),
    ]


@pytest.mark.parametrize(
    "codecs, random, message",
    [([], [], "nothing to measure"), ([], ["demo"], "--random demo: no published codec. Give one of encodec_24khz")],
)
def test_nothing_to_measure(benchmark: ModuleType, codecs: list[str], random: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        benchmark.list_jobs(codecs, random, ["cpu"], ["10x1"], 1)


@pytest.mark.slow
@pytest.mark.parametrize("half", ["encode", "decode"])
@pytest.mark.parametrize(
    "codec, package", [("encodec_24khz", "encodec"), ("encodec_48khz", "encodec"), ("dac_16khz", "dac")]
)
def test_originals_can_be_measured(benchmark: ModuleType, codec: str, package: str, half: str) -> None:
    pytest.importorskip(package)
    row = benchmark.measure(benchmark.Job(codec, package, True, half, "cpu", 1, 0.5, None, None))
    assert row.seconds > 0


def test_the_table_and_what_is_said_below_it(benchmark: ModuleType) -> None:
    job = benchmark.Job("dac_44khz_16kbps", "ours", True, "encode", "cuda", 1, 600.0, 10.0, 1)
    measured = benchmark.Row(job, seconds=3000.0, cpu_seconds=2950.0, peak_bytes=1_230_000_000)
    skipped = benchmark.Row(job, note="skipped: would take about 59 min")
    console = Console(width=80)
    with console.capture() as shown:
        console.print(benchmark.as_table([measured, skipped]))
    *_, line = (line for line in shown.get().splitlines() if line.strip())
    assert line.split()[:4] == ["dac_44khz_16kbps", "encode", "ours", "cuda"]
    assert " ".join(line.split()[4:]) == "10 min 10x1 50 min 49 min 0.20 1.23"
    assert benchmark.notes([measured, skipped]) == [
        "dac_44khz_16kbps encode by ours on cuda, 10 min as 10x1: skipped: would take about 59 min"
    ]
