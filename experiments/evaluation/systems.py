"""What is compared with what: references, systems and their roles, and the items that all of them have.

An item is a stem of a track. Systems may lack stems altogether; of the stems that a system has, only the tracks that
all others have as well are compared, since means over different songs say nothing about systems.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from codec_ft.data.tracks import MIXTURE, find_tracks, split_folders
from codec_ft.errors import UserError
from experiments.evaluation.layout import Item, find_files

Role = Literal["floor", "input", "system", "ceiling"]
"""The mixture, the separated stems that were to be enhanced, what is judged, and the reference through a codec."""

RESERVED = (MIXTURE, "reference")
"""Names that tables and folders need themselves."""

NAMED = 3
"""Names that a note gives as examples."""


@dataclass(frozen=True)
class System:
    """Something that has an answer for items.

    Attributes:
        name: for tables.
        role: what it is in the comparison.
        source: where its files come from, in words.
        files: item -> the files whose sum is its answer.
    """

    name: str
    role: Role
    source: str
    files: Mapping[Item, tuple[Path, ...]] = field(hash=False)

    def tracks(self, stem: str) -> set[str]:
        """The tracks of which it has this stem."""
        return {track for track, other in self.files if other == stem}


@dataclass(frozen=True)
class Comparison:
    """References and systems, reduced to what can be compared.

    Attributes:
        references: the clean stems.
        systems: in the order of the tables.
        items: what is compared, stem by stem; every system that has a stem has all of its tracks.
        notes: a sentence each on what was left out.
    """

    references: System
    systems: tuple[System, ...]
    items: tuple[Item, ...]
    notes: tuple[str, ...]

    @property
    def stems(self) -> list[str]:
        """Stems in the order of `items`."""
        return list(dict.fromkeys(stem for _, stem in self.items))

    @property
    def tracks(self) -> list[str]:
        """Tracks, sorted."""
        return sorted({track for track, _ in self.items})

    def of_track(self, track: str) -> "Comparison":
        """The part of the comparison that is about one track."""
        items = tuple(item for item in self.items if item[0] == track)
        kept = set(items)
        systems = tuple(_only(system, kept) for system in self.systems if kept & set(system.files))
        return Comparison(_only(self.references, kept), systems, items, ())

    def systems_of(self, item: Item) -> list[System]:
        """The systems that have an answer for an item."""
        return [system for system in self.systems if item in system.files]


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / "config.yaml").is_file() and (folder / "metrics.jsonl").is_file()


def compare_folders(
    references: Path,
    estimates: Sequence[str],
    *,
    input: str | None = None,
    layout: str | None = None,
    reference_layout: str | None = None,
    split: str = "test",
    stems: Sequence[str] = (),
    tracks: Sequence[str] = (),
) -> Comparison:
    """Compare folders of audio files; the mixture, where the references have one or add up to it, is the floor.

    Args:
        references: folder of the clean stems; of a data set with splits, only `split` is taken.
        estimates: folders of estimates, one per system; "name=folder" names it.
        input: one more such folder: the separated stems that the systems were to enhance, a second floor.
        layout: pattern of the estimates' files (see `find_files`); None is MUSDB's layout.
        reference_layout: pattern of the references' files.
        split: "train", "valid" or "test".
        stems: compare only these; () is all.
        tracks: compare only these; () is all.

    Raises:
        UserError: a folder or pattern is wrong, two systems have one name, a stem or track is nowhere, or there is
            nothing that can be compared.
    """
    only_stem = stems[0] if len(stems) == 1 else None
    found = reference_files(Path(references), reference_layout, split, only_stem)
    true = System("reference", "ceiling", str(references), {item: (path,) for item, path in found.items()})
    words = [*([input] if input else []), *estimates]
    judged: list[Role] = ["system"] * len(estimates)
    roles: list[Role] = ["input", *judged] if input else judged
    systems = [
        System(name, role, str(folder), _estimates(folder, layout, split, only_stem))
        for role, (name, folder) in zip(roles, _named(words), strict=True)
    ]
    mixture = _mixture(true)
    floors = [mixture] if mixture.files else []
    return select(true, (*floors, *systems), stems=stems, tracks=tracks)


def select(
    references: System, systems: Sequence[System], *, stems: Sequence[str] = (), tracks: Sequence[str] = ()
) -> Comparison:
    """Reduce references and systems to the items that can be compared, and note what is left out.

    Raises:
        UserError: a stem or track that was asked for is nowhere, or nothing is left.
    """
    known = [stem for stem in dict.fromkeys(stem for _, stem in references.files) if stem != MIXTURE]
    for stem in stems:
        _must_be_in(stem, known, "stem")
    for track in tracks:
        _must_be_in(track, sorted({name for name, _ in references.files}), "track")
    judged = [system for system in systems if system.role in ("input", "system")]
    notes = _extra_stems(judged, known)
    items: list[Item] = []
    for stem in stems or known:
        taking_part = [system for system in systems if system.tracks(stem)]
        if not any(system.role in ("input", "system") for system in taking_part):
            notes.append(f"{stem}: left out, no system has it.")
            continue
        for system in judged:
            if system not in taking_part:
                notes.append(f"{system.name}: has no {stem}; it is missing from the tables of that stem.")
        wanted = references.tracks(stem) & (set(tracks) or references.tracks(stem))
        common = wanted.intersection(*(system.tracks(stem) for system in taking_part))
        for system in taking_part:
            if missing := sorted(wanted - system.tracks(stem)):
                notes.append(
                    f"{system.name}: no {stem} of {_some(missing)}; left out for all systems, so that all are "
                    "measured on the same tracks."
                )
        items += [(track, stem) for track in sorted(common)]
    for system in judged:
        if strange := sorted({track for track, _ in system.files} - {track for track, _ in references.files}):
            notes.append(f"{system.name}: {_some(strange)} not among the references; left out.")
    if not items:
        raise UserError(_nothing_in_common(references, judged))
    kept = set(items)
    return Comparison(
        references=_only(references, kept),
        systems=tuple(_only(system, kept) for system in systems if kept & set(system.files)),
        items=tuple(items),
        notes=tuple(notes),
    )


def reference_files(folder: Path, pattern: str | None, split: str, stem: str | None) -> dict[Item, Path]:
    """The clean files of a folder (see `find_files`); those of one split where it is a data set with splits.

    Raises:
        UserError: as `find_files`, or there is no such split.
    """
    if pattern is None and folder.is_dir() and any((folder / name).is_dir() for name in ("train", "valid", "test")):
        if not split_folders(folder).get(split):
            raise UserError(f"{folder}: no {split} tracks in it. Choose another --split.")
        tracks = find_tracks(folder, split)
        return {(track.name, name): path for track in tracks for name, path in track.files.items()}
    return find_files(folder, pattern, stem)


def _estimates(folder: Path, pattern: str | None, split: str, stem: str | None) -> dict[Item, tuple[Path, ...]]:
    """A system's files; those of one split where it has a folder for it."""
    if pattern is None and (folder / split).is_dir():
        folder = folder / split
    return {item: (path,) for item, path in find_files(folder, pattern, stem).items()}


def _mixture(references: System) -> System:
    """The mixture as an answer for every stem: its file, or the sum of a track's stems where there are several."""
    files: dict[Item, tuple[Path, ...]] = {}
    for track in {track for track, _ in references.files}:
        stems = {stem: paths for (other, stem), paths in references.files.items() if other == track}
        whole = stems.pop(MIXTURE, None) or tuple(path for paths in stems.values() for path in paths)
        if len(whole) > 1 or MIXTURE in {stem for other, stem in references.files if other == track}:
            files |= {(track, stem): whole for stem in stems}
    return System(MIXTURE, "floor", "the mixture as it is", files)


def _named(words: Sequence[str]) -> list[tuple[str, Path]]:
    """Names and folders of systems; where two folders have one name, the folder above tells them apart.

    Raises:
        UserError: that does not help, or the name cannot be that of a file.
    """
    named = []
    for word in words:
        name, equals, folder = word.partition("=")
        if equals and not Path(word).exists():
            named.append((name, Path(folder)))
        else:
            path = Path(word).resolve()
            alike = [other for other in words if Path(other).resolve().name == path.name]
            named.append((path.name if len(alike) == 1 else f"{path.name} ({path.parent.name})", Path(word)))
    for name, path in named:
        if [other for other, _ in named].count(name) > 1 or name in RESERVED:
            raise UserError(f"{name}: the name is taken. Give another: my_name={path}")
        if "/" in name or not name or name.startswith("."):
            raise UserError(f"{name}={path}: a name is also that of a file; leave out slashes and a dot in front.")
    return named


def _only(system: System, items: set[Item]) -> System:
    files = {item: paths for item, paths in system.files.items() if item in items}
    return System(system.name, system.role, system.source, files)


def _extra_stems(systems: Sequence[System], known: Sequence[str]) -> list[str]:
    notes = []
    for system in systems:
        extra = sorted({stem for _, stem in system.files} - {*known, MIXTURE})
        if extra:
            notes.append(f"{system.name}: {', '.join(extra)} left out, the references have no such stem.")
    return notes


def _some(names: Sequence[str]) -> str:
    """A few of many names."""
    shown = "; ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def _must_be_in(name: str, known: Sequence[str], what: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"--{what} {name}: no such {what} among the references.{hint}")


def _nothing_in_common(references: System, systems: Sequence[System]) -> str:
    def examples(system: System) -> str:
        return _some([f"{track}/{stem}" for track, stem in system.files])

    others = "; ".join(f"{system.name} has {examples(system)}" for system in systems)
    return (
        f"{references.source}: no track and stem in common. The references have {examples(references)}; {others}. "
        "Rename the folders, or describe them with --layout and --reference-layout."
    )
