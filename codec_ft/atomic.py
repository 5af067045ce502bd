"""Files that are either there in full or not there at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from codec_ft.errors import UserError, is_full_disk

TEMPORARY_PREFIX = ".partial-"
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    A kill, a full disk or an exception in between leaves whatever stood at `path` untouched. The temporary
    name keeps the suffix, because writers choose a format by it. Parent folders are created.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    temporary = _temporary(path)
    with _told(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
        finally:
            with suppress(OSError):  # the folder itself may not be there, or closed to us
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Like `atomic_path` for a folder: what the block writes into the temporary one is there in full or not at all.

    A folder that stood at `path` is replaced.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    temporary = _temporary(path)
    with _told(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if path.is_dir():
                shutil.rmtree(path)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill left of files and folders that were being written in `folder` or below it."""
    for leftover in list(folder.rglob(f"{TEMPORARY_PREFIX}*")):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink(missing_ok=True)  # it may have gone with a folder before it


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into one line."""
    try:
        yield
    except Exception as error:
        if is_full_disk(error):
            raise UserError(
                f"{path}: the disk is full; what stood there before is untouched. Free some space and run again."
            ) from error
        if isinstance(error, OSError) and error.errno in NOT_WRITABLE:
            raise UserError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error
        raise
