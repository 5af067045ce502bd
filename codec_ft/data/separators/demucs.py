"""Pretrained models of the package `demucs`, by name from the network or from a folder on this disk.

The package reads its weights with pickle, or makes whatever class a file names. Here only its own classes are made,
and pickles are read with `weights_only`.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError, safe_open
from torch import Tensor

from codec_ft.data.separators.base import Separator
from codec_ft.data.separators.htdemucs import apply_in_segments, demucs
from codec_ft.errors import UserError

PREFIX = "demucs:"
NAMES = ("htdemucs", "htdemucs_ft", "htdemucs_6s", "hdemucs_mmi", "mdx", "mdx_extra")
"""Models that the package's authors published; their quantised ones need yet another package."""
CLASSES = {"demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs", "demucs.demucs.Demucs"}
"""What a file may ask for."""


class DemucsSeparator(Separator):
    """A model of `demucs`, or a bag of them."""

    def __init__(self, model: Any, name: str, device: torch.device):
        self.name, self.device = name, device
        self.stems, self.sample_rate, self.channels = tuple(model.sources), model.samplerate, model.audio_channels
        self.model = model.to(device).eval()

    def estimate(self, mixture: Tensor) -> Tensor:
        """See `Separator.estimate`; the mixture is normalised as `demucs` does it."""
        mono = mixture.mean(dim=0)
        mean, scale = mono.mean(), mono.std(correction=0).clamp(min=1e-8)
        estimates = apply_in_segments(self.model, ((mixture - mean) / scale)[None])[0]
        return estimates.mul_(scale).add_(mean)


def demucs_names() -> list[str]:
    """Names of published models, as `load_separator` knows them."""
    return [PREFIX + name for name in NAMES]


def load_demucs(name: str, device: torch.device) -> DemucsSeparator:
    """Load a published model by its name, or `<folder>/<model>` from a folder of its files.

    A folder holds what the package's own `--repo` expects: `<model>.yaml`, which names the models of a bag, and their
    `<signature>.safetensors` or `<signature>-<hash>.th`; or such a model alone.

    Raises:
        UserError: the package is not installed, or a file is missing, cannot be fetched, or is not to be trusted.
    """
    demucs("apply")  # without the package nothing else is worth a word
    path = Path(name).expanduser()
    if len(path.parts) > 1:
        if not path.parent.is_dir():
            raise UserError(f"{PREFIX}{name}: {path.parent} is no folder. Give the folder of the model's files.")
        return DemucsSeparator(_read_local(path.parent, path.name), path.name, device)
    if name not in NAMES:
        raise UserError(
            f"{PREFIX}{name}: no published model; there are {', '.join(NAMES)}. For files on this disk use "
            f"{PREFIX}FOLDER/MODEL; for a model that was trained here, its run folder without {PREFIX}"
        )
    return DemucsSeparator(_fetch(name), name, device)


def _fetch(name: str) -> Any:
    """A bag of the Hugging Face hub, from its cache if it is there."""
    hub = demucs("hf")
    repository = f"{hub.DEFAULT_NAMESPACE}/{hub.hf_repo_name(name)}"
    try:
        bag = Path(hf_hub_download(repository, f"{name}.yaml"))
        files = [Path(hf_hub_download(repository, f"{model}.safetensors")) for model in _read_bag(bag)["models"]]
    except UserError:
        raise
    except Exception as error:  # no network, no such model and closed models are errors of many libraries
        raise UserError(
            f"{PREFIX}{name}: cannot be fetched from the Hugging Face hub ({' '.join(str(error).split())[:200]}). On a "
            f"machine with a network run `hf download {repository} --local-dir {name}`, copy that folder here, and "
            f"use {PREFIX}{name}/{name}"
        ) from error
    return _make_bag(_read_bag(bag), files)


def _read_local(folder: Path, name: str) -> Any:
    bag = folder / f"{name}.yaml"
    if not bag.is_file():
        return _read_model(_find_weights(folder, name))
    facts = _read_bag(bag)
    return _make_bag(facts, [_find_weights(folder, model) for model in facts["models"]])


def _find_weights(folder: Path, name: str) -> Path:
    """`<name>.safetensors`, `<name>.th` or `<name>-<hash>.th`."""
    found = [*folder.glob(f"{name}.safetensors"), *folder.glob(f"{name}.th"), *folder.glob(f"{name}-*.th")]
    if not found:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{folder}: holds no {name}.yaml, {name}.safetensors or {name}-<hash>.th (there is {there}). Put the "
            "model's files there."
        )
    return found[0]


def _read_bag(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    models = facts.get("models") if isinstance(facts, dict) else None
    if not isinstance(models, list) or not models or not all(isinstance(model, str) for model in models):
        raise UserError(f"{path}: does not say which models a bag of demucs consists of. Copy it again.")
    return facts


def _make_bag(facts: dict[str, Any], files: Sequence[Path]) -> Any:
    models = [_read_model(path) for path in files]
    return demucs("apply").BagOfModels(models, facts.get("weights"), facts.get("segment"))


def _read_model(path: Path) -> Any:
    """One model from a file of either format.

    Raises:
        UserError: the file is broken, or holds more than weights of a known class.
    """
    broken = f"{path}: cannot be read as a model of demucs"
    try:
        if path.suffix == ".safetensors":
            _refuse_strangers(path)
            return demucs("hf").load_safetensors_model(path)
        classes = [getattr(demucs(name.split(".")[1]), name.split(".")[2]) for name in sorted(CLASSES)]
        with torch.serialization.safe_globals([*classes, Fraction]):
            package = torch.load(path, map_location="cpu", weights_only=True)
        return demucs("states").load_model(package)
    except UserError:
        raise
    except Exception as error:  # what is broken or too much fails in many ways
        raise UserError(f"{broken} ({' '.join(str(error).split())[:200]}). Copy or fetch it again.") from error


def _refuse_strangers(path: Path) -> None:
    """Refuse a file that names other classes than those of `demucs`."""
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = file.metadata() or {}
    except SafetensorError as error:
        raise UserError(f"{path}: broken or cut short ({error}); copy it again.") from error
    if facts.get("klass") not in CLASSES or "structure" in facts:
        raise UserError(
            f"{path}: asks for {facts.get('klass') or 'no class'}"
            f"{' with quantised weights' * ('structure' in facts)}, but only plain models of demucs are read. "
            "Choose another model."
        )
