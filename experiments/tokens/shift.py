"""A5, the shift towards silence: moving latents from the bass to silence, to take the bass out (thesis, section 6.1).

The thesis shifted "samples located in the bass latent region towards the silent region to achieve a rudimentary bass
removal", and found the result "less than stellar". Two readings are measured here, on the bass alone and on the sum
of bass and drums:

- *one vector*: every frame moves by a share of the vector from the mean latent of the bass to that of silence;
- *each frame*: frames in the region of the bass, those nearer to its mean latent than to the drums', move a share
  of their own way to silence.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.metrics.registry import METRICS
from codec_ft.metrics.spectral import log_mel_distance
from codec_ft.metrics.waveform import si_sdr
from experiments.report.wording import show
from experiments.tokens.config import TokensConfig
from experiments.tokens.gather import SUM, Material, check_pair
from experiments.tokens.levels import rms_db
from experiments.tokens.outcome import Heading, Outcome, Picture, Sounds, Table
from experiments.tokens.plots import INK, new_figure, one_legend, styled
from experiments.tokens.silence import digital_silence

WAYS = ("one vector", "each frame")
DECODED = ("latents", "codes")
"""What is decoded: the moved latents as they are, or their nearest codes."""
AUDIBLE_PIECES = 3
LOWEST_SHOWN_DB = -20.0
"""SI-SDR at which the figures end: silence has none to speak of."""

Curve = list[dict[str, float]]
"""Mean measurements at each place along the way."""


@dataclass(frozen=True)
class Directions:
    """Mean latents `[1, D, 1]` of the stem that is to vanish, of the one that is to stay, and of silence.

    `spread` is the root mean square distance of the stem's frames from their mean.
    """

    stem: Tensor
    rest: Tensor
    silence: Tensor
    spread: float

    @property
    def length(self) -> float:
        """Distance of the stem's mean latent from that of silence."""
        return float((self.silence - self.stem).norm())


def move_by_vector(latents: Tensor, start: Tensor, end: Tensor, share: float) -> Tensor:
    """Move all frames of `latents [B, D, T]` by `share` of the vector from `start` to `end`, `[1, D, 1]` each."""
    return latents + share * (end - start)


def move_frames(latents: Tensor, end: Tensor, share: float, chosen: Tensor) -> Tensor:
    """Move the `chosen [B, T]` frames of `latents [B, D, T]` a `share` of their own way to `end [1, D, 1]`."""
    return torch.where(chosen[:, None, :], latents + share * (end - latents), latents)


def nearer(latents: Tensor, to: Tensor, than: Tensor) -> Tensor:
    """Which frames of `latents [B, D, T]` are nearer to one point `[1, D, 1]` than to another: bool `[B, T]`."""
    return (latents - to).square().sum(dim=1) < (latents - than).square().sum(dim=1)


@torch.no_grad()
def measure_shift(material: Material, config: TokensConfig) -> Outcome:
    """Move, decode and measure, for the stem alone and for its sum with the other stem."""
    codec, (stem, rest) = material.codec, config.pair
    check_pair(config.pair, material.sources)
    shares = np.linspace(0.0, 1.0, config.steps).tolist()
    directions = _directions(material, stem, rest)
    alone: dict[tuple[str, str], list[Curve]] = {(way, how): [] for way in WAYS for how in DECODED}
    removal: dict[tuple[str, str], list[Curve]] = {(way, how): [] for way in WAYS for how in DECODED}
    ceilings: Curve = []
    sounds: list[Sounds] = []
    for piece in material.pieces([stem]):
        other = material.piece(rest, piece.excerpt)
        both = material.piece(f"{stem}{SUM}{rest}", piece.excerpt)
        ceilings.append(_measure(codec, codec.codes_to_latents(other.codes), other.audio, spectral=True)[0])
        heard: dict[str, Tensor] = {"sum": both.audio[0], "to keep": other.audio[0]}
        for way in WAYS:
            for how in DECODED:
                # Of the stem alone every frame moves, of the sum those in the stem's region.
                move = _mover(way, directions, torch.ones_like(piece.active))
                curve, outputs = _along(codec, piece.latents, piece.audio, shares, move, how)
                alone[way, how].append(curve)
                if not sounds and (way, how) == ("each frame", "codes"):
                    sounds.append(_stem_sounds(stem, outputs, shares))
                move = _mover(way, directions, nearer(both.latents, directions.stem, directions.rest))
                curve, outputs = _along(codec, both.latents, other.audio, shares, move, how, spectral=True)
                removal[way, how].append(curve)
                if how == "codes":
                    heard[way] = outputs[-1]
        if len(sounds) <= AUDIBLE_PIECES:
            sounds.append(_sounds(piece.excerpt.name, heard, stem, rest))
    alone_means = {key: _mean_curve(curves) for key, curves in alone.items()}
    removal_means = {key: _mean_curve(curves) for key, curves in removal.items()}
    ceiling = _mean_curve([[values] for values in ceilings])[0]
    return Outcome(
        findings=_findings(alone_means, removal_means, ceiling, directions, stem, rest),
        tables=[
            _table("alone", alone_means, shares, f"{stem.capitalize()} alone", stem, None),
            _table("removal", removal_means, shares, f"{stem.capitalize()} out of the sum", rest, ceiling),
        ],
        pictures=[
            Picture(
                "alone",
                f"{stem.capitalize()} alone on its way to silence",
                f"0 is the {stem} through the codec, 1 the end of the way. Level of what is decoded, and how much of "
                f"it still is the {stem}. Means over the pieces.",
                draw_shift(alone_means, shares, ("level", "si_sdr"), stem),
            ),
            Picture(
                "removal",
                f"{stem.capitalize()} out of the sum of {stem} and {rest}",
                f"0 is the sum through the codec. What is decoded is compared with the {rest} alone: if the shift "
                f"removed the {stem}, it would come near the ceiling, the {rest} through the codec.",
                draw_shift(removal_means, shares, ("si_sdr", "log_mel_distance"), rest, ceiling),
            ),
        ],
        sounds=sounds,
    )


def _directions(material: Material, stem: str, rest: str) -> Directions:
    """Mean latents over all sounding frames of both stems, and that of digital silence."""
    latents: dict[str, list[Tensor]] = {stem: [], rest: []}
    for piece in material.pieces([stem, rest]):
        latents[piece.source].append(piece.latents[0, :, piece.active[0]])
    of_stem = torch.cat(latents[stem], dim=1)
    means = {source: torch.cat(found, dim=1).mean(dim=1)[None, :, None] for source, found in latents.items()}
    spread = float((of_stem - means[stem][0]).square().sum(dim=0).mean().sqrt())
    return Directions(means[stem], means[rest], digital_silence(material.codec).latent, spread)


def _mover(way: str, directions: Directions, region: Tensor) -> Callable[[Tensor, float], Tensor]:
    """The function that moves latents a share of the way."""
    if way == "one vector":
        return lambda latents, share: move_by_vector(latents, directions.stem, directions.silence, share)
    return lambda latents, share: move_frames(latents, directions.silence, share, region)


def _along(
    codec: Codec,
    latents: Tensor,
    target: Tensor,
    shares: Sequence[float],
    move: Callable[[Tensor, float], Tensor],
    how: str,
    spectral: bool = False,
) -> tuple[Curve, list[Tensor]]:
    """Measurements at each place along a way, and the audio `[1, N]` there."""
    curve, outputs = [], []
    for share in shares:
        moved = move(latents, share)
        values, output = _measure(codec, moved if how == "latents" else codec.quantize(moved)[1], target, spectral)
        curve.append(values)
        outputs.append(output)
    return curve, outputs


def _measure(codec: Codec, latents: Tensor, target: Tensor, spectral: bool) -> tuple[dict[str, float], Tensor]:
    """Decode to `[1, N]` and compare with the target; the log-mel distance, which takes longest, only on demand."""
    output = codec.decode(latents, target.shape[-1])
    values = {"level": rms_db(output), "si_sdr": float(si_sdr(output, target))}
    if spectral:
        values["log_mel_distance"] = float(log_mel_distance(output, target, codec.sample_rate))
    return values, output[0].cpu()


def _mean_curve(curves: Sequence[Curve]) -> Curve:
    """Means over the pieces at each place, leaving out what is undefined for a piece."""
    means = []
    for places in zip(*curves, strict=True):
        values = {name: torch.tensor([place[name] for place in places]) for name in places[0]}
        means.append({name: float(value.nanmean()) for name, value in values.items()})
    return means


def _stem_sounds(stem: str, outputs: Sequence[Tensor], shares: Sequence[float]) -> Sounds:
    """The stem alone at the start, in the middle and at the end of its way."""
    audio = {f"at {shares[i]:.2g}": outputs[i] for i in sorted({0, len(shares) // 2, len(shares) - 1})}
    captions = {clip: f"each frame {clip.removeprefix('at ')} of its way to silence" for clip in audio}
    return Sounds(f"{stem} alone", audio, captions)


def _sounds(name: str, heard: Mapping[str, Tensor], stem: str, rest: str) -> Sounds:
    captions = {
        "sum": f"{stem} and {rest}, untouched",
        "one vector": f"all frames moved by the vector from {stem} to silence",
        "each frame": f"the frames in the region of the {stem} moved to silence",
        "to keep": f"the {rest} alone, the aim",
    }
    return Sounds(name, {clip: heard[clip] for clip in captions}, captions)


def _findings(
    alone: Mapping[tuple[str, str], Curve],
    removal: Mapping[tuple[str, str], Curve],
    ceiling: Mapping[str, float],
    directions: Directions,
    stem: str,
    rest: str,
) -> list[str]:
    start = removal["one vector", "codes"][0]["si_sdr"]
    best = max(removal, key=lambda key: max(values["si_sdr"] for values in removal[key]))
    peak = max(values["si_sdr"] for values in removal[best])
    place = [values["si_sdr"] for values in removal[best]].index(peak) / (len(removal[best]) - 1)
    reached = {way: removal[way, "codes"][-1]["si_sdr"] for way in WAYS}
    findings = [
        f"Out of {stem} and {rest}, the shift brings SI-SDR against the {rest} from {show(start, 'dB')} dB to "
        f"{show(peak, 'dB')} dB at best ({best[0]}, decoded from {best[1]}, {100 * place:.0f} % of the way); the "
        f"codec's ceiling is {show(ceiling['si_sdr'], 'dB')} dB. The thesis calls its own result “less than stellar”.",
        f"At the end of the way it is {show(reached['one vector'], 'dB')} dB with one vector for all frames, and "
        f"{show(reached['each frame'], 'dB')} dB with the frames of the {stem}'s region silenced.",
    ]
    for way in WAYS:
        curve = alone[way, "codes"]
        level, ratio = ([show(curve[i][name], "dB") for i in (0, len(curve) // 2, -1)] for name in ("level", "si_sdr"))
        findings.append(
            f"{stem.capitalize()} alone, {way}: its level goes from {level[0]} dBFS over {level[1]} half-way to "
            f"{level[2]}; its SI-SDR from {ratio[0]} dB to {ratio[1]} half-way."
        )
    findings.append(
        f"The vector from the mean latent of the {stem} to silence has the length {show(directions.length)}; single "
        f"frames of the {stem} lie {show(directions.spread)} from that mean (root mean square)."
    )
    return findings


def _table(
    name: str,
    curves: Mapping[tuple[str, str], Curve],
    shares: Sequence[float],
    title: str,
    target: str,
    ceiling: Mapping[str, float] | None,
) -> Table:
    rows = [
        (f"{way}, decoded from {how}: {words}", [values[metric] for values in curve])
        for (way, how), curve in curves.items()
        for metric, words in (("level", "level"), ("si_sdr", "SI-SDR"))
    ]
    hint = f"Level in dBFS and SI-SDR against the {target} in dB; columns: share of the way."
    if ceiling is not None:
        hint += f" The ceiling is {show(ceiling['si_sdr'], 'dB')} dB."
    return Table(name, title, hint, "share of the way", [Heading(f"{share:.2g}", "dB") for share in shares], rows)


@styled
def draw_shift(
    curves: Mapping[tuple[str, str], Curve],
    shares: Sequence[float],
    metrics: tuple[str, str],
    target: str,
    ceiling: Mapping[str, float] | None = None,
) -> Figure:
    """Two measurements along the way, a line for each way and for what is decoded."""
    titles: dict[str, tuple[str, str]] = {
        "level": ("level", "dBFS"),
        "si_sdr": (f"SI-SDR against the {target} ↑", "dB"),
        "log_mel_distance": (f"log-mel distance to the {target} ↓", METRICS["log_mel_distance"].unit),
    }
    styles: dict[tuple[str, str], dict[str, Any]] = {
        (way, how): {"color": colour, "marker": marker, "linestyle": "-" if how == "codes" else ":"}
        for way, colour, marker in (("one vector", "#0072B2", "o"), ("each frame", "#D55E00", "s"))
        for how in DECODED
    }
    figure, axes = new_figure(3.8, 1, 2)
    for axis, metric in zip(axes[0], metrics, strict=True):
        for key, curve in curves.items():
            axis.plot(shares, [values[metric] for values in curve], **styles[key])
        if ceiling is not None:
            axis.axhline(ceiling[metric], color=INK, linestyle="--", linewidth=1.2)
        axis.set_title(titles[metric][0])
        axis.set_ylabel(titles[metric][1])
        axis.set_xlabel("share of the way to silence")
        if metric == "si_sdr" and axis.get_ylim()[0] < LOWEST_SHOWN_DB:
            axis.set_ylim(bottom=LOWEST_SHOWN_DB)
    handles = [Line2D([], [], label=f"{way}, from {how}", **style) for (way, how), style in styles.items()]
    if ceiling is not None:
        handles.append(Line2D([], [], color=INK, linestyle="--", linewidth=1.2, label="ceiling"))
    one_legend(figure, handles)
    return figure
