"""The options of trainings that draw one stem out of an input: what they hear, and where it comes from."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from codec_ft.config import runtime
from codec_ft.data.config import DataConfig
from codec_ft.training.config import ExperimentConfig

Scope = Literal["set", "song", "segment"]


def _listed(value: Any) -> Any:
    """One name stands for a list of it, null for an empty one."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


Sources = Annotated[list[str], BeforeValidator(_listed)]
"""Names of inputs; a single one need not be written as a list."""


class StemDataConfig(DataConfig):
    """What is learnt from, beside the options of all trainings."""

    scope: Scope = Field(
        "set", description="train on the whole set, or overfit one song or one excerpt of it (thesis, N3)"
    )
    song: str | None = Field(None, description="with scope: name of the training track; null: the first")
    extra: list[Path] = Field([], description="more data sets whose training tracks are learnt from too")
    noise_db: float = Field(20.0, description="input=noisy: level of the target above its white noise, dB")
    grid_seconds: float | None = Field(
        None,
        gt=0,
        description="training excerpts begin at multiples of this, as those of a token cache do; null: anywhere",
    )
    whole: bool = Field(
        False, description="excerpts begin at any frame; stored ones are those of `prepare_data.py encode --whole`"
    )
    encoded: bool = runtime(False, "read latents and codes from the cache of `prepare_data.py encode`")

    @model_validator(mode="after")
    def _scope_fits(self) -> "StemDataConfig":
        if self.scope == "set" and self.song is not None:
            raise ValueError(f"song={self.song} is for overfitting it: set scope to song or segment, or leave song out")
        if self.scope != "set" and self.extra:
            raise ValueError(f"extra is for scope=set; with scope={self.scope} one song of root is all that is heard")
        return self

    @model_validator(mode="after")
    def _whole_fits(self) -> "StemDataConfig":
        if self.whole and self.grid_seconds is not None:
            raise ValueError(f"grid_seconds={self.grid_seconds:g} has no use with whole=true: any frame may be first")
        if self.whole and self.scope == "segment":
            raise ValueError("scope=segment is one excerpt, which need not begin at a frame; set whole to false")
        return self

    @model_validator(mode="after")
    def _speed_fits(self) -> "StemDataConfig":
        if self.speed != (1.0, 1.0):
            fixed = [name for name in ("encoded", "grid_seconds", "whole") if getattr(self, name)]
            fixed += ["scope=segment"] * (self.scope == "segment")
            if fixed:
                raise ValueError(
                    f"speed=({self.speed[0]:g}, {self.speed[1]:g}) changes what is heard, but with {fixed[0]} excerpts "
                    "are heard as they are; set it to (1, 1)"
                )
        return self


class StemConfig(ExperimentConfig):
    """A training that hears an input and learns what a frozen codec says of the clean stem in it."""

    codec: str = Field("demo", description="name or folder of the frozen codec")
    input: str = Field(
        "mixture",
        description="what is heard: mixture, separated/<separator>, target, noisy (target and white noise), or noise; "
        "also what it is validated with",
    )
    train_inputs: dict[str, float] = Field(
        {}, description="inputs that training draws from, with their shares; none: input alone"
    )
    context: Sources = Field(
        [], description="other inputs that are heard beside the first, such as mixture; one needs no brackets"
    )
    data: StemDataConfig = StemDataConfig()

    @field_validator("train_inputs")
    @classmethod
    def _shares(cls, inputs: dict[str, float]) -> dict[str, float]:
        if inputs and min(inputs.values()) <= 0:
            raise ValueError("shares must be above zero; leave out what should not be heard")
        return inputs

    @model_validator(mode="after")
    def _each_is_heard_once(self) -> "StemConfig":
        if self.input in self.context:
            raise ValueError(f"context={self.input} is the input already; name another one, or leave it out")
        if len(set(self.context)) < len(self.context):
            raise ValueError(f"context={', '.join(self.context)} has one input twice; name each once")
        return self
