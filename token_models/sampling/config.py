"""The options of sampling."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from codec_ft.config import Config
from token_models.masks.schedule import SCHEDULES
from token_models.sampling.choose import Filter, top_k, top_p, typical

Method = Literal["maskgit", "halton", "levels"]


class GuidanceConfig(Config):
    """Classifier-free guidance."""

    scale: float = Field(1.0, ge=0, description="1: the model with its condition alone; above: more of what it changes")
    final_scale: float | None = Field(
        None, ge=0, description="where the scale goes as the grid fills (MAGNeT: from 10 to 1); null: it stays"
    )

    @property
    def active(self) -> bool:
        """Whether a model without the condition is needed."""
        return self.scale != 1 or self.final_scale not in (None, 1)


class CorrectorConfig(Config):
    """Second looks at a finished grid."""

    passes: int = Field(0, ge=0, description="how often what the model doubts is sampled again")
    share: float = Field(0.1, gt=0, le=1, description="of the generated cells, in each pass")
    groups: int = Field(4, ge=1, description="cells, also those of a draft, are judged in so many groups")
    steps: PositiveInt | None = Field(None, description="of sampling again; null: as many as at first")


class SamplingConfig(Config):
    """How the masked cells of a code grid are filled."""

    method: Method = Field(
        "maskgit", description="cells by confidence, in Halton order, or codebook after codebook by confidence"
    )
    steps: PositiveInt | list[PositiveInt] = Field(
        12, description="how often the model is asked; with levels for each codebook, one number for all or a list"
    )
    schedule: str = Field("cosine", description=f"how much stays masked as the steps go on: {', '.join(SCHEDULES)}")
    temperature: float = Field(1.0, ge=0, description="of the codes; 0 takes the likeliest")
    mask_temperature: float = Field(
        10.5, ge=0, description="randomness in which cells are kept first (VampNet: 10.5); 0: by confidence alone"
    )
    top_k: int | None = Field(None, ge=1, description="draw from so many likeliest codes")
    top_p: float | None = Field(None, gt=0, le=1, description="draw from the likeliest codes of so much probability")
    typical: float | None = Field(None, gt=0, le=1, description="draw from typical codes of so much probability")
    doubt: float | None = Field(
        None,
        gt=0,
        le=1,
        description="begin from a draft, such as the input's own codes, and sample anew so much of it, what the model "
        "doubts most; null: begin from nothing",
    )
    guidance: GuidanceConfig = GuidanceConfig()
    corrector: CorrectorConfig = CorrectorConfig()

    @field_validator("schedule")
    @classmethod
    def _known(cls, schedule: str) -> str:
        if schedule not in SCHEDULES:
            raise ValueError(f"there is no schedule {schedule}; there are {', '.join(SCHEDULES)}")
        return schedule

    @model_validator(mode="after")
    def _fits_together(self) -> "SamplingConfig":
        if isinstance(self.steps, list) and self.method != "levels":
            raise ValueError(f"steps as a list is for method=levels; give one number with method={self.method}")
        return self

    @property
    def filters(self) -> Sequence[Filter]:
        """The filters that are chosen, in the order in which they act."""
        chosen: list[Filter] = []
        if self.top_k is not None:
            chosen.append(partial(top_k, k=self.top_k))
        if self.top_p is not None:
            chosen.append(partial(top_p, p=self.top_p))
        if self.typical is not None:
            chosen.append(partial(typical, mass=self.typical))
        return chosen
