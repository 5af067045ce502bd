"""A2, code occurrence: which codes each source uses, how evenly, and how far sources overlap (thesis, figure 11)."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from codec_ft.metrics.tokens import CodebookUsage, codebook_usage, majority_tokens
from experiments.report.wording import show, show_percent
from experiments.tokens.config import TokensConfig
from experiments.tokens.gather import SUM, Material, SourceCodes, collect_codes
from experiments.tokens.outcome import Cell, Heading, Outcome, Picture, Table
from experiments.tokens.plots import INK, MUTED, count_axis, look, new_figure, one_legend, source_handles, styled

SHOWN_CODEBOOKS = 8
"""Codebooks with a histogram of their own; of more, so many are chosen evenly from first to last."""


def count_codes(codes: Tensor, codebook_size: int) -> Tensor:
    """How often each code occurs, `[K, F] -> [K, V]`."""
    return torch.stack([torch.bincount(row, minlength=codebook_size) for row in codes])


def jensen_shannon(counts: Tensor, others: Tensor) -> Tensor:
    """Jensen-Shannon divergence of two histograms in bits, `[..., V], [..., V] -> [...]`.

    Between 0 (equal shares) and 1 (no code in common); NaN where a histogram is empty (Lin, 1991).
    """
    shares, other_shares = (c.double() / c.sum(dim=-1, keepdim=True) for c in (counts, others))
    middle = (shares + other_shares) / 2
    return (_entropy_bits(middle) - (_entropy_bits(shares) + _entropy_bits(other_shares)) / 2).clamp(min=0.0)


def divergences(halves: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """Jensen-Shannon divergence `[K]` of each pair of sources, and of each source's own two halves.

    Histograms of few frames differ by chance alone, and so do those of different music. Each source is therefore
    given as two halves from different tracks, `[2, K, V]`, and only opposite halves are compared, for pairs as for a
    source with itself: what the latter shows is not due to the source.
    """
    sources = list(halves)
    found = {}
    for i, a in enumerate(sources):
        for b in sources[i:]:
            crosswise = [jensen_shannon(halves[a][0], halves[b][1]), jensen_shannon(halves[a][1], halves[b][0])]
            found[a, b] = torch.stack(crosswise).mean(dim=0)
    return found


def measure_occurrence(material: Material, config: TokensConfig) -> Outcome:
    """Count the codes of all frames of every source, and of the sounding ones."""
    del config
    size = material.codec.codebook_size
    collected = collect_codes(material)
    sounding = {source: found.codes[:, found.active] for source, found in collected.items()}
    usage = {source: codebook_usage(codes[None], size) for source, codes in sounding.items() if codes.shape[1]}
    every = torch.cat(list(sounding.values()), dim=1)
    usage_of_all = codebook_usage(every[None], size)
    halves = {
        source: torch.stack([count_codes(found.codes[:, found.active & (found.groups % 2 == h)], size) for h in (0, 1)])
        for source, found in collected.items()
    }
    overlap = divergences(halves)
    shares = {
        source: count_codes(found.codes, size).double() / found.codes.shape[1] for source, found in collected.items()
    }
    tables = [
        _summary(collected, usage, size),
        _usage_table("unused", {**usage, "all together": usage_of_all}, size),
        _usage_table("entropy", {**usage, "all together": usage_of_all}, size),
    ]
    pictures = [
        Picture(
            "histograms",
            "How often each code occurs",
            "All frames, silent ones included. In each codebook the codes of every source are sorted by their own "
            "frequency; dotted: every code equally often.",
            draw_histograms(shares),
        ),
        Picture(
            "use",
            "Use of the codebooks",
            "Sounding frames only. Perplexity is the number of equally frequent codes with the same entropy.",
            draw_use(usage, size),
        ),
    ]
    if any(bool(found.isfinite().any()) for found in overlap.values()):  # a single piece has no halves to compare
        tables.append(_overlap_table(overlap))
        pictures.append(
            Picture(
                "overlap",
                "How far the sources differ in their codes",
                "Jensen-Shannon divergence of the histograms of sounding frames, in bits: 0 is the same use of the "
                "codes, 1 none in common. Opposite halves of the tracks are compared, so that the diagonal says what "
                "differs between tracks of one source.",
                draw_overlap(overlap, list(collected)),
            )
        )
    return Outcome(_findings(collected, usage, usage_of_all, overlap, size), tables, pictures)


def _entropy_bits(shares: Tensor) -> Tensor:
    return -torch.xlogy(shares, shares).sum(dim=-1) / math.log(2.0)


def _findings(
    collected: Mapping[str, SourceCodes],
    usage: Mapping[str, CodebookUsage],
    usage_of_all: CodebookUsage,
    overlap: Mapping[tuple[str, str], Tensor],
    size: int,
) -> list[str]:
    stems = [source for source in usage if SUM not in source]
    listed = ", ".join(f"{source} {show_percent(1 - int(usage[source].used[0]) / size)}" for source in stems)
    findings = [f"Of the first codebook's {size} codes, sounding frames never use: {listed}."]
    left = (size - usage_of_all.used) / size
    findings.append(
        f"All sources together leave {show_percent(float(left[0]))} of the first codebook's codes unused, "
        f"and {show_percent(float(left[-1]))} of the last one's."
    )
    if len(left) > 1:
        first, last = (float(np.mean([float(u.perplexity[k]) for u in usage.values()])) for k in (0, -1))
        words = "more" if last > first else "not more"
        findings.append(
            f"Use is {words} spread out in the last codebook than in the first: perplexity {show(last)} after "
            f"{show(first)} of {size}, means over the sources."
        )
    commonest = {source: _commonest(found) for source, found in collected.items()}
    source = max(commonest, key=lambda s: commonest[s][1])
    code, share, sounding_share = commonest[source]
    findings.append(
        f"The commonest code of the first codebook is most frequent in {source}: code {code} takes "
        f"{show_percent(share)} of all its frames, and {show_percent(sounding_share)} of the sounding ones."
    )
    own = {a: float(d[0]) for (a, b), d in overlap.items() if a == b}
    pairs = {pair: float(d[0]) for pair, d in overlap.items() if pair[0] != pair[1] and math.isfinite(float(d[0]))}
    if pairs:
        a, b = max(pairs, key=lambda pair: pairs[pair])
        findings.append(
            f"In the first codebook {a} and {b} overlap least: {pairs[a, b]:.2f} bits apart, where the tracks of {a} "
            f"among themselves are {own[a]:.2f} apart, those of {b} {own[b]:.2f}."
        )
    return findings


def _commonest(found: SourceCodes) -> tuple[int, float, float]:
    """The commonest code of the first codebook, its share of all frames, and of the sounding ones."""
    first = found.codes[:1, :]
    code = int(majority_tokens(first[None], torch.ones(1, first.shape[1], dtype=torch.bool)))
    is_it = first[0] == code
    return code, float(is_it.double().mean()), float(is_it[found.active].double().mean())


def _summary(collected: Mapping[str, SourceCodes], usage: Mapping[str, CodebookUsage], size: int) -> Table:
    rows: list[tuple[str, list[Cell]]] = []
    for source, found in collected.items():
        code, share, sounding_share = _commonest(found)
        frames = int(found.active.sum())
        cells: list[Cell] = [found.codes.shape[1], frames, str(code), share, sounding_share]
        if source in usage:
            first = {name: float(values[0]) for name, values in vars(usage[source]).items()}
            chance = (1 - 1 / size) ** frames
            cells += [1 - first["used"] / size, chance, first["entropy_bits"], first["perplexity"]]
        else:
            cells += [None] * 4
        rows.append((source, cells))
    return Table(
        "first_codebook",
        "The first codebook",
        "The commonest code among all frames; everything after its two shares counts sounding frames. “By chance” is "
        "what so many frames would leave unused if all codes were equally likely.",
        "source",
        [
            Heading("frames"),
            Heading("sounding frames"),
            Heading("commonest code"),
            Heading("its share of all frames", "share"),
            Heading("of sounding ones", "share"),
            Heading("codes never used", "share"),
            Heading("by chance", "share"),
            Heading("entropy", "bit"),
            Heading("perplexity"),
        ],
        rows,
    )


def _usage_table(kind: str, usage: Mapping[str, CodebookUsage], size: int) -> Table:
    """Codes never used, or entropy, of every codebook."""
    codebooks = len(next(iter(usage.values())).used)
    if kind == "unused":
        title, hint, unit, full = "Codes never used", "Share of each codebook's codes, sounding frames.", "share", 1.0
        values = {source: (1 - found.used.double() / size).tolist() for source, found in usage.items()}
    else:
        full = math.log2(size)
        title, unit = "Entropy of the codes", "bit"
        hint = f"In bits, sounding frames; {full:g} bits if all codes were equally frequent."
        values = {source: found.entropy_bits.tolist() for source, found in usage.items()}
    columns = [Heading(str(k), unit) for k in range(1, codebooks + 1)]
    return Table(kind, title, hint, "codebook", columns, list(values.items()), full)


def _overlap_table(overlap: Mapping[tuple[str, str], Tensor]) -> Table:
    columns = [Heading(str(k), "bit") for k in range(1, 1 + len(next(iter(overlap.values()))))]
    rows = [(a if a == b else f"{a} – {b}", found.tolist()) for (a, b), found in overlap.items()]
    return Table(
        "divergence",
        "Divergence between sources",
        "Jensen-Shannon divergence in bits, sounding frames. A source by itself: one half of its tracks and the other.",
        "codebook",
        columns,
        rows,
        1.0,
    )


@styled
def draw_histograms(shares: Mapping[str, Tensor]) -> Figure:
    """Sorted histograms `[K, V]` of each source, a panel per codebook, on logarithmic axes."""
    sources = list(shares)
    codebooks, size = next(iter(shares.values())).shape
    chosen = sorted({round(k) for k in np.linspace(0, codebooks - 1, min(codebooks, SHOWN_CODEBOOKS)).tolist()})
    columns = min(4, len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axes = new_figure(0.9 + 2.6 * rows, rows, columns, sharex=True, sharey=True)
    for axis, k in zip(axes.flat, chosen, strict=False):
        for source in sources:
            ordered = shares[source][k].sort(descending=True).values
            used = ordered[ordered > 0]
            style = look(source, sources) | {"marker": ""}
            axis.loglog(np.arange(1, len(used) + 1), 100 * used.numpy(), **style)
        axis.axhline(100 / size, color=MUTED, linestyle=":", linewidth=1.2)
        axis.set_title(f"codebook {k + 1}")
    for axis in list(axes.flat)[len(chosen) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("share of frames (%)")
        axis.yaxis.set_major_formatter("{x:g}")
    for axis in axes[-1]:
        axis.set_xlabel("rank of the code")
        axis.xaxis.set_major_formatter("{x:g}")
    handles = source_handles(sources)
    for handle in handles:
        handle.set_marker("")
    one_legend(figure, [*handles, Line2D([], [], color=MUTED, linestyle=":", label="all equally often")])
    return figure


@styled
def draw_use(usage: Mapping[str, CodebookUsage], size: int) -> Figure:
    """Perplexity and codes never used over the codebooks, a line per source."""
    sources = list(usage)
    figure, axes = new_figure(3.6, 1, 2)
    for source, found in usage.items():
        codebooks = np.arange(1, len(found.used) + 1)
        axes[0, 0].plot(codebooks, found.perplexity.numpy(), **look(source, sources))
        axes[0, 1].plot(codebooks, 100 * (1 - found.used.double().numpy() / size), **look(source, sources))
    axes[0, 0].set_title(f"perplexity, of {size} codes")
    axes[0, 0].set_ylabel("codes")
    axes[0, 1].set_title("codes never used")
    axes[0, 1].set_ylabel("share of the codebook (%)")
    for axis in axes[0]:
        axis.set_ylim(bottom=0)
        count_axis(axis, codebooks.tolist(), "codebook")
    one_legend(figure, source_handles(sources))
    return figure


@styled
def draw_overlap(overlap: Mapping[tuple[str, str], Tensor], sources: Sequence[str]) -> Figure:
    """Matrices of divergences in the first codebook and on average over all."""
    figure, axes = new_figure(1.4 + 0.52 * len(sources), 1, 2)
    panels = {"first codebook": slice(0, 1), "mean of all codebooks": slice(None)}
    for axis, (title, codebooks) in zip(axes[0], panels.items(), strict=True):
        matrix = np.full((len(sources), len(sources)), np.nan)
        for (a, b), found in overlap.items():
            i, j = sources.index(a), sources.index(b)
            matrix[i, j] = matrix[j, i] = float(found[codebooks].mean())
        image = axis.imshow(matrix, vmin=0, vmax=1, cmap="YlGnBu", aspect="auto")
        for (i, j), value in np.ndenumerate(matrix):
            text, colour = "–" if np.isnan(value) else f"{value:.2f}", "white" if value > 0.6 else INK
            axis.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
        axis.set_xticks(range(len(sources)), labels=[source.replace(SUM, f"{SUM}\n") for source in sources])
        axis.set_yticks(range(len(sources)), labels=sources)
        axis.set_title(title)
        axis.grid(False)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0, labelcolor=INK)
    figure.colorbar(image, ax=axes, label="divergence (bit)", shrink=0.9)
    return figure
