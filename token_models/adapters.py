"""Low-rank adapters (Hu et al., 2022) for fine-tuning token models: few weights learn, and change little."""

from types import ModuleType

from torch import nn

from codec_ft.errors import UserError
from token_models.model import TokenModel

ADAPTED = ["to_q", "to_v", "to_out", "ff.0.proj", "ff.2"]
"""Ends of the names of the layers that get adapters: the linear ones of the transformer but the keys (VampNet)."""


def add_adapters(model: TokenModel, rank: int, alpha: float) -> None:
    """Give a model new adapters, in place, which are all that learns from then on.

    They change nothing until they are trained: of each, `B` is zero and `A` random.

    Args:
        model: whose layers are adapted.
        rank: of the change of each layer's weight, `B @ A * alpha / rank`.
        alpha: see `rank`.

    Raises:
        UserError: peft is not installed.
    """
    peft = require_peft()
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=ADAPTED)
    peft.inject_adapter_in_model(config, model)


def merge_adapters(model: TokenModel) -> None:
    """Add a model's adapters to its weights, in place: it is a plain `TokenModel` again, and all of it learns.

    Raises:
        UserError: peft is not installed.
    """
    require_peft()
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            assert isinstance(module, nn.Module)
            module.merge()
            model.set_submodule(name, module.get_base_layer())
    model.requires_grad_(True)


def require_peft() -> ModuleType:
    """The library of adapters, which is needed for fine-tuning them only.

    Raises:
        UserError: it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise UserError(
            'adapters need peft, which is not installed: pip install "peft>=0.17", or do without adapters.'
        ) from error
    return peft
