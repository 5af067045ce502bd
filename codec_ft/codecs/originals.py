"""Checkpoints of the packages that codecs were published with, read into the models here without running their code."""

import re
from pathlib import Path

import torch
from torch import Tensor
from transformers import EncodecConfig

from codec_ft.codecs.cache import sha256_of
from codec_ft.codecs.models import CodecConfig, CodecModel, build_model
from codec_ft.codecs.original_names import original_names
from codec_ft.codecs.original_sizes import dac_config, encodec_config
from codec_ft.errors import UserError
from codec_ft.pickles import named_tensors, read_pickle


def read_original(path: Path) -> CodecModel:
    """Read a checkpoint of `encodec` (`*.th`), `descript-audio-codec` or `lac` (`*.pth`); its content tells which.

    The architecture of a DAC or LAC is in its file. That of an EnCodec is read off the shapes of its tensors, as far
    as they tell (see `encodec_config`).

    Raises:
        UserError: the file is broken, holds something else, wants to run code, or its tensors are not those of the
            model whose size it claims; or its name holds a hash that it has not.
    """
    _check_hash_in_name(path)
    content = read_pickle(path)
    with_metadata = "state_dict" in content and "metadata" in content
    state = named_tensors(content["state_dict"] if with_metadata else content)
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
