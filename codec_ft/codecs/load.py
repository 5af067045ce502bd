"""Codecs by name or by path."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import EncodecConfig, EncodecModel
from transformers.utils import logging as transformers_logging

from codec_ft.codecs.base import Codec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.save import LEARNING_ONLY
from codec_ft.errors import UserError

SHIPPED = Path(__file__).parent / "weights"
# Names of official weights and the hub repository that holds them as safetensors.
OFFICIAL = {"encodec_24khz": "facebook/encodec_24khz"}


def codec_names() -> list[str]:
    """Names that `load_codec` knows without a path."""
    return sorted([*OFFICIAL, *(config.parent.name for config in SHIPPED.glob("*/config.json"))])


def load_codec(name: str) -> Codec:
    """Load a frozen codec: a name of `codec_names()`, a folder in transformers' format, or the folder
    of a finished codec training.

    Only safetensors are read, so nothing that is loaded can run code.

    Raises:
        UserError: the name is unknown, files are missing or broken, or they do not fit each other.
    """
    if name in OFFICIAL:
        return _load_official(name)
    for folder in (SHIPPED / name, Path(name).expanduser(), Path(name).expanduser() / "codec"):
        if (folder / "config.json").is_file():
            return EncodecCodec(read_encodec(folder), name)
    raise UserError(
        f"{name}: no such codec. Give one of {', '.join(codec_names())}, or a folder with config.json and "
        "model.safetensors, or the folder of a finished codec training."
    )


def read_encodec(folder: Path) -> EncodecModel:
    """Read an EnCodec model from `config.json` and `model.safetensors`.

    Raises:
        UserError: a file is missing or broken, or a weight is missing, extra or of another shape.
    """
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{folder}: model.safetensors is missing beside config.json; copy it there.")
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what does not fit is said below, in our own words
    try:
        config = EncodecConfig.from_pretrained(folder)
        if config.model_type != "encodec":
            raise UserError(f"{folder}/config.json: is of a {config.model_type!r} model, expected 'encodec'.")
        loaded: Any = EncodecModel.from_pretrained(
            folder, config=config, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except SafetensorError as error:
        raise UserError(f"{folder}/model.safetensors: broken or cut short ({error}); copy it again.") from error
    except UserError:
        raise
    except Exception as error:  # a config that makes no model fails in many ways, down to errors of indexing
        raise UserError(f"{folder}: cannot be read as an EnCodec model: {' '.join(str(error).split())}") from error
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


def _load_official(name: str) -> Codec:
    repository = OFFICIAL[name]
    try:
        model = EncodecModel.from_pretrained(repository, use_safetensors=True)
    except OSError as error:
        raise UserError(
            f"{name}: the weights are neither cached nor can they be fetched. On a machine with a network run "
            f"`hf download {repository} config.json model.safetensors --local-dir {name}`, copy that folder here, and "
            f"use codec=PATH/TO/{name}."
        ) from error
    return EncodecCodec(model, name)
