"""Checkpoints: one file each, either there in full or not at all, and never able to run code."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from codec_ft.atomic import atomic_path
from codec_ft.errors import UserError


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings and containers of them) under a temporary name and rename it.

    Raises:
        UserError: the disk is full; what stood at `path` is untouched.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:
            # torch's zip writer reports a failed write of the operating system in its own words.
            raise UserError(
                f"{path}: could not be written ({' '.join(str(error).split())[:120]}); is the disk full? "
                "What stood there before is untouched."
            ) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; only plain data is accepted, no pickled code.

    Raises:
        UserError: the file is missing, cut short, or holds more than data.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint. Train first, or give the folder of a run.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: holds more than plain data and is refused, because it could run code.") from error
    except (RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path}: broken or cut short; delete it to start from the checkpoint before it or anew."
        ) from error
