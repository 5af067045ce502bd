"""Samples of a run that has been trained."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from test_run import TINY

from codec_ft.errors import UserError
from experiments.run import run_experiment
from experiments.sampling import heard_files, load_run, sample_file, sample_report, sample_track
from experiments.tasks import read_config

HOW = {"start": 0.0, "seconds": None, "decode": None, "device": "cpu"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path, tiny_codec_folder: Path) -> Path:
    """A run folder of a fine-tuning of four steps."""
    runs = tmp_path_factory.mktemp("runs")
    words = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", f"runs={runs}", *TINY]
    return run_experiment(read_config(words, default="warm_encoder_demo")).path


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
    best, away = (trained / "checkpoints" / name for name in ("best.pt", "away.pt"))
    state = torch.load(best, weights_only=True)
    best.rename(away)
    torch.save({**state, "module": {f"old.{name}": value for name, value in state["module"].items()}}, best)
    with pytest.raises(UserError, match="its checkpoint does not fit its configuration; another version"):
        load_run(trained, None, "cpu")
    best.unlink()
    with pytest.raises(UserError, match=r"best\.pt: no such checkpoint"):
        load_run(trained, None, "cpu")
    away.rename(best)


def test_codes_are_all_that_token_models_write(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: masked\n")
    with pytest.raises(UserError, match=r"--decode latents: .* writes nothing but codes\. Leave it out\."):
        sample_report(tmp_path, decode="latents", device="cpu")


@pytest.fixture(scope="module")
def hears_two(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path, tiny_codec_folder: Path) -> Path:
    """A run folder of a fine-tuning that hears the mixture beside a separated stem, with a bridge behind it."""
    runs = tmp_path_factory.mktemp("runs")
    words = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", f"runs={runs}", *TINY]
    words += ["input=separated/rough", "context=mixture", "train.optimizer.learning_rate=0.01"]
    words += ["bridge.kind=rotary", "bridge.gives=latents", "bridge.heads=2", "bridge.layers=1"]
    return run_experiment(read_config(words, default="warm_encoder_demo")).path


def of_song(tiny_set: Path, number: int) -> dict[str, Any]:
    """Both files of a test track."""
    name = f"test song {number}"
    return {
        "audio": tiny_set / "separated" / "rough" / "test" / name / "bass.wav",
        "context": [tiny_set / "test" / name / "mixture.wav"],
    }


def test_a_file_and_its_context(hears_two: Path, tiny_set: Path) -> None:
    files = of_song(tiny_set, 1)
    folder = sample_file(hears_two, **files, **{**HOW, "start": 0.5, "seconds": 1.0})
    assert {path.stem for path in folder.glob("*.wav")} == {"input", "mixture", "output", "quantized_input"}
    assert {soundfile.info(path).frames for path in folder.glob("*.wav")} == {8000}
    facts = json.loads((folder / "sample.json").read_text())
    assert (facts["track"], facts["context"], facts["seconds"]) == ("bass.wav", ["mixture.wav"], 1.0)
    # It is what the same excerpt of the track gives.
    track = sample_track(hears_two, "test song 1", **{**HOW, "start": 0.5, "seconds": 1.0})
    waves = []
    for place in (folder, track):
        scale = json.loads((place / "sample.json").read_text())["scale"]
        waves.append(soundfile.read(place / "output.wav")[0] / scale)
    np.testing.assert_allclose(waves[0], waves[1], atol=3e-3)
    assert {path.stem for path in track.glob("*.wav")} == {
        *("input", "output", "quantized_input", "quantized_target", "target", "mixture"),
    }
    # Another context makes another output.
    silent = hears_two.parent / "silent.wav"
    soundfile.write(silent, np.zeros(16000), 8000)
    before = (folder / "output.wav").read_bytes()
    sample_file(hears_two, files["audio"], context=[silent], **{**HOW, "start": 0.5, "seconds": 1.0})
    assert (folder / "output.wav").read_bytes() != before


def test_several_contexts_are_given_in_their_order(tiny_set: Path, tmp_path: Path) -> None:
    song = tiny_set / "test" / "test song 0"
    audio, drums, mixture = song / "bass.wav", song / "drums.wav", song / "mixture.wav"
    run, trained_with = tmp_path / "run", ["separated/a", "mixture", "separated/b"]
    assert heard_files(run, trained_with, audio, [drums, mixture, audio]) == {
        "input": audio,
        "context": drums,
        "mixture": mixture,
        "context_2": audio,
    }
    for given in ([], [drums], [drums, mixture, audio, drums]):
        with pytest.raises(
            UserError, match=r"hears separated/a, mixture, separated/b beside its input\. Give"
        ) as caught:
            heard_files(run, trained_with, audio, given)
        assert str(caught.value).endswith("with a --context FILE for each, in this order.")


def test_a_context_at_another_rate(hears_two: Path, tiny_set: Path, tmp_path: Path) -> None:
    """The same music, whose lengths in samples do not divide."""
    soundfile.write(tmp_path / "mix.wav", np.zeros(88199), 44100)
    folder = sample_file(hears_two, of_song(tiny_set, 0)["audio"], context=[tmp_path / "mix.wav"], **HOW)
    lengths = {soundfile.info(path).frames for path in folder.glob("*.wav")}
    assert len(lengths) == 1 and lengths <= {15999, 16000}


def test_mistakes_with_a_context(trained: Path, hears_two: Path, tiny_set: Path, tmp_path: Path) -> None:
    files = of_song(tiny_set, 0)
    with pytest.raises(UserError, match=r"hears mixture beside its input\. Give that of the same music with --context"):
        sample_file(hears_two, files["audio"], **HOW)
    with pytest.raises(UserError, match=r"--context .*mixture\.wav: .* hears nothing beside its input\. Leave it out"):
        sample_file(trained, **files, **HOW)
    soundfile.write(tmp_path / "short.wav", np.zeros(15900), 8000)
    with pytest.raises(UserError, match=r"short\.wav: lasts 1\.988 s, but .*bass\.wav lasts 2\.000 s\. Give the same"):
        sample_file(hears_two, files["audio"], context=[tmp_path / "short.wav"], **HOW)
    with pytest.raises(UserError, match=r"gone\.wav"):
        sample_file(hears_two, files["audio"], context=[tmp_path / "gone.wav"], **HOW)
    with pytest.raises(UserError, match=r"hears mixture") as caught:
        sample_file(hears_two, tmp_path / "gone.wav", **HOW)
    assert "\n" not in str(caught.value)
