"""The options of training a separator."""

from typing import Literal

from pydantic import Field, model_validator

from codec_ft.data.separators.htdemucs import HTDemucsShape
from codec_ft.data.separators.networks import NetworkFacts
from codec_ft.data.separators.open_unmix import OpenUnmixShape
from codec_ft.training.config import ExperimentConfig


class SeparatorConfig(ExperimentConfig):
    """A network that learns to take mixtures apart, as a source of separated inputs.

    `data.remix_probability` is the share of items whose stems come from different tracks and places, and
    `data.gain_db` the range of the gain that each stem of an item gets of its own.
    """

    task: Literal["separator"] = "separator"
    stem: Literal["all"] = Field("all", description="a separator learns all of `stems` at once")
    stems: tuple[str, ...] = Field(("drums", "bass", "other", "vocals"), description="what mixtures consist of")
    architecture: Literal["open_unmix", "htdemucs"] = "open_unmix"
    sample_rate: int = Field(44100, gt=0, description="Hz")
    channels: Literal[1, 2] = 2
    open_unmix: OpenUnmixShape = Field(OpenUnmixShape(), description="sizes, if that is the architecture")
    htdemucs: HTDemucsShape = Field(HTDemucsShape(), description="sizes, if that is the architecture")

    @model_validator(mode="after")
    def _at_its_own_speed(self) -> "SeparatorConfig":
        if self.data.speed != (1.0, 1.0):
            raise ValueError("data.speed is not for separators; set it to (1, 1)")
        return self

    @property
    def facts(self) -> NetworkFacts:
        """What the network's own config says."""
        return NetworkFacts(
            architecture=self.architecture,
            stems=self.stems,
            sample_rate=self.sample_rate,
            channels=self.channels,
            seconds=self.data.seconds,
            shape=getattr(self, self.architecture).model_dump(),
        )
