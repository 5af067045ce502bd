"""Whole experiments, tiny: data check, training, samples, results, page."""

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from codec_ft.codecs.load import load_codec
from codec_ft.config import config_hash
from codec_ft.data.dataset import Item, PairDataset
from codec_ft.errors import UserError
from experiments import run as experiments_run
from experiments.run import count_tracks, run_experiment
from experiments.tasks import make_task, read_config

TINY = [
    "data.seconds=0.5",
    "data.valid_seconds=0.5",
    "data.valid_per_track=1",
    "data.report_seconds=1.0",
    "train.steps=4",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.checkpoint_every=2",
    "train.log_every=1",
    "train.tensorboard=false",
]

Words = Callable[..., list[str]]

EVERYTHING = [
    *("input=separated/rough", "context=mixture", "target=quantized", "target_codebooks=2", "balance=true"),
    *("bridge.kind=transformer", "bridge.gives=latents", "bridge.heads=2", "bridge.layers=1", "bridge.dropout=0.3"),
    *("losses.latent_l1=1", "losses.residual=0.1", "losses.adversarial=0.1", "residual.form=soft"),
    *("discriminator.start_step=1", "discriminator.update_every=2", "train.ema_decay=0.9"),
]
"""A fine-tuning with whatever there is, dropout included."""


@pytest.fixture
def finetuning(tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> Words:
    def words(*more: str) -> list[str]:
        places = [f"codec={tiny_codec_folder}", f"data.root={tiny_set}", f"runs={tmp_path / 'runs'}"]
        return [*places, *TINY, *more]

    return words


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file's time of change and content."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.parametrize("source", ["mixture", "separated/rough"])
def test_finetuning_from_data_to_page(finetuning: Words, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = read_config(finetuning(f"input={source}"), default="warm_encoder_demo")
    run = run_experiment(config)
    assert run.path.name == f"warm_encoder_demo-{config_hash(config)}" and run.finished
    names = {path.name for path in run.path.iterdir()}
    assert names >= {"config.yaml", "metrics.jsonl", "results.json", "index.html", "checkpoints", "samples"}
    assert {path.name for path in run.checkpoints.iterdir()} == {"best.pt", "last.pt"}

    samples = sorted(run.samples.iterdir())
    assert len(samples) == 2  # one of each test track
    for sample in samples:
        assert sample.name.startswith("test song")
        waves = {"input", "output", "quantized_input", "quantized_target", "target"}
        waves |= set() if source == "mixture" else {"mixture"}
        assert {path.stem for path in sample.glob("*.wav")} == waves
        assert {soundfile.info(path).frames for path in sample.glob("*.wav")} == {8000}
        facts = json.loads((sample / "sample.json").read_text())
        assert facts["split"] == "test" and facts["input"] == source

    results = json.loads(run.results.read_text())
    assert (results["steps"], results["processes"], results["report_split"]) == (4, 1, "test")
    systems = [row["system"] for row in results["rows"]]
    assert f"{source} (floor)" in systems and "mixture (floor)" in systems and "output" in systems
    assert set(results["tokens"]) >= {"trained", "copy_input", "idempotence", "majority"}

    best = torch.load(run.checkpoints / "best.pt", weights_only=True)
    exported = load_file(run.path / "enhancer.safetensors")
    assert {f"enhancer.{name}" for name in exported} == best["module"].keys()
    for name, value in exported.items():
        assert torch.equal(value, best["module"][f"enhancer.{name}"])
    assert "Done. Open" in capsys.readouterr().err


def test_finished_run_says_so_and_does_nothing(finetuning: Words, capsys: pytest.CaptureFixture[str]) -> None:
    config = read_config(finetuning(), default="warm_encoder_demo")
    run = run_experiment(config)
    before = everything(run.path)
    capsys.readouterr()
    run_experiment(config)
    assert everything(run.path) == before
    assert f"{run.path} is finished. Its page: {run.path / 'index.html'}" in capsys.readouterr().err


@pytest.mark.parametrize("moment", ["report_samples", "write_page"])
def test_killed_after_the_last_step_it_finishes_when_run_again(
    finetuning: Words, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    config = read_config(finetuning(), default="warm_encoder_demo")

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(experiments_run, moment, kill)
        run_experiment(config)
    folder = config.runs / f"warm_encoder_demo-{config_hash(config)}"
    last = (folder / "checkpoints" / "last.pt").read_bytes()
    assert not (folder / "index.html").exists()
    run = run_experiment(config)
    assert run.finished and (run.path / "index.html").is_file() and len(list(run.samples.iterdir())) == 2
    assert (run.checkpoints / "last.pt").read_bytes() == last


@pytest.mark.parametrize("words", [[], EVERYTHING], ids=["warm encoder", "bridge, context and discriminator"])
def test_stopped_experiment_equals_an_unbroken_one(
    finetuning: Words, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    """With the real trainer: Ctrl-C in step 3, then the same command again."""
    whole = run_experiment(read_config(finetuning("id=whole", *words), default="warm_encoder_demo"))
    config = read_config(finetuning("id=parted", *words), default="warm_encoder_demo")
    read = PairDataset.__getitem__
    with monkeypatch.context() as patch:

        def interrupted(data: PairDataset, index: int) -> Item:
            if index == 4:
                signal.raise_signal(signal.SIGINT)
            return read(data, index)

        patch.setattr(PairDataset, "__getitem__", interrupted)
        stopped = run_experiment(config)
    assert not stopped.finished and torch.load(stopped.checkpoints / "last.pt", weights_only=True)["step"] == 3
    parted = run_experiment(config)
    states = [torch.load(run.checkpoints / "last.pt", weights_only=True) for run in (whole, parted)]
    for state in states:
        del state["seconds"]
    assert set(states[0]["modules"]) == ({"encoder", "discriminator"} if words else {"encoder"})
    if words:
        assert states[0]["modules"]["discriminator"]["discriminator.updates"] == 2  # in steps 2 and 4
        assert all(states[0]["modules"]["encoder"]["objective.balancer.norm_sums"] > 0)
    torch.testing.assert_close(*states, rtol=0, atol=0)
    logged = [[json.loads(line) for line in run.metrics.read_text().splitlines()] for run in (whole, parted)]
    for lines in logged:
        for line in lines:
            line.pop("steps_per_second", None)
    assert logged[0] == logged[1]
    if words:
        assert {"adversarial", "adversarial_share", "discriminator_loss"} <= {key for line in logged[0] for key in line}
    tables = [json.loads(run.results.read_text())["rows"] for run in (whole, parted)]
    assert tables[0] == tables[1]


def test_changed_configuration_on_the_same_folder_is_refused(finetuning: Words, tmp_path: Path) -> None:
    here = f"run={tmp_path / 'here'}"
    run = run_experiment(read_config(finetuning(here), default="warm_encoder_demo"))
    before = everything(run.path)
    with pytest.raises(UserError, match=r"stem: 'bass' -> 'drums'; train\.steps: 4 -> 5"):
        run_experiment(read_config(finetuning(here, "stem=drums", "train.steps=5"), default="warm_encoder_demo"))
    assert everything(run.path) == before


def test_bad_data_are_refused_before_anything_is_made(finetuning: Words, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="kazoo"):
        run_experiment(read_config(finetuning("stem=kazoo"), default="warm_encoder_demo"))
    with pytest.raises(UserError, match="nowhere"):
        run_experiment(read_config(finetuning(f"data.root={tmp_path / 'nowhere'}"), default="warm_encoder_demo"))
    with pytest.raises(UserError, match="no-such-codec"):
        run_experiment(read_config(finetuning("codec=no-such-codec"), default="warm_encoder_demo"))


def test_weights_are_drawn_from_the_seed(finetuning: Words) -> None:
    def weights(*words: str) -> torch.Tensor:
        task = make_task(read_config(finetuning("start=random", *words), default="warm_encoder_demo"))
        return torch.cat([value.flatten() for value in task.phases[task.main].parameters()])

    assert torch.equal(weights(), weights("train.steps=9"))
    assert not torch.equal(weights(), weights("train.seed=1"))


def test_a_bridge_to_some_codebooks_all_the_way_to_the_page(finetuning: Words) -> None:
    words = ["bridge.kind=dense", "bridge.codebooks=2", "losses.softmax=1", "losses.latent_mse=100"]
    run = run_experiment(read_config(finetuning(*words), default="warm_encoder_demo"))
    results = json.loads(run.results.read_text())
    assert (len(results["tokens"]["trained"]), len(results["tokens"]["copy_input"])) == (2, 3)
    page = run.path.joinpath("index.html").read_text()
    assert "A dense layer behind it learns to name the tokens of the clean bass in the first 2 codebooks" in page
    assert "100 × latent MSE + softmax cross-entropy" in page
    table = page[page.index("<h3>Token accuracy per codebook") :]
    trained = re.search(r'<tr class="trained"><th>trained</th>(.*?)</tr>', table)
    assert trained is not None
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", trained[1])
    assert len(cells) == 3 and cells[2] == "–" and cells[0].endswith("%")


@pytest.mark.parametrize("scope", ["song", "segment"])
def test_overfitting_is_told_as_such(finetuning: Words, scope: str) -> None:
    run = run_experiment(
        read_config(finetuning(f"data.scope={scope}", "data.song=train song 3"), default="warm_encoder_demo")
    )
    results = json.loads(run.results.read_text())
    assert (results["report_split"], results["train_tracks"], results["valid_tracks"]) == ("train", 1, 1)
    assert all(sample.name.startswith("train song 3 @ ") for sample in run.samples.iterdir())
    assert "what it has learnt by heart, not what it makes of other music" in (run.path / "index.html").read_text()


def test_what_is_counted(finetuning: Words, tiny_set: Path) -> None:
    for words, expected in (
        ([], {"train_tracks": 4, "valid_tracks": 2}),
        ([f"data.extra=[{tiny_set}]"], {"train_tracks": 8, "valid_tracks": 2}),
        (["data.scope=song"], {"train_tracks": 1, "valid_tracks": 1}),
    ):
        config = read_config(finetuning(*words), default="warm_encoder_demo")
        assert count_tracks(make_task(config), config) == expected


def test_what_one_of_several_inputs_lacks_is_told_before_training(finetuning: Words) -> None:
    for words in (["train_inputs={mixture: 1, separated/none: 1}"], ["context=separated/none"]):
        with pytest.raises(UserError, match="separated/none"):
            run_experiment(read_config(finetuning(*words), default="warm_encoder_demo"))


def test_codec_training_from_data_to_codec(tmp_path: Path, tiny_set: Path) -> None:
    words = [f"data.root={tiny_set}", f"runs={tmp_path / 'runs'}", *TINY, "model.sample_rate=8000"]
    words += ["model.strides=[4,5]", "model.n_filters=4", "model.latent_dim=8", "model.n_codebooks=3"]
    words += ["model.codebook_size=16", "quantizer.start_step=1", "quantizer.kmeans_vectors=512"]
    run = run_experiment(read_config(["codec_demo", *words], default="warm_encoder_demo"))
    assert run.finished and (run.path / "index.html").is_file()
    codec = load_codec(str(run.path))
    assert (codec.sample_rate, codec.hop_length, codec.n_codebooks, codec.codebook_size) == (8000, 20, 3, 16)
    codes, _ = codec.quantize(codec.encode(torch.randn(1, 1, 4000)))
    assert codes.shape == (1, 3, 200) and codes.unique().numel() > 1  # k-means has filled the codebooks
    results = json.loads(run.results.read_text())
    assert [row["system"].split()[0] for row in results["rows"]] == ["bass", "drums", "mixture"]
    assert len(results["tokens"]["idempotence"]) == 3
    assert len(list(run.samples.iterdir())) == 6  # bass, drums and mixture of two test tracks

    # What was trained is what a fine-tuning takes.
    finetuned = run_experiment(
        read_config([f"codec={run.path}", *words[:2], *TINY, "train.steps=1"], default="warm_encoder_demo")
    )
    assert finetuned.finished and yaml.safe_load(finetuned.config.read_text())["codec"] == str(run.path)
