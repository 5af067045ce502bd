"""Read audio files completely, once: is every sample sound, how long and how loud is it.

What was found is kept in `.check-cache.json` in the data set's folder. An entry holds for exactly the file that was
read: its size and its times of change are compared, so a file that was replaced is read again.
"""

import base64
import json
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from codec_ft.atomic import atomic_path
from codec_ft.audio.files import AudioFileError, open_audio, read_frames
from codec_ft.errors import UserError

logger = logging.getLogger(__name__)

CACHE_NAME = ".check-cache.json"
CACHE_VERSION = 1
BLOCKS_PER_SECOND = 10
SILENCE_DB = -127.5
_CHUNK_SECONDS = 5  # a whole number, so that it is a whole number of samples at every rate

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class FileScan:
    """What a complete reading of an audio file found.

    Attributes:
        sample_rate: in Hz.
        channels: number of channels.
        frames: samples per channel.
        subtype: libsndfile's name of the sample format.
        peak: largest absolute sample.
        levels: the RMS level of every tenth of a second over all channels, in steps of half a decibel below full
            scale, one byte each, base64; 255 stands for -127.5 dB and less.
    """

    sample_rate: int
    channels: int
    frames: int
    subtype: str
    peak: float
    levels: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate

    def levels_db(self) -> np.ndarray:
        """RMS level of every tenth of a second in dBFS, float64 [blocks]; SILENCE_DB where there is nothing."""
        return np.frombuffer(base64.b64decode(self.levels), np.uint8) / -2.0


@dataclass(frozen=True)
class FileGroup:
    """Files that are read side by side; `mixture`, where given, is the one that should be the sum of the others."""

    paths: tuple[Path, ...]
    mixture: Path | None = None


@dataclass(frozen=True)
class GroupScan:
    """What was found in a group of files.

    Attributes:
        files: what was found in each file, or what is wrong with it.
        residual_db: level of mixture - sum of the others, relative to the mixture; None where the group has no mixture,
            a file is bad, or rates, channels or lengths differ.
    """

    files: dict[Path, FileScan | AudioFileError]
    residual_db: float | None = None


class _Scanner:
    """Reads one file chunk by chunk and gathers its FileScan."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open_audio(path)
        self.peak = 0.0
        self.levels: list[np.ndarray] = []

    def read_chunk(self) -> np.ndarray:
        """Read on by `_CHUNK_SECONDS`, or to the end: float32 [C, n], n = 0 at the end."""
        rate = self.file.samplerate
        audio = read_frames(self.file, self.path, min(_CHUNK_SECONDS * rate, self.file.frames - self.file.tell()))
        n = audio.shape[1]
        if n:
            self.peak = max(self.peak, float(np.abs(audio).max()))
            edges = np.arange(_CHUNK_SECONDS * BLOCKS_PER_SECOND) * rate // BLOCKS_PER_SECOND
            edges = edges[edges < n]
            energy = sum(np.add.reduceat(np.square(channel, dtype=np.float64), edges) for channel in audio)
            power = energy / (np.diff(edges, append=n) * len(audio))
            self.levels.append(np.maximum(10 * np.log10(np.maximum(power, 1e-30)), SILENCE_DB))
        return audio

    def result(self) -> FileScan:
        """What was found, once the whole file was read."""
        half_decibels = np.clip(np.rint(-2 * np.concatenate(self.levels)), 0, 255).astype(np.uint8)
        levels = base64.b64encode(half_decibels.tobytes()).decode()
        file = self.file
        return FileScan(file.samplerate, file.channels, file.frames, file.subtype, self.peak, levels)


def scan_group(group: FileGroup) -> GroupScan:
    """Read files side by side, each once, and compare the mixture among them with the sum of the others."""
    paths, mixture = group.paths, group.mixture
    found: dict[Path, FileScan | AudioFileError] = {}
    scanners: dict[Path, _Scanner] = {}
    for path in paths:
        try:
            scanners[path] = _Scanner(path)
        except AudioFileError as error:
            found[path] = error
    shapes = {(s.file.samplerate, s.file.channels, s.file.frames) for s in scanners.values()}
    comparable = mixture in scanners and len(paths) > 1 and not found and len(shapes) == 1
    mixture_energy = residual_energy = 0.0
    while scanners:
        chunks: dict[Path, np.ndarray] = {}
        for path, scanner in list(scanners.items()):
            try:
                chunks[path] = scanner.read_chunk()
            except AudioFileError as error:
                found[path] = error
                comparable = False
            if path in found or chunks[path].shape[1] == 0:
                if path not in found:
                    found[path] = scanner.result()
                scanner.file.close()
                del scanners[path]
        if comparable and scanners:
            assert mixture is not None
            mix = chunks[mixture]
            residual = mix - sum(chunk for path, chunk in chunks.items() if path != mixture)
            mixture_energy += float(np.sum(np.square(mix, dtype=np.float64)))
            residual_energy += float(np.sum(np.square(residual, dtype=np.float64)))
    if not comparable or mixture_energy == 0.0:
        return GroupScan(found)
    return GroupScan(found, 10 * float(np.log10(max(residual_energy / mixture_energy, 1e-20))))


class ScanCache:
    """What is known of the files of a data set, in memory and in `root/.check-cache.json`."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._file = self.root / CACHE_NAME
        self._entries: dict[str, dict[str, Any]] = {}
        self._changed = False
        try:
            stored = json.loads(self._file.read_text())
            if stored["version"] == CACHE_VERSION:
                self._entries = dict(stored["entries"])
        except FileNotFoundError:
            logger.debug("%s: none yet", self._file)
        except (OSError, ValueError, KeyError, TypeError) as error:
            logger.info("%s: not readable (%s), it is written anew", self._file, error)

    def get(self, path: Path) -> FileScan | None:
        """What is known of a file as it is now, or None."""
        entry = self._entries.get(self._key(path))
        try:
            if entry is not None and tuple(entry["stamp"]) == file_stamp(path):
                return FileScan(**entry["scan"])
        except (OSError, KeyError, TypeError):
            return None
        return None

    def put(self, path: Path, scan: FileScan, stamp: Stamp) -> None:
        """Remember what was found in the file that had `stamp` before it was read."""
        self._entries[self._key(path)] = {"stamp": stamp, "scan": asdict(scan)}
        self._changed = True

    def get_group(self, group: FileGroup) -> GroupScan | None:
        """What is known of all files of a group as they are now, or None."""
        files: dict[Path, FileScan | AudioFileError] = {}
        for path in group.paths:
            scan = self.get(path)
            if scan is None:
                return None
            files[path] = scan
        if group.mixture is None:
            return GroupScan(files)
        entry = self._entries.get(self._key(group.mixture) + "#residual", {})
        if entry.get("files") != self._stamped({path: file_stamp(path) for path in group.paths}):
            return None
        return GroupScan(files, entry["db"])

    def put_group(self, group: FileGroup, scan: GroupScan, stamps: dict[Path, Stamp]) -> None:
        """Remember what was found in files that had these `stamps` before they were read; bad files are forgotten."""
        for path, found in scan.files.items():
            if isinstance(found, FileScan) and path in stamps:
                self.put(path, found, stamps[path])
        if group.mixture is not None and len(stamps) == len(group.paths):
            key = self._key(group.mixture) + "#residual"
            self._entries[key] = {"files": self._stamped(stamps), "db": scan.residual_db}
            self._changed = True

    def _stamped(self, stamps: dict[Path, Stamp]) -> list[list[str | int]]:
        return [[self._key(path), *stamp] for path, stamp in stamps.items()]

    def save(self) -> None:
        """Write what is new to the disk; a folder that cannot be written to only costs the reading next time."""
        if not self._changed:
            return
        try:
            with atomic_path(self._file) as temporary:
                temporary.write_text(json.dumps({"version": CACHE_VERSION, "entries": self._entries}))
            self._changed = False
        except (UserError, OSError) as error:
            logger.info("%s: not written (%s)", self._file, error)

    def _key(self, path: Path) -> str:
        return os.path.relpath(path, self.root)


def file_stamp(path: Path) -> Stamp:
    """Size and times of change of a file (the inode's too: it changes even where a copy keeps the old date)."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def scan_groups(groups: Sequence[FileGroup], root: Path, jobs: int | None = None) -> list[GroupScan]:
    """Scan groups of files, or take what is known of them; with a progress bar where there is something to read.

    An interrupted scan keeps what it has read.

    Args:
        groups: files that are read side by side.
        root: the data set's folder, which holds the cache.
        jobs: threads; None takes one per core.

    Returns:
        One result per group, in their order.
    """
    cache = ScanCache(root)
    results = {i: known for i, group in enumerate(groups) if (known := cache.get_group(group)) is not None}
    unknown = [i for i in range(len(groups)) if i not in results]

    def read(i: int) -> GroupScan:
        stamps = {path: file_stamp(path) for path in groups[i].paths if path.exists()}
        result = scan_group(groups[i])
        cache.put_group(groups[i], result, stamps)
        return result

    if unknown:
        pool = ThreadPoolExecutor(jobs or os.cpu_count())
        try:
            read_groups = zip(unknown, pool.map(read, unknown), strict=True)
            results.update(tqdm(read_groups, "reading audio", len(unknown), leave=False))
        finally:
            pool.shutdown(cancel_futures=True)
            cache.save()
    return [results[i] for i in range(len(groups))]


def scan_files(paths: Sequence[Path], root: Path, jobs: int | None = None) -> dict[Path, FileScan]:
    """Scan files one by one (see `scan_groups`).

    Raises:
        AudioFileError: a file is bad, the first in the order of `paths`.
    """
    paths = list(dict.fromkeys(paths))
    scans: dict[Path, FileScan] = {}
    for path, group in zip(paths, scan_groups([FileGroup((path,)) for path in paths], root, jobs), strict=True):
        found = group.files[path]
        if isinstance(found, AudioFileError):
            raise found
        scans[path] = found
    return scans
