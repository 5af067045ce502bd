"""The benchmark of the residual loss: one small run as a person types it, and its parts."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer

from codec_ft.errors import UserError
from codec_ft.finetune.losses.residual import residual_loss

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark_residual_loss.py"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_residual_loss", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_residual_loss", module)
    spec.loader.exec_module(module)
    module.console.width = 120
    # A process for each measurement takes seconds to start.
    monkeypatch.setattr(module, "measure_apart", module.measure)
    return module


def small_job(benchmark: ModuleType, **changes: Any) -> Any:
    job = benchmark.Job("ours", "soft", 3, 16, 4, 20, threads=1, device="cpu")
    return replace(job, **changes)


@pytest.mark.slow
def test_a_small_run() -> None:
    words = ["--codebooks", "4", "--codebook-size", "64", "--latent-dim", "8", "--frames", "600", "--memory", "0.008"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        env=os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "form 'soft': 4 layers of 64 codes in 8 dimensions, 600 frames; cpu, 1 threads" in done.stdout
    assert "naive (scaled up)" in done.stdout
    assert "with 3 layers, ours takes" in done.stdout and "5 and 2 are promised" in done.stdout
    assert "cross-entropies differ by" in done.stdout and "gradients differ by" in done.stdout


@pytest.mark.parametrize("form", ["soft", "teacher"])
def test_both_say_the_same(benchmark: ModuleType, form: str) -> None:
    ours, naive = (benchmark.measure(small_job(benchmark, by=by, form=form)) for by in ("ours", "naive"))
    assert ours.cross_entropies.shape == (3,) and ours.gradient.shape == (1, 4, 20)
    torch.testing.assert_close(ours.cross_entropies, naive.cross_entropies, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.gradient, naive.gradient, rtol=1e-3, atol=1e-5)
    assert ours.gradient.abs().max() > 0 and ours.seconds > 0


def test_what_does_not_fit_is_scaled_up_and_said_to_be(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    differences = 4 * 20 * 16 * 4  # bytes of one layer
    job = small_job(benchmark, layers=6)
    assert job.differences_bytes == differences
    assert benchmark.layers_that_fit(job, 5 * differences) == 2
    assert benchmark.layers_that_fit(job, 500 * differences) == 6
    taken = {"naive": (4.0, 30e6), "ours": (2.0, 10e6)}

    def measured(job: Any) -> Any:
        return benchmark.Row(job, *taken[job.by], torch.ones(job.layers), torch.ones(1, 4, 20))

    monkeypatch.setattr(benchmark, "measure_apart", measured)
    rows = benchmark.measure_all(job, 5 * differences)
    found = [(row.job.by, row.job.layers, row.seconds, row.peak_bytes, row.scaled) for row in rows]
    assert found == [
        ("naive", 2, 4.0, 30e6, False),
        ("ours", 2, 2.0, 10e6, False),
        ("naive", 6, 12.0, 90e6, True),
        ("ours", 6, 2.0, 10e6, False),
    ]
    assert len(benchmark.measure_all(job, 500 * differences)) == 2
    benchmark.main(codebooks=6, codebook_size=16, latent_dim=4, frames=20, memory=5 * differences / 1e9)
    shown = capsys.readouterr().out
    assert "with 2 layers, ours takes 3 times less memory and is 2.0 times as fast" in shown
    assert "naive (scaled up) " in shown


def test_a_loss_that_differs_fails(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warmer(*args: Any, **options: Any) -> Any:
        return residual_loss(*args, **options | {"tau": 1.01 * benchmark.TAU})

    size = {"codebooks": 2, "codebook_size": 16, "latent_dim": 4, "frames": 20}
    benchmark.main(**size)
    monkeypatch.setattr(benchmark, "residual_loss", warmer)
    with pytest.raises(typer.Exit) as exit_with:
        benchmark.main(**size)
    assert exit_with.value.exit_code == 1
    assert "cross-entropies differ by" in capsys.readouterr().out


def test_impossible_wishes_are_told(benchmark: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"--memory 1e-06: one layer of the naive loss needs .* GB\. Allow more\."):
        benchmark.layers_that_fit(small_job(benchmark), 1000)
    with pytest.raises(SystemExit):
        benchmark.main(codebook_size=24)
    assert "--codebook-size 24: must be a power of two." in capsys.readouterr().err
