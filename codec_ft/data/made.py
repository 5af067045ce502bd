"""Data sets that are made here: what each was made from is kept beside it, so that it is never mixed with another."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codec_ft.atomic import atomic_path, remove_leftovers
from codec_ft.errors import UserError

DESCRIPTION_FILE = "dataset.json"


@dataclass(frozen=True)
class BuildReport:
    """What a call did: tracks made now and found finished, and where they are."""

    root: Path
    made: int
    skipped: int

    def __str__(self) -> str:
        return f"{self.root}: {self.made} tracks made, {self.skipped} were there already"


def description(root: Path) -> dict[str, Any] | None:
    """What a set was made from; None of a folder that was not made here, or not yet.

    Raises:
        UserError: the file that says it is broken.
    """
    path = root / DESCRIPTION_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text())
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path}: not the description of a data set. Delete it, or choose another folder.")
    return found


def claim(root: Path, parameters: Mapping[str, Any]) -> None:
    """Write what a set is made from, or check that it is the same as last time.

    Args:
        root: folder of the set; created.
        parameters: what decides how it sounds, and what makes it (`generator`), as JSON has it.

    Raises:
        UserError: the folder holds something else, or a set with other parameters, or cannot be written.
    """
    wanted = json.loads(json.dumps(parameters))
    found = description(root)
    if found is None:
        if root.is_dir() and any(not entry.name.startswith(".") for entry in root.iterdir()):
            raise UserError(f"{root}: holds something that was not made here. Choose another folder.")
        with atomic_path(root / DESCRIPTION_FILE) as temporary:
            temporary.write_text(json.dumps(wanted, indent=2) + "\n")
        return
    differences = [
        f"{key} {found.get(key)} there, {value} now" for key, value in wanted.items() if found.get(key) != value
    ]
    if differences:
        raise UserError(
            f"{root}: holds a {found.get('generator')} set made with other parameters ({'; '.join(differences)}). "
            "Choose another folder, delete this one, or use its parameters."
        )


def prepare_split(folder: Path) -> None:
    """Create a split's folder and remove what a killed run left behind.

    Raises:
        UserError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}). Choose another folder.") from error


def check_space(root: Path, needed: int) -> None:
    """Refuse at once what the disk has no room for.

    Args:
        root: where it would be written.
        needed: bytes.

    Raises:
        UserError: there is less.
    """
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"{root}: the tracks need {needed / 1e9:.2f} GB, but the disk has {free / 1e9:.2f} GB. "
            "Free some space, choose another folder, or make fewer or shorter tracks."
        )
