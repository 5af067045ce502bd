"""Find the audio files of a folder by track and stem, in MUSDB's layout or any other that a pattern describes."""

import re
import unicodedata
from pathlib import Path

from codec_ft.data.tracks import AUDIO_SUFFIXES, SEPARATED, SPLITS
from codec_ft.errors import UserError

Item = tuple[str, str]
"""A track's name and a stem's name: what is compared with what."""

PLACEHOLDERS = ("{track}", "{stem}")


def find_files(folder: Path, pattern: str | None = None, stem: str | None = None) -> dict[Item, Path]:
    """The audio files of `folder` by track and stem, sorted by track.

    Args:
        folder: where to look.
        pattern: a path below `folder` with `{track}` and `{stem}`, such as "{stem}/{track}.wav" or "{track}_{stem}";
            `*` stands for anything within a name, and without a suffix any audio format will do. None is MUSDB's
            layout, "{track}/{stem}", with or without a folder per split above the tracks.
        stem: the stem of all files where the pattern has no `{stem}`.

    Raises:
        UserError: there is no such folder, the pattern cannot work, nothing is found, or an item is found twice.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Give a folder of audio files, such as <track>/<stem>.wav.")
    expressions = [_expression(pattern, stem)] if pattern else _musdb_expressions()
    found: dict[Item, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in AUDIO_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        match = _first_match(expressions, path.relative_to(folder).as_posix())
        if match is None:
            continue
        # File systems spell accents in two ways; the same song must have the same name in both.
        item = (_normal(match["track"]), _normal(match.groupdict().get("stem") or stem or "").lower())
        if item in found:
            raise UserError(
                f"{path}: track {item[0]}, stem {item[1]} is there twice, the other is {found[item]}. "
                "Remove one, or give the folder of one split."
            )
        found[item] = path
    if not found:
        raise UserError(f"{folder}: {_nothing(folder, pattern)}")
    return dict(sorted(found.items()))


def _musdb_expressions() -> list[re.Pattern[str]]:
    """`<track>/<stem>.wav` and `<split>/<track>/<stem>.wav`; what lies in a data set's `separated` is no track."""
    splits, name = "|".join(SPLITS), r"[^/]+"
    return [
        re.compile(rf"(?!{SEPARATED}/)(?P<track>{name})/(?P<stem>{name})\.[^./]+"),
        re.compile(rf"(?:{splits})/(?P<track>{name})/(?P<stem>{name})\.[^./]+"),
    ]


def _expression(pattern: str, stem: str | None) -> re.Pattern[str]:
    """The pattern as a regular expression over relative paths.

    Raises:
        UserError: a placeholder is unknown, missing, or there twice.
    """
    unknown = [word for word in re.findall(r"\{[^}]*\}", pattern) if word not in PLACEHOLDERS]
    wrong = [word for word in PLACEHOLDERS if pattern.count(word) > 1]
    if unknown or wrong:
        raise UserError(
            f"layout {pattern}: {(unknown or wrong)[0]} cannot be used. Use {{track}} and {{stem}}, each once."
        )
    if "{track}" not in pattern or ("{stem}" not in pattern and stem is None):
        raise UserError(
            f"layout {pattern}: it must hold {{track}} and {{stem}}, such as {{track}}/{{stem}}.wav; "
            "without {stem}, choose one stem with --stem."
        )
    pieces = {"{track}": r"(?P<track>[^/]+?)", "{stem}": r"(?P<stem>[^/]+?)", "*": r"[^/]*"}
    words = re.split(r"(\{track\}|\{stem\}|\*)", pattern)
    text = "".join(pieces.get(word, re.escape(word)) for word in words)
    has_suffix = Path(pattern).suffix.lower() in AUDIO_SUFFIXES
    return re.compile(text if has_suffix else text + r"\.[^./]+")


def _first_match(expressions: list[re.Pattern[str]], path: str) -> re.Match[str] | None:
    return next((match for expression in expressions if (match := expression.fullmatch(path))), None)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _nothing(folder: Path, pattern: str | None) -> str:
    """Say that nothing was found, and show a file that is there."""
    others = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in AUDIO_SUFFIXES)
    example = next(others, None)
    wanted = pattern or "<track>/<stem>.wav, with or without train/, valid/ or test/ above"
    if example is None:
        return f"there are no audio files ({', '.join(AUDIO_SUFFIXES)}) in it. Expected {wanted}."
    return (
        f"no file fits {wanted}; there is {example.relative_to(folder).as_posix()}. "
        'Describe the files with a pattern, such as --layout "{stem}/{track}.wav".'
    )
