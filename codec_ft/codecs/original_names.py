"""How the packages of the authors name the tensors of their codecs, and how the models here do."""

from transformers import EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConvTranspose1d

from codec_ft.codecs.lac import DILATIONS, KERNEL_SIZES, LacConfig
from codec_ft.codecs.models import CodecModel

RESIDUAL_UNIT = ("snake1", "conv1", "snake2", "conv2")
"""The modules of a residual unit, which the originals number from 0."""


def original_names(model: CodecModel) -> dict[str, str]:
    """For each tensor of `model.state_dict()` its name in a file of the original package."""
    if isinstance(model, EncodecModel):
        return {name: _encodec_name(model, name) for name in model.state_dict()}
    modules = _dac_modules(model)
    names = {}
    for name in model.state_dict():
        module, _, tensor = name.rpartition(".")
        names[name] = f"{modules.get(module, module)}.{tensor}"  # the quantiser's modules have the same names
    return names


def _encodec_name(model: EncodecModel, name: str) -> str:
    """`encoder.layers.0.conv.bias` is `encoder.model.0.conv.conv.bias`: a convolution, its norm and its padding."""
    if name.startswith("quantizer."):
        return name.replace("quantizer.", "quantizer.vq.").replace(".codebook.", "._codebook.")
    name = name.replace("parametrizations.weight.original0", "weight_g")
    name = name.replace("parametrizations.weight.original1", "weight_v")
    module, tensor = name.rsplit(".", 2)[0], name.rsplit(".", 2)[1:]
    if tensor[0] in ("conv", "norm"):
        transposed = isinstance(model.get_submodule(module), EncodecConvTranspose1d)
        kind = "convtr" if transposed else "conv"
        tensor = [kind, kind if tensor[0] == "conv" else "norm", tensor[1]]
    return ".".join([module.replace(".layers.", ".model."), *tensor])


def _dac_modules(model: CodecModel) -> dict[str, str]:
    """The modules of the encoder and decoder of DAC and LAC: here they have names, there numbers."""
    down, up = len(model.config.downsampling_ratios), len(model.config.upsampling_ratios)
    modules = {
        "encoder.conv1": "encoder.block.0",
        "encoder.snake1": f"encoder.block.{down + 1}",
        "encoder.conv2": f"encoder.block.{down + 2}",
        "decoder.conv1": "decoder.model.0",
        "decoder.snake1": f"decoder.model.{up + 1}",
        "decoder.conv2": f"decoder.model.{up + 2}",
    }
    for i in range(down):
        here, there = f"encoder.block.{i}", f"encoder.block.{i + 1}.block"
        for unit in range(3):
            modules |= _unit(f"{here}.res_unit{unit + 1}", f"{there}.{unit}.block")
        modules |= {f"{here}.snake1": f"{there}.3", f"{here}.conv1": f"{there}.4"}
    for i in range(up):
        here, there = f"decoder.block.{i}", f"decoder.model.{i + 1}.block"
        modules |= {f"{here}.snake1": f"{there}.0", f"{here}.conv_t1": f"{there}.1"}
        if isinstance(model.config, LacConfig):
            for stack in range(len(KERNEL_SIZES)):
                for layer in range(len(DILATIONS)):
                    modules |= _unit(
                        f"{here}.fusion.stacks.{stack}.{layer}", f"{there}.2.mrf_blocks.{stack}.block.{layer}.layer"
                    )
        else:
            for unit in range(3):
                modules |= _unit(f"{here}.res_unit{unit + 1}", f"{there}.{unit + 2}.block")
    return modules


def _unit(here: str, there: str) -> dict[str, str]:
    return {f"{here}.{module}": f"{there}.{number}" for number, module in enumerate(RESIDUAL_UNIT)}
