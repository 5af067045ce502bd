"""Checkpoints of other programs, read without running what is in them.

The files are pickles, which can make Python run anything. Torch reads them with `weights_only`, which builds tensors
and plain containers and refuses everything else.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec_ft.errors import UserError

OLD_NAMES = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""What newer versions of torch call the lengths and directions of weight norm, and what they were called before."""


def read_pickle(path: Path) -> Mapping[Any, Any]:
    """What a file holds; anything but a mapping comes as one from the name of its type.

    Raises:
        UserError: the file cannot be read, is broken, or wants to run code.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable or copy it elsewhere.") from error
    except Exception as error:  # every kind of file that is no checkpoint fails in its own way
        # Torch explains at length how one could let the file do what it wants.
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path}: wants to run {wanted[1]} when it is unpickled. Nothing of it was run, and it was not read: a "
                "checkpoint of weights holds tensors and numbers only. Fetch it from its authors."
            ) from error
        if "data.pkl" in str(error):
            raise UserError(
                f"{path}: is a torch package, which holds code. Give the weights.pth that was saved beside it."
            ) from error
        raise UserError(
            f"{path}: is broken, cut short, or no checkpoint at all. Delete it, and copy or fetch it again."
        ) from error
    return content if isinstance(content, Mapping) else {type(content).__name__: content}


def named_tensors(content: Any) -> dict[str, Tensor]:
    """The tensors of a mapping by name, float32, with weight norm in its old notation; none if it has other things."""
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        return {}
    return {_old_name(name): value.float() for name, value in content.items()}


def _old_name(name: str) -> str:
    for new, old in OLD_NAMES.items():
        name = name.replace(new, old)
    return name
