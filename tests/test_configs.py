"""Every shipped configuration loads, and is trained for two steps at tiny size."""

from pathlib import Path

import pytest
import yaml

from experiments.run import run_experiment
from experiments.tasks import CONFIGS, read_config

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
TINY = [
    "data.seconds=0.25",
    "data.valid_seconds=0.25",
    "data.valid_per_track=1",
    "data.report_seconds=0.5",
    "train.steps=2",
    "train.batch_size=2",
    "train.validate_every=2",
    "train.tensorboard=false",
    "data.workers=0",
]
TINY_CODEC = [
    "model.sample_rate=8000",
    "model.strides=[4,5]",
    "model.n_filters=4",
    "model.latent_dim=8",
    "model.n_codebooks=3",
    "model.codebook_size=16",
    "quantizer.start_step=0",
    "quantizer.kmeans_vectors=64",
]


def test_there_are_configurations() -> None:
    assert {"demo", "codec_demo"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_trains(name: str, tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> None:
    shipped = read_config([name], default="demo")
    size = TINY_CODEC if shipped.task == "codec" else [f"codec={tiny_codec_folder}"]  # type: ignore[attr-defined]
    places = [f"data.root={tiny_set}", f"runs={tmp_path}"]
    run = run_experiment(read_config([name, *TINY, *size, *places], default="demo"))
    assert run.finished and run.path.name.startswith(shipped.id)
    assert (run.path / "index.html").is_file()


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_files_are_ones_that_accelerate_reads(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.to_dict()["num_processes"] == yaml.safe_load(path.read_text())["num_processes"]
    assert config.mixed_precision == "no"
