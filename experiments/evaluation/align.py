"""Read an item's reference and estimates as audio of one rate, width and length, and say what had to be changed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import fft

from codec_ft.audio.files import audio_info, read_audio
from codec_ft.errors import UserError
from experiments.evaluation.layout import Item
from experiments.evaluation.loudest import loudest_part
from experiments.evaluation.systems import Comparison

LENGTH_TOLERANCE = 1.0
"""Seconds by which an estimate may be longer or shorter than its reference: codecs and separators pad and cut."""
LARGEST_DELAY = 0.1
"""Seconds within which a delay is looked for: the latency of filters and codecs."""
DELAY_SECONDS = 4.0
"""Length of the stretch in which it is looked for."""
CLEARLY = 0.05
"""By so much must the correlation rise with a shift for it to be called a delay; a bass correlates with itself."""


@dataclass(frozen=True)
class Note:
    """What was done to an estimate, or looks wrong about it; `text` is a clause without its end."""

    system: str
    item: Item
    text: str


@dataclass(frozen=True)
class Aligned:
    """An item, ready to be measured.

    Attributes:
        reference: float32 [C, N].
        estimates: system -> float32 [C, N].
        sample_rate: in Hz.
        notes: on what was changed or looks wrong.
    """

    reference: np.ndarray
    estimates: Mapping[str, np.ndarray]
    sample_rate: int
    notes: tuple[Note, ...]


def read_aligned(
    comparison: Comparison,
    item: Item,
    sample_rate: int | None = None,
    channels: int | None = None,
    *,
    align: bool = False,
) -> Aligned:
    """Read an item's reference and all estimates of it.

    Args:
        comparison: where the files are.
        item: track and stem.
        sample_rate: in Hz; None is the reference's.
        channels: None is the reference's.
        align: take out constant delays; otherwise they are only noted.

    Raises:
        UserError: a file cannot be used, the reference has more than two channels, or an estimate is so much longer
            or shorter that it cannot belong here.
    """
    reference, rate = read_sum(comparison.references.files[item], sample_rate, channels)
    if len(reference) > 2:
        path = comparison.references.files[item][0]
        raise UserError(f"{path}: has {len(reference)} channels. Give mono or stereo, or average them with --mono.")
    notes: list[Note] = []
    estimates: dict[str, np.ndarray] = {}
    for system in comparison.systems_of(item):
        paths = system.files[item]
        texts = []
        estimate, _ = read_sum(paths, rate, len(reference))
        info = audio_info(paths[0])
        if info.sample_rate != rate:
            texts.append(f"resampled from {info.sample_rate} to {rate} Hz")
        if info.channels != len(reference):
            texts.append(f"{_channels(info.channels)} made {_channels(len(reference))}")
        estimate, changed = _fit_length(estimate, reference.shape[1], rate, paths[0])
        texts += [changed] if changed else []
        if system.role != "floor":
            delay = find_delay(reference, estimate, rate)
            if delay:
                late = "late" if delay > 0 else "early"
                done = "shifted back" if align else "measured as it is; --align shifts it back"
                texts.append(f"{abs(delay)} samples {late}, {done}")
            if align and delay:
                estimate = _shift(estimate, -delay)
        estimates[system.name] = estimate
        if system.role != "floor":  # a mixture that is made stereo or resampled is nobody's news
            notes += [Note(system.name, item, text) for text in texts]
    return Aligned(reference, estimates, rate, tuple(notes))


def group_notes(notes: Sequence[Note]) -> list[str]:
    """One sentence for all notes on a system that differ in their item and their numbers only."""
    groups: dict[tuple[str, str], list[Note]] = {}
    for note in notes:
        groups.setdefault((note.system, re.sub(r"\d+", "0", note.text)), []).append(note)
    sentences = []
    for (system, _), alike in groups.items():
        track, stem = alike[0].item
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        sentences.append(f"{system}: {alike[0].text} ({stem} of {track}{more}).")
    return sentences


def read_sum(paths: Sequence[Path], sample_rate: int | None, channels: int | None) -> tuple[np.ndarray, int]:
    """The sum of some files, (float32 [C, N], sample rate); rate and channels are the first one's unless given.

    Raises:
        UserError: a file cannot be used, or the lengths differ.
    """
    total, rate = read_audio(paths[0], sample_rate=sample_rate, channels=channels)
    for path in paths[1:]:
        more, _ = read_audio(path, sample_rate=rate, channels=len(total))
        if more.shape != total.shape:
            raise UserError(
                f"{path}: {more.shape[1] / rate:.2f} s long, but {paths[0].name} beside it {total.shape[1] / rate:.2f} "
                "s. Stems that add up to a mixture must be of one length: export them again."
            )
        total = total + more
    return total, rate


def find_delay(reference: np.ndarray, estimate: np.ndarray, sample_rate: int) -> int:
    """By how many samples `estimate [C, N]` comes later than `reference [C, N]`; 0 where that is not clear.

    The peak of the normalised cross-correlation of the mono signals around the reference's loudest moment; opposite
    phase counts as correlation, too. Silence has no delay.
    """
    around = loudest_part(reference, sample_rate, DELAY_SECONDS)
    true, heard = (audio[:, around].mean(axis=0, dtype=np.float64) for audio in (reference, estimate))
    energy = float(np.sqrt(np.square(true).sum() * np.square(heard).sum()))
    if energy == 0.0:
        return 0
    reach = min(round(LARGEST_DELAY * sample_rate), len(true) - 1)
    size = fft.next_fast_len(len(true) + reach, real=True)
    correlation = fft.irfft(fft.rfft(heard, size) * np.conj(fft.rfft(true, size)), size)
    lags = np.abs(np.concatenate([correlation[-reach:], correlation[: reach + 1]])) / energy
    best = int(lags.argmax())
    return best - reach if lags[best] > lags[reach] + CLEARLY else 0


def _fit_length(audio: np.ndarray, length: int, sample_rate: int, path: Path) -> tuple[np.ndarray, str]:
    """Cut or pad with zeros to `length` samples; says what was done, if anything.

    Raises:
        UserError: the lengths are so different that the file cannot belong to the reference.
    """
    extra = audio.shape[1] - length
    if abs(extra) > LENGTH_TOLERANCE * sample_rate:
        raise UserError(
            f"{path}: {audio.shape[1] / sample_rate:.2f} s long, but its reference {length / sample_rate:.2f} s. "
            "Give the same excerpt of the same song, or remove the file."
        )
    if extra > 0:
        return audio[:, :length], f"the last {extra} samples, beyond the end of the reference, cut"
    if extra < 0:
        return np.pad(audio, ((0, 0), (0, -extra))), f"{-extra} samples shorter than the reference, filled with zeros"
    return audio, ""


def _shift(audio: np.ndarray, samples: int) -> np.ndarray:
    """Move audio later by `samples` (earlier if negative), filling with zeros: [C, N] -> [C, N]."""
    moved = np.zeros_like(audio)
    if samples >= 0:
        moved[:, samples:] = audio[:, : audio.shape[1] - samples]
    else:
        moved[:, :samples] = audio[:, -samples:]
    return moved


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"{count} channels")
