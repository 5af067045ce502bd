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
    # Through a file of Python's, because torch's own hides why a write failed.
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; only plain data is accepted, no pickled code.

    Raises:
        UserError: the file is missing, cut short, or holds more than data.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint. Train first, or give the folder of a run.")
    broken = UserError(f"{path}: broken or cut short. Put a copy of it back, or delete {path.parent} to train anew.")
    if not zipfile.is_zipfile(path):  # the table of contents stands at the end, which a file cut short has lost
        raise broken
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: holds more than plain data and is refused, because it could run code.") from error
    except (RuntimeError, EOFError) as error:
        raise broken from error
