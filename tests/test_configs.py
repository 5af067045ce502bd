"""Every shipped configuration loads, and is trained for two steps at tiny size."""

from pathlib import Path

import pytest
import yaml
from small_enhancer import write_enhancer
from small_runs import TINY, TINY_CODEC, TINY_DISCRIMINATORS, TINY_QUANTIZER, TINY_SEPARATOR

from codec_ft.codec_training.config import CodecTrainingConfig, DacTrainingConfig, EncodecTrainingConfig
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.separation.config import SeparatorConfig
from codec_ft.training.config import ExperimentConfig
from experiments.run import run_experiment
from experiments.tasks import CONFIGS, read_config
from token_models.training.config import TokenTrainingConfig
from token_models.translation.config import TranslationConfig

NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def test_there_are_configurations() -> None:
    assert {"demo", "codec_demo", "codec_demo_adversarial", "dac_demo", "encodec_24khz", "dac_44khz"} <= set(NAMES)
    assert {"separator_demo", "htdemucs_demo"} <= set(NAMES)


def tiny(shipped: ExperimentConfig, codec: Path, folder: Path) -> list[str]:
    """What makes a shipped configuration tiny; the codec is the one that it uses or starts from."""
    if isinstance(shipped, FinetuneConfig):
        return [f"codec={codec}"]
    if isinstance(shipped, TokenTrainingConfig):
        sizes = [f"{name}.{size}" for name in shipped.stages for size in ("dim=16", "heads=2", "layers=1")]
        sizes += ["coarse.codebooks=2", "fine.known=2", "fine_seconds=0.1"]
        if shipped.enhancer:
            write_enhancer(folder / "enhancer", codec)
            sizes.append(f"enhancer={folder / 'enhancer'}")
        return [f"codec={codec}", *sizes]
    if isinstance(shipped, TranslationConfig):
        return [f"codec={codec}", "model.dim=16", "model.heads=2", "model.encoder_layers=1", "model.decoder_layers=1"]
    if isinstance(shipped, SeparatorConfig):
        if shipped.architecture == "htdemucs":
            pytest.importorskip("demucs")
        return TINY_SEPARATOR
    assert isinstance(shipped, EncodecTrainingConfig | DacTrainingConfig)
    size = TINY_CODEC[shipped.task] if shipped.start is None else [f"start={codec}"]
    options = shipped.discriminators
    critics = [words for kind, words in TINY_DISCRIMINATORS.items() if getattr(options, kind)]
    early = ["discriminators.start_step=0", "discriminators.update_share=1"] if critics else []
    if shipped.enhancer:
        write_enhancer(folder / "enhancer", codec)
        early += [f"enhancer={folder / 'enhancer'}", "discriminators.heard_after=0"]
    return [*size, *TINY_QUANTIZER, *early, *(word for words in critics for word in words)]


@pytest.mark.parametrize("name", NAMES)
def test_trains(name: str, tmp_path: Path, tiny_set: Path, tiny_codec_folder: Path) -> None:
    shipped = read_config([name], default="demo")
    places = [f"data.root={tiny_set}", f"runs={tmp_path}"]
    places += ["input=separated/rough"] if getattr(shipped, "input", "").startswith("separated/") else []
    size = tiny(shipped, tiny_codec_folder, tmp_path)
    run = run_experiment(read_config([name, *TINY, *size, *places], default="demo"))
    assert run.finished and run.path.name.startswith(shipped.id)
    assert (run.path / "index.html").is_file()
    last = run.metrics.read_text().splitlines()[-2]
    adversarial = isinstance(shipped, CodecTrainingConfig) and shipped.losses.adversarial > 0
    assert ("discriminator_loss" in last) == ('"adversarial"' in last) == adversarial


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_files_are_ones_that_accelerate_reads(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    assert config.to_dict()["num_processes"] == yaml.safe_load(path.read_text())["num_processes"]
    assert config.mixed_precision == "no"
