"""Enhancers that several tests need, without a training: networks whose weights were shaken a little."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from codec_ft.codecs.load import load_codec
from codec_ft.config import save_yaml
from codec_ft.finetune.enhancer import Enhancer
from codec_ft.finetune.save import EnhancerFacts, save_enhancer
from codec_ft.training.config import ExperimentConfig


def shake(module: nn.Module, by: float = 0.05, seed: int = 0) -> None:
    """Add noise to all weights, so that a network is no longer what it was made of."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator)


def write_enhancer(folder: Path, codec: Path, **changes: Any) -> EnhancerFacts:
    """Export an enhancer, by default of bass from the mixture, for a codec in a folder; keywords change what it is."""
    facts = EnhancerFacts.model_validate(
        {"codec": str(codec), "stem": "bass", "input": "mixture", "seconds": 0.5, **changes}
    )
    network = Enhancer(
        load_codec(facts.codec), encoder=facts.encoder, bridge=facts.bridge, inputs=1 + len(facts.context)
    )
    shake(network)
    save_enhancer(network, facts, folder)
    return facts


def write_finished(folder: Path, config: ExperimentConfig) -> None:
    """Leave the configuration and the results of a finished training."""
    folder.mkdir(parents=True, exist_ok=True)
    save_yaml(config, folder / "config.yaml")
    results = {"steps": 60, "seconds": 5400.0, "checkpoint": "best, step 55", "device": "cpu"}
    (folder / "results.json").write_text(json.dumps(results))
