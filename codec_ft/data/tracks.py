"""Find the tracks of a data set: folders that hold one audio file per stem.

Three layouts are told apart by themselves:

1. `root/{train,valid,test}/<track>/<stem>.wav` with a folder per split, as the demo set has;
2. `root/{train,test}/<track>/<stem>.wav` without `valid`, as MUSDB18-HQ has. Where `train` holds some of MUSDB's
   14 standard validation tracks, these are `valid`; otherwise a fixed tenth of the tracks is, chosen by a hash
   of their names;
3. `root/<track>/<stem>.wav`, anybody's own folder: a tenth is `valid` and, from ten tracks on, another tenth `test`
   (with fewer, `test` is `valid`). A single track is `train`.

Stems may be wav, flac, ogg or mp3 and have any names; `mixture` is the sum of the stems where there is no such
file. Separated stems, the inputs for enhancement, lie apart in `root/separated/<separator>/<split>/<track>/<stem>.wav`.
"""

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from codec_ft.audio.files import AudioFileError
from codec_ft.errors import UserError

SPLITS = ("train", "valid", "test")
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
SEPARATED = "separated"
ENCODED = "encoded"
"""Folder of a data set that holds what codecs made of it."""
MIXTURE = "mixture"
NOISY = "noisy"
NOISE = "noise"

MUSDB_VALIDATION_TRACKS = (
    "Actions - One Minute Smile",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Johnny Lokke - Promises & Lies",
    "Patrick Talbot - A Reason To Leave",
    "Triviul - Angelsaint",
    "Alexander Ross - Goodbye Bolero",
    "Fergessen - Nos Palpitants",
    "Leaf - Summerghost",
    "Skelpolu - Human Mistakes",
    "Young Griffo - Pennies",
    "ANiMAL - Rockshow",
    "James May - On The Line",
    "Meaxic - Take A Step",
    "Traffic Experiment - Sirens",
)
"""The validation tracks of MUSDB18 and MUSDB18-HQ, as the `musdb` package defines them."""

EXPECTED_TREE = "ROOT/{train,valid,test}/<track>/{mixture,bass,drums,...}.wav, or ROOT/<track>/<stem>.wav"


@dataclass(frozen=True)
class Track:
    """One piece of music.

    Attributes:
        name: the folder's name.
        folder: where its files lie.
        stems: stem name -> file, without the mixture.
        mixture: the mixture's file; None where the mixture is the sum of the stems.
        root: the data set's folder.
        split: "train", "valid" or "test".
    """

    name: str
    folder: Path
    stems: dict[str, Path] = field(hash=False)
    mixture: Path | None
    root: Path
    split: str

    @property
    def files(self) -> dict[str, Path]:
        """All files by name, the mixture (where there is one) first."""
        return ({MIXTURE: self.mixture} if self.mixture else {}) | self.stems

    def paths(self, source: str) -> list[Path]:
        """Files whose sum is `source`, a stem's name or "mixture"; more than one only for a mixture without a file.

        Raises:
            AudioFileError: the track has no such stem.
        """
        if source == MIXTURE:
            return [self.mixture] if self.mixture else list(self.stems.values())
        if source not in self.stems:
            raise AudioFileError.at(self.folder, *missing_stem(source, list(self.stems)))
        return [self.stems[source]]


def missing_stem(stem: str, present: Sequence[str]) -> tuple[str, str]:
    """Say that a stem is missing and what is there instead; and what to do."""
    there = f"there are {', '.join(sorted(present))}" if present else "there are no stems"
    close = difflib.get_close_matches(stem, present, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"no stem {stem} ({there}{hint})", f"Add {stem}.wav, remove the folder, or choose another stem"


def find_tracks(root: Path, split: str, stems: Sequence[str] | None = None) -> list[Track]:
    """Find the tracks of one split, sorted by name.

    Args:
        root: folder of the data set, in one of the layouts above.
        split: "train", "valid" or "test".
        stems: stems that every track must have ("mixture" is always there); None asks for none.

    Raises:
        UserError: there are no tracks (the message shows the tree that is expected), a track lacks one of `stems`,
            or has one stem in two formats.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: no such split. Use one of {', '.join(SPLITS)}.")
    root = Path(root)
    folders = split_folders(root)[split]
    if not folders:
        raise UserError(f"{root}: no {split} tracks. Expected {EXPECTED_TREE}.")
    tracks = [_read_track(folder, root, split) for folder in folders]
    for track in tracks:
        for stem in stems or ():
            track.paths(stem)
    return tracks


def split_folders(root: Path) -> dict[str, list[Path]]:
    """Track folders of every split, sorted by name; a split may be empty, but not all of them.

    Raises:
        UserError: `root` is no folder, or there are no tracks in it at all.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"{root}: no such folder. Give the folder of a data set ({EXPECTED_TREE}), "
            "or make one with: python scripts/prepare_data.py demo"
        )
    if _is_flat(root):
        found = _split_flat(_track_folders(root))
    else:
        found = {split: _track_folders(root / split) for split in SPLITS}
        if not (root / "valid").is_dir():
            found["train"], found["valid"] = _take_valid(found["train"])
    if not any(found.values()):
        raise UserError(f"{root}: no tracks found{_layout_hint(root)}. Expected {EXPECTED_TREE}.")
    return found


def song_tracks(tracks: Sequence[Track], song: str | None) -> list[Track]:
    """The one track that a model is fitted to: the named one, or the first.

    Raises:
        UserError: there is no track of that name.
    """
    if song is None:
        return list(tracks[:1])
    found = [track for track in tracks if track.name == song]
    if not found:
        names = [track.name for track in tracks]
        close = difflib.get_close_matches(song, names, n=3, cutoff=0.4) or sorted(names)[:3]
        where = " or ".join(dict.fromkeys(str(track.root) for track in tracks))
        raise UserError(
            f"data.song={song}: no such {tracks[0].split} track in {where}. Did you mean {', '.join(close)}?"
        )
    return found[:1]


def separated_path(root: Path, separator: str, split: str, track: str, stem: str) -> Path:
    """Find a separated stem: `root/separated/<separator>/<split>/<track>/<stem>` in any audio format.

    Where the data set has no `valid` folder of its own, a validation track's separated stems may lie under `train`
    as well; where it has no splits at all, under any split or directly in `separated/<separator>/<track>`.

    Raises:
        UserError: there is none of this separator at all.
        AudioFileError: there is none of this track and stem.
    """
    root = Path(root)
    base = root / SEPARATED / separator
    if not base.is_dir():
        there = sorted(p.name for p in (root / SEPARATED).glob("*") if p.is_dir())
        have = f"there are {', '.join(there)}" if there else "there are none"
        raise UserError(
            f"{base}: no separated stems of {separator} ({have}). "
            f"Make them: python scripts/prepare_data.py separate --with ...; or choose another input."
        )
    candidates = [base / split]
    if _is_flat(root):
        candidates += [base / other for other in SPLITS if other != split] + [base]
    elif split == "valid" and not (root / "valid").is_dir():
        candidates.append(base / "train")
    for candidate in candidates:
        for suffix in AUDIO_SUFFIXES:
            path = candidate / track / (stem + suffix)
            if path.is_file():
                return path
    raise AudioFileError.at(
        base / split / track / f"{stem}.wav", "no such separated stem", "Run the separator on this track"
    )


def context_names(context: Sequence[str]) -> dict[str, str]:
    """What samples and tables call the inputs that are heard beside the first: name -> input.

    The mixture is called "mixture", the others "context", "context_2", and so on.
    """
    others = [source for source in context if source != MIXTURE]
    called = {source: "context" if i == 0 else f"context_{i + 1}" for i, source in enumerate(others)}
    return {called.get(source, MIXTURE): source for source in context}


def input_paths(track: Track, stem: str, source: str) -> list[Path]:
    """Files whose sum is the input of a pair.

    Args:
        track: the track.
        stem: the target.
        source: "mixture"; "target" for the target itself; "separated/<separator>" for what a separator made of it;
            "noisy" for the target with white noise, which needs the target's file; or "noise" alone, which needs none.

    Raises:
        UserError: `source` is none of these.
        AudioFileError: the files are not there.
    """
    if source == MIXTURE:
        return track.paths(MIXTURE)
    if source == NOISE:
        return []
    if source in ("target", NOISY):
        return track.paths(stem)
    kind, _, separator = source.partition("/")
    if kind != SEPARATED or not separator:
        raise UserError(
            f"input={source}: no such input. Use mixture, target, {NOISY}, {NOISE} or {SEPARATED}/<separator>."
        )
    return [separated_path(track.root, separator, track.split, track.name, stem)]


def _read_track(folder: Path, root: Path, split: str) -> Track:
    files: dict[str, Path] = {}
    for path in _audio_files(folder):
        stem = path.stem.lower()
        if stem in files:
            raise UserError(f"{folder}: {stem} is there twice, {files[stem].name} and {path.name}. Remove one of them.")
        files[stem] = path
    mixture = files.pop(MIXTURE, None)
    return Track(folder.name, folder, files, mixture, root, split)


def _audio_files(folder: Path) -> list[Path]:
    """Audio files directly in `folder`; hidden ones (unfinished, or other systems' leftovers) are not looked at."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in AUDIO_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _track_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir()
        and not path.name.startswith(".")
        and path.name not in (SEPARATED, ENCODED)
        and _audio_files(path)
    )


def _is_flat(root: Path) -> bool:
    """Whether `root` has no folder per split. A folder named `test` that holds audio and no tracks is a track."""
    return not any(
        (root / split).is_dir() and (_track_folders(root / split) or not _audio_files(root / split)) for split in SPLITS
    )


def _by_hash(folders: list[Path]) -> list[Path]:
    return sorted(folders, key=lambda folder: hashlib.sha256(folder.name.encode()).digest())


def _tenth(folders: list[Path]) -> int:
    return max(1, round(len(folders) / 10))


def _take_valid(train: list[Path]) -> tuple[list[Path], list[Path]]:
    valid = [folder for folder in train if folder.name in MUSDB_VALIDATION_TRACKS]
    if not valid and len(train) > 1:
        valid = sorted(_by_hash(train)[: _tenth(train)])
    return [folder for folder in train if folder not in valid], valid


def _split_flat(folders: list[Path]) -> dict[str, list[Path]]:
    train, valid = _take_valid(folders)
    if len(folders) < 10:
        return {"train": train, "valid": valid, "test": valid}
    test = sorted(_by_hash(train)[: _tenth(folders)])
    return {"train": [folder for folder in train if folder not in test], "valid": valid, "test": test}


def _layout_hint(root: Path) -> str:
    """Name the likely slip: the folder above or below the right one was given."""
    for child in sorted(root.iterdir()):
        if child.is_dir() and any((child / split).is_dir() for split in SPLITS):
            return f" (did you mean {child}?)"
    if _audio_files(root):
        return f" (this looks like a single track: give the folder above it, {root.resolve().parent})"
    return ""
