"""A1, the codec's ceiling: how well each source survives the codec, by the number of codebooks (thesis, Table 1)."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from codec_ft.codecs.base import Codec
from codec_ft.metrics.registry import METRICS, waveform_metrics
from experiments.report.wording import show
from experiments.tokens.config import TokensConfig
from experiments.tokens.gather import SUM, Material
from experiments.tokens.outcome import Heading, Outcome, Picture, Table
from experiments.tokens.plots import count_axis, look, new_figure, one_legend, source_handles, styled

MOST_COUNTS = 12
SHOWN = ("usdr", "si_sdr", "log_mel_distance", "log_spectral_distance")

Scores = dict[str, dict[int, dict[str, float]]]
"""Source -> number of codebooks -> metric -> mean over the pieces."""


def codebook_counts(n_codebooks: int, most: int = MOST_COUNTS) -> list[int]:
    """The numbers of codebooks to try: all from 1 to K, or about `most` of them, denser where each one matters."""
    if n_codebooks <= most:
        return list(range(1, n_codebooks + 1))
    return sorted({round(count) for count in np.geomspace(1, n_codebooks, most).tolist()})


def kilobits_per_second(codec: Codec) -> float:
    """Bit rate of one codebook in kbit/s, each code spelt out in full."""
    return codec.sample_rate / codec.hop_length * np.log2(codec.codebook_size).item() / 1000


@torch.no_grad()
def measure_ceiling(material: Material, config: TokensConfig) -> Outcome:
    """Encode, quantise and decode every piece with the first 1, 2 ... K codebooks, and compare with the original."""
    del config
    codec = material.codec
    counts = codebook_counts(codec.n_codebooks)
    found: dict[str, dict[int, list[dict[str, float]]]] = {s: {n: [] for n in counts} for s in material.sources}
    for piece in material.pieces():
        for count in counts:
            latents = codec.codes_to_latents(piece.codes[:, :count])
            output = codec.decode(latents, piece.audio.shape[-1])
            metrics = waveform_metrics(output, piece.audio, codec.sample_rate)
            found[piece.source][count].append({name: float(value) for name, value in metrics.items()})
    scores = {source: {n: _means(items) for n, items in by_count.items()} for source, by_count in found.items()}
    return Outcome(
        findings=_findings(scores, codec),
        tables=[
            _ceiling_table(scores, codec),
            *(_count_table(scores, name) for name in ("usdr", "log_mel_distance")),
        ],
        pictures=[
            Picture(
                "codebooks",
                "Reconstruction by the number of codebooks",
                "Means over the pieces of each source; arrows point to better.",
                draw_ceiling(scores, kilobits_per_second(codec)),
            )
        ],
    )


def _means(items: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each metric, leaving out what is undefined for a piece."""
    return {name: float(torch.tensor([item[name] for item in items]).nanmean()) for name in items[0]}


def _findings(scores: Scores, codec: Codec) -> list[str]:
    last = codec.n_codebooks
    rate = kilobits_per_second(codec) * last
    usdr = {source: by_count[last]["usdr"] for source, by_count in scores.items()}
    listed = ", ".join(f"{source} {show(value, 'dB')}" for source, value in usdr.items())
    findings = [f"uSDR in dB with all codebooks ({last}, {rate:.3g} kbit/s): {listed}."]
    for source in usdr:
        parts = source.split(SUM)
        if len(parts) == 2 and all(part in usdr for part in parts):
            below = min(parts, key=lambda part: usdr[part])
            both, words = " and ".join(parts).capitalize(), "above" if usdr[source] > usdr[below] else "not above"
            findings.append(
                f"{both} together reach {show(usdr[source], 'dB')} dB, {words} {below} alone "
                f"({show(usdr[below], 'dB')} dB). In the thesis bass and drums together score above drums alone."
            )
    if last > 1:
        gains = {source: by_count[last]["usdr"] - by_count[1]["usdr"] for source, by_count in scores.items()}
        most, least = max(gains, key=lambda s: gains[s]), min(gains, key=lambda s: gains[s])
        findings.append(
            f"All {last} codebooks instead of the first alone gain most for {most} ({show(gains[most], 'dB')} dB) and "
            f"least for {least} ({show(gains[least], 'dB')} dB)."
        )
    return findings


def _ceiling_table(scores: Scores, codec: Codec) -> Table:
    names = list(next(iter(scores.values()))[codec.n_codebooks])
    return Table(
        "ceiling",
        "The ceiling: all codebooks",
        "The original's own tokens decoded, against the original; means over the pieces. A method that predicts "
        "every token reaches this. ↑ more is better, ↓ less is better.",
        "source",
        [Heading(name) for name in names],
        [(source, [by_count[codec.n_codebooks][name] for name in names]) for source, by_count in scores.items()],
    )


def _count_table(scores: Scores, metric: str) -> Table:
    counts = list(next(iter(scores.values())))
    return Table(
        f"{metric}_by_codebooks",
        f"{METRICS[metric].name} by the number of codebooks",
        f"In {METRICS[metric].unit}; columns: how many codebooks are decoded, coarsest first.",
        "source",
        [Heading(str(count), METRICS[metric].unit) for count in counts],
        [(source, [by_count[count][metric] for count in counts]) for source, by_count in scores.items()],
    )


@styled
def draw_ceiling(scores: Scores, kilobits: float) -> Figure:
    """Four metrics over the number of codebooks, a line per source."""
    sources = list(scores)
    figure, axes = new_figure(6.4, 2, 2, sharex=True)
    for axis, metric in zip(axes.flat, SHOWN, strict=True):
        for source, by_count in scores.items():
            axis.plot(list(by_count), [values[metric] for values in by_count.values()], **look(source, sources))
        info = METRICS[metric]
        axis.set_title(f"{info.name} {info.arrow}")
        axis.set_ylabel(info.unit)
    for axis in axes[-1]:
        count_axis(axis, list(next(iter(scores.values()))), f"codebooks, {kilobits:.3g} kbit/s each")
    one_legend(figure, source_handles(sources))
    return figure
