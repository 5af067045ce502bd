"""Training a separator: the loss, validation, the run from its configuration to a separator, and its card."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from codec_ft.data.dataset import Batch
from codec_ft.data.separators.load import load_separator
from codec_ft.data.separators.networks import LEVEL, SeparatorNetwork, level_gain
from codec_ft.errors import UserError
from codec_ft.separation.card import ship_separator
from codec_ft.separation.config import SeparatorConfig
from codec_ft.separation.step import SeparatorStep
from codec_ft.separation.task import SeparatorTask, silent
from experiments.run import run_experiment
from experiments.tasks import read_config

TINY = [
    "stems=[bass,drums]",
    "sample_rate=8000",
    "channels=1",
    "open_unmix.n_fft=256",
    "open_unmix.hop_length=64",
    "open_unmix.hidden_size=8",
    "open_unmix.bandwidth=4000",
    "htdemucs.channels=8",
    "htdemucs.depth=2",
    "htdemucs.t_heads=2",
    "htdemucs.nfft=256",
    "data.seconds=0.5",
    "data.valid_seconds=1",
    "data.report_seconds=1",
    "train.steps=2",
    "train.batch_size=2",
    "train.log_every=1",
    "train.tensorboard=false",
]


class Scaled(SeparatorNetwork):
    """A network whose estimates are known: shares of the mixture."""

    def __init__(self, *shares: float):
        super().__init__()
        self.shares = torch.nn.Parameter(torch.tensor(shares))

    def forward(self, mixture: Tensor) -> Tensor:
        return self.shares[:, None, None] * mixture[:, None]

    def errors(self, mixture: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return (self(mixture) - targets).square().sum(dim=(2, 3)), targets.square().sum(dim=(2, 3))


def batch(*shares: float, scale: float = 1.0) -> Batch:
    """Noise, and stems that are shares of it."""
    mixture = scale * torch.randn(3, 2, 500, generator=torch.Generator().manual_seed(0))
    return Batch(mixture, torch.stack([share * mixture for share in shares], dim=1), ["a", "b", "c"])


@pytest.mark.parametrize("scale", [1.0, 1e-2, 30.0])
def test_the_loss_is_the_relative_error_in_db_at_any_level(scale: float) -> None:
    losses = SeparatorStep(Scaled(0.6, 0.5), ["bass", "drums"])(batch(0.5, 0.25, scale=scale))
    # Errors of a fifth and of the whole of the stem; the floor of -40 dB shows in the third digit.
    assert losses["error_db_bass"].item() == pytest.approx(20 * math.log10(0.2), abs=0.02)
    assert losses["error_db_drums"].item() == pytest.approx(0, abs=0.02)
    assert losses["loss"].item() == pytest.approx(10 * math.log10(0.2), abs=0.02)


def test_a_resting_stem_has_a_finite_loss() -> None:
    step = SeparatorStep(Scaled(1.0, 0.001), ["bass", "drums"])
    losses = step(batch(1.0, 0.0))
    losses["loss"].backward()
    assert losses["error_db_bass"].item() == pytest.approx(-40, abs=1e-3)
    # 1e-6 of the mixture's energy is wrong, and 1e-4 is the floor.
    assert losses["error_db_drums"].item() == pytest.approx(10 * math.log10(1.01), abs=1e-3)
    assert torch.isfinite(step.network.shares.grad).all()


def test_level() -> None:
    mixture = torch.randn(2, 2, 4000) * torch.tensor([0.5, 0.003])[:, None, None]
    gain = level_gain(mixture)
    assert gain.shape == (2, 1, 1)
    torch.testing.assert_close((mixture * gain).square().mean(dim=(1, 2)).sqrt(), torch.tensor([LEVEL, LEVEL]))
    assert torch.isfinite(level_gain(torch.zeros(1, 5)))


def test_separating_keeps_the_level() -> None:
    step = SeparatorStep(Scaled(0.25, 0.75), ["bass", "drums"])
    one = batch(0.25, 0.75, scale=0.01)
    torch.testing.assert_close(step.separate(one.input), one.target)


def test_validation_leaves_out_stems_that_rest(tiny_set: Path) -> None:
    config = read_config(["separator_demo", *TINY, f"data.root={tiny_set}"], default="demo")
    assert isinstance(config, SeparatorConfig)
    task = SeparatorTask(config)
    one = batch(0.5, 0.5)
    one.target[1, 1] = 0
    assert silent(one.target[:, 1]).tolist() == [False, True, False]
    found = task.validate(SeparatorStep(Scaled(0.55, 0.25), config.stems), one)
    levels = torch.tensor([20.0, 6.0206])
    torch.testing.assert_close(found["usdr_bass"], levels[:1].double().expand(3), atol=1e-3, rtol=0)
    assert found["usdr_drums"].isnan().tolist() == [False, True, False]
    torch.testing.assert_close(found["distortion"], -torch.tensor([13.0103, 20.0, 13.0103]).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(found["usdr"], -found["distortion"])


def test_the_input_is_standardised_to_the_training_music(tiny_set: Path) -> None:
    config = read_config(["separator_demo", *TINY, f"data.root={tiny_set}"], default="demo")
    task = SeparatorTask(config)
    network = task.step.network
    training = task.train_data(8)
    mixtures = torch.stack([training[i]["input"] for i in range(8)])
    heard = network.spectrum(mixtures * level_gain(mixtures)).abs().flatten(0, 2)
    standard = (heard + network.input_mean) * network.input_scale
    assert standard.mean(dim=0).abs().max() < 0.6
    assert 0.6 < standard.std(dim=0).median() < 1.4


@pytest.mark.parametrize("name", ["separator_demo", "htdemucs_demo"])
def test_a_run_ends_in_a_separator(name: str, tiny_set: Path, tmp_path: Path) -> None:
    if name == "htdemucs_demo":
        pytest.importorskip("demucs")
    words = [name, *TINY, f"data.root={tiny_set}", f"run={tmp_path / 'run'}"]
    run = run_experiment(read_config(words, default="demo"))
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert {"loss", "error_db_bass", "error_db_drums"} <= records[0].keys()
    assert {"usdr", "usdr_bass", "usdr_drums", "distortion"} <= records[-1].keys()

    results = json.loads(run.results.read_text())
    assert [row["system"] for row in results["rows"]] == ["bass", "drums", "mixture as bass", "mixture as drums"]
    assert results["excerpts"] == 2
    samples = sorted(path.name for path in run.samples.iterdir())
    assert len(samples) == 4 and samples[0].endswith("s - bass")
    assert {path.name for path in (run.samples / samples[0]).glob("*.wav")} == {"input.wav", "output.wav", "target.wav"}
    page = (run.path / "index.html").read_text()
    assert "the bass that the separator finds in it" in page
    assert "Not there:" not in page and "damaged" not in page

    separator = load_separator(run.path)
    assert (separator.name, separator.stems, separator.sample_rate) == ("run", ("bass", "drums"), 8000)
    mixture = soundfile.read(next(tiny_set.glob("test/*/mixture.wav")), dtype="float32")[0][None]
    assert set(separator.separate(mixture, 8000)) == {"bass", "drums"}


def test_learning_lowers_the_error(tiny_set: Path, tmp_path: Path) -> None:
    words = ["separator_demo", *TINY, "train.steps=40", "train.validate_every=40", "train.batch_size=4"]
    words += ["train.optimizer.warmup_steps=2", "train.ema_decay=0", "open_unmix.hidden_size=16"]
    run = run_experiment(read_config([*words, f"data.root={tiny_set}", f"run={tmp_path / 'run'}"], default="demo"))
    rows = {row["system"]: row["against"]["target"]["usdr"] for row in json.loads(run.results.read_text())["rows"]}
    for stem in ("bass", "drums"):
        assert rows[stem] > max(rows[f"mixture as {stem}"], 0) + 3, stem


def test_options_that_cannot_work(tiny_set: Path) -> None:
    with pytest.raises(UserError, match="stem"):
        read_config(["separator_demo", "stem=bass"], default="demo")
    with pytest.raises(UserError, match=r"open_unmix\.hidden: unknown key"):
        read_config(["separator_demo", "open_unmix.hidden=3"], default="demo")
    with pytest.raises(UserError, match=r"the command line: data\.speed is not for separators; set it to \(1, 1\)"):
        read_config(["separator_demo", "data.speed=[0.8, 1.25]"], default="demo")
    config = read_config(["separator_demo", *TINY, "stems=[bass,piano]", f"data.root={tiny_set}"], default="demo")
    with pytest.raises(UserError, match="no stem piano"):
        SeparatorTask(config)


def test_shipping(tiny_set: Path, tmp_path: Path) -> None:
    root = tmp_path / "music"
    root.symlink_to(tiny_set)
    run = tmp_path / "run"
    with pytest.raises(UserError, match="not finished"):
        ship_separator(run, tmp_path / "shipped", [root])
    run_experiment(read_config(["separator_demo", *TINY, f"data.root={root}", f"run={run}"], default="demo"))
    with pytest.raises(UserError, match=r"dataset\.json: is missing"):
        ship_separator(run, tmp_path / "shipped", [root])


def test_the_card_measures_what_was_written(tiny_set: Path, tmp_path: Path) -> None:
    root = tmp_path / "music"
    root.mkdir()
    for split in ("train", "valid", "test"):
        (root / split).symlink_to(tiny_set / split)
    (root / "dataset.json").write_text(json.dumps({"generator": "demo", "version": 1, "seed": 3, "seconds": 2.0}))
    run = tmp_path / "run"
    run_experiment(read_config(["separator_demo", *TINY, f"data.root={root}", f"run={run}"], default="demo"))
    card = ship_separator(run, tmp_path / "shipped", [root])
    facts = json.loads((tmp_path / "shipped" / "card.json").read_text())
    found = facts["measured"]["music"]["test"]
    separator = load_separator(tmp_path / "shipped")
    wanted, floors = [], []
    for folder in sorted((tiny_set / "test").iterdir()):
        mixture, bass = (
            soundfile.read(folder / f"{name}.wav", dtype="float32")[0][None] for name in ("mixture", "bass")
        )
        estimate = separator.separate(mixture, 8000)["bass"]
        for levels, audio in ((wanted, estimate), (floors, mixture)):
            levels.append(10 * np.log10(np.sum(bass**2) / np.sum((bass - audio) ** 2)))
    assert found["tracks"] == 2
    assert found["separated"]["bass"]["usdr"] == pytest.approx(np.mean(wanted), abs=1e-3)
    assert found["mixture"]["bass"]["usdr"] == pytest.approx(np.mean(floors), abs=1e-3)
    text = card.read_text()
    assert "--root data/music --seed 3 --seconds 2 --train 4 --valid 2 --test 2" in text
    assert "These songs it was trained on." in text
    assert f"| bass | {np.mean(wanted):.2f} ({np.mean(floors):.2f}) |" in text
    assert str(tmp_path) not in text + (tmp_path / "shipped" / "card.json").read_text()
