"""A tiny fine-tuning: mixture -> bass; and a codec of another kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import tiny_dac

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.task import FinetuneTask


@pytest.fixture
def make_task(tiny_codec: EncodecCodec, tiny_codec_folder: Path, tiny_set: Path) -> Callable[..., FinetuneTask]:
    """Makes the trainer of a tiny fine-tuning; keywords change its configuration."""

    def make(**changes: Any) -> FinetuneTask:
        data = {"root": tiny_set, "seconds": 0.5, "valid_seconds": 1.0, "report_split": "test", "report_seconds": 2.0}
        settings = {"id": "tiny", "codec": str(tiny_codec_folder), "data": data, **changes}
        torch.manual_seed(1)
        return FinetuneTask(FinetuneConfig.model_validate(settings), tiny_codec)

    return make


@pytest.fixture
def lively_task(make_task: Callable[..., FinetuneTask]) -> Callable[..., FinetuneTask]:
    """The same, with a warm encoder that is no longer the codec's own."""

    def make(**changes: Any) -> FinetuneTask:
        task = make_task(**changes)
        with torch.no_grad():
            for parameter in task.step.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
        task.step.eval()
        return task

    return make


@pytest.fixture
def dac() -> DacCodec:
    """A tiny DAC with random weights (K=3, V=16, codes of two numbers, hop 20 at 8 kHz)."""
    return DacCodec(tiny_dac(), "dac")
