"""Names that may stand in a file name, a URL, an HTML attribute and a database."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

LONGEST = 40


def slug(text: str) -> str:
    """Lower-case ASCII letters, digits and hyphens that remind of `text`; "x" where nothing is left of it."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:LONGEST].strip("-") or "x"


def slugs(names: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """A slug for each name; those that would be equal, or one of `reserved`, get a number."""
    taken = set(reserved)
    found: dict[str, str] = {}
    for name in names:
        base = candidate = slug(name)
        number = 2
        while candidate in taken:
            candidate = f"{base}-{number}"
            number += 1
        taken.add(candidate)
        found[name] = candidate
    return found


def blind(*words: str) -> str:
    """Ten hexadecimal digits that tell nothing of `words` to who reads them."""
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:10]
