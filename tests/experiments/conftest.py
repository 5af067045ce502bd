"""A run folder as a training leaves it, small enough to be made for each test."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import yaml

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--mute-audio",
    "--autoplay-policy=no-user-gesture-required",
]
SAMPLE_RATE = 16000
TRACKS = ["01 Rock #1", '02 it\'s 50% "quoted" & <b>bold', "03 Élan – 音楽?"]

CONFIG = {
    "id": "fcwe-mixture-bass",
    "stem": "bass",
    "input": "mixture",
    "codec": "demo",
    "data": {"root": "data/demo"},
    "train": {"steps": 700},
}


def audio_metrics(usdr: float, log_mel: float) -> dict[str, float]:
    return {"si_sdr": usdr - 1, "usdr": usdr, "log_mel_distance": log_mel}


RESULTS = {
    "status": "finished",
    "steps": 700,
    "seconds": 312.0,
    "parameters": 231000,
    "train_tracks": 24,
    "valid_tracks": 4,
    "rows": [
        {
            "system": "mixture (floor)",
            "role": "floor",
            "against": {"target": audio_metrics(-2.5, 0.9), "quantized_target": audio_metrics(-2.7, 0.95)},
            "latent_mse": None,
        },
        {
            "system": "untouched encoder",
            "role": "baseline",
            "against": {"target": audio_metrics(-1.3, 0.8), "quantized_target": audio_metrics(-1.4, 0.85)},
            "latent_mse": 1e-3,
        },
        {
            "system": "output",
            "role": "output",
            "against": {"target": audio_metrics(3.6, 0.35), "quantized_target": audio_metrics(3.8, 0.3)},
            "latent_mse": 2.5e-4,
        },
        {
            "system": "quantized_target (ceiling)",
            "role": "ceiling",
            "against": {"target": audio_metrics(14.5, 0.12), "quantized_target": {}},
            "latent_mse": 0.0,
        },
    ],
    "tokens": {
        "copy_input": [0.168, 0.1],
        "trained": [0.139, 0.12],
        "majority": [0.031, 0.02],
        "idempotence": [0.82, 0.6],
    },
    "notes": ["Checkpoint chosen on the validation excerpts."],
}


def write_metrics(path: Path) -> None:
    """700 steps of a falling loss, validated every 100 steps."""
    lines = []
    for step in range(10, 701, 10):
        lines.append({"step": step, "split": "train", "loss": math.exp(-step / 100), "lr": 1e-3})
        if step % 100 == 0:
            lines.append({"step": step, "split": "valid", "latent_mse": 1 / step, "usdr": step / 100 - 3})
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def write_sample(folder: Path, seconds: float = 1.0) -> None:
    """The five excerpts of a track, a sine each, and its side-car."""
    folder.mkdir(parents=True)
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    names = ("input", "output", "quantized_input", "quantized_target", "target")
    for i, name in enumerate(names, start=1):
        sf.write(folder / f"{name}.wav", 0.3 * np.sin(2 * np.pi * 110 * i * time), SAMPLE_RATE)
    metrics = {
        "input": {"target": audio_metrics(-2.0, 0.9), "quantized_target": audio_metrics(-2.1, 0.9)},
        "output": {"target": audio_metrics(4.0, 0.3), "quantized_target": audio_metrics(4.2, 0.3)},
        "quantized_input": {"target": audio_metrics(-2.2, 0.9), "quantized_target": audio_metrics(-2.3, 0.9)},
        "quantized_target": {"target": audio_metrics(14.0, 0.1)},
    }
    tokens = {name: [0.5 / codebook for codebook in range(1, 9)] for name in ("trained", "copy_input", "idempotence")}
    side_car = {"track": folder.name, "start": 4.0, "checkpoint": "best @ step 650", "metrics": metrics}
    side_car["token_accuracy"] = tokens
    (folder / "sample.json").write_text(json.dumps(side_car))


@pytest.fixture(scope="session")
def write_run() -> Callable[..., Path]:
    """Make a finished run with the given tracks in a folder, and return the run's folder."""

    def write(parent: Path, tracks: list[str] = TRACKS, seconds: float = 1.0) -> Path:
        run = parent / "fcwe-mixture-bass-1a2b3c4d"
        run.mkdir()
        (run / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False))
        (run / "results.json").write_text(json.dumps(RESULTS))
        write_metrics(run / "metrics.jsonl")
        for track in tracks:
            write_sample(run / "samples" / track, seconds)
        return run

    return write


@pytest.fixture
def make_run(write_run: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """The same in this test's own folder."""
    return partial(write_run, tmp_path)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium or Chrome without a window; where there is none, what needs it is skipped."""
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome found")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=BROWSER, args=BROWSER_ARGUMENTS)
        yield chromium
        chromium.close()


@contextmanager
def watched_page(browser: Any, html: Path, width: int, height: int) -> Iterator[Any]:
    """A page in the browser; what it complains of, and any address but the disk's, fails the test at its end."""
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    complaints: list[str] = []
    addresses: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type != "log" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: addresses.append(request.url))
    page.on("requestfailed", lambda request: complaints.append(f"{request.url}: {request.failure}"))
    page.goto(html.as_uri())
    yield page
    # A player that is closed while it loads reports an aborted request; that is the closing, not the page.
    failures = list(complaints)
    page.close()
    assert failures == []
    assert {address.partition(":")[0] for address in addresses} <= {"file", "data"}


@pytest.fixture
def watch() -> Callable[..., Any]:
    """`watched_page`, for test files to open their own page with."""
    return watched_page
