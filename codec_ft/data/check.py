"""Look through a data set before anything is trained on it: what is there, what is wrong, and what to do."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from rich.table import Table

from codec_ft.audio.files import AudioFileError
from codec_ft.data.excerpts import THRESHOLD_DB
from codec_ft.data.scan import FileGroup, FileScan, GroupScan, scan_groups
from codec_ft.data.tracks import MIXTURE, SPLITS, Track, find_tracks, input_paths, missing_stem, split_folders
from codec_ft.errors import UserError

Severity = Literal["error", "warning", "note"]

MAX_LENGTH_DIFFERENCE = 0.1
"""Seconds by which the files of a track may differ: lossy formats add a little at the ends."""
SHORT_SECONDS = 1.0
"""Files shorter than this are hardly meant: the shortest training excerpts here last a second."""
RESIDUAL_DB = -40.0
"""A mixture may differ from the sum of its stems by this much, relative to the mixture, before it is worth a note."""
FULL_SCALE = 0.9999
"""Peak from which a file may be clipped; the largest 16-bit sample is 0.99997."""
ROWS_PER_ADVICE = 5
"""Findings that call for the same thing are listed up to this number."""


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        severity: "error" (must be mended), "warning" (probably unwanted) or "note".
        track: "split/name", or the split where it concerns all of it.
        file: the file, or None.
        message: what is the matter.
        advice: what to do.
    """

    severity: Severity
    track: str
    file: Path | None
    message: str
    advice: str


@dataclass
class SplitTotals:
    """What a split holds; `silent_share` is the share of silent tenths of a second in the stems looked at."""

    split: str
    tracks: int = 0
    seconds: float = 0.0
    sample_rates: set[int] = field(default_factory=set)
    channels: set[int] = field(default_factory=set)
    blocks: int = 0
    silent_blocks: int = 0

    @property
    def silent_share(self) -> float:
        """Between 0 and 1."""
        return self.silent_blocks / self.blocks if self.blocks else 0.0

    def __str__(self) -> str:
        rates = ", ".join(f"{rate / 1000:g} kHz" for rate in sorted(self.sample_rates)) or "-"
        channels = ", ".join({1: "mono", 2: "stereo"}.get(n, f"{n} channels") for n in sorted(self.channels)) or "-"
        plural = "" if self.tracks == 1 else "s"
        unit, symbol = next((u, s) for u, s in ((3600, "h"), (60, "min"), (1, "s")) if self.seconds >= u or u == 1)
        length = f"{self.seconds / unit:.1f} {symbol}"
        return (
            f"{self.tracks} track{plural}, {length}, {rates}, {channels}, {self.silent_share:.0%} of the stems silent"
        )


@dataclass
class CheckReport:
    """What `check_dataset` found."""

    root: Path
    totals: list[SplitTotals]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings that must be mended."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def table(self) -> Table:
        """One table: a line per split with what it holds, then the findings, the worst first."""
        table = Table("", "where", "what", "what to do", title=f"{self.root}", title_justify="left")
        for totals in self.totals:
            table.add_row("ok", totals.split, str(totals), "", style="green")
        colours: dict[Severity, str] = {"error": "red", "warning": "yellow", "note": "dim"}
        for severity, colour in colours.items():
            table.add_section()
            by_advice: dict[str, list[Finding]] = defaultdict(list)
            for finding in self.findings:
                if finding.severity == severity:
                    by_advice[finding.advice].append(finding)
            for advice, findings in by_advice.items():
                for i, finding in enumerate(findings[:ROWS_PER_ADVICE]):
                    where = os.path.relpath(finding.file, self.root) if finding.file else finding.track
                    table.add_row(severity, where, finding.message, advice if i == 0 else "", style=colour)
                if len(findings) > ROWS_PER_ADVICE:
                    rest = f"... and {len(findings) - ROWS_PER_ADVICE} more like it"
                    table.add_row(severity, "", rest, "", style=colour)
        return table

    def raise_if_errors(self) -> None:
        """Refuse the data set if there are errors, in the words of the table.

        Raises:
            UserError: the first errors, their number, and the command that lists them all.
        """
        if not self.errors:
            return
        first = " ".join(f"{e.file or e.track}: {e.message}. {e.advice}." for e in self.errors[:2])
        more = f" And {len(self.errors) - 2} more." if len(self.errors) > 2 else ""
        count = "1 error" if len(self.errors) == 1 else f"{len(self.errors)} errors"
        raise UserError(
            f"{self.root}: {count} in the data. {first}{more} List all with: "
            f"python scripts/prepare_data.py check {self.root}"
        )


def check_dataset(
    root: Path,
    *,
    splits: Sequence[str] | None = None,
    stem: str | None = None,
    input: str | Sequence[str] = MIXTURE,
    jobs: int | None = None,
) -> CheckReport:
    """Read every file of a data set completely and report what is wrong.

    What was read before and has not changed since is not read again.

    Args:
        root: folder of the data set (see `codec_ft.data.tracks` for the layouts).
        splits: splits to check; None checks those that have tracks.
        stem: check the pairs with this target, and only the files that they need; None checks all files.
        input: input of the pairs, or several (see `input_paths`); only with `stem`.
        jobs: threads that read; None takes one per core.

    Raises:
        UserError: there are no tracks, or a track has one stem in two formats.
    """
    root = Path(root)
    if splits is None:
        folders = split_folders(root)
        shared = folders["test"] == folders["valid"]  # a small folder without splits
        splits = [split for split in SPLITS if folders[split] and not (split == "test" and shared)]
    tracks = [track for split in splits for track in find_tracks(root, split)]
    findings = _check_stems(tracks) if stem is None else []
    inputs = [input] if isinstance(input, str) else input

    groups: dict[Path, FileGroup] = {}
    for track in tracks:
        try:
            groups[track.folder] = _files_to_read(track, stem, inputs)
        except AudioFileError as error:
            findings.append(Finding("error", _label(track), None, error.problem, error.advice))
    scans = dict(zip(groups, scan_groups(list(groups.values()), root, jobs), strict=True))

    totals = {split: SplitTotals(split) for split in splits}
    for track in tracks:
        if track.folder in scans:
            findings += _check_files(track, scans[track.folder], stem)
            _add_to_totals(totals[track.split], track, scans[track.folder], stem)
    for split_totals in totals.values():
        findings += _check_split(split_totals, stem)
    return CheckReport(root, list(totals.values()), findings)


def _label(track: Track) -> str:
    return f"{track.split}/{track.name}"


def _files_to_read(track: Track, stem: str | None, sources: Sequence[str]) -> FileGroup:
    if stem is None:
        return FileGroup(tuple(track.files.values()), track.mixture if track.stems else None)
    inputs = [path for source in sources for path in input_paths(track, stem, source)]
    return FileGroup(tuple(dict.fromkeys(track.paths(stem) + inputs)))


def _check_stems(tracks: Sequence[Track]) -> list[Finding]:
    """Stems that a track lacks although most have them, and mixtures without a file."""
    findings = []
    names = {stem for track in tracks for stem in track.stems}
    usual = {stem for stem in names if 2 * sum(stem in track.stems for track in tracks) > len(tracks)}
    for track in tracks:
        for stem in sorted(usual - set(track.stems)):
            findings.append(Finding("error", _label(track), None, *missing_stem(stem, list(track.stems))))
        if track.mixture is None:
            findings.append(
                Finding("note", _label(track), None, "no mixture file", "Nothing to do: the sum of its stems is used")
            )
    return findings


def _check_files(track: Track, scan: GroupScan, stem: str | None) -> list[Finding]:
    """What is wrong with the files of one track."""
    findings: list[Finding] = []

    def add(severity: Severity, path: Path, message: str, advice: str) -> None:
        findings.append(Finding(severity, _label(track), path, message, advice))

    good: dict[Path, FileScan] = {}
    for path, found in scan.files.items():
        if isinstance(found, FileScan):
            good[path] = found
        else:
            add("error", path, found.problem, found.advice)

    reference = track.mixture if track.mixture in good else max(good, key=lambda p: good[p].seconds, default=None)
    targets = track.paths(stem) if stem is not None else []
    for path, found in good.items():
        assert reference is not None
        if abs(found.seconds - good[reference].seconds) > MAX_LENGTH_DIFFERENCE:
            add(
                "error",
                path,
                f"is {found.seconds:.2f} s long, but {reference.name} is {good[reference].seconds:.2f} s",
                "Export all files of a track with the same start and length",
            )
        if found.seconds < SHORT_SECONDS:
            add(
                "warning",
                path,
                f"is only {found.seconds:.2f} s long",
                "Tracks shorter than an excerpt are left out: remove it, or set shorter excerpts",
            )
        if found.levels_db().max() <= THRESHOLD_DB:
            severity: Severity = "warning" if path in targets or path == track.mixture else "note"
            add(severity, path, "is silent throughout", "Nothing to do: a track is left out where its target is silent")
        if found.peak >= FULL_SCALE:
            add("note", path, f"reaches full scale (peak {found.peak:.2f})", "Nothing to do, unless it sounds clipped")
        if found.subtype in ("PCM_U8", "PCM_S8"):
            add("note", path, "has only 8 bits", "Nothing to do, but export it with 16 bits if you can")
    if scan.residual_db is not None and scan.residual_db > RESIDUAL_DB:
        assert track.mixture is not None
        add(
            "note",
            track.mixture,
            f"is not the sum of the stems (difference {scan.residual_db:.0f} dB)",
            "Nothing to do, unless a stem is missing or was mastered apart",
        )
    return findings


def _check_split(totals: SplitTotals, stem: str | None) -> list[Finding]:
    """What concerns a split as a whole."""
    findings = []

    def add(severity: Severity, message: str, advice: str) -> None:
        findings.append(Finding(severity, totals.split, None, message, advice))

    if len(totals.sample_rates) > 1:
        rates = ", ".join(str(rate) for rate in sorted(totals.sample_rates))
        add("note", f"sample rates are mixed ({rates} Hz)", "Nothing to do: all are converted")
    if len(totals.channels) > 1:
        counts = ", ".join(str(count) for count in sorted(totals.channels))
        add("note", f"numbers of channels are mixed ({counts})", "Nothing to do: all are converted")
    if stem is not None and totals.blocks and totals.silent_blocks == totals.blocks:
        add("error", f"{stem} is silent in all tracks", "Choose another stem, or add tracks")
    return findings


def _add_to_totals(totals: SplitTotals, track: Track, scan: GroupScan, stem: str | None) -> None:
    good = {path: found for path, found in scan.files.items() if isinstance(found, FileScan)}
    totals.tracks += 1
    totals.seconds += max((found.seconds for found in good.values()), default=0.0)
    totals.sample_rates |= {found.sample_rate for found in good.values()}
    totals.channels |= {found.channels for found in good.values()}
    for path in track.paths(stem) if stem is not None else track.stems.values():
        if path in good:
            levels = good[path].levels_db()
            totals.blocks += len(levels)
            totals.silent_blocks += int(np.sum(levels <= THRESHOLD_DB))
