"""The benchmark of metrics: one small run as a person types it, and what happens when packages lie or lack."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import typer

from codec_ft.metrics.waveform import usdr

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "benchmark_metrics.py"
SMALL = {"seconds": 0.2, "stems": 2, "sample_rate": 8000}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_metrics", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmark_metrics", module)
    spec.loader.exec_module(module)
    module.console.width = 120
    return module


@pytest.mark.slow
def test_a_small_run_agrees_with_all_that_is_installed() -> None:
    words = ["--seconds", "1.5", "--stems", "2", "--sample-rate", "8000"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        env=os.environ | {"COLUMNS": "120", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1.5 s, 2 stereo stems, 8000 Hz; 1 threads" in done.stdout
    for package in ("museval", "mir_eval", "torchmetrics", "fast_bss_eval"):
        if importlib.util.find_spec(package) is None:
            assert f"{package} is not installed: left out" in done.stdout
        else:
            assert f" {package} " in done.stdout and f"{package} is not installed" not in done.stdout
    if importlib.util.find_spec("museval") is not None:
        assert "sar_med: " in done.stdout and "times faster than museval; 10 are promised" in done.stdout


def test_the_track_is_the_same_every_time_and_neither_perfect_nor_hopeless(benchmark: ModuleType) -> None:
    track, again = (benchmark.make_track(0.5, 4, 44100) for _ in range(2))
    assert track.targets.shape == track.estimates.shape == (4, 2, 22050)
    torch.testing.assert_close(track.targets, again.targets, rtol=0, atol=0)
    torch.testing.assert_close(track.estimates, again.estimates, rtol=0, atol=0)
    assert track.targets.abs().amax(dim=(1, 2)).gt(0.05).all()
    assert usdr(track.estimates, track.targets).gt(3).all() and usdr(track.estimates, track.targets).lt(40).all()


def test_a_package_that_differs_is_named_and_fails(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    honest = ("honest", benchmark.our_usdr)
    liar = ("liar", lambda track: {"usdr": benchmark.our_usdr(track)["usdr"] + np.array([0.0, 0.5])})
    monkeypatch.setattr(benchmark, "OURS", (benchmark.our_usdr,))
    monkeypatch.setattr(benchmark, "OTHERS", (honest, liar))
    with pytest.raises(typer.Exit) as exit_with:
        benchmark.main(**SMALL)
    assert exit_with.value.exit_code == 1
    shown = capsys.readouterr().out
    assert "usdr: liar differs by 5.0e-01 dB, more than 1e-06" in shown and "honest differs" not in shown
    monkeypatch.setattr(benchmark, "OTHERS", (honest,))
    benchmark.main(**SMALL)


def test_nothing_else_is_needed(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    benchmark.main(**SMALL)
    shown = capsys.readouterr().out
    for package in ("museval", "mir_eval", "torchmetrics", "fast_bss_eval"):
        assert f"{package} is not installed: left out" in shown
    for metric in ("SDR-med", "ISR-med", "SIR-med", "SAR-med", "uSDR", "SI-SDR"):
        assert f"{metric} " in shown


def test_differences(benchmark: ModuleType) -> None:
    ours = np.array([[1.0, np.nan, 100.0], [2.0, np.nan, 3.0]])
    assert benchmark.compare(ours, ours) == 0.0
    assert benchmark.compare(ours, np.array([[1.0, np.nan, np.inf], [2.0, np.nan, 3.25]])) == 0.25
    assert benchmark.compare(ours, np.nan_to_num(ours)) == np.inf
    assert benchmark.compare(ours, ours[:, :2]) == np.inf
    assert benchmark.per_stem(ours) == [50.5, 2.5] and benchmark.per_stem(ours[:, 0]) == [1.0, 2.0]
