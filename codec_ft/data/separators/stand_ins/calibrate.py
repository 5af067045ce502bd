"""Set the strength of a stand-in separator's errors so that each stem reaches its published SDR.

Levels do not carry over from one data set to the next: how far stems overlap differs. So the strength is found anew
for each, by secant steps on excerpts of its tracks, and kept in `calibration.json`.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from tqdm import tqdm

from codec_ft.atomic import atomic_path
from codec_ft.audio.files import audio_info, read_audio
from codec_ft.data.separators.stand_ins.kinds import STAND_INS
from codec_ft.data.tracks import Track
from codec_ft.data.workers import ParallelMap
from codec_ft.errors import UserError

logger = logging.getLogger(__name__)

CALIBRATION_FILE = "calibration.json"
CALIBRATION_TRACKS = 40
"""Tracks that calibration listens to at most. Their levels are 2 to 5 dB apart: few of them make a poor median."""
CALIBRATION_FRAMES = 6
"""Frames of 1 s that it hears of each, evenly spread over the track: an excerpt in one piece says less."""
CALIBRATION_MARGIN = 0.1
"""Seconds before and after such a frame that are degraded with it and not measured: longer than any window."""
SLOPE_BOUNDS = (-20.0, -2.0)
"""Bounds in dB on measured slopes, which medians of a few tracks make noisy."""
LARGEST_STEP = math.log(3)
"""Largest change of the logarithm of a strength in one step."""
STRENGTH_BOUNDS = (0.02, 20.0)
"""Beyond these a strength does no more good: the target is out of reach."""
TOLERANCE_DB = 0.1
"""Distance from the targets at which the search ends: far below the spread between tracks (2 to 5 dB)."""
MAX_STEPS = 6
"""Evaluations at most; two to four are usually enough."""


class Calibration(BaseModel):
    """What `calibration.json` holds. All dictionaries go from stem to number; SDRs are medians in dB.

    Attributes:
        separator: name of the stand-in separator.
        note: says to whoever opens the file that nothing was separated.
        seed: seed of the errors.
        parameter: what the strength is called in the separator's formula.
        strength: strength of the errors.
        target_sdr_med: published levels.
        calibrated_sdr_med: levels reached on the excerpts used for calibration.
        reached_sdr_med: levels reached on all tracks.
        tracks: number of tracks behind `reached_sdr_med`.
    """

    model_config = ConfigDict(extra="forbid")

    separator: str
    note: str = "Made from the true stems by codec_ft.data.separators: a stand-in, no separator was run."
    seed: int
    parameter: str
    strength: dict[str, float]
    target_sdr_med: dict[str, float]
    calibrated_sdr_med: dict[str, float | None]
    reached_sdr_med: dict[str, float | None] = {}
    tracks: int = 0


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


def calibrate(
    separator: str, tracks: Sequence[Track], seed: int, stems: Sequence[str], run: ParallelMap
) -> Calibration:
    """Find the strengths for a data set, on excerpts of up to `CALIBRATION_TRACKS` tracks, taken evenly from all.

    Args:
        separator: "spectrogram" or "waveform".
        tracks: the data set's tracks.
        seed: seed of the errors.
        stems: what the mixture consists of.
        run: a `map` over tracks, such as `worker_processes` gives.

    Raises:
        UserError: a stem cannot be read.
    """
    kind = STAND_INS[separator]
    count = min(CALIBRATION_TRACKS, len(tracks))
    chosen = [tracks[index * len(tracks) // count] for index in range(count)]

    def evaluate(strength: dict[str, float]) -> dict[str, float]:
        rows = run(partial(_excerpt_sdr, separator, strength, seed, tuple(stems)), chosen)
        levels = list(tqdm(rows, desc=f"{separator}: calibration", total=count, unit="track", leave=False))
        medians = {stem: finite_median([row[stem] for row in levels]) for stem in stems}
        return {stem: np.nan if level is None else level for stem, level in medians.items()}

    targets = {stem: kind.target_sdr[stem] for stem in stems}
    start = {stem: kind.start[stem] for stem in stems}
    strength, reached = find_strength(evaluate, start, targets, kind.slope)
    return Calibration(
        separator=separator,
        seed=seed,
        parameter=kind.parameter,
        strength=strength,
        target_sdr_med=targets,
        calibrated_sdr_med={stem: finite_median([level]) for stem, level in reached.items()},
    )


def _excerpt_sdr(
    separator: str, strength: dict[str, float], seed: int, stems: Sequence[str], track: Track
) -> dict[str, float | None]:
    """Degrade some frames of a track, strung together, always the same ones; give the median SDR of each stem."""
    info = audio_info(track.stems[stems[0]])
    piece = 1 + 2 * CALIBRATION_MARGIN
    if info.seconds < CALIBRATION_FRAMES * piece:
        true, rate = read_stems(track, stems)
        measured = np.full(info.frames, True)
    else:
        starts = np.linspace(0.0, info.seconds - piece, CALIBRATION_FRAMES)
        pieces = [read_stems(track, stems, start, piece) for start in starts]
        true = {stem: np.concatenate([audio[stem] for audio, _ in pieces], axis=1) for stem in stems}
        rate = info.sample_rate
        margin = round(CALIBRATION_MARGIN * rate)
        measured = np.tile(np.arange(round(piece * rate)) - margin, CALIBRATION_FRAMES)
        measured = (measured >= 0) & (measured < rate)
    estimates = STAND_INS[separator].degrade(true, rate, strength, seed=seed, track=track.name)
    levels = {stem: median_sdr(true[stem][:, measured], estimates[stem][:, measured], rate) for stem in stems}
    return {stem: finite_median([level]) for stem, level in levels.items()}


def read_stems(
    track: Track, stems: Sequence[str], start: float = 0.0, seconds: float | None = None
) -> tuple[dict[str, np.ndarray], int]:
    """Read stems of a track, or an excerpt of them: (stem -> float32 [C, N], sample rate in Hz)."""
    audio = {stem: read_audio(track.stems[stem], start=start, seconds=seconds) for stem in stems}
    return {stem: signal for stem, (signal, _) in audio.items()}, audio[stems[0]][1]


def finite_median(levels: Iterable[float | None]) -> float | None:
    """Median of the levels that are finite numbers; None, as JSON has no NaN, where there is none."""
    finite = [level for level in levels if level is not None and np.isfinite(level)]
    return round(float(np.median(finite)), 4) if finite else None


def read_calibration(path: Path, seed: int, stems: Sequence[str]) -> Calibration | None:
    """Read a calibration; None where there is no file.

    Raises:
        UserError: the file is damaged, or it was made for another seed or other stems.
    """
    if not path.is_file():
        return None
    try:
        calibration = Calibration.model_validate_json(path.read_bytes())
    except ValidationError as error:
        reason = error.errors()[0]
        raise UserError(
            f"{path}: not a calibration ({reason['msg']}). Delete it, and it will be made again."
        ) from error
    if calibration.seed != seed or set(calibration.strength) != set(stems):
        raise UserError(
            f"{path.parent}: made with seed {calibration.seed} and stems {', '.join(calibration.strength)}, but now "
            f"seed {seed} and {', '.join(stems)} are asked for. Ask for the same, or delete the folder."
        )
    return calibration


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration, in full or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(calibration.model_dump_json(indent=2) + "\n")
