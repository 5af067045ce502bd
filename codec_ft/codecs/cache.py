"""The folder in which published weights are kept, and how they get there: once, whole, and checked by hash."""

import hashlib
import os
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from tqdm import tqdm

from codec_ft.atomic import atomic_path
from codec_ft.codecs.releases import Release
from codec_ft.errors import UserError

BLOCK = 1 << 20
"""Bytes that are read from the network at a time."""
TIMEOUT = 30.0
"""Seconds without a sign of life after which the network counts as absent."""


def cache_folder() -> Path:
    """`$TOKEN_SEPARATION_CACHE`, or `token-separation/codecs` in `$XDG_CACHE_HOME`, or that in `~/.cache`."""
    if chosen := os.environ.get("TOKEN_SEPARATION_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "token-separation" / "codecs"


def find_cached(release: Release) -> Path | None:
    """The file of a release if it is on this machine: in our cache, or where the original package keeps it."""
    folders = [cache_folder()]
    if release.original_cache is not None:
        folders.append(release.original_cache())
    return next((folder / release.file for folder in folders if (folder / release.file).is_file()), None)


def fetch(release: Release) -> Path:
    """The file of a release, checked; downloaded to the cache if it is not on this machine yet.

    Raises:
        UserError: the file is neither there nor can it be fetched, or it is another one than was published or first
            used (see `trust`).
    """
    path = find_cached(release)
    if path is None:
        path = cache_folder() / release.file
        _download(release, path)
    elif problem := _mismatch(release, sha256_of(path)):
        raise UserError(f"{path}: has {problem} Delete the file, and it is fetched again when it is next asked for.")
    return path


def trust(release: Release, path: Path) -> None:
    """Record the hash of a file that turned out to hold a codec, if none was published: trust on first use.

    The record is `<file>.sha256` in the cache, as `sha256sum` writes it. `fetch` refuses other files from then on.
    """
    record = _record(release)
    if release.sha256 is None and not record.is_file():
        found = sha256_of(path)
        with atomic_path(record) as temporary:
            temporary.write_text(f"{found}  {release.file}\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record(release: Release) -> Path:
    return cache_folder() / f"{release.file}.sha256"


def _mismatch(release: Release, found: str) -> str | None:
    """What to say of a file of this hash, or None if it is the right one or there is nothing to compare it with."""
    if release.sha256 is not None:
        return None if found.startswith(release.sha256) else f"SHA-256 {found}, but {release.sha256} was published."
    record = _record(release)
    expected = record.read_text().partition(" ")[0].strip() if record.is_file() else found
    if found == expected:
        return None
    return f"SHA-256 {found}, but had {expected} when it was first used. If you know why, delete {record}."


def _download(release: Release, path: Path) -> None:
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            for block in _blocks(release):
                file.write(block)
        if problem := _mismatch(release, sha256_of(temporary)):
            raise UserError(f"{release.url}: gave a file that has {problem} Nothing of it was kept; try again later.")


def _blocks(release: Release) -> Iterator[bytes]:
    """What the network gives for a release, block by block, with a progress bar.

    Raises:
        UserError: there is no network, no such file, or the connection broke off.
    """
    try:
        with urlopen(Request(release.url, headers={"User-Agent": "token-separation"}), timeout=TIMEOUT) as response:
            announced = int(response.headers.get("Content-Length") or 0)
            with tqdm(desc=release.file, total=announced or None, unit="B", unit_scale=True) as bar:
                while block := response.read(BLOCK):
                    bar.update(len(block))
                    yield block
                if bar.n < announced:
                    raise HTTPException(f"the connection broke off after {bar.n} of {announced} bytes")
    except (OSError, HTTPException) as error:
        raise UserError(
            f"{release.name}: {release.file} ({release.size}; licence of the weights: {release.licence_weights}) is "
            f"not in the cache and cannot be fetched ({error}). Where there is a network, download {release.url} and "
            f"save it as {cache_folder() / release.file}"
        ) from error
