"""VampNet's checkpoints, read without running what is in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from codec_ft.errors import UserError
from codec_ft.pickles import named_tensors, read_pickle


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: the file.
        tensors: by the names they have there, in float32.
        arguments: what the model was built with; None in a file of tensors alone, as adapters are published.
    """

    path: Path
    tensors: dict[str, Tensor]
    arguments: Mapping[Any, Any] | None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read `{"state_dict", "metadata": {"kwargs"}}`, or tensors alone.

    Raises:
        UserError: the file is missing or broken, holds something else, wants to run code, or has tensors with NaN or
            infinite numbers.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file. Give that of a VampNet model, or coarse or c2f by name.")
    content = read_pickle(path)
    with_arguments = "state_dict" in content
    tensors = named_tensors(content["state_dict"] if with_arguments else content)
    if not tensors:
        held = ", ".join(str(name) for name in list(content)[:3])
        raise UserError(
            f"{path}: holds {held or 'nothing'}, not the tensors of a VampNet. Give a coarse.pth or c2f.pth."
        )
    if bad := next((name for name, value in tensors.items() if not bool(value.isfinite().all())), None):
        raise UserError(f"{path}: {bad} holds NaN or infinite numbers. Fetch the file again.")
    arguments = None
    if with_arguments:
        metadata = content.get("metadata")
        arguments = metadata.get("kwargs") if isinstance(metadata, Mapping) else None
        if not isinstance(arguments, Mapping):
            raise UserError(f"{path}: metadata.kwargs, which tell the size of the model, are missing. Fetch it again.")
    return Checkpoint(path, tensors, arguments)
