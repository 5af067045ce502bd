"""The options of the experiments that look into the tokens of a codec."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from codec_ft.config import Config
from codec_ft.training.config import RunConfig

AnalysisName = Literal["ceiling", "occurrence", "silence", "clouds", "shift", "idempotence"]


class PiecesConfig(Config):
    """A data set and the pieces of audio that are taken from it."""

    root: Path = Field(Path("data/demo"), description="folder of the data set; its name is part of the run's hash")
    split: Literal["train", "valid", "test"] = "test"
    seconds: float = Field(6.0, gt=0, description="length of a piece; the codec hears each by itself")
    per_track: int = Field(1, ge=0, description="the loudest pieces of each track; 0: all of it, with silent parts")


class TokensConfig(RunConfig):
    """A look into the tokens of a frozen codec (thesis, section 6.1)."""

    task: Literal["tokens"] = "tokens"
    analysis: AnalysisName = Field(description="what is measured")
    codec: str = Field("demo", description="name or folder of the codec")
    sources: list[str] = Field(
        [], description="stems, sums of them such as bass+drums, or mixture; none: all that the data set has"
    )
    pair: tuple[str, str] = Field(
        ("bass", "drums"), description="the stems that clouds tells apart; shift takes the first out of their sum"
    )
    data: PiecesConfig = PiecesConfig()
    points: int = Field(150, ge=3, description="frames of each source in the pictures of clouds")
    steps: int = Field(11, ge=2, description="places along the way of shift, both ends included")
    passes: int = Field(5, ge=1, description="times that idempotence decodes and encodes again")
    seed: int = Field(0, ge=0, description="of the random choice of frames")
