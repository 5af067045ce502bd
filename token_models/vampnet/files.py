"""VampNet's models as they lie together: the published ones, or a folder of files."""

from collections.abc import Iterable
from pathlib import Path

from codec_ft.codecs.base import Codec
from token_models.vampnet.load import VampnetModel, load_vampnet

VAMPNET = "vampnet"
"""What stands for the published models, and for the codec whose codes they know."""
FILES = {"coarse": "coarse.pth", "fine": "c2f.pth"}
"""Their files in a folder, by what the models are called here."""
CODEC_FILE = "codec.pth"
"""The file of their codec."""


def is_vampnet(name_or_folder: str) -> bool:
    """Whether this stands for models of VampNet."""
    return name_or_folder == VAMPNET or (Path(name_or_folder).expanduser() / FILES["coarse"]).is_file()


def load_vampnets(
    name_or_folder: str, codec: Codec, names: Iterable[str] = FILES, lora: str | Path | None = None
) -> dict[str, VampnetModel]:
    """Models of VampNet by name, "coarse" and "fine".

    Args:
        name_or_folder: `vampnet` for the published ones, or a folder with their files.
        codec: VampNet's.
        names: which of the two.
        lora: a folder with files of adapters, named alike, which are merged.

    Raises:
        UserError: as of `load_vampnet`.
    """
    found = {}
    for name in names:
        file = Path(FILES[name])
        what = file.stem if name_or_folder == VAMPNET else Path(name_or_folder).expanduser() / file
        found[name] = load_vampnet(what, codec, Path(lora).expanduser() / file if lora else None)
    return found
