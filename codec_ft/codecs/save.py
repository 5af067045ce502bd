"""Writing codecs in transformers' format."""

import copy
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import DacModel, EncodecModel

from codec_ft.atomic import atomic_path
from codec_ft.codecs.base import fold_weight_norm

# Moving averages that only the learning of codebooks needs; they would weigh more than a small encoder.
LEARNING_ONLY = ("embed_avg", "cluster_size")


def save_model(model: EncodecModel | DacModel, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write `config.json` and `model.safetensors` with weights stored as `dtype`.

    As transformers expects it, EnCodec's weights are written as its weight norm has them, and DAC's with theirs folded.
    """
    if isinstance(model, DacModel):
        model = copy.deepcopy(model)
        fold_weight_norm(model)
    state = {
        name: value.to(dtype).contiguous().cpu()
        for name, value in model.state_dict().items()
        if not name.endswith(LEARNING_ONLY)
    }
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
    with atomic_path(folder / "config.json") as temporary:
        temporary.write_text(model.config.to_json_string(use_diff=False))
