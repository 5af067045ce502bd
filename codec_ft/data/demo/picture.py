"""A picture of a track folder: the spectrograms of its stems and of their mixture."""

from pathlib import Path

import numpy as np
import soundfile
from matplotlib.figure import Figure
from scipy import signal

from codec_ft.atomic import atomic_path
from codec_ft.data.demo.score import STEMS

WINDOW, HOP = 2048, 512  # samples: 46 ms and 12 ms
RANGE_DB = 90.0  # about that of 16-bit audio


def stem_spectrograms(track_folder: Path, png: Path) -> None:
    """Draw the four stems and the mixture of a track, one above the other, on one colour scale in dB.

    Axes are in seconds and Hz; 0 dB is the loudest bin of the mixture. The picture is written to `png`.

    Raises:
        soundfile.LibsndfileError: a stem is missing or unreadable.
    """
    track_folder = Path(track_folder)
    powers, times, frequencies = {}, np.zeros(0), np.zeros(0)
    for name in (*STEMS, "mixture"):
        audio, sample_rate = soundfile.read(track_folder / f"{name}.wav", always_2d=True)
        frequencies, times, spectrum = signal.stft(
            audio.mean(axis=1), sample_rate, nperseg=WINDOW, noverlap=WINDOW - HOP, padded=False
        )
        powers[name] = np.abs(spectrum) ** 2
    reference = powers["mixture"].max() + 1e-20

    figure = Figure(figsize=(11, 13), layout="constrained")
    axes = figure.subplots(len(powers), 1, sharex=True)
    for axis, (name, power) in zip(axes, powers.items(), strict=True):
        image = axis.pcolormesh(
            times,
            frequencies,
            10 * np.log10(power / reference + 1e-12),
            vmin=-RANGE_DB,
            vmax=0,
            cmap="magma",
            rasterized=True,
        )
        axis.set_yscale("symlog", linthresh=500, linscale=0.6)
        axis.set_ylim(0, frequencies[-1])
        ticks = [0, 250, 500, 1000, 2000, 4000, 8000, 16000]
        axis.set_yticks(ticks, labels=[str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.set_ylabel("Hz")
        axis.set_title(name, loc="left")
    axes[-1].set_xlabel("s")
    figure.colorbar(image, ax=axes, label="dB below the loudest bin of the mixture", shrink=0.5)
    figure.suptitle(track_folder.name)
    with atomic_path(Path(png)) as temporary:
        figure.savefig(temporary, dpi=80)
