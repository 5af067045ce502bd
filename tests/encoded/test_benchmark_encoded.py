"""The benchmark of stored latents, run as a person types it."""

import json
import runpy
from pathlib import Path

import pytest

from codec_ft.codecs.encodec import EncodecCodec

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "benchmark_encoded.py"


def test_every_kind_of_training_is_measured_with_and_without(
    root: Path, encode, tiny_codec: EncodecCodec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure = runpy.run_path(str(SCRIPT))["main"]
    words = [f"data.root={root}", f"codec={tiny_codec.name}", "input=separated/rough", "residual.codebooks=2"]
    words += ["data.seconds=0.5", "data.grid_seconds=0.25", "train.batch_size=2", "train.steps=2", "bridge.heads=2"]
    words += ["bridge.codebooks=null", f"json={tmp_path / 'out.json'}"]
    with pytest.raises(SystemExit):
        measure(words)
    assert "Make it: python scripts/prepare_data.py encode" in capsys.readouterr().err
    encode(tiny_codec)
    measure(words)
    assert capsys.readouterr().out.count(" x ") == 4
    rows = json.loads((tmp_path / "out.json").read_text())
    assert len({row["kind"] for row in rows}) == 4
    assert all(row["largest_difference"] < 1e-4 for row in rows), "the same losses as without the cache"
    assert all(min(row["seconds"], row["stored_seconds"], row["cpu_seconds"]) > 0 for row in rows)
