"""Trained enhancers by name or by path."""

import copy
import difflib
from pathlib import Path

import torch

from codec_ft.codecs.load import load_codec
from codec_ft.errors import UserError
from codec_ft.facts import CONFIG
from codec_ft.finetune.apply import TrainedEnhancer
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.enhancer import Enhancer
from codec_ft.finetune.save import DECODER, MODEL, EnhancerFacts, facts_of, read_facts
from codec_ft.finetune.task import WEIGHTS
from codec_ft.training.run_folder import RunFolder, read_finished
from codec_ft.weights import load_weights

SHIPPED = Path(__file__).parent / "weights"
EXPORTED = "enhancer"
"""Folder of a run that holds an enhancer as `save_enhancer` writes it: that of a decoder that was trained for one."""


def enhancer_names() -> list[str]:
    """Names of the enhancers that come with this package."""
    return sorted(config.parent.name for config in SHIPPED.glob(f"*/{CONFIG}"))


def load_enhancer(
    name_or_path: str | Path, device: str | torch.device = "cpu", *, runs: Path | None = None
) -> TrainedEnhancer:
    """Load a trained enhancer with its codec.

    Nothing that is loaded can run code: files are YAML, JSON and safetensors.

    Args:
        name_or_path: a name of `enhancer_names()`; a folder that `save_enhancer` wrote; or the folder of a finished
            run that fine-tuned an enhancer, or trained the decoder of one, which then decodes.
        device: where to compute.
        runs: a folder of runs, whose names will do.

    Raises:
        UserError: the name is unknown, the training is not finished, or files are missing, broken or do not fit.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if runs is not None and not path.exists() and (runs / name).is_dir():
        path = runs / name
    for folder in (SHIPPED / name, path, path / EXPORTED):
        if (folder / CONFIG).is_file():
            return _exported(folder, name).to(device)
    if RunFolder(path).config.is_file():
        config = read_finished(path, {"finetune": FinetuneConfig}, "an enhancer")
        return _build(facts_of(config), path / WEIGHTS, name, said_by=RunFolder(path).config).to(device)
    known = enhancer_names()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    hint = f"; did you mean {near[0]}? There are {', '.join(known)}" if near else ". None comes with this package"
    raise UserError(f"{name}: no such enhancer{hint}. Or give an exported folder, or that of a finished run.")


def _exported(folder: Path, name: str) -> TrainedEnhancer:
    trained = _build(read_facts(folder), folder / MODEL, name, said_by=folder / CONFIG)
    if not (folder / DECODER).is_file():
        return trained
    player = copy.deepcopy(trained.codec)
    load_weights(player.get_submodule("decoder"), folder / DECODER)
    return TrainedEnhancer(trained.enhancer, trained.facts, name, player)


def _build(facts: EnhancerFacts, weights: Path, name: str, said_by: Path) -> TrainedEnhancer:
    try:
        codec = load_codec(facts.codec)
    except UserError as error:
        raise UserError(f"{said_by}: its codec cannot be loaded. {error}") from error
    enhancer = Enhancer(
        codec,
        encoder=facts.encoder,
        bridge=facts.bridge,
        window=codec.n_frames(round(facts.seconds * codec.sample_rate)),
        inputs=1 + len(facts.context),
    )
    load_weights(enhancer, weights)
    return TrainedEnhancer(enhancer, facts, name)
