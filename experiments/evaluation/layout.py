"""The files of a system or of the references by what is compared: tracks and stems."""

from pathlib import Path

from codec_ft.data.layouts import find_named
from codec_ft.errors import UserError

Item = tuple[str, str]
"""A track's name and a stem's name: what is compared with what."""

MUSDB = ("{track}/{stem}", "{split}/{track}/{stem}")


def find_files(folder: Path, pattern: str | None = None, stem: str | None = None) -> dict[Item, Path]:
    """The audio files of `folder` by track and stem, sorted by track.

    Args:
        folder: where to look.
        pattern: see `find_named`; None is MUSDB's layout, with or without a folder per split above the tracks.
        stem: the stem of all files where the pattern has no `{stem}`.

    Raises:
        UserError: as `find_named`, or a track is in two splits.
    """
    found: dict[Item, Path] = {}
    for file in find_named(Path(folder), [pattern] if pattern else MUSDB, stem):
        item = (file.track, file.stem)
        if item in found:
            raise UserError(
                f"{file.path}: {file.stem} of {file.track} is there twice, as {found[item]}, too. "
                "Give the folder of one split."
            )
        found[item] = file.path
    return dict(sorted(found.items()))
