"""The options of the training loop, and what every experiment's configuration has."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from codec_ft.config import Config, runtime
from codec_ft.data.config import DataConfig


class OptimizerConfig(Config):
    """An optimiser and its learning rate over the steps."""

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0, description="peak; thesis 6.2.2 uses Adam with 1e-3, sometimes 1e-4")
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    warmup_steps: int = Field(0, ge=0, description="linear rise from zero")
    decay: Literal["constant", "linear", "cosine", "exponential", "noam"] = Field(
        "constant", description="noam: with one over the root of the step, from the end of the warm-up on"
    )
    final_ratio: float = Field(0.0, ge=0, le=1, description="learning rate at the last step as a share of the peak")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")

    @model_validator(mode="after")
    def _decay_has_what_it_needs(self) -> "OptimizerConfig":
        if self.decay == "exponential" and not self.final_ratio:
            raise ValueError("exponential decay needs a final_ratio above zero")
        if self.decay == "noam" and not self.warmup_steps:
            raise ValueError("noam decay begins where the warm-up ends; set warmup_steps above zero")
        if self.decay == "noam" and self.final_ratio:
            raise ValueError("noam decay has no last step to arrive at; set final_ratio to 0")
        return self


class TrainConfig(Config):
    """How long, how fast and how carefully the one training loop runs."""

    steps: int = Field(1000, ge=0, description="optimiser steps; 0: measure what training would begin with")
    batch_size: int = Field(8, ge=1, description="items per process and micro-batch")
    accumulate: int = Field(1, ge=1, description="micro-batches per optimiser step")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="moving average of the weights that is validated; 0: none")
    mixed_precision: Literal["no", "bf16", "fp16"] = Field("no", description="of the trainable part, on a GPU")
    seed: int = Field(0, ge=0)
    overfit_one_batch: bool = Field(False, description="first aid: train on the first batch only; its loss must fall")
    optimizer: OptimizerConfig = OptimizerConfig()
    validate_every: int = Field(200, ge=1, description="steps between validations, from which the best is kept")
    checkpoint_every: int = runtime(200, "steps between checkpoints", ge=1)
    log_every: int = runtime(10, "steps between lines in metrics.jsonl", ge=1)
    tensorboard: bool = runtime(True, "also write tensorboard events")

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _no_means_no(cls, value: object) -> object:
        return "no" if value is False else value  # YAML reads an unquoted no as false


class RunConfig(Config):
    """What everything that makes a run folder is told."""

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]+$", description="names the run folder, together with the config's hash")
    runs: Path = runtime(Path("runs"), "where run folders are made")
    run: Path | None = runtime(None, "this very run folder, instead of runs/<id>-<hash>")


class ExperimentConfig(RunConfig):
    """What the configurations of all trainings share."""

    stem: str = Field("bass", description="the stem to draw out: bass, drums, vocals, other or any file name")
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
