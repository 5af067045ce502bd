"""Small data sets, made when they are needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE = 8000

TrackMaker = Callable[..., Path]


@pytest.fixture
def make_track() -> TrackMaker:
    """A function that writes a track folder with 16-bit stems and their exact sum.

    `stems` maps names to audio [N] or [C, N]; by default bass and drums of quiet noise, `seconds` long, which
    differs from folder to folder by its name.
    """

    def make(
        folder: Path,
        stems: dict[str, np.ndarray] | None = None,
        *,
        seconds: float = 3.0,
        sample_rate: int = RATE,
        mixture: bool = True,
        suffix: str = "wav",
    ) -> Path:
        rng = np.random.default_rng(list(folder.name.encode()))
        if stems is None:
            stems = {name: rng.uniform(-0.2, 0.2, round(seconds * sample_rate)) for name in ("bass", "drums")}
        folder.mkdir(parents=True, exist_ok=True)
        rounded = {name: np.rint(audio * 2**15) / 2**15 for name, audio in stems.items()}
        for name, audio in rounded.items():
            soundfile.write(folder / f"{name}.{suffix}", audio.T, sample_rate)
        if mixture:
            soundfile.write(folder / f"mixture.{suffix}", sum(rounded.values()).T, sample_rate)
        return folder

    return make
