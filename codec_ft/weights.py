"""Weights in safetensors files, which can run no code, put into modules that they must fit exactly."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from codec_ft.atomic import atomic_path
from codec_ft.errors import UserError


def save_weights(module: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a module's parameters as `dtype`, and its buffers as they are.

    Buffers are constants such as the frequencies of positions, which half precision would put out of tune.
    """
    parameters = {name for name, _ in module.named_parameters()}
    state = {
        name: (value.to(dtype) if name in parameters else value).contiguous().cpu()
        for name, value in module.state_dict().items()
    }
    with atomic_path(path) as temporary:
        temporary.touch()  # with the rights of any new file; safetensors would give none to anybody else
        rights = temporary.stat().st_mode
        save_file(state, temporary, metadata={"format": "pt"})
        temporary.chmod(rights)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read a module's weights, in the precision that the module has.

    Raises:
        UserError: the file is missing or broken, or a weight is missing, extra or of another shape.
    """
    if not path.is_file():
        raise UserError(f"{path.parent}: {path.name} is missing; copy it there.")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise UserError(f"{path}: broken or cut short ({error}); copy it again.") from error
    expected = module.state_dict()
    wrong = [
        *(f"{name} is missing" for name in sorted(expected.keys() - state.keys())),
        *(f"{name} is not part of the network" for name in sorted(state.keys() - expected.keys())),
        *(f"{n} has another shape" for n in sorted(expected) if n in state and state[n].shape != expected[n].shape),
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" * (len(wrong) > 1)
        raise UserError(f"{path}: the weights do not fit the config: {wrong[0]}{more}.")
    module.load_state_dict({name: value.to(expected[name].dtype) for name, value in state.items()})
