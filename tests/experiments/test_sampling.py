"""Samples of a run that has been trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_run import TINY

from codec_ft.errors import UserError
from experiments.run import run_experiment
from experiments.sampling import load_run, sample_file, sample_report, sample_track
from experiments.tasks import read_config

HOW = {"start": 0.0, "seconds": None, "decode": None, "device": "cpu"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path, tiny_codec_folder: Path) -> Path:
    """A run folder of a fine-tuning of four steps."""
    runs = tmp_path_factory.mktemp("runs")
    words = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", f"runs={runs}", *TINY]
    return run_experiment(read_config(words, default="demo")).path


def test_report_is_made_again(trained: Path) -> None:
    sample = next((trained / "samples").glob("test song 0*"))
    output = (sample / "output.wav").read_bytes()
    results = json.loads((trained / "results.json").read_text())
    (sample / "output.wav").unlink()
    page = sample_report(trained, decode=None, device="cpu")
    assert page == trained / "index.html"
    assert (sample / "output.wav").read_bytes() == output
    assert json.loads((trained / "results.json").read_text()) == results

    sample_report(trained, decode="latents", device="cpu")  # unquantised: other audio, and the side-car says so
    assert (sample / "output.wav").read_bytes() != output
    assert json.loads((sample / "sample.json").read_text())["decode"] == "latents"


def test_any_track_of_the_set(trained: Path) -> None:
    folder = sample_track(trained, "train song 2", **{**HOW, "start": 0.25, "seconds": 0.5})
    assert folder == trained / "samples" / "train song 2 @ 0.2 s"
    assert {soundfile.info(path).frames for path in folder.glob("*.wav")} == {4000}
    facts = json.loads((folder / "sample.json").read_text())
    assert facts["split"] == "train" and facts["checkpoint"].startswith("best, step ")
    assert folder.name in (trained / "index.html").read_text()


def test_to_the_end_of_a_track(trained: Path) -> None:
    folder = sample_track(trained, "valid song 1", **{**HOW, "start": 1.5, "seconds": 100.0})
    assert soundfile.info(folder / "output.wav").frames == 4000


def test_any_audio_file(trained: Path, tmp_path: Path) -> None:
    """Stereo at another rate, without a target."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "holiday.flac", rng.uniform(-0.3, 0.3, (44100, 2)), 44100)
    folder = sample_file(trained, tmp_path / "holiday.flac", **{**HOW, "start": 0.5})
    assert {path.stem for path in folder.glob("*.wav")} == {"input", "output", "quantized_input"}
    info = soundfile.info(folder / "output.wav")
    assert (info.samplerate, info.channels, info.frames) == (8000, 1, 4000)
    assert "holiday" in (trained / "index.html").read_text()


def test_mistakes(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such track in .* There are 8, for example 'test song 0'"):
        sample_track(trained, "test song 9", **HOW)
    with pytest.raises(UserError, match=r"--start 3: test song 1 is only 2\.0 s long"):
        sample_track(trained, "test song 1", **{**HOW, "start": 3.0})
    with pytest.raises(UserError, match=r"gone\.wav"):
        sample_file(trained, tmp_path / "gone.wav", **HOW)
    with pytest.raises(UserError, match="is not the folder of a run"):
        load_run(tmp_path, None, "cpu")
    with pytest.raises(UserError, match=r"decode: .*'codes' or 'latents'"):
        load_run(trained, "tokens", "cpu")
    with pytest.raises(UserError, match="--device warp: cannot be used here"):
        load_run(trained, None, "warp")
    (trained / "checkpoints" / "best.pt").rename(trained / "checkpoints" / "away.pt")
    with pytest.raises(UserError, match=r"best\.pt: no such checkpoint"):
        load_run(trained, None, "cpu")
    (trained / "checkpoints" / "away.pt").rename(trained / "checkpoints" / "best.pt")
