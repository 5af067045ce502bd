"""Reference curves of a training: what normal looks like, as numbers and as a picture."""

import json
from pathlib import Path
from typing import Any

from codec_ft.atomic import atomic_path

PANELS = {
    "reconstruction": "weighted sum of the reconstruction terms",
    "log_mel_distance": "log-mel distance",
    "si_sdr": "SI-SDR (dB)",
    "commitment": "commitment",
    "adversarial": "adversarial loss of the codec",
    "feature": "feature matching",
    "discriminator_loss": "loss of the discriminators",
    "perplexity_1": "perplexity of the first codebook",
    "dead_1": "dead codes of the first codebook",
}
"""What is drawn, if it was logged, and its title."""


STYLES: dict[str, dict[str, Any]] = {
    "train": {"color": "C0", "linewidth": 0.7},
    "valid": {"color": "C1", "linewidth": 1.8, "marker": "."},
}


def read_curves(metrics: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """From `metrics.jsonl`: for "train" and "valid" the points `(step, value)` of every curve."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {"train": {}, "valid": {}}
    for line in metrics.read_text().splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if name not in ("step", "split") and value is not None:
                curves[record["split"]].setdefault(name, []).append((record["step"], value))
    return curves


def ship_curves(metrics: Path, folder: Path) -> None:
    """Write `curves.json`, all curves to four digits, and `curves.png`, those of `PANELS`."""
    curves = read_curves(metrics)
    short = {
        split: {name: [[step, float(f"{value:.4g}")] for step, value in points] for name, points in named.items()}
        for split, named in curves.items()
    }
    with atomic_path(folder / "curves.json") as temporary:
        temporary.write_text(json.dumps(short, separators=(",", ":")))
    plot_curves(curves, folder / "curves.png")


def plot_curves(curves: dict[str, dict[str, list[tuple[int, float]]]], png: Path) -> None:
    """Draw the curves of `PANELS` that there are, over the steps."""
    from matplotlib.figure import Figure

    names = [name for name in PANELS if any(name in named for named in curves.values())]
    columns = 3
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(11, 2.7 * rows), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        for split, style in STYLES.items():
            if points := curves[split].get(name):
                axes.plot(*zip(*points, strict=True), label=split, **style)
        axes.set_title(PANELS[name], fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    with atomic_path(png) as temporary:
        figure.savefig(temporary, dpi=90)
