"""Audio files by split, track and stem, in whatever layout a pattern describes: other programs have their own."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codec_ft.data.tracks import AUDIO_SUFFIXES, SPLITS
from codec_ft.errors import UserError

MUSDB_LAYOUT = "{track}/{stem}.wav"
PIECES = {
    "{split}": f"(?P<split>{'|'.join(SPLITS)})",
    # Where both are in one name the stem's is the shorter one: songs have all kinds of names.
    "{track}": "(?P<track>[^/]+)",
    "{stem}": "(?P<stem>[^/]+?)",
    "*": "[^/]*",
}


@dataclass(frozen=True)
class NamedFile:
    """An audio file and what its path says about it.

    Attributes:
        split: "" where the layout has none.
        track: the track's name, with accents spelt in one way.
        stem: in lower case.
        path: the file.
    """

    split: str
    track: str
    stem: str
    path: Path


def find_named(folder: Path, patterns: Sequence[str], stem: str | None = None) -> list[NamedFile]:
    """The audio files below `folder` that fit one of some patterns, sorted by path.

    Args:
        folder: where to look; hidden files are not looked at.
        patterns: paths below `folder` with `{track}`, `{stem}` and perhaps `{split}`, such as "{stem}/{track}.wav" or
            "{track}_{stem}"; `*` stands for anything within a name, and without a suffix any audio format will do.
        stem: the stem of all files where a pattern has no `{stem}`.

    Raises:
        UserError: there is no such folder, a pattern cannot work, no file fits, or two files are the same stem of
            the same track.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give a folder of audio files, such as <track>/<stem>.wav.")
    expressions = [_expression(pattern, stem) for pattern in patterns]
    found: dict[tuple[str, str, str], NamedFile] = {}
    example = None
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        relative = path.relative_to(folder).as_posix()
        example = example or relative
        match = next((match for expression in expressions if (match := expression.fullmatch(relative))), None)
        if match is None:
            continue
        parts = match.groupdict(default="")
        file = NamedFile(
            split=parts.get("split", ""),
            track=plain_name(parts["track"]),
            stem=plain_name(parts.get("stem") or stem or "").lower(),
            path=path,
        )
        other = found.setdefault((file.split, file.track, file.stem), file)
        if other is not file:
            raise UserError(f"{path}: {file.stem} of {file.track} is there twice, as {other.path}, too. Remove one.")
    if not found:
        there = f"there is {example}" if example else f"there are no audio files ({', '.join(AUDIO_SUFFIXES)})"
        raise UserError(
            f"{folder}: no file fits {' or '.join(patterns)}; {there}. "
            'Describe the files with --layout, such as --layout "{stem}/{track}.wav".'
        )
    return list(found.values())


def plain_name(name: str) -> str:
    """A name as it is compared: file systems spell accents in two ways."""
    return unicodedata.normalize("NFC", name)


def _expression(pattern: str, stem: str | None) -> re.Pattern[str]:
    """A pattern as a regular expression over relative paths.

    Raises:
        UserError: a placeholder is unknown, missing, or there twice.
    """
    unknown = [word for word in re.findall(r"\{[^}]*\}", pattern) if word not in PIECES]
    twice = [word for word in PIECES if word != "*" and pattern.count(word) > 1]
    absent = [word for word in ("{track}", *(() if stem else ("{stem}",))) if word not in pattern]
    if wrong := [*unknown, *twice, *absent]:
        problem = "is missing" if wrong[0] in absent else "cannot be used" if wrong[0] in unknown else "is there twice"
        raise UserError(f"--layout {pattern}: {wrong[0]} {problem}. A layout looks like {MUSDB_LAYOUT}")
    words = re.split(r"(\{split\}|\{track\}|\{stem\}|\*)", pattern)
    text = "".join(PIECES.get(word, re.escape(word)) for word in words)
    return re.compile(text if Path(pattern).suffix.lower() in AUDIO_SUFFIXES else text + r"\.[^./]+")
