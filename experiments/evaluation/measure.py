"""Measure one track: every stem of it, as every system has it."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from codec_ft.audio.files import to_channels
from codec_ft.audio.resample import resample
from codec_ft.errors import UserError
from codec_ft.metrics.bss import BssReferences
from codec_ft.metrics.external import TOOLS
from codec_ft.metrics.frechet import Gaussian
from codec_ft.metrics.joint import msg_metrics, spectral_metrics
from codec_ft.metrics.loudness import integrated_loudness
from codec_ft.metrics.msg_signal import msg_signal
from codec_ft.metrics.waveform import is_silent, median_over_frames, sdr_frames, si_sdr, spread_silence, usdr
from experiments.evaluation.align import Aligned, read_aligned
from experiments.evaluation.coding import Coded, Coder, embed
from experiments.evaluation.layout import Item
from experiments.evaluation.loudest import loudest_part
from experiments.evaluation.results import Measured, Row
from experiments.evaluation.settings import Settings
from experiments.evaluation.systems import Comparison

KEPT_VECTORS = 500
"""Embeddings kept of each item, evenly spread over it, to extrapolate the Frechet distance from."""

TOKEN_METRICS = ("token_accuracy", "cumulative_accuracy", "top5_accuracy", "codebook_distance")
"""Of the first codebook, as single numbers of a track; the table of tokens has all codebooks."""


def measure_track(comparison: Comparison, settings: Settings) -> Measured:
    """Measure all items of one track, reading one stem at a time.

    A stem of which a file is bad is left out for all systems, so that all are measured on the same tracks.
    """
    measured = Measured()
    coder = Coder(settings.codec, settings.device) if settings.codec else None
    measured.codec = coder.facts if coder else None
    silent: dict[tuple[str, str], bool] = {}
    for item in comparison.items:
        try:
            aligned = read_item(comparison, item, settings)
        except UserError as error:
            measured.left_out.append(f"{item[1]} of {item[0]}: left out for all systems. {error}")
            continue
        measured.notes += aligned.notes
        measured.sample_rate, measured.channels = aligned.sample_rate, len(aligned.reference)
        rows = _measure_audio(item, aligned, settings, silent)
        _add_second(rows, comparison, aligned, coder)
        measured.references.append(_measure_excerpt(rows, item, aligned, coder, settings))
        measured.rows += rows
    _judge_stems_together(measured.rows, silent)
    if settings.bss:
        _add_projections(measured.rows, comparison, settings)
    return measured


def read_item(comparison: Comparison, item: Item, settings: Settings) -> Aligned:
    """An item's reference and all answers to it, the codec's ceiling included.

    Raises:
        UserError: a file cannot be used.
    """
    coder = Coder(settings.codec, settings.device) if settings.codec else None
    aligned = read_aligned(comparison, item, settings.sample_rate, settings.channels, align=settings.align)
    return _with_ceiling(comparison, aligned, coder)


def _with_ceiling(comparison: Comparison, aligned: Aligned, coder: Coder | None) -> Aligned:
    """Add the reference through the codec as one more estimate, where the comparison has no ceiling of its own."""
    if coder is None or any(system.role == "ceiling" for system in comparison.systems):
        return aligned
    decoded = coder.decode(coder.code(aligned.reference, aligned.sample_rate))
    ceiling = resample(decoded, coder.codec.sample_rate, aligned.sample_rate)
    ceiling = _cut_or_pad(to_channels(ceiling, len(aligned.reference)), aligned.reference.shape[1])
    return replace(aligned, estimates={**aligned.estimates, coder.ceiling: ceiling})


def _measure_audio(item: Item, aligned: Aligned, settings: Settings, silent: dict[tuple[str, str], bool]) -> list[Row]:
    """A row per system with all metrics of its audio against the reference's."""
    target, rate = torch.from_numpy(aligned.reference), aligned.sample_rate
    estimates = {name: torch.from_numpy(audio) for name, audio in aligned.estimates.items()}
    seconds = target.shape[1] / rate
    spectral = spectral_metrics(list(estimates.values()), target, rate)
    msg = msg_metrics([msg_signal(audio, rate) for audio in estimates.values()], msg_signal(target, rate))
    loudness = integrated_loudness(target, rate)
    rows = []
    for (name, audio), of_spectrum, of_msg in zip(estimates.items(), spectral, msg, strict=True):
        values = _ratios(audio, target) | of_spectrum
        values["loudness_error"] = integrated_loudness(audio, rate) - loudness
        values |= of_msg.metrics()
        values |= {tool: float(TOOLS[tool](audio[None], target[None], rate)[0]) for tool in settings.tools}
        errors = of_msg.rolloff_errors[~of_msg.rolloff_errors.isnan()].numpy()
        frames = {"sdr": sdr_frames(audio[None], target[None], rate)[0].numpy()}
        rows.append(Row(*item, name, seconds, values, frames=frames, rolloff=errors))
        rows[-1].onset_frames, rows[-1].onset_events = of_msg.onset_frames, of_msg.onset_events
        silent[item[1], name] = bool((is_silent(audio[None]) | is_silent(target[None])).item())
    return rows


def _ratios(estimate: Tensor, target: Tensor) -> dict[str, float]:
    """The whole-track ratios of audio `[C, N]`."""
    pair = estimate[None], target[None]
    return {"usdr": float(usdr(*pair)), "si_sdr": float(si_sdr(*pair))}


def _add_second(rows: list[Row], comparison: Comparison, aligned: Aligned, coder: Coder | None) -> None:
    """Measure against the ceiling instead of the reference: what the codec cannot say costs nothing there.

    In mono at the codec's rate, where there is a codec: beyond it the ceiling is silent.
    """
    ceilings = [system.name for system in comparison.systems if system.role == "ceiling"]
    ceiling = coder.ceiling if coder and not ceilings else ceilings[0] if ceilings else None
    if ceiling is None or ceiling not in aligned.estimates:
        return
    rate = coder.codec.sample_rate if coder else aligned.sample_rate
    audio = {
        name: torch.from_numpy(resample(to_channels(estimate, 1), aligned.sample_rate, rate) if coder else estimate)
        for name, estimate in aligned.estimates.items()
    }
    target = audio.pop(ceiling)
    spectral = dict(zip(audio, spectral_metrics(list(audio.values()), target, rate), strict=True))
    for row in rows:
        if row.system in audio:
            estimate = audio[row.system]
            frames = sdr_frames(estimate[None], target[None], rate)
            row.second = _ratios(estimate, target) | {
                "sdr_med": float(median_over_frames(frames)[0]),
                "log_mel_distance": spectral[row.system]["log_mel_distance"],
                "log_spectral_distance": spectral[row.system]["log_spectral_distance"],
            }


def _measure_excerpt(rows: list[Row], item: Item, aligned: Aligned, coder: Coder | None, settings: Settings) -> Row:
    """Tokens and embeddings of the loudest part of an item; those of the reference get a row of their own."""
    rate, length = aligned.sample_rate, aligned.reference.shape[1]
    part = loudest_part(aligned.reference, rate, settings.codec_seconds or length / rate)
    reference = Row(*item, "reference", length / rate)
    target: Coded | None = None
    for row in (reference, *rows):
        audio = (aligned.reference if row is reference else aligned.estimates[row.system])[:, part]
        coded = coder.code(audio, rate) if coder else None
        if coder and coded:
            target = target or coded
            row.tokens = coder.count(coded, target)
        if settings.embedding:
            vectors = embed(settings.embedding, audio, rate, settings.device)
        elif coded:
            vectors = coded.latents[0].T.cpu().numpy()
        else:
            continue
        row.embedded_seconds = audio.shape[1] / rate
        row.gaussian = Gaussian.of(vectors)
        row.vectors = vectors[:: max(1, -(-len(vectors) // KEPT_VECTORS))].astype(np.float32)
    for row in rows:
        if row.tokens:
            readings = row.tokens.readings()
            row.values |= {name: float(readings[name][0]) for name in TOKEN_METRICS}
    return reference


def _judge_stems_together(rows: list[Row], silent: Mapping[tuple[str, str], bool]) -> None:
    """Spread museval's silent frames over the stems of each system, and take the medians."""
    for system in dict.fromkeys(row.system for row in rows):
        own = [row for row in rows if row.system == system]
        lengths = [len(row.frames["sdr"]) for row in own]
        if len(set(lengths)) == 1:
            frames = torch.from_numpy(np.stack([row.frames["sdr"] for row in own]))
            together = spread_silence(frames, torch.tensor([silent[row.stem, system] for row in own]))
            for row, spread in zip(own, together, strict=True):
                row.frames["sdr"] = spread.numpy()
        for row in own:
            row.values["sdr_med"] = float(median_over_frames(torch.from_numpy(row.frames["sdr"])[None])[0])


def _add_projections(rows: list[Row], comparison: Comparison, settings: Settings) -> None:
    """ISR, SIR and SAR of every system that has all stems of the track, and their medians.

    All stems of all systems are read again, together, which takes the memory of the whole track.
    """
    items = [item for item in comparison.items if any((row.track, row.stem) == item for row in rows)]
    read = [read_item(comparison, item, settings) for item in items]
    if len({aligned.reference.shape for aligned in read}) != 1:
        return
    references = BssReferences(torch.from_numpy(np.stack([a.reference for a in read])), read[0].sample_rate)
    for system in read[0].estimates:
        own = [row for row in rows if row.system == system]
        if len(own) < len(items):
            continue
        found = references.evaluate(torch.from_numpy(np.stack([aligned.estimates[system] for aligned in read])))
        for name in ("isr", "sir", "sar"):
            frames = getattr(found, name)
            for row, of_stem, median in zip(own, frames, median_over_frames(frames), strict=True):
                row.frames[name] = of_stem.numpy()
                row.values[f"{name}_med"] = float(median)


def _cut_or_pad(audio: np.ndarray, length: int) -> np.ndarray:
    """`[C, N]` to exactly `length` samples: resampling there and back may round differently."""
    return np.pad(audio[:, :length], ((0, 0), (0, max(0, length - audio.shape[1]))))
