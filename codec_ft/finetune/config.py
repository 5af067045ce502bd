"""The options of fine-tuning a codec's encoder."""

from typing import Literal

from pydantic import Field

from codec_ft.codecs.base import EncoderStart
from codec_ft.training.config import ExperimentConfig


class FinetuneConfig(ExperimentConfig):
    """A warm encoder that learns to hear one stem (thesis, sections 6.2 and 6.3)."""

    task: Literal["finetune"] = "finetune"
    codec: str = Field("demo", description="name or folder of the frozen codec")
    input: str = Field("mixture", description="what the warm encoder hears: mixture, or separated/<separator>")
    start: EncoderStart = Field("pretrained", description="weights the warm encoder starts from")
    target: Literal["latents", "quantized"] = Field(
        "latents", description="the clean stem's latents before or after quantisation (thesis 6.2.1, loss a)"
    )
    decode: Literal["codes", "latents"] = Field(
        "codes", description="what the output is decoded from: the warm encoder's codes, or its latents unquantised"
    )
