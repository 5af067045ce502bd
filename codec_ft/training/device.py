"""The accelerator, with the choices that every trainer here shares."""

import logging

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, parse_flag_from_env

from codec_ft.training.config import TrainConfig

log = logging.getLogger(__name__)


def make_accelerator(config: TrainConfig) -> Accelerator:
    """The accelerator of this process; what `accelerate launch` was told holds where the config says nothing.

    Mixed precision is for GPUs: on a CPU without bf16 arithmetic it is tens of times slower than float32, so there
    it is left out, with a word about it.
    """
    precision: str | None = None if config.mixed_precision == "no" else config.mixed_precision
    if not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"):
        if precision:
            log.warning("train.mixed_precision=%s is left out: the training does not run on a GPU", precision)
        precision = "no"
    # Adversarial steps run two forwards before a backward, which buffers broadcast in between would break.
    return Accelerator(
        mixed_precision=precision, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)]
    )
