"""What a trained model is, apart from its training: a `config.json` beside its weights."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from codec_ft.atomic import atomic_path
from codec_ft.config import Config
from codec_ft.errors import UserError

CONFIG = "config.json"
"""The file, in the folder of a model."""

Facts = TypeVar("Facts", bound=Config)


def write_facts(facts: Config, folder: Path) -> None:
    """Write them into a folder, in full or not at all."""
    with atomic_path(folder / CONFIG) as temporary:
        temporary.write_text(json.dumps(facts.model_dump(), indent=1) + "\n")


def load_facts(schema: type[Facts], folder: Path, what: str) -> Facts:
    """Read what `write_facts` wrote.

    Args:
        schema: of the facts.
        folder: where they lie.
        what: they are of, in words, as "an enhancer".

    Raises:
        UserError: the file is not there, broken, or of something else.
    """
    with told_of(folder, what):
        return schema.model_validate_json((folder / CONFIG).read_bytes())


@contextmanager
def told_of(folder: Path, what: str) -> Iterator[None]:
    """Say of which file it is if facts are not what they should be.

    Raises:
        UserError: in place of what pydantic or the system says.
    """
    try:
        yield
    except (ValidationError, OSError) as error:
        problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        where = ".".join(map(str, problem["loc"]))
        raise UserError(f"{folder / CONFIG}: is not the config of {what}: {where} {problem['msg']}.") from error
