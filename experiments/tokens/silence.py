"""A3, silence codes: are the most frequent codes those of silence, and how silent are they (thesis, section 6.1)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.metrics.tokens import majority_tokens
from experiments.report.wording import show, show_percent
from experiments.tokens.config import TokensConfig
from experiments.tokens.gather import Material, SourceCodes, collect_codes
from experiments.tokens.levels import FLOOR_DB, rms_db
from experiments.tokens.occurrence import count_codes
from experiments.tokens.outcome import Cell, Heading, Outcome, Picture, Sounds, Table
from experiments.tokens.plots import INK, MUTED, new_figure, one_legend, styled

SECONDS = 2.0
"""Length of what is decoded here; levels are those of its second half, when the decoder has settled."""
RANDOM_GRIDS = 20
"""Sounding frames of each source whose codes are repeated, for comparison."""
COMMONEST = 25
"""Codes in the picture of the commonest."""


@dataclass(frozen=True)
class DigitalSilence:
    """What the codec makes of nothing but zeros.

    Attributes:
        latent: `[1, D, 1]`, settled (the mean of the second half).
        codes: the commonest code of each codebook, `[K]`.
        constant: share of frames with that code, `[K]`.
        audio: decoded, `[1, 1, N]`.
        level_db: of it, settled, in dBFS.
    """

    latent: Tensor
    codes: Tensor
    constant: Tensor
    audio: Tensor
    level_db: float


@dataclass(frozen=True)
class SourceSilence:
    """The commonest codes of a source, and how loud they are.

    Attributes:
        modal: commonest code of each codebook among all frames, `[K]`.
        modal_sounding: the same among sounding frames.
        share: share of all frames with the modal code, `[K]`.
        silent_share: share of silent frames among those with the modal code, `[K]`.
        level_db: of the source's sounding frames.
        modal_db: of the modal codes, decoded, in dBFS.
        modal_sounding_db: the same for the sounding frames' modal codes.
        random_db: of single sounding frames, repeated, `[RANDOM_GRIDS]`.
        audio: the three kinds of grids, decoded `[1, N]`, by name.
    """

    modal: Tensor
    modal_sounding: Tensor
    share: Tensor
    silent_share: Tensor
    level_db: float
    modal_db: float
    modal_sounding_db: float
    random_db: Tensor
    audio: dict[str, Tensor]


@torch.no_grad()
def digital_silence(codec: Codec, seconds: float = SECONDS) -> DigitalSilence:
    """Encode and decode zeros."""
    device = next(codec.parameters()).device
    zeros = torch.zeros(1, 1, round(seconds * codec.sample_rate), device=device)
    latents = codec.encode(zeros)
    codes, quantized = codec.quantize(latents)
    everywhere = torch.ones(codes.shape[0], codes.shape[2], dtype=torch.bool, device=device)
    modal = majority_tokens(codes, everywhere)
    audio = codec.decode(quantized, zeros.shape[-1])
    return DigitalSilence(
        latent=latents[..., latents.shape[-1] // 2 :].mean(dim=-1, keepdim=True),
        codes=modal.cpu(),
        constant=(codes[0] == modal[:, None]).double().mean(dim=1).cpu(),
        audio=audio.cpu(),
        level_db=settled_db(audio),
    )


@torch.no_grad()
def decode_constant(codec: Codec, codes: Tensor, seconds: float = SECONDS) -> Tensor:
    """Decode a grid in which every frame has the codes `[K]`: audio `[1, 1, N]`, on the CPU."""
    device = next(codec.parameters()).device
    frames = math.ceil(seconds * codec.sample_rate / codec.hop_length)
    grid = codes.long().to(device)[None, :, None].expand(1, -1, frames)
    return codec.decode(codec.codes_to_latents(grid)).cpu()


def settled_db(audio: Tensor) -> float:
    """RMS level in dBFS of the second half of `audio [..., N]`."""
    return rms_db(audio[..., audio.shape[-1] // 2 :])


def measure_silence(material: Material, config: TokensConfig) -> Outcome:
    """Find the commonest codes of every source, decode them, and compare them with digital silence."""
    codec = material.codec
    silence = digital_silence(codec)
    collected = collect_codes(material)
    rng = np.random.default_rng(config.seed)
    found = {source: _source_silence(codec, codes, rng) for source, codes in collected.items() if codes.active.any()}
    pooled = SourceCodes(
        torch.cat([codes.codes for codes in collected.values()], dim=1),
        torch.cat([codes.active for codes in collected.values()]),
        torch.cat([codes.groups for codes in collected.values()]),
        torch.cat([codes.levels for codes in collected.values()]),
    )
    return Outcome(
        findings=_findings(silence, found, codec),
        tables=[_source_table(silence, found, collected), _codebook_table(silence, pooled)],
        pictures=[
            Picture(
                "levels",
                "How loud the commonest codes are",
                f"A grid that repeats one frame's codes for {SECONDS:g} s, decoded; RMS of its second half. The bar "
                f"of random frames spans the middle half of {RANDOM_GRIDS}.",
                draw_levels(silence, found),
            ),
            Picture(
                "commonest",
                f"The {COMMONEST} commonest codes of three codebooks",
                "All sources together. The height of a bar is the code's share of all frames, on a square-root axis; "
                "its dark part are those that are silent, below −60 dBFS. An arrow marks the code of digital silence.",
                draw_commonest(silence, pooled, codec.codebook_size),
            ),
        ],
        sounds=[_silence_sounds(silence), *(_source_sounds(source, result) for source, result in found.items())],
    )


def _source_silence(codec: Codec, found: SourceCodes, rng: np.random.Generator) -> SourceSilence:
    codes = found.codes[None].long()
    modal = majority_tokens(codes, torch.ones(1, codes.shape[2], dtype=torch.bool))
    modal_sounding = majority_tokens(codes, found.active[None])
    is_modal = codes[0] == modal[:, None]
    sounding = found.active.nonzero()[:, 0]
    chosen = rng.choice(len(sounding), size=min(RANDOM_GRIDS, len(sounding)), replace=False)
    grids = [decode_constant(codec, codes[0, :, sounding[i]]) for i in chosen]
    audio = {
        "all frames": decode_constant(codec, modal)[0],
        "sounding frames": decode_constant(codec, modal_sounding)[0],
        "one frame": grids[0][0],
    }
    power = (10.0 ** (found.levels[found.active].double() / 10.0)).mean()
    return SourceSilence(
        modal=modal,
        modal_sounding=modal_sounding,
        share=is_modal.double().mean(dim=1),
        silent_share=(is_modal & ~found.active).sum(dim=1) / is_modal.sum(dim=1),
        level_db=10.0 * math.log10(float(power)),
        modal_db=settled_db(audio["all frames"]),
        modal_sounding_db=settled_db(audio["sounding frames"]),
        random_db=torch.tensor([settled_db(grid) for grid in grids]),
        audio=audio,
    )


def _silence_sounds(silence: DigitalSilence) -> Sounds:
    caption = f"zeros through the codec, {show(silence.level_db, 'dB')} dBFS"
    return Sounds("digital silence", {"decoded": silence.audio[0]}, {"decoded": caption})


def _source_sounds(source: str, result: SourceSilence) -> Sounds:
    captions = {
        "all frames": f"their commonest codes, {show(result.modal_db, 'dB')} dBFS",
        "sounding frames": f"their commonest codes, {show(result.modal_sounding_db, 'dB')} dBFS",
        "one frame": f"a sounding one, {show(float(result.random_db[0]), 'dB')} dBFS",
    }
    return Sounds(source, result.audio, captions)


def _findings(silence: DigitalSilence, found: Mapping[str, SourceSilence], codec: Codec) -> list[str]:
    levels = ", ".join(f"{source} {show(result.modal_db, 'dB')}" for source, result in found.items())
    fewest = float(silence.constant.min())
    findings = [
        f"The most frequent code of every codebook, repeated and decoded, in dBFS: {levels}. Zeros through the codec: "
        f"{show(silence.level_db, 'dB')}.",
    ]
    below = {s: float(result.random_db.median()) - result.modal_db for s, result in found.items()}
    least, most = min(below, key=lambda s: below[s]), max(below, key=lambda s: below[s])
    findings.append(
        f"That is {_below(below[least])} a random sounding frame treated alike in {least}, and "
        f"{_below(below[most])} it in {most} (medians)."
    )
    same = {source: int((result.modal == silence.codes).sum()) for source, result in found.items()}
    listed = ", ".join(f"{source} {count}" for source, count in same.items())
    findings.append(f"So many of them, out of {codec.n_codebooks}, are the codes of digital silence: {listed}.")
    source = max(found, key=lambda s: float(found[s].share[0]))
    share, silent_share = float(found[source].share[0]), float(found[source].silent_share[0])
    findings.append(
        f"In {source} the commonest code of the first codebook takes {show_percent(share)} of the frames; "
        f"{show_percent(silent_share)} of these are silent (below −60 dBFS)."
    )
    findings.append(
        f"Digital silence is {'one constant token' if fewest == 1 else 'nearly, not quite, one constant token'}: in "
        f"the least constant codebook {show_percent(fewest)} of its frames have the commonest code."
    )
    return findings


def _below(difference: float) -> str:
    return f"{show(abs(difference), 'dB')} dB {'below' if difference >= 0 else 'above'}"


def _source_table(
    silence: DigitalSilence, found: Mapping[str, SourceSilence], collected: Mapping[str, SourceCodes]
) -> Table:
    return Table(
        "sources",
        "The most frequent codes of each source",
        "Levels in dBFS of grids that repeat one frame's codes, decoded. “Silent” is below −60 dBFS.",
        "source",
        [
            Heading("silent frames", "share"),
            Heading("first codebook: commonest code"),
            Heading("its share of all frames", "share"),
            Heading("silent among these", "share"),
            Heading("codebooks with the code of digital silence"),
            Heading("commonest codes", "dB"),
            Heading("commonest codes of sounding frames", "dB"),
            Heading("random sounding frames, median", "dB"),
            Heading("the source, where it sounds", "dB"),
        ],
        [
            (
                source,
                [
                    float((~collected[source].active).double().mean()),
                    str(int(result.modal[0])),
                    float(result.share[0]),
                    float(result.silent_share[0]),
                    f"{int((result.modal == silence.codes).sum())} of {len(silence.codes)}",
                    result.modal_db,
                    result.modal_sounding_db,
                    float(result.random_db.median()),
                    result.level_db,
                ],
            )
            for source, result in found.items()
        ],
    )


def _codebook_table(silence: DigitalSilence, pooled: SourceCodes) -> Table:
    codes, silent = pooled.codes[None].long(), ~pooled.active
    modal = majority_tokens(codes, torch.ones(1, codes.shape[2], dtype=torch.bool))
    is_silence = codes[0] == silence.codes[:, None]
    rows: list[tuple[str, list[Cell]]] = []
    for k, code in enumerate(silence.codes.tolist()):
        of_silent = float(is_silence[k, silent].double().mean()) if silent.any() else None
        of_code = float(silent[is_silence[k]].double().mean()) if is_silence[k].any() else None
        rows.append((str(k + 1), [str(code), float(silence.constant[k]), str(int(modal[k])), of_silent, of_code]))
    return Table(
        "codebooks",
        "The codes of digital silence",
        "All sources together; “silent” is below −60 dBFS.",
        "codebook",
        [
            Heading("code of digital silence"),
            Heading("frames of digital silence with it", "share"),
            Heading("commonest code of all frames"),
            Heading("silent frames with the silence code", "share"),
            Heading("silent among frames with it", "share"),
        ],
        rows,
    )


@styled
def draw_levels(silence: DigitalSilence, found: Mapping[str, SourceSilence]) -> Figure:
    """Levels of the grids of each source, and of digital silence through the codec."""
    figure, axes = new_figure(1.3 + 0.5 * len(found), 1, 1)
    axis = axes[0, 0]
    axis.axvline(silence.level_db, color=MUTED, linestyle=":", linewidth=1.4)
    kinds: dict[str, dict[str, Any]] = {
        "commonest codes": {"color": "#0072B2", "marker": "o", "markersize": 7},
        "commonest codes of sounding frames": {"color": "#56B4E9", "marker": "s", "markersize": 7},
        "random sounding frames, repeated": {"color": "#D55E00", "marker": "D", "markersize": 7},
        "the source itself, where it sounds": {"color": INK, "marker": "|", "markersize": 13},
    }
    for row, result in enumerate(found.values()):
        low, high = np.quantile(result.random_db.numpy(), [0.25, 0.75])
        axis.plot([low, high], [row, row], color="#D55E00", linewidth=5, alpha=0.25, solid_capstyle="butt")
        values = [result.modal_db, result.modal_sounding_db, float(result.random_db.median()), result.level_db]
        for value, style in zip(values, kinds.values(), strict=True):
            axis.plot([value], [row], linestyle="", **style)
    axis.set_yticks(range(len(found)), labels=list(found))
    axis.set_ylim(len(found) - 0.5, -0.5)
    axis.set_xlim(left=max(FLOOR_DB, axis.get_xlim()[0]))
    axis.set_xlabel("RMS level (dBFS)")
    axis.tick_params(axis="y", length=0, labelcolor=INK)
    axis.grid(axis="y", visible=False)
    handles = [Line2D([], [], linestyle="", label=name, **style) for name, style in kinds.items()]
    handles.append(Line2D([], [], color=MUTED, linestyle=":", label="zeros through the codec"))
    one_legend(figure, handles, ncols=3)
    return figure


@styled
def draw_commonest(silence: DigitalSilence, pooled: SourceCodes, codebook_size: int) -> Figure:
    """The commonest codes of the first, middle and last codebook, silent and sounding frames told apart."""
    all_counts = count_codes(pooled.codes, codebook_size)
    silent_counts = count_codes(pooled.codes[:, ~pooled.active], codebook_size)
    codebooks = sorted({0, (len(all_counts) - 1) // 2, len(all_counts) - 1})
    figure, axes = new_figure(3.8, 1, len(codebooks), sharey=True)
    for axis, k in zip(axes[0], codebooks, strict=True):
        order = all_counts[k].argsort(descending=True, stable=True)[:COMMONEST]
        share = 100 * all_counts[k, order].double().numpy() / pooled.codes.shape[1]
        silent = 100 * silent_counts[k, order].double().numpy() / pooled.codes.shape[1]
        ranks = np.arange(1, len(order) + 1)
        axis.bar(ranks, share, color="#9CC9E8", width=0.85)
        axis.bar(ranks, silent, color="#08306B", width=0.85)
        axis.set_yscale("function", functions=(np.sqrt, np.square))
        axis.set_yticks([0.1, 0.5, 1, 2, 5, 10, 20, 50], labels=["0.1", "0.5", "1", "2", "5", "10", "20", "50"])
        axis.set_ylim(0, 100 * float(all_counts.max()) / pooled.codes.shape[1] * 1.1)
        axis.set_title(f"codebook {k + 1}")
        axis.set_xticks([1, *range(5, COMMONEST + 1, 5)])
        axis.set_xlim(0, len(order) + 1)
        axis.set_xlabel("rank of the code")
        for rank in (order == silence.codes[k]).nonzero()[:, 0].tolist():
            axis.annotate(
                f"code {int(silence.codes[k])}",
                (rank + 1, share[rank]),
                xytext=(rank + 5, share[rank] * 0.85),
                arrowprops={"arrowstyle": "->", "color": MUTED},
                va="center",
                fontsize=9,
            )
    axes[0, 0].set_ylabel("share of all frames (%)")
    one_legend(figure, [Patch(color="#08306B", label="silent frames"), Patch(color="#9CC9E8", label="sounding frames")])
    return figure
