"""A6, idempotence: what is left of the tokens when they are decoded and encoded again, and again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.metrics.tokens import majority_token_accuracy, token_accuracy
from codec_ft.metrics.waveform import si_sdr
from experiments.report.wording import show, show_percent
from experiments.tokens.config import TokensConfig
from experiments.tokens.gather import Material
from experiments.tokens.outcome import Heading, Outcome, Picture, Sounds, Table
from experiments.tokens.plots import MUTED, count_axis, look, new_figure, one_legend, source_handles, styled


@dataclass(frozen=True)
class Generations:
    """A piece through the codec several times: the original's codes first, then those of each decoded generation.

    Attributes:
        codes: `passes + 1` grids `[1, K, T]`.
        audio: `passes` decoded pieces `[1, 1, N]`; `audio[i]` is decoded from `codes[i]` and gives `codes[i + 1]`.
    """

    codes: list[Tensor]
    audio: list[Tensor]


@dataclass(frozen=True)
class Drift:
    """What the passes do to one source; rows are passes.

    Attributes:
        to_previous: share of sounding frames with the code of the pass before, `[passes, K]`.
        to_first: the same for the original's codes, `[passes, K]`.
        to_majority: what the commonest code of each codebook would score against the original's codes, `[K]`.
        si_sdr: of the decoded audio against the original, mean over the pieces, `[passes]`.
        si_sdr_to_first: against what the first pass decoded; `[passes]`, 100 dB for itself.
    """

    to_previous: Tensor
    to_first: Tensor
    to_majority: Tensor
    si_sdr: Tensor
    si_sdr_to_first: Tensor


@torch.no_grad()
def pass_again(codec: Codec, codes: Tensor, length: int, passes: int) -> Generations:
    """Decode codes `[1, K, T]` to `length` samples and encode them again, `passes` times."""
    generations = Generations([codes], [])
    for _ in range(passes):
        audio = codec.decode(codec.codes_to_latents(generations.codes[-1]), length)
        generations.audio.append(audio)
        generations.codes.append(codec.quantize(codec.encode(audio))[0])
    return generations


def measure_idempotence(material: Material, config: TokensConfig) -> Outcome:
    """Send every piece through the codec `passes` times and compare codes and audio of the generations."""
    codec, passes = material.codec, config.passes
    codes: dict[str, list[list[Tensor]]] = {source: [] for source in material.sources}
    active: dict[str, list[Tensor]] = {source: [] for source in material.sources}
    ratios: dict[str, list[Tensor]] = {source: [] for source in material.sources}
    sounds: dict[str, Sounds] = {}
    for piece in material.pieces():
        found = pass_again(codec, piece.codes, piece.audio.shape[-1], passes)
        codes[piece.source].append([grid[0].cpu() for grid in found.codes])
        active[piece.source].append(piece.active[0].cpu())
        references = (piece.audio, found.audio[0])
        ratios[piece.source].append(torch.tensor([[float(si_sdr(a, b)) for a in found.audio] for b in references]))
        if piece.source not in sounds:
            sounds[piece.source] = _sounds(piece.source, piece.audio, found.audio)
    drifts = {s: _drift(codes[s], torch.cat(active[s]), torch.stack(ratios[s])) for s in material.sources}
    return Outcome(
        findings=_findings(drifts, passes),
        tables=[_first_table(drifts), *(_pass_table(drifts, reference) for reference in ("previous", "first"))],
        pictures=[
            Picture(
                "codebooks",
                "Tokens that come back, by codebook and pass",
                "Share of sounding frames, mean over the sources. Dotted: what always answering the commonest code of "
                "each codebook would score.",
                draw_codebooks(drifts),
            ),
            Picture(
                "passes",
                "What the passes leave of each source",
                "Tokens of all codebooks that are still those of the original, and the audio against the original.",
                draw_passes(drifts),
            ),
        ],
        sounds=list(sounds.values()),
    )


def _drift(codes: Sequence[Sequence[Tensor]], active: Tensor, ratios: Tensor) -> Drift:
    """Compare generations; `codes` by piece and generation, `[K, T]` each, `ratios [pieces, 2, passes]`."""
    grids = [torch.cat(list(generation), dim=1)[None] for generation in zip(*codes, strict=True)]
    mask = active[None]
    means = ratios.nanmean(dim=0)
    return Drift(
        to_previous=torch.stack([token_accuracy(b, a, mask) for a, b in pairwise(grids)]),
        to_first=torch.stack([token_accuracy(grid, grids[0], mask) for grid in grids[1:]]),
        to_majority=majority_token_accuracy(grids[0], mask),
        si_sdr=means[0],
        si_sdr_to_first=means[1],
    )


def _sounds(source: str, original: Tensor, decoded: Sequence[Tensor]) -> Sounds:
    audio = {"original": original[0], "pass 1": decoded[0][0]}
    captions = {"original": f"the {source}", "pass 1": "through the codec once"}
    if len(decoded) > 1:
        audio[f"pass {len(decoded)}"] = decoded[-1][0]
        captions[f"pass {len(decoded)}"] = f"through the codec {len(decoded)} times"
    return Sounds(source, audio, captions)


def _findings(drifts: Mapping[str, Drift], passes: int) -> list[str]:
    first = {source: float(drift.to_first[0, 0]) for source, drift in drifts.items()}
    listed = ", ".join(f"{source} {show_percent(share)}" for source, share in first.items())
    mean = _mean(drifts, "to_first")  # [passes, K]
    majority = _mean(drifts, "to_majority")
    findings = [
        f"Decoded and encoded again, so many of the first codebook's tokens come back the same: {listed}.",
        f"Over all sources {show_percent(float(mean[0, 0]))} come back in the first codebook and "
        f"{show_percent(float(mean[0, -1]))} in the last one; always answering the commonest code would score "
        f"{show_percent(float(majority[0]))} and {show_percent(float(majority[-1]))}.",
    ]
    if passes > 1:
        stay = _mean(drifts, "to_previous").mean(dim=1)
        lost = {source: float(drift.si_sdr[0] - drift.si_sdr[-1]) for source, drift in drifts.items()}
        most = max(lost, key=lambda s: lost[s])
        findings += [
            f"{show_percent(float(mean[0].mean()))} of all tokens are those of the original after one pass, "
            f"{show_percent(float(mean[-1].mean()))} after {passes}.",
            f"From one pass to the next {show_percent(float(stay[0]))} of all tokens stay at first, and "
            f"{show_percent(float(stay[-1]))} in pass {passes}; if they had settled it would be all.",
            f"The passes after the first cost most in {most}: SI-SDR against the original falls from "
            f"{show(float(drifts[most].si_sdr[0]), 'dB')} to {show(float(drifts[most].si_sdr[-1]), 'dB')} dB.",
        ]
    return findings


def _mean(drifts: Mapping[str, Drift], name: str) -> Tensor:
    """Mean of a field over the sources, leaving out those without a sounding frame."""
    return torch.stack([getattr(drift, name) for drift in drifts.values()]).nanmean(dim=0)


def _first_table(drifts: Mapping[str, Drift]) -> Table:
    codebooks = len(next(iter(drifts.values())).to_majority)
    rows = [(source, drift.to_first[0].tolist()) for source, drift in drifts.items()]
    rows.append(("always the commonest code, mean", _mean(drifts, "to_majority").tolist()))
    return Table(
        "idempotence",
        "Tokens that come back after one pass",
        "Share of sounding frames whose token is the same after decoding and encoding again.",
        "codebook",
        [Heading(str(k), "share") for k in range(1, codebooks + 1)],
        rows,
        1.0,
    )


def _pass_table(drifts: Mapping[str, Drift], reference: str) -> Table:
    """Agreement with the pass before, or with the original, and the SI-SDR, pass by pass."""
    rows = []
    for source, drift in drifts.items():
        accuracy, ratio = (
            (drift.to_previous, drift.si_sdr_to_first) if reference == "previous" else (drift.to_first, drift.si_sdr)
        )
        rows += [
            (f"{source}, tokens (%)", (100 * accuracy.mean(dim=1)).tolist()),
            (f"{source}, SI-SDR (dB)", ratio.tolist()),
        ]
    words = {
        "previous": ("Pass by pass", "Tokens that stay from the pass before; SI-SDR against what the first decoded."),
        "first": ("Against the original", "Tokens that are the original's; SI-SDR against the original."),
    }
    title, hint = words[reference]
    passes = range(1, 1 + len(next(iter(drifts.values())).si_sdr))
    return Table(f"against_{reference}", title, hint, "pass", [Heading(str(n)) for n in passes], rows)


@styled
def draw_codebooks(drifts: Mapping[str, Drift]) -> Figure:
    """Agreement with the pass before and with the original over the codebooks, a line per pass."""
    figure, axes = new_figure(3.7, 1, 2, sharey=True)
    majority = _mean(drifts, "to_majority")
    codebooks = np.arange(1, len(majority) + 1)
    passes = len(next(iter(drifts.values())).si_sdr)
    colours = [colormaps["viridis"](0.85 * i / max(1, passes - 1)) for i in range(passes)]
    panels = {"the same as in the pass before": "to_previous", "the same as in the original": "to_first"}
    for axis, (title, name) in zip(axes[0], panels.items(), strict=True):
        mean = _mean(drifts, name)
        for i, colour in enumerate(colours):
            axis.plot(codebooks, 100 * mean[i].numpy(), color=colour, marker="o")
        axis.plot(codebooks, 100 * majority.numpy(), color=MUTED, linestyle=":")
        axis.set_title(title)
        axis.set_ylim(0, 101)
        count_axis(axis, codebooks.tolist(), "codebook")
    axes[0, 0].set_ylabel("share of sounding frames (%)")
    handles = [Line2D([], [], color=colour, marker="o", label=f"pass {i}") for i, colour in enumerate(colours, start=1)]
    one_legend(figure, [*handles, Line2D([], [], color=MUTED, linestyle=":", label="commonest code")])
    return figure


@styled
def draw_passes(drifts: Mapping[str, Drift]) -> Figure:
    """Agreement with the original and SI-SDR over the passes, a line per source."""
    sources = list(drifts)
    figure, axes = new_figure(3.7, 1, 2)
    for source, drift in drifts.items():
        passes = np.arange(1, len(drift.si_sdr) + 1)
        axes[0, 0].plot(passes, 100 * drift.to_first.mean(dim=1).numpy(), **look(source, sources))
        axes[0, 1].plot(passes, drift.si_sdr.numpy(), **look(source, sources))
    axes[0, 0].set_title("tokens of the original, all codebooks")
    axes[0, 0].set_ylabel("share of sounding frames (%)")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 1].set_title("SI-SDR against the original ↑")
    axes[0, 1].set_ylabel("dB")
    for axis in axes[0]:
        count_axis(axis, passes.tolist(), "pass")
    one_legend(figure, source_handles(sources))
    return figure
