"""The trainers, by the name that a configuration's `task` gives them."""

from collections.abc import Sequence
from pathlib import Path

import torch

from codec_ft.codec_training.config import RECIPES, CodecTrainingConfig
from codec_ft.codec_training.decoder_task import DecoderTask
from codec_ft.codec_training.task import CodecTask
from codec_ft.codecs.load import load_codec
from codec_ft.config import load_config, peek
from codec_ft.errors import UserError
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.task import FinetuneTask
from codec_ft.separation.config import SeparatorConfig
from codec_ft.separation.task import SeparatorTask
from codec_ft.training.config import ExperimentConfig
from codec_ft.training.task import Task
from experiments.places import CONFIGS, PROJECT
from experiments.registry.catalogue import EXPERIMENTS, YAML
from token_models.training.config import TokenTrainingConfig
from token_models.training.task import TokenTask
from token_models.translation.config import TranslationConfig
from token_models.translation.task import TranslationTask

SCHEMAS: dict[str, type[ExperimentConfig]] = {
    "finetune": FinetuneConfig,
    **RECIPES,
    "separator": SeparatorConfig,
    "masked": TokenTrainingConfig,
    "translate": TranslationConfig,
}


def read_config(words: Sequence[str], default: str) -> ExperimentConfig:
    """The configuration that a command line means.

    Args:
        words: names of files in `configs/` or paths of YAML files, laid over each other in order, and `key=value`.
        default: the configuration if none is named.

    Raises:
        UserError: a file, key or value is wrong.
    """
    if not CONFIGS.is_dir():
        raise UserError(f"{CONFIGS}: not there. Work in a clone of the repository, installed with: pip install -e .")
    overrides = [word for word in words if "=" in word]
    names = [word for word in words if "=" not in word] or [default]
    for name in names:
        if name.startswith("-"):
            raise UserError(f"{name}: settings are written key=value, such as train.steps=400; -h tells more.")
        if name.partition(".")[0] in {path.stem for path in EXPERIMENTS.glob("*.yaml")} and not name.endswith(YAML):
            raise UserError(f"{name}: is an experiment. Run it by: python scripts/run_experiment.py run {name}")
    layers = [path if (path := Path(name)).suffix in YAML else CONFIGS / f"{name}.yaml" for name in names]
    task = peek(layers, overrides, "task")
    if task not in SCHEMAS:
        raise UserError(f"task: is {task!r}, but the trainers are {', '.join(SCHEMAS)}. Set task in {layers[0]}.")
    return load_config(SCHEMAS[task], layers, overrides, root=PROJECT)


def make_task(config: ExperimentConfig) -> Task:
    """The trainer of a configuration; its weights are drawn from the configuration's seed."""
    torch.manual_seed(config.train.seed)
    if isinstance(config, CodecTrainingConfig):
        return DecoderTask(config) if config.enhancer else CodecTask(config)
    if isinstance(config, SeparatorConfig):
        return SeparatorTask(config)
    if isinstance(config, TokenTrainingConfig):
        return TokenTask(config, load_codec(config.codec))
    if isinstance(config, TranslationConfig):
        return TranslationTask(config, load_codec(config.codec))
    assert isinstance(config, FinetuneConfig)
    return FinetuneTask(config, load_codec(config.codec))
