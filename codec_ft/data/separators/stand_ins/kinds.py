"""The stand-in separators by name, with one way to call them all."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codec_ft.data.separators.stand_ins import spectrogram, waveform

STRENGTH_SPREAD = 0.3
"""The strength varies from track to track by up to +-30 %: some songs are harder than others."""


@dataclass(frozen=True)
class StandIn:
    """A stand-in separator with what is known about it.

    Attributes:
        name: "spectrogram" or "waveform".
        separate: its function; takes the strengths as keyword `parameter`.
        parameter: name of the strength of its errors, "sigma" or "k".
        target_sdr: stem -> published median SDR in dB.
        start: stem -> strength where the search begins.
        slope: change of the SDR in dB with the logarithm of the strength, to begin with.
    """

    name: str
    separate: Callable[..., dict[str, np.ndarray]]
    parameter: str
    target_sdr: dict[str, float]
    start: dict[str, float]
    slope: float

    def degrade(
        self, stems: dict[str, np.ndarray], sample_rate: int, strength: dict[str, float], *, seed: int, track: str
    ) -> dict[str, np.ndarray]:
        """Degrade one track's stems; the same (seed, separator, track name) gives the same result.

        Args:
            stems: name -> float32 [C, N].
            sample_rate: in Hz.
            strength: stem -> strength; this track's differ from them by up to `STRENGTH_SPREAD`.
            seed: seed of the data set.
            track: the track's name.

        Returns:
            name -> float32 [C, N].
        """
        rng = np.random.default_rng([seed, zlib.crc32(f"{self.name}/{track}".encode())])
        spread = rng.uniform(1 - STRENGTH_SPREAD, 1 + STRENGTH_SPREAD, size=len(stems))
        varied = {stem: strength[stem] * float(factor) for stem, factor in zip(stems, spread, strict=True)}
        return self.separate(stems, sample_rate, rng=rng, **{self.parameter: varied})


STAND_INS = {
    separator.name: separator
    for separator in (
        StandIn(
            name="spectrogram",
            separate=spectrogram.separate,
            parameter="sigma",
            target_sdr=spectrogram.TARGET_SDR,
            start=spectrogram.START_SIGMA,
            slope=-4.0,
        ),
        StandIn(
            name="waveform",
            separate=waveform.separate,
            parameter="k",
            target_sdr=waveform.TARGET_SDR,
            start=waveform.START_K,
            slope=-20 / math.log(10),
        ),
    )
}
"""The stand-in separators by name."""
