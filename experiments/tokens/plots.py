"""How the figures look: one palette for the sources, one size of type, little ink."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

WIDTH = 11.0
"""Inches; at the width of the page ten points are then about as large as its text."""

INK, MUTED, LINE = "#1c1e22", "#5c626c", "#e4e2dc"
"""The page's own colours for text, secondary text and rules."""

# Okabe and Ito's colours, which stay apart for every kind of colour vision; sums of stems are greys, and dashed.
STEMS = {"bass": "#0072B2", "drums": "#D55E00", "vocals": "#009E73", "other": "#CC79A7"}
FURTHER = ("#56B4E9", "#E69F00", "#8C6D31", "#6B4C9A")
MARKERS = "osD^vPX*"
STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

styled = rc_context(STYLE)
"""Decorator of every function that draws: the settings hold for as long as it runs."""


def new_figure(height: float, rows: int = 1, columns: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure of the page's width and `height` inches, and its panels `[rows, columns]`."""
    figure = Figure(figsize=(WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def look(source: str, sources: Sequence[str]) -> dict[str, Any]:
    """Colour, line style and marker of one of `sources`: no two that are shown together look the same."""
    stems = [name for name in sources if "+" not in name and name != "mixture"]
    further = [name for name in stems if name not in STEMS]
    if source == "mixture":
        colour, dashes = INK, "--"
    elif source not in stems:
        colour, dashes = "#7c8698", "--"
    elif source in STEMS:
        colour, dashes = STEMS[source], "-"
    else:
        colour, dashes = FURTHER[further.index(source) % len(FURTHER)], "-"
    return {"color": colour, "linestyle": dashes, "marker": MARKERS[sources.index(source) % len(MARKERS)]}


def one_legend(figure: Figure, handles: Iterable[Any], **options: Any) -> None:
    """One legend for all panels, above them."""
    handles = list(handles)
    figure.legend(handles=handles, loc="outside upper left", **({"ncols": min(len(handles), 7)} | options))


def source_handles(sources: Sequence[str], *, lines: bool = True) -> list[Line2D]:
    """Entries of a legend of sources, as lines or as points."""
    return [
        Line2D([], [], label=source, **(look(source, sources) | ({} if lines else {"linestyle": ""})))
        for source in sources
    ]


def count_axis(axis: Axes, counts: Sequence[int], label: str) -> None:
    """A horizontal axis of whole numbers: a tick at each, fewer labels where they are many."""
    every = -(-len(counts) // 12)
    axis.set_xticks(list(counts), labels=[str(n) if i % every == 0 else "" for i, n in enumerate(counts)])
    axis.set_xlabel(label)
