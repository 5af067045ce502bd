"""Files that are either there in full or not there at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codec_ft.errors import UserError

TEMPORARY_PREFIX = ".partial-"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends without an error.

    A kill, a full disk or an exception in between leaves whatever stood at `path` untouched. The temporary
    name keeps the suffix, because writers choose a format by it. Parent folders are created.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(
                f"{path}: the disk is full; what stood there before is untouched. Free some space and run again."
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"{path}: cannot be written ({error.strerror}). Choose another folder.") from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
