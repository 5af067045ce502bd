"""`prepare_data.py encode` as a person types it."""

import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.encoded.pairs import EncodedPairs
from codec_ft.errors import UserError

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "prepare_data.py"


def run(*words: object) -> Result:
    app = runpy.run_path(str(SCRIPT))["app"]
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_that_an_error_names_mends_it(root: Path, pairs, tiny_codec: EncodecCodec) -> None:
    data = pairs(tiny_codec, inputs={"separated/rough": 1.0, "mixture": 1.0})
    with pytest.raises(UserError) as caught:
        EncodedPairs(data, tiny_codec, inputs=True)
    command = shlex.split(str(caught.value).partition("Make it: python scripts/prepare_data.py ")[2])
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert "0.5s-every-0.25s: 12 files made, 0 were there already." in done.stdout
    assert "data.encoded=true data.seconds=0.5 data.grid_seconds=0.25" in done.stdout
    assert EncodedPairs(data, tiny_codec, inputs=True)[0]["input_latents"].shape == (8, 200)
    again = run(*command)
    assert "0 files made, 12 were there already." in again.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--codec", "demoo"], "demoo: no such codec"),
        (["--stem", "vocals"], "train song 0: no stem vocals (there are bass, drums)"),
        (["--input", "noisy"], "input=noisy: cannot be stored"),
        (["--input", "separated"], "input=separated: no such input"),
        (["--split", "trian"], "split=trian: no such split"),
        (["--whole", "--seconds", "2"], "--whole: a track in one piece has no --seconds and no --grid"),
        (["--whole", "--grid", "0.5"], "--whole: a track in one piece has no --seconds and no --grid"),
    ],
)
def test_mistakes_are_told_in_one_line(root: Path, tiny_codec_folder: Path, options: list[str], message: str) -> None:
    result = run("encode", "--root", root, "--codec", tiny_codec_folder, "--stem", "bass", *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and message in result.stderr and result.stderr.count("\n") == 1
    assert not (root / "encoded").exists()


@pytest.mark.slow
def test_launched_processes_share_the_files(root: Path, tiny_codec_folder: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [SCRIPT, "encode", "--root", root, "--codec", tiny_codec_folder, "--stem", "all", "--seconds", 0.5]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*launch, *map(str, words)], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 files made by the first of 2 processes, 0 were there already.") == 1
    assert len(list((root / "encoded").rglob("*.safetensors"))) == 8
    assert not list((root / "encoded").rglob(".partial-*"))
