"""Put the waveform metrics beside the packages that compute the same: the same values, and how much faster.

python scripts/benchmark_metrics.py
python scripts/benchmark_metrics.py --seconds 5 --stems 2

All see one track that is made on the spot, the same in every run. A package that is not installed is left out: museval,
mir_eval, torchmetrics and fast_bss_eval are asked. Exit status 1 if any of them says something else. Times are those
that the processor worked, all threads together, which other programs on the machine hardly change.
"""

import importlib.util
import sys
import time
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import scipy.signal
import torch
import typer
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from codec_ft.metrics import bss, waveform
from codec_ft.metrics.bss import BssReferences
from codec_ft.metrics.waveform import CEILING_DB, si_sdr, track_sdr_frames, usdr

TOLERANCE_DB = {"sdr_med": 1e-9, "isr_med": 1e-6, "sir_med": 1e-6, "sar_med": 1e-6, "usdr": 1e-6, "si_sdr": 1e-6}
"""By how much a package may differ from ours; metrics in the order of the table."""

PROMISED = {"sdr_med": 300, "isr_med": 10, "sir_med": 10, "sar_med": 10}
"""How many times faster than museval ours should be, at 30 s and four stereo stems."""

QUICK_SECONDS = 1.0  # what is done sooner is measured again, five times in all, for the best of them
console = Console()


@dataclass(frozen=True)
class Track:
    """The stems of a track and estimates of them, `[S, C, N]` in float32, and the rate in Hz."""

    targets: Tensor
    estimates: Tensor
    sample_rate: int

    def numpy(self) -> tuple[NDArray, NDArray]:
        """Targets and estimates as museval and mir_eval take them, `[S, N, C]` in float64."""
        return self.targets.double().transpose(1, 2).numpy(), self.estimates.double().transpose(1, 2).numpy()

    def mono(self) -> "Track":
        """The channels' sums, `[S, 1, N]`, for packages that know one channel only."""
        return Track(self.targets.sum(1, keepdim=True), self.estimates.sum(1, keepdim=True), self.sample_rate)


Values = dict[str, NDArray[np.float64]]
"""Metric -> `[S, frames]`, or `[S]` where it is one number per stem."""


@dataclass(frozen=True)
class Row:
    """One metric by one package: the numbers of the stems, the seconds they took, and how far they are from ours.

    `times` is how many times faster ours is.
    """

    metric: str
    package: str
    values: list[float]
    seconds: float
    difference: float | None = None
    times: float | None = None


def make_track(seconds: float, stems: int, sample_rate: int) -> Track:
    """Stems of coloured noise with a beat, and estimates with an equaliser's, a leak's and a noise's share of error."""
    random = np.random.default_rng(0)
    samples = round(seconds * sample_rate)
    targets = np.empty((stems, 2, samples))
    for stem in range(stems):
        centre = sample_rate * 0.01 * 2.5**stem % (0.4 * sample_rate)
        band = scipy.signal.butter(2, [0.7 * centre, 1.3 * centre], "bandpass", fs=sample_rate, output="sos")
        middle, side, floor = random.standard_normal((3, 2, samples))
        beat = np.exp(-3.0 * ((np.arange(samples) / sample_rate * (1.5 + 0.5 * stem)) % 1.0))
        # The noise floor fills the spectrum: every fit of filters is then well determined, and so comparable.
        targets[stem] = beat * scipy.signal.sosfilt(band, middle[:1] + 0.3 * side) + 0.01 * floor
    equalised = scipy.signal.lfilter([0.9, 0.1, -0.05], [1.0], targets)
    leak = 0.05 * (targets.sum(axis=0) - targets)
    estimates = equalised + leak + 0.005 * random.standard_normal(targets.shape)
    return Track(torch.from_numpy(targets).float(), torch.from_numpy(estimates).float(), sample_rate)


def our_sdr(track: Track) -> Values:
    """The SDR of every second."""
    return {"sdr_med": track_sdr_frames(track.estimates, track.targets, track.sample_rate).numpy()}


def our_bss(track: Track) -> Values:
    """ISR, SIR and SAR of every second, the preparation of the references included."""
    frames = BssReferences(track.targets, track.sample_rate).evaluate(track.estimates)
    return {"isr_med": frames.isr.numpy(), "sir_med": frames.sir.numpy(), "sar_med": frames.sar.numpy()}


def our_usdr(track: Track) -> Values:
    """SDR of the whole track."""
    return {"usdr": usdr(track.estimates, track.targets).numpy()}


def our_si_sdr(track: Track) -> Values:
    """SI-SDR of the channels' sum."""
    mono = track.mono()
    return {"si_sdr": si_sdr(mono.estimates, mono.targets).numpy()}


def by_museval(track: Track) -> Values:
    """All four of BSSEval v4, which museval computes together."""
    # For loading files museval imports stempeg, which does not import where there is no ffmpeg. No file is loaded here.
    sys.modules.setdefault("stempeg", types.ModuleType("stempeg"))
    import museval

    found = museval.evaluate(*track.numpy(), win=track.sample_rate, hop=track.sample_rate)
    return dict(zip(("sdr_med", "isr_med", "sir_med", "sar_med"), found, strict=True))


def by_mir_eval(track: Track) -> Values:
    """The SDR of BSSEval v3 "images" over the whole track, which is uSDR; ISR, SIR and SAR come along."""
    from mir_eval.separation import bss_eval_images

    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # that mir_eval will drop it in 0.9
        return {"usdr": bss_eval_images(*track.numpy(), compute_permutation=False)[0]}


def snr_by_torchmetrics(track: Track) -> Values:
    """The plain ratio over samples and channels, which is uSDR."""
    from torchmetrics.functional.audio import signal_noise_ratio

    estimates, targets = (audio.double().flatten(1) for audio in (track.estimates, track.targets))
    return {"usdr": signal_noise_ratio(estimates, targets).numpy()}


def si_sdr_by_torchmetrics(track: Track) -> Values:
    """SI-SDR of the channels' sum."""
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    mono = track.mono()
    estimates, targets = (audio.double()[:, 0] for audio in (mono.estimates, mono.targets))
    return {"si_sdr": scale_invariant_signal_distortion_ratio(estimates, targets, zero_mean=True).numpy()}


def si_sdr_by_fast_bss_eval(track: Track) -> Values:
    """SI-SDR of the channels' sum."""
    import fast_bss_eval

    mono = track.mono()
    estimates, targets = (audio.double()[:, 0] for audio in (mono.estimates, mono.targets))
    return {"si_sdr": fast_bss_eval.si_sdr(targets, estimates, zero_mean=True).numpy()}


OURS = (our_sdr, our_bss, our_usdr, our_si_sdr)
OTHERS = (
    ("museval", by_museval),
    ("mir_eval", by_mir_eval),
    ("torchmetrics", snr_by_torchmetrics),
    ("torchmetrics", si_sdr_by_torchmetrics),
    ("fast_bss_eval", si_sdr_by_fast_bss_eval),
)


def timed(compute: Callable[[Track], Values], track: Track) -> tuple[Values, float]:
    """Values and CPU seconds: of the only run, or the best of five where one is quick. Imports are not counted."""
    compute(Track(*(audio[:1, :, :2048] for audio in (track.targets, track.estimates)), track.sample_rate))
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        values = compute(track)
        best = min(best, time.process_time() - began)
        if best > QUICK_SECONDS:
            break
    return values, best


def compare(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float:
    """The largest difference in dB, infinite if the two are not undefined in the same places.

    What is infinite or nearly so in other packages is `CEILING_DB` in ours.
    """
    if ours.shape != theirs.shape or not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return float("inf")
    return float(np.nanmax(np.abs(ours - np.clip(theirs, -CEILING_DB, CEILING_DB)), initial=0.0))


def per_stem(values: NDArray[np.float64]) -> list[float]:
    """Medians over frames, where there are frames."""
    return (np.nanmedian(values, axis=1) if values.ndim == 2 else values).tolist()


def measure(track: Track) -> tuple[list[Row], list[str]]:
    """Everything that is installed, metric by metric; and which packages are not."""
    missing = sorted({package for package, _ in OTHERS if importlib.util.find_spec(package) is None})
    others = [(package, compute) for package, compute in OTHERS if package not in missing]
    jobs = [*(("ours", compute) for compute in OURS), *others]
    rows: dict[str, list[Row]] = {metric: [] for metric in TOLERANCE_DB}
    our_values: Values = {}
    for package, compute in tqdm(jobs, desc="measure", leave=False):
        values, seconds = timed(compute, track)
        for metric, found in values.items():
            if package == "ours":
                our_values[metric] = found
                rows[metric].append(Row(metric, package, per_stem(found), seconds))
            else:
                difference = compare(our_values[metric], found)
                times = seconds / rows[metric][0].seconds
                rows[metric].append(Row(metric, package, per_stem(found), seconds, difference, times))
    return [row for of_metric in rows.values() for row in of_metric], missing


def as_table(rows: list[Row]) -> Table:
    """One line per metric and package, within 80 columns for four stems."""
    names = {name: metric.name for name, metric in {**waveform.METRICS, **bss.METRICS}.items()}
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("metric", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for heading in ("dB, per stem", "differs\n(dB)", "CPU\ntime (s)", "ours is\nfaster"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            *(names[row.metric], row.package, " ".join(f"{value:6.2f}" for value in row.values)),
            "" if row.difference is None else f"{row.difference:.1e}",
            f"{row.seconds:.3g}",
            "" if row.times is None else f"{row.times:.3g}x",
        )
    return table


def wrong(rows: list[Row]) -> list[str]:
    """The numbers that are not those of ours, in words."""
    return [
        f"{row.metric}: {row.package} differs by {row.difference:.1e} dB, more than {TOLERANCE_DB[row.metric]:g}"
        for row in rows
        if row.difference is not None and not row.difference <= TOLERANCE_DB[row.metric]
    ]


def main(
    seconds: Annotated[float, typer.Option(help="length of the track", min=0.1)] = 30.0,
    stems: Annotated[int, typer.Option(help="how many stems it has, all stereo", min=2, max=8)] = 4,
    sample_rate: Annotated[int, typer.Option(help="in Hz", min=8000)] = 44100,
) -> None:
    """Measure, print the table, and say what was promised."""
    rows, missing = measure(make_track(seconds, stems, sample_rate))
    console.print(
        f"{seconds:g} s, {stems} stereo stems, {sample_rate} Hz; {torch.get_num_threads()} threads; "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )
    console.print(as_table(rows))
    console.print("ISR, SIR and SAR (museval's SDR too) are computed together: each line has the time of all.")
    for package in missing:
        console.print(f"{package} is not installed: left out")
    for row in rows:
        if row.package == "museval" and row.times is not None:
            promised = f"{PROMISED[row.metric]} are promised at 30 s and 4 stems"
            console.print(f"{row.metric}: {row.times:.0f} times faster than museval; {promised}")
    for line in (mistakes := wrong(rows)):
        console.print(line, style="bold red")
    if mistakes:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
