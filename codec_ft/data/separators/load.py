"""Separators by name or by path."""

import difflib
from pathlib import Path

import torch

from codec_ft.data.separators.base import Separator
from codec_ft.data.separators.demucs import PREFIX, demucs_names, load_demucs
from codec_ft.data.separators.stand_ins.kinds import STAND_INS
from codec_ft.data.separators.trained import TrainedSeparator
from codec_ft.errors import UserError

SHIPPED = Path(__file__).parent / "weights"
FOLDER = "folder"
"""What `scripts/prepare_data.py separate --with` calls files that another program wrote."""


def shipped_separators() -> list[str]:
    """Names of the separators that come with this package."""
    return sorted(config.parent.name for config in SHIPPED.glob("*/config.json"))


def separator_names() -> list[str]:
    """Names that `load_separator` knows without a path."""
    return [*shipped_separators(), *demucs_names()]


def separator_folder(name: str) -> Path | None:
    """The folder of a separator that was trained here: shipped, exported, or of a finished run; None if it is none."""
    path = Path(name).expanduser()
    candidates = (SHIPPED / name, path, path / "separator")
    return next((folder for folder in candidates if (folder / "config.json").is_file()), None)


def load_separator(name_or_path: str | Path, device: str | torch.device = "cpu") -> Separator:
    """Load a separator.

    Nothing that is loaded can run code: files are safetensors, or checkpoints that are read with `weights_only`.

    Args:
        name_or_path: a name of `separator_names()`; the folder of a finished separator training, or its `separator`
            folder; or `demucs:<folder>/<model>` for weights of the package `demucs` on this disk.
        device: where to compute.

    Raises:
        UserError: the name is unknown or means no separator, a package or file is missing or broken.
    """
    name, device = str(name_or_path), torch.device(device)
    if name.startswith(PREFIX):
        return load_demucs(name.removeprefix(PREFIX), device)
    folder = separator_folder(name)
    if folder is not None:
        shown = folder.parent if folder.name == "separator" else folder
        return TrainedSeparator(folder, shown.resolve().name, device)
    if name in (*STAND_INS, FOLDER):
        raise UserError(
            f"{name}: separates no mixtures, it makes separated stems of a whole data set. "
            f"Use scripts/prepare_data.py separate --with {name}."
        )
    if (Path(name).expanduser() / "checkpoints").is_dir():
        raise UserError(f"{name}: this training is not finished, or trained no separator. Run its command again.")
    raise unknown_separator(name, separator_names())


def unknown_separator(name: str, known: list[str]) -> UserError:
    """Say that a name is unknown, and which one is nearest."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
    return UserError(
        f"{name}: no such separator; did you mean {near}? There are {', '.join(known)}, and folders of separators "
        "that were trained here."
    )
