"""A4, clouds: the quantised latents of the sources in the plane, whole and by layers (thesis, figures 12 and 13)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from experiments.report.wording import show_percent
from experiments.tokens.config import TokensConfig
from experiments.tokens.frames import (
    READINGS,
    Cloud,
    Frames,
    Told,
    choose_frames,
    layer_parts,
    project,
    tell_apart,
    tell_each_two_apart,
)
from experiments.tokens.gather import Material, check_pair
from experiments.tokens.outcome import Heading, Outcome, Picture, Table
from experiments.tokens.plots import (
    INK,
    MARKERS,
    MUTED,
    count_axis,
    look,
    new_figure,
    one_legend,
    source_handles,
    styled,
)

LOTS = 4
COLOURS = dict(zip(READINGS, ("#0072B2", "#009E73", "#D55E00"), strict=True))


def measure_clouds(material: Material, config: TokensConfig) -> Outcome:
    """Draw the latents of all sources, those of the pair by layers, and count how often they are told apart."""
    pair = config.pair
    check_pair(pair, material.sources)
    codec = material.codec
    frames = choose_frames(material, config.points, config.seed)
    shown = {source: Frames(f.codes[:, : config.points], f.groups[: config.points]) for source, f in frames.items()}
    parts = layer_parts(codec.n_codebooks)
    of_pair = [shown[source] for source in pair]
    everything = project(codec, list(shown.values()), slice(None))
    by_part = {words: project(codec, of_pair, part) for words, part in parts.items()}
    told = tell_apart(codec, [frames[source] for source in pair])
    names = list(shown)
    confusions = tell_each_two_apart(codec, [frames[source] for source in names])
    pictures = [
        Picture(
            "sources",
            "Quantised latents of the sources",
            f"{config.points} random sounding frames of each source; on the left projected on the two axes of largest "
            "variance, on the right placed so that distances are kept as well as they can be.",
            draw_sources(everything, names),
        ),
        Picture(
            "layers",
            f"{pair[0].capitalize()} and {pair[1]} by layers of the quantiser",
            "What the named codebooks add to the latents, of the same frames; each panel has a scale of its own. “Told "
            "apart” counts frames whose five nearest in this very plane, of other tracks, mostly are of their source.",
            draw_layers(by_part, pair),
        ),
        Picture(
            "told_apart",
            f"How often {pair[0]} and {pair[1]} are told apart",
            "Share of frames whose five nearest frames of other tracks mostly are of the same source, near in the "
            "latents as they are, in their direction, or in their length alone, which goes with loudness.",
            draw_told_apart(told),
        ),
    ]
    return Outcome(
        findings=_findings(told, everything, by_part, confusions, names, pair),
        tables=[_told_table(told, pair), _confusion_table(confusions, names)],
        pictures=pictures,
    )


def _findings(
    told: Mapping[str, Told],
    everything: Cloud,
    by_part: Mapping[str, Cloud],
    confusions: Tensor,
    names: Sequence[str],
    pair: tuple[str, str],
) -> list[str]:
    first, last = told["latents"].first, told["latents"].last
    whole = list(by_part.values())[-2 if len(by_part) > 1 else 0]  # the last one is the last half of the layers
    findings = [
        f"{pair[0].capitalize()} and {pair[1]} are told apart in {show_percent(first[-1])} of the frames by their five "
        "nearest frames of other tracks; chance is 50 %.",
        f"In the plane they are told apart in {show_percent(whole.told_by_pca)} after PCA, in "
        f"{show_percent(whole.told_by_mds)} after MDS. The thesis saw a clear separation in the plane.",
    ]
    if len(first) > 2:
        findings.append(
            f"The first codebook alone gives {show_percent(first[0])}, the first two {show_percent(first[1])}, all of "
            f"them {show_percent(first[-1])}. In the thesis two residuals already separated them well."
        )
    if len(by_part) > 1:
        half = len(last) - len(last) // 2
        of_half = {reading: show_percent(found.last[half]) for reading, found in told.items()}
        findings.append(
            f"The last half of the codebooks alone gives {of_half['latents']}. The thesis found the last layers "
            f"“random”, which would be 50 %; their direction gives {of_half['direction']} and their length, which goes "
            f"with loudness, {of_half['length']}."
        )
    explained = everything.principal.explained
    findings.append(
        f"Two principal axes hold {show_percent(float(explained[:2].sum()))} of the variance of the quantised latents "
        f"of {', '.join(names)}; half of it takes {int((explained.cumsum(0) < 0.5).sum()) + 1} of "
        f"{len(explained)} axes."
    )
    if len(names) > 2:
        i, j = divmod(int(confusions.nan_to_num(2.0).argmin()), len(names))
        share = show_percent(float(confusions[i, j]))
        findings.append(f"Nearest to each other are {names[i]} and {names[j]}, told apart in {share} of the frames.")
    return findings


def _told_table(told: Mapping[str, Told], pair: tuple[str, str]) -> Table:
    rows = {f"codebooks 1 … k, {reading}": found.first for reading, found in told.items()}
    rows |= {f"codebooks k … K, {reading}": found.last for reading, found in told.items()}
    return Table(
        "told_apart",
        f"{pair[0].capitalize()} and {pair[1]} told apart, by codebooks",
        "Share of frames whose five nearest frames of other tracks are mostly of the same source, in the space of what "
        "these codebooks add to the latents. Chance: 50 %.",
        "k",
        [Heading(str(k), "share") for k in range(1, 1 + len(told["latents"].first))],
        list(rows.items()),
        1.0,
    )


def _confusion_table(confusions: Tensor, names: Sequence[str]) -> Table:
    return Table(
        "sources_told_apart",
        "Each two sources told apart, by all codebooks",
        "The same share for every two sources.",
        "source",
        [Heading(name, "share") for name in names],
        [(name, confusions[i].tolist()) for i, name in enumerate(names)],
        1.0,
    )


@styled
def draw_sources(cloud: Cloud, sources: Sequence[str]) -> Figure:
    """PCA and MDS of the points of all sources side by side."""
    figure, axes = new_figure(5.4, 1, 2)
    _scatter(axes[0, 0], cloud.principal.points, cloud.labels, sources)
    _scatter(axes[0, 1], cloud.scaled.points, cloud.labels, sources)
    axes[0, 0].set_title("PCA")
    axes[0, 0].set_xlabel(f"first axis, {100 * float(cloud.principal.explained[0]):.0f} % of the variance")
    axes[0, 0].set_ylabel(f"second axis, {100 * float(cloud.principal.explained[1]):.0f} %")
    axes[0, 1].set_title(f"MDS, stress {cloud.scaled.stress:.2f}")
    one_legend(figure, source_handles(sources, lines=False), markerscale=1.4)
    return figure


@styled
def draw_layers(by_part: Mapping[str, Cloud], pair: tuple[str, str]) -> Figure:
    """PCA above, MDS below, a column for each choice of codebooks."""
    figure, axes = new_figure(6.0, 2, len(by_part))
    for column, (words, cloud) in enumerate(by_part.items()):
        _scatter(axes[0, column], cloud.principal.points, cloud.labels, pair)
        _scatter(axes[1, column], cloud.scaled.points, cloud.labels, pair)
        share = 100 * float(cloud.principal.explained[:2].sum())
        told = [f"told apart {show_percent(value)}" for value in (cloud.told_by_pca, cloud.told_by_mds)]
        axes[0, column].set_title(words)
        axes[0, column].set_xlabel(f"{share:.0f} % of the variance, {told[0]}", fontsize=9)
        axes[1, column].set_xlabel(f"stress {cloud.scaled.stress:.2f}, {told[1]}", fontsize=9)
    for row, name in enumerate(("PCA", "MDS")):
        axes[row, 0].set_ylabel(name)
    one_legend(figure, source_handles(pair, lines=False), markerscale=1.4)
    return figure


@styled
def draw_told_apart(told: Mapping[str, Told]) -> Figure:
    """The accuracies over the codebooks, of the first ones and of the last ones."""
    figure, axes = new_figure(3.5, 1, 2, sharey=True)
    panels = {"codebooks 1 … k": "first", "codebooks k … K alone": "last"}
    for axis, (title, end) in zip(axes[0], panels.items(), strict=True):
        for (reading, colour), marker in zip(COLOURS.items(), MARKERS, strict=False):
            shares = 100 * np.array(getattr(told[reading], end))
            codebooks = np.arange(1, len(shares) + 1)
            axis.plot(codebooks, shares, color=colour, marker=marker)
        axis.axhline(50, color=MUTED, linestyle=":", linewidth=1.4)
        axis.set_ylim(40, 101)
        axis.set_title(title)
        count_axis(axis, codebooks.tolist(), "k")
    axes[0, 0].set_ylabel("told apart (%)")
    handles = [
        Line2D([], [], color=colour, marker=marker, label=reading)
        for (reading, colour), marker in zip(COLOURS.items(), MARKERS, strict=False)
    ]
    one_legend(figure, [*handles, Line2D([], [], color=MUTED, linestyle=":", label="chance")])
    return figure


def _scatter(axis: Axes, points: Tensor, labels: Tensor, sources: Sequence[str]) -> None:
    """Points in the colours of their sources, drawn in lots by turns, so that no source covers another."""
    for lot in np.array_split(np.random.default_rng(0).permutation(len(points)), LOTS):
        for i, source in enumerate(sources):
            style = look(source, sources)
            x, y = points[lot[labels[lot].numpy() == i]].numpy().T
            axis.scatter(x, y, s=13, color=style["color"], marker=style["marker"], alpha=0.65, linewidths=0)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    axis.spines[:].set(visible=True, color=INK, linewidth=0.5, alpha=0.3)
    axis.set_box_aspect(1)
