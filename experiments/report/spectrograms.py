"""Log spectrograms as bare PNG images that all share one colour scale, and the ticks of their axes.

The images hold nothing but the picture: the page draws the axes around it, so that text stays sharp at every
size, follows light and dark mode, and a click in the picture is a position in time. The colour scale is fixed
and not fitted to a page, so pictures compare across tracks, runs and days.
"""

import os
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
import soundfile as sf
from matplotlib import image

from codec_ft.atomic import atomic_path

LOWEST_DB, HIGHEST_DB = -90.0, -10.0
LOWEST_HZ = 40.0
ROWS, MAX_COLUMNS = 160, 480
WINDOW_SECONDS = 0.1
COLOUR_MAP = "magma"
# Written into each PNG: a picture that was drawn with other settings is drawn anew.
SETTINGS = f"log spectrogram, {LOWEST_DB:g}..{HIGHEST_DB:g} dBFS, from {LOWEST_HZ:g} Hz, {ROWS} rows, {COLOUR_MAP}"


def spectrogram_png(wav: Path) -> Path:
    """Draw the spectrogram of `wav` beside it, as `<name>.png`, unless a newer picture is there already.

    Raises:
        soundfile.LibsndfileError: the wav cannot be decoded.
    """
    png = wav.with_suffix(".png")
    if png.exists() and png.stat().st_mtime_ns >= wav.stat().st_mtime_ns and _drawn_with_settings(png):
        return png
    audio, sample_rate = sf.read(os.fsencode(wav), dtype="float32", always_2d=True)
    levels = log_spectrogram(audio.T, sample_rate)
    with atomic_path(png) as temporary:
        image.imsave(
            str(temporary),
            levels,
            vmin=LOWEST_DB,
            vmax=HIGHEST_DB,
            cmap=COLOUR_MAP,
            origin="lower",
            metadata={"Description": SETTINGS},
        )
    return png


def log_spectrogram(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Levels in dB re a full-scale sine, on a logarithmic frequency axis from `LOWEST_HZ` to the Nyquist frequency.

    Channels are averaged in power, so that stereo sound out of phase does not vanish. A row narrower than one
    bin of the transform is interpolated; a wider row shows its loudest bin, so that thin partials stay visible.

    Args:
        audio: `[C, N]`; what is not finite counts as silence.
        sample_rate: Hz.

    Returns:
        `[ROWS, columns]`, lowest frequency first, at most `MAX_COLUMNS` columns and never below `LOWEST_DB`.
    """
    audio = np.nan_to_num(np.asarray(audio, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    window_length = 2 ** round(np.log2(WINDOW_SECONDS * sample_rate))
    hop = max(window_length // 8, -(-audio.shape[-1] // MAX_COLUMNS))
    window = np.hanning(window_length + 1)[:-1].astype(np.float32)
    padded = np.pad(audio, ((0, 0), (window_length // 2, window_length // 2 + hop)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, window_length, axis=-1)[:, ::hop]
    frames = frames[:, : max(1, -(-audio.shape[-1] // hop))]  # [C, columns, window]
    magnitude = np.abs(np.fft.rfft(frames * window)) * (2 / window.sum())
    power = np.mean(np.square(magnitude), axis=0).T  # [bins, columns]
    levels = 10 * np.log10(np.maximum(power, 10 ** (LOWEST_DB / 10)))

    edges = np.geomspace(LOWEST_HZ, sample_rate / 2, ROWS + 1) * window_length / sample_rate  # in bins
    centres = np.sqrt(edges[:-1] * edges[1:])
    below = np.minimum(centres.astype(int), len(levels) - 2)
    share = (centres - below)[:, None]
    interpolated = levels[below] * (1 - share) + levels[below + 1] * share
    loudest = np.maximum.reduceat(levels, np.minimum(np.round(edges[:-1]).astype(int), len(levels) - 1), axis=0)
    return np.where(np.diff(edges)[:, None] < 1, interpolated, loudest)


def frequency_ticks(sample_rate: int) -> list[tuple[str, float]]:
    """Labels in Hz of the frequency axis, with their height from the bottom as a fraction of the picture's."""
    highest = sample_rate / 2
    span = np.log(highest / LOWEST_HZ)
    ticks = [50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000]
    inside = [hz for hz in ticks if LOWEST_HZ < hz < 0.98 * highest]
    return [(f"{hz // 1000}k" if hz >= 1000 else str(hz), float(np.log(hz / LOWEST_HZ) / span)) for hz in inside]


def time_ticks(seconds: float, most: int = 6) -> list[tuple[str, float]]:
    """Labels in s of the time axis, with their place from the left as a fraction of the picture's width."""
    step = next((step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60) if seconds / step <= most), 120)
    return [(f"{i * step:g}", i * step / seconds) for i in range(int(seconds / step + 1e-9) + 1)]


@lru_cache
def colour_bar(stops: int = 9) -> list[str]:
    """Hex colours from the lowest to the highest level, for the legend."""
    colours = matplotlib.colormaps[COLOUR_MAP](np.linspace(0, 1, stops))
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour[:3]) for colour in colours]


def _drawn_with_settings(png: Path) -> bool:
    """Whether the picture says that it was drawn with today's settings (the text is in the first kilobyte)."""
    with png.open("rb") as file:
        return SETTINGS.encode() in file.read(1024)
