"""Codecs by name or by path."""

import json
import re
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel
from transformers.utils import logging as transformers_logging

from codec_ft.codecs.base import Codec
from codec_ft.codecs.cache import fetch, trust
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.models import CodecModel, summarize
from codec_ft.codecs.originals import read_original
from codec_ft.codecs.releases import RELEASES, Release
from codec_ft.codecs.save import LEARNING_ONLY
from codec_ft.errors import UserError

SHIPPED = Path(__file__).parent / "weights"
MODELS: dict[str, Any] = {"encodec": EncodecModel, "dac": DacModel}
"""What config.json calls an architecture, and its class in transformers."""


def shipped_names() -> list[str]:
    """Names of the codecs that come with this package."""
    return sorted(config.parent.name for config in SHIPPED.glob("*/config.json"))


def codec_names() -> list[str]:
    """Names that `load_codec` knows without a path."""
    return sorted([*RELEASES, *shipped_names()])


def load_codec(name_or_path: str | Path) -> Codec:
    """Load a frozen codec.

    Nothing that is loaded can run code: files are safetensors, or checkpoints that are read with `weights_only`.

    Args:
        name_or_path: a name of `codec_names()`; a folder in transformers' format, or that of a finished codec training;
            a checkpoint of the original packages (`encodec_*.th`, `weights*.pth`, VampNet's `codec.pth`); or
            `owner/name` of a model with safetensors on the Hugging Face hub.

    Raises:
        UserError: the name is unknown, files are missing or broken, or they do not fit each other.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name in RELEASES:
        return as_codec(_read_release(RELEASES[name]), name)
    for folder in (SHIPPED / name, path, path / "codec"):
        if (folder / "config.json").is_file():
            return as_codec(read_model(folder), name)
    if path.is_file():
        return as_codec(read_original(path), name)
    # A path into a folder that is there is a slip of the pen, and nothing to ask the world for.
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not path.parent.exists():
        return as_codec(_read_from_hub(name), name)
    raise UserError(
        f"{name}: no such codec. Give one of {', '.join(codec_names())}, or a folder with config.json and "
        "model.safetensors, or the folder of a finished codec training, or a checkpoint of encodec, DAC or LAC."
    )


def as_codec(model: CodecModel, name: str) -> Codec:
    """Put a model behind the codec interface, with the adapter that it needs."""
    if not isinstance(model, EncodecModel):
        return DacCodec(model, name)
    return (EncodecCodec if model.config.chunk_length_s is None else SegmentedEncodecCodec)(model, name)


def read_model(folder: Path) -> EncodecModel | DacModel:
    """Read an EnCodec or DAC from `config.json` and `model.safetensors`.

    Raises:
        UserError: a file is missing or broken, or a weight is missing, extra or of another shape.
    """
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder}: model.safetensors is missing beside config.json; copy it there.")
    config = read_config(folder)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what does not fit is said below, in our own words
    try:
        loaded: Any = MODELS[config.model_type].from_pretrained(
            folder, config=config, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except SafetensorError as error:
        raise UserError(f"{folder}/model.safetensors: broken or cut short ({error}); copy it again.") from error
    except Exception as error:  # a config that makes no model fails in many ways, down to errors of indexing
        raise UserError(f"{folder}: cannot be read as a codec: {' '.join(str(error).split())}") from error
    model, report = loaded
    wrong = [
        *(f"{key} is missing" for key in sorted(report["missing_keys"]) if not key.endswith(LEARNING_ONLY)),
        *(f"{key} is not part of the model" for key in sorted(report["unexpected_keys"])),
        *(f"{key} has another shape" for key, *_ in sorted(report["mismatched_keys"])),
    ]
    if wrong:
        raise UserError(
            f"{folder}: the weights do not fit the config: {wrong[0]}"
            + (f" and {len(wrong) - 1} more." * (len(wrong) > 1))
        )
    return model.float()


def read_config(folder: Path) -> EncodecConfig | DacConfig:
    """Read `config.json`.

    Raises:
        UserError: it is broken, or that of something else than an EnCodec or DAC.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text())
        model_type = content.get("model_type")
        if model_type in MODELS:
            return MODELS[model_type].config_class.from_dict(content)
    except Exception as error:  # values of a wrong type fail in many ways
        raise UserError(f"{path}: cannot be read as the config of a codec: {' '.join(str(error).split())}") from error
    raise UserError(f"{path}: model_type is {model_type!r}, expected one of {', '.join(MODELS)}.")


def _read_release(release: Release) -> CodecModel:
    """Read a published file, fetching it before if need be, and make sure that it holds what its name says."""
    path = fetch(release)
    model = read_original(path)
    found, expected = summarize(model.config), summarize(release.config)
    if found != expected:
        raise UserError(
            f"{path}: is not {release.name} ({expected}) but another codec ({found}). Delete it, and the right one is "
            "fetched; load it by its path, if it is the one you want."
        )
    trust(release, path)
    return model


def _read_from_hub(name: str) -> EncodecModel | DacModel:
    """Read a model of the Hugging Face hub, from its cache if it is there."""
    try:
        folder = snapshot_download(name, allow_patterns=["config.json", "model.safetensors"])
    except Exception as error:  # no network, no such model and closed models are errors of many libraries
        raise UserError(
            f"{name}: is no folder or file here, and no model that could be fetched from the Hugging Face hub "
            f"({' '.join(str(error).split())[:200]}). On a machine with a network run `hf download {name} config.json "
            f"model.safetensors --local-dir {name.rpartition('/')[2]}`, copy that folder here, and give its path."
        ) from error
    if not (Path(folder) / "config.json").is_file():
        raise UserError(f"{name}: the model on the Hugging Face hub has no config.json. Choose another one.")
    return read_model(Path(folder))
