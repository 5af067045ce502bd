"""Set the strength of a stand-in separator's errors so that each stem reaches its published SDR.

Levels do not carry over from one data set to the next: how far stems overlap differs. So the strength is found anew
for each, by secant steps on excerpts of its tracks.
"""

import logging
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from codec_ft.data.separators import spectrogram, waveform

logger = logging.getLogger(__name__)

STRENGTH_SPREAD = 0.3
"""The strength varies from track to track by up to +-30 %: some songs are harder than others."""
SLOPE_BOUNDS = (-20.0, -2.0)
"""Bounds in dB on measured slopes, which medians of a few tracks make noisy."""
LARGEST_STEP = math.log(3)
"""Largest change of the logarithm of a strength in one step."""
STRENGTH_BOUNDS = (0.02, 20.0)
"""Beyond these a strength does no more good: the target is out of reach."""
TOLERANCE_DB = 0.1
"""Distance from the targets at which the search ends: far below the spread between tracks (2 to 5 dB)."""
MAX_STEPS = 6
"""Evaluations at most; usually three or four are enough."""


@dataclass(frozen=True)
class Separator:
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


SEPARATORS = {
    separator.name: separator
    for separator in (
        Separator(
            name="spectrogram",
            separate=spectrogram.separate,
            parameter="sigma",
            target_sdr=spectrogram.TARGET_SDR,
            start=spectrogram.START_SIGMA,
            slope=-4.0,
        ),
        Separator(
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


def median_sdr(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> float:
    """Median over 1 s frames of 10 log10(sum reference² / sum (reference - estimate)²), as museval has it.

    Frames in which the reference or the estimate is digital silence are left out, and so is a last, partial frame.

    Args:
        reference: float [C, N].
        estimate: float [C, N].
        sample_rate: in Hz.

    Returns:
        dB; NaN where no frame is left.
    """
    length = min(sample_rate, reference.shape[1])
    n_frames = reference.shape[1] // length

    def frame_energy(signal: np.ndarray) -> np.ndarray:
        frames = signal[:, : n_frames * length].reshape(len(signal), n_frames, length)
        return np.square(frames).sum(axis=(0, 2), dtype=np.float64)

    signal, error = frame_energy(reference), frame_energy(reference - estimate)
    heard = (signal > 0) & (frame_energy(estimate) > 0)
    if not heard.any():
        return math.nan
    with np.errstate(divide="ignore"):
        return float(np.median(10 * np.log10(signal[heard] / error[heard])))


def find_strength(
    evaluate: Callable[[dict[str, float]], dict[str, float]],
    start: dict[str, float],
    target: dict[str, float],
    first_slope: float,
) -> tuple[dict[str, float], dict[str, float]]:
    """Find the strength at which each stem reaches its target, by secant steps for all stems at once.

    Args:
        evaluate: gives stem -> SDR in dB for stem -> strength; NaN where there is nothing to measure.
        start: stem -> strength to begin with.
        target: stem -> SDR wanted, in dB.
        first_slope: expected change of the SDR in dB with the logarithm of the strength.

    Returns:
        (stem -> strength, stem -> SDR reached with it), the best evaluation. A stem that cannot be measured keeps its
        start; where a target is out of reach, a warning says so.
    """
    names = list(start)
    wanted = np.array([target[name] for name in names])
    point = np.log([start[name] for name in names])
    slope = np.full(len(names), first_slope)
    best: tuple[float, np.ndarray, np.ndarray] | None = None
    last: tuple[np.ndarray, np.ndarray] | None = None
    for _ in range(MAX_STEPS):
        measured = evaluate(dict(zip(names, np.exp(point).tolist(), strict=True)))
        sdr = np.array([measured[name] for name in names])
        miss = np.where(np.isfinite(sdr), wanted - sdr, 0.0)
        worst = float(np.abs(miss).max())
        if best is None or worst < best[0]:
            best = worst, point, sdr
        if worst <= TOLERANCE_DB:
            break
        if last is not None:
            # A very short step says nothing about the slope.
            moved = (np.abs(point - last[0]) > 0.01) & np.isfinite(sdr - last[1])
            slope[moved] = np.clip((sdr - last[1])[moved] / (point - last[0])[moved], *SLOPE_BOUNDS)
        last = point, sdr
        step = np.clip(miss / slope, -LARGEST_STEP, LARGEST_STEP)
        point = np.clip(point + step, *np.log(STRENGTH_BOUNDS))
    assert best is not None
    worst, point, sdr = best
    if worst > 5 * TOLERANCE_DB:
        reached = ", ".join(f"{n} {s:.1f} of {w:.1f}" for n, s, w in zip(names, sdr, wanted, strict=True))
        logger.warning("calibration is off by %.1f dB (dB reached of wanted: %s)", worst, reached)
    return dict(zip(names, np.exp(point).tolist(), strict=True)), dict(zip(names, sdr.tolist(), strict=True))
