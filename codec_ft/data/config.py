"""Which tracks are read, and how excerpts are cut from them."""

from pathlib import Path

from pydantic import Field, field_validator

from codec_ft.config import Config, runtime


class DataConfig(Config):
    """A data set and the excerpts that training and validation take from it."""

    root: Path = Field(Path("data/demo"), description="folder of the data set; its name is part of the run's hash")
    seconds: float = Field(2.0, gt=0, description="length of a training excerpt")
    remix_probability: float = Field(0.0, ge=0, le=1, description="share of mixtures with stems of other songs")
    gain_db: tuple[float, float] = Field((0.0, 0.0), description="range of the random gain on input and target, dB")
    speed: tuple[float, float] = Field(
        (1.0, 1.0), description="range of the random speed of input and target, in steps of 0.01; changes the pitch too"
    )
    valid_seconds: float = Field(4.0, gt=0, description="length of a validation excerpt")
    valid_per_track: int = Field(2, ge=1, description="validation excerpts of each track")
    report_split: str = Field("valid", description="split of the samples and of the final table: valid or test")
    report_seconds: float = Field(6.0, gt=0, description="length of a sample")
    report_per_track: int = Field(1, ge=1, description="samples of each track")
    workers: int = runtime(0, "processes that read excerpts; 0 reads in the training process", ge=0)
    cache_mb: int = runtime(1024, "memory for decoded tracks per process, MiB", ge=0)

    @field_validator("report_split")
    @classmethod
    def _known_split(cls, split: str) -> str:
        if split not in ("valid", "test"):
            raise ValueError("must be valid or test")
        return split

    @field_validator("gain_db")
    @classmethod
    def _ordered(cls, gain_db: tuple[float, float]) -> tuple[float, float]:
        if gain_db[0] > gain_db[1]:
            raise ValueError("must be a range from low to high")
        return gain_db

    @field_validator("speed")
    @classmethod
    def _playable(cls, speed: tuple[float, float]) -> tuple[float, float]:
        if not 0.25 <= speed[0] <= speed[1] <= 4.0:
            raise ValueError("must be a range from low to high, within 0.25 to 4")
        if any(abs(100 * factor - round(100 * factor)) > 1e-6 for factor in speed):
            raise ValueError("must have no more than two decimals")
        return speed
