"""Checkpoints of the packages that codecs were published with, read into the models here without running their code.

The files are pickles, which can make Python run anything. Torch reads them with `weights_only`, which builds tensors
and plain containers and refuses everything else.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import EncodecConfig

from codec_ft.codecs.cache import sha256_of
from codec_ft.codecs.models import CodecConfig, CodecModel, build_model
from codec_ft.codecs.original_names import original_names
from codec_ft.codecs.original_sizes import dac_config, encodec_config
from codec_ft.errors import UserError


def read_original(path: Path) -> CodecModel:
    """Read a checkpoint of `encodec` (`*.th`), `descript-audio-codec` or `lac` (`*.pth`); its content tells which.

    The architecture of a DAC or LAC is in its file. That of an EnCodec is read off the shapes of its tensors, as far
    as they tell (see `encodec_config`).

    Raises:
        UserError: the file is broken, holds something else, wants to run code, or its tensors are not those of the
            model whose size it claims; or its name holds a hash that it has not.
    """
    _check_hash_in_name(path)
    content = _unpickle(path)
    with_metadata = "state_dict" in content and "metadata" in content
    state = _tensors(content["state_dict"] if with_metadata else content)
    config: CodecConfig
    if "encoder.model.0.conv.conv.bias" in state:
        config = encodec_config(state, path)
    elif with_metadata and "encoder.block.0.bias" in state:
        config = dac_config(content["metadata"], is_lac=any(".mrf_blocks." in name for name in state), path=path)
    else:
        held = ", ".join(str(name) for name in list(state or content)[:3])
        raise UserError(f"{path}: holds {held or 'nothing'}, not the tensors of an EnCodec, DAC or LAC.")
    # Of EnCodec, buffers that are in no file must be made; DAC and LAC would only draw weights to throw away.
    device = torch.device("cpu" if isinstance(config, EncodecConfig) else "meta")
    try:
        with device:
            model = build_model(config)
    except (ValueError, RuntimeError) as error:  # as for channels that cannot be halved so often
        raise UserError(f"{path}: no codec can have the size that it gives: {' '.join(str(error).split())}") from error
    _fill(model, state, path)
    return model


def _check_hash_in_name(path: Path) -> None:
    """The authors of EnCodec put the first digits of the SHA-256 of a file into its name."""
    claimed = re.search(r"-([0-9a-f]{8,64})\.th$", path.name)
    if claimed and not (found := sha256_of(path)).startswith(claimed[1]):
        raise UserError(
            f"{path}: has SHA-256 {found}, which does not begin with {claimed[1]} as its name says: it is damaged, or "
            "another file. Delete it and fetch it again."
        )


def _unpickle(path: Path) -> Mapping[Any, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except PermissionError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); make it readable or copy it elsewhere.") from error
    except Exception as error:  # every kind of file that is no checkpoint fails in its own way
        # Torch explains at length how one could let the file do what it wants.
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise UserError(
                f"{path}: wants to run {wanted[1]} when it is unpickled. Nothing of it was run, and it was not read: "
                "the checkpoint of a codec holds tensors only. Fetch it from its authors."
            ) from error
        if "data.pkl" in str(error):
            raise UserError(
                f"{path}: is a torch package, which holds code. Give the weights.pth that was saved beside it."
            ) from error
        raise UserError(
            f"{path}: is broken, cut short, or no checkpoint at all. Delete it, and copy or fetch it again."
        ) from error
    return content if isinstance(content, Mapping) else {type(content).__name__: content}


def _tensors(content: Any) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, with weight norm in its old notation; none if it has other things."""
    if not isinstance(content, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        return {}
    state = {}
    for name, value in content.items():
        name = name.replace("parametrizations.weight.original0", "weight_g")
        state[name.replace("parametrizations.weight.original1", "weight_v")] = value.float()
    return state


def _fill(model: CodecModel, state: dict[str, Tensor], path: Path) -> None:
    """Give `model` the tensors of an original, all of them and no others.

    Raises:
        UserError: one is missing, too many, or has another shape; the first one is named.
    """
    names = original_names(model)
    for name in names.values():
        directions, lengths = state.get(f"{name}_v"), state.get(f"{name}_g")
        if name in state or directions is None or lengths is None:
            continue
        if directions.dim() == 3 and lengths.shape == directions[:, :1, :1].shape:
            # As torch itself folds weight norm, so that no bit differs.
            state[name] = torch._weight_norm(directions, lengths, 0)
            del state[f"{name}_v"], state[f"{name}_g"]
    shapes = {names[name]: value.shape for name, value in model.state_dict().items()}
    wrong = [
        *(f"{name} is missing" for name in shapes if name not in state),
        *(f"{name} is not part of the model" for name in state if name not in shapes),
        *(
            f"{name} has shape {list(state[name].shape)}, expected {list(shape)}"
            for name, shape in shapes.items()
            if name in state and state[name].shape != shape
        ),
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(
            f"{path}: its tensors do not make up a codec of the size that it gives: {wrong[0]}{more}. "
            "Delete it, and copy or fetch it again."
        )
    model.load_state_dict({name: state[original] for name, original in names.items()}, assign=True)
