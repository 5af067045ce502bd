"""The benchmark of stored latents, run as a person types it."""

import json
import runpy
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from codec_ft.codecs.encodec import EncodecCodec

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmark_encoded.py"


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(runpy.run_path(str(SCRIPT))["main"])
    return app


def test_both_ways_are_measured_for_both_encoders(
    app: typer.Typer, root: Path, encode, tiny_codec: EncodecCodec
) -> None:
    words = ["--root", str(root), "--codec", tiny_codec.name, "--input", "separated/rough", "--device", "cpu"]
    words += [
        "--seconds",
        "0.5",
        "--grid",
        "0.25",
        "--batch-size",
        "2",
        "--steps",
        "2",
        "--json",
        str(root / "out.json"),
    ]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2 and "Make it: python scripts/prepare_data.py encode" in refused.stderr
    encode(tiny_codec)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert done.stdout.count(" x") == 2 and done.stdout.count("stored") == 2
    rows = json.loads((root / "out.json").read_text())
    ways = [(row["encoder"], row["stored"]) for row in rows]
    assert ways == [(f"{kind} encoder", stored) for kind in ("warm", "frozen") for stored in (False, True)]
    assert all(row["seconds"] > 0 and row["cpu_seconds"] > 0 for row in rows)
