"""Sources of separated stems by the name that `scripts/prepare_data.py separate --with` is given."""

import hashlib
from functools import lru_cache
from pathlib import Path

from codec_ft.data.layouts import MUSDB_LAYOUT
from codec_ft.data.separators.base import Separator
from codec_ft.data.separators.build import all_tracks
from codec_ft.data.separators.demucs import PREFIX
from codec_ft.data.separators.folder import FolderSource
from codec_ft.data.separators.load import (
    FOLDER,
    load_separator,
    separator_folder,
    separator_names,
    unknown_separator,
)
from codec_ft.data.separators.sources import Stems, StemSource, read_mixture
from codec_ft.data.separators.stand_ins.kinds import STAND_INS
from codec_ft.data.separators.stand_ins.source import StandInSource
from codec_ft.data.tracks import Track
from codec_ft.errors import UserError


def source_names() -> list[str]:
    """All names that need no path."""
    return [*separator_names(), *STAND_INS, FOLDER]


def make_source(
    name: str,
    root: Path,
    *,
    folder: Path | None = None,
    layout: str | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> StemSource:
    """The source of a name.

    Args:
        name: one of `source_names()`, or a path that `load_separator` knows.
        root: the data set that it is for.
        folder: for "folder", where the files lie.
        layout: for "folder", how they are named (see `FolderSource`).
        seed: of the stand-ins' errors.
        device: where a separator computes.

    Raises:
        UserError: the name is unknown, or an option is missing or not for this source.
    """
    if name == FOLDER:
        if folder is None:
            raise UserError("--with folder: also needs --source FOLDER, where the separated files lie.")
        return FolderSource(folder, all_tracks(root), layout or MUSDB_LAYOUT)
    if folder is not None or layout is not None:
        raise UserError(f"--with {name}: takes no --source and no --layout; they are for --with folder.")
    if name in STAND_INS:
        return StandInSource(name, seed=seed)
    if not name.startswith(PREFIX) and separator_folder(name) is None and not Path(name).expanduser().exists():
        raise unknown_separator(name, source_names())
    return SeparatorSource(name, device)


class SeparatorSource(StemSource):
    """A separator that hears the mixtures.

    Raises:
        UserError: see `load_separator`.
    """

    def __init__(self, name: str, device: str = "cpu"):
        self.separator, self.device = name, device
        loaded = _load(name, device)
        self.name, self.stems = loaded.name, loaded.stems
        self.origin: dict[str, str | int] = {"separator": loaded.name}
        folder = separator_folder(name)
        if folder is not None:
            weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
            self.origin["weights_sha256"] = weights

    def separate(self, track: Track) -> tuple[Stems, int]:
        """See `StemSource.separate`."""
        mixture, rate = read_mixture(track)
        return _load(self.separator, self.device).separate(mixture, rate), rate


@lru_cache(maxsize=1)
def _load(name: str, device: str) -> Separator:
    """Loaded once by each process that separates."""
    return load_separator(name, device)
