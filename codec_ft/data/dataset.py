"""Pairs of excerpts, input and target, from folders of tracks.

`PairDataset` draws random excerpts for training; `ExcerptDataset` gives chosen ones for validation and listening.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from codec_ft.audio.files import AudioFileError, audio_info, excerpt_range, read_audio
from codec_ft.data.excerpts import THRESHOLD_DB, Excerpt, draw_active, find_activity
from codec_ft.data.tracks import MIXTURE, Track, input_paths
from codec_ft.errors import UserError


class Item(TypedDict):
    """One pair: float32 tensors [C, N], what it is called, and where it comes from.

    `context` is a second input beside the first. What a cache has stored of the pair stands in for coding it:
    latents [D, T] and codes [K, T] of the target, latents of the input.
    """

    input: torch.Tensor
    target: torch.Tensor
    name: str
    track: NotRequired[str]
    context: NotRequired[torch.Tensor]
    target_latents: NotRequired[torch.Tensor]
    target_codes: NotRequired[torch.Tensor]
    input_latents: NotRequired[torch.Tensor]


@dataclass
class Batch:
    """Several pairs: `input`, `target` and, where there is a second input, `context`: float32 [B, C, N]; their names.

    `target_latents`, `input_latents` [B, D, T] and `target_codes` [B, K, T] are there if they come from a cache.
    `output` is what a trained module has made of the batch, without gradients, for a discriminator.
    """

    input: torch.Tensor
    target: torch.Tensor
    names: list[str]
    context: torch.Tensor | None = None
    target_latents: torch.Tensor | None = None
    target_codes: torch.Tensor | None = None
    input_latents: torch.Tensor | None = None
    output: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """Move the tensors to a device."""
        return self._each(lambda tensor: tensor.to(device))

    def pin_memory(self) -> "Batch":
        """Pin the tensors, for quick copies to a GPU."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        changed: dict[str, Any] = {
            field.name: change(value) if isinstance(value := getattr(self, field.name), torch.Tensor) else value
            for field in fields(self)
        }
        return Batch(**changed)


def collate(items: Sequence[Item]) -> Batch:
    """Stack items of equal length, which have all the same keys, into a batch."""

    def stack(key: str) -> torch.Tensor | None:
        return torch.stack([item[key] for item in items]) if key in items[0] else None  # type: ignore[literal-required]

    return Batch(
        torch.stack([item["input"] for item in items]),
        torch.stack([item["target"] for item in items]),
        [item["name"] for item in items],
        context=stack("context"),
        target_latents=stack("target_latents"),
        target_codes=stack("target_codes"),
        input_latents=stack("input_latents"),
    )


class ExcerptReader:
    """Reads excerpts at one rate and number of channels, from the disk or from files kept in memory.

    Files are kept whole once they were read if *all* of `paths` fit into `cache_mb`: a data set that does not fit is
    read from the disk throughout, since random excerpts would push each other out of a smaller cache. Each process
    has a cache of its own.
    """

    def __init__(self, paths: Sequence[Path], sample_rate: int, channels: int, cache_mb: float) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        megabytes = sum(audio_info(path).seconds for path in set(paths)) * sample_rate * channels * 4 / 2**20
        self.in_memory = megabytes <= cache_mb
        self._whole: dict[Path, np.ndarray] = {}

    def read(self, paths: Sequence[Path], start: float, seconds: float) -> np.ndarray:
        """Sum of an excerpt of some files: float32 [C, round(seconds * sample_rate)].

        Raises:
            AudioFileError: a file is missing, bad, or ends before the excerpt does.
        """
        count = round(seconds * self.sample_rate)
        total = np.zeros((self.channels, count), dtype=np.float32)
        for path in paths:
            audio = self._read(path, start, seconds)
            if audio.shape[1] != count:
                raise AudioFileError.at(
                    path, f"ends before {start + seconds:.2f} s", "It was replaced or cut short; start the run again"
                )
            total += audio
        return total

    def _read(self, path: Path, start: float, seconds: float) -> np.ndarray:
        rate, channels = self.sample_rate, self.channels
        if not self.in_memory:
            return read_audio(path, sample_rate=rate, start=start, seconds=seconds, channels=channels)[0]
        if path not in self._whole:
            self._whole[path] = read_audio(path, sample_rate=rate, channels=channels)[0]
        whole = self._whole[path]
        first, count = excerpt_range(whole.shape[1], rate, start, seconds)
        return whole[:, first : first + count]


class PairDataset(Dataset[Item]):
    """Random excerpts of tracks in which the target is not silent.

    Every moment at which the target is active is drawn equally often. Item `index` depends on `seed` and `index`
    alone, not on workers, order or what was read before, so an interrupted training goes on with the same data.

    Args:
        tracks: tracks of one data set (see `find_tracks`).
        stem: the target, a stem's name or "mixture".
        input: "mixture"; "separated/<separator>"; or "target", for training codecs on clean stems.
        sample_rate: of the items, in Hz; files of other rates are resampled.
        seconds: length of the items; they have round(seconds * sample_rate) samples.
        length: number of items.
        seed: of all random draws, 0 or more.
        channels: of the items; files with others are averaged or copied (see `to_channels`).
        remix_probability: chance that the mixture is made anew from the target and other stems of random tracks at
            random places (Uhlich et al., 2017); for the input "mixture" only.
        remix_gain_db: range of the random gain of each of these other stems.
        gain_db: range of the random gain that input and target share.
        swap_channels: exchange left and right in half of the items (with two channels).
        threshold_db: RMS level in dBFS that the target must have in an excerpt.
        cache_mb: keep all files in memory, in every process, if they fit into so many MiB; 0 never does.

    Raises:
        UserError: a file is missing or bad, or the target is silent in all tracks.
    """

    def __init__(
        self,
        *,
        tracks: Sequence[Track],
        stem: str,
        input: str = "mixture",
        sample_rate: int,
        seconds: float,
        length: int,
        seed: int,
        channels: int = 1,
        remix_probability: float = 0.0,
        remix_gain_db: tuple[float, float] = (-6.0, 6.0),
        gain_db: tuple[float, float] = (0.0, 0.0),
        swap_channels: bool = False,
        threshold_db: float = THRESHOLD_DB,
        cache_mb: float = 1024.0,
    ) -> None:
        if remix_probability > 0 and (input != MIXTURE or stem == MIXTURE):
            raise UserError(
                f"remix_probability={remix_probability:g}: only mixtures can be remixed, not input={input} "
                f"with stem={stem}. Set it to 0."
            )
        self.stem = stem
        self.seconds = seconds
        self.length = length
        self.seed = seed
        self.remix_probability = remix_probability
        self.remix_gain_db = remix_gain_db
        self.gain_db = gain_db
        self.swap_channels = swap_channels and channels == 2

        self._activities = find_activity(tracks, stem, seconds, source=input, threshold_db=threshold_db)
        self._cumulative = np.cumsum([len(activity.starts) for activity in self._activities])
        self._targets = [activity.track.paths(stem) for activity in self._activities]
        self._inputs = [input_paths(activity.track, stem, input) for activity in self._activities]
        self._others = self._find_others(tracks) if remix_probability > 0 else {}
        files = [path for paths in [*self._targets, *self._inputs] for path in paths]
        files += [path for others in self._others.values() for path, _ in others]
        self.reader = ExcerptReader(files, sample_rate, channels, cache_mb)

    @property
    def tracks(self) -> list[Track]:
        """The tracks that excerpts are taken from: those given, less the silent and too short ones."""
        return [activity.track for activity in self._activities]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Item:
        """Read item `index`.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        activity, which, start = draw_active(self._activities, self._cumulative, rng)
        start = min(start, activity.duration - self.seconds)

        name = Excerpt(activity.track, start, self.seconds).name
        target = self.reader.read(self._targets[which], start, self.seconds)
        if rng.random() < self.remix_probability:
            source = target + self._random_others(activity.track, rng)
            name += " (remix)"
        else:
            source = self.reader.read(self._inputs[which], start, self.seconds)

        gain = _random_gain(rng, self.gain_db)
        swap = self.swap_channels and rng.random() < 0.5
        pair = [(audio[::-1] if swap else audio) * gain for audio in (source, target)]
        return {"input": torch.from_numpy(pair[0]), "target": torch.from_numpy(pair[1]), "name": name}

    def _find_others(self, tracks: Sequence[Track]) -> dict[str, list[tuple[Path, float]]]:
        """Files and lengths in seconds of every stem but the target, those that are long enough."""
        others: dict[str, list[tuple[Path, float]]] = {}
        for track in tracks:
            for stem, path in track.stems.items():
                duration = audio_info(path).seconds
                if stem != self.stem and duration >= self.seconds:
                    others.setdefault(stem, []).append((path, duration))
        return others

    def _random_others(self, track: Track, rng: np.random.Generator) -> np.ndarray:
        """Sum of the stems that `track` has beside the target, each from a random track, place and gain: [C, N]."""
        total = np.zeros(
            (self.reader.channels, round(self.seconds * self.reader.sample_rate)),
            dtype=np.float32,
        )
        for stem in sorted(set(track.stems) & set(self._others)):
            candidates = self._others[stem]
            path, duration = candidates[int(rng.integers(len(candidates)))]
            start = rng.random() * (duration - self.seconds)
            total += self.reader.read([path], start, self.seconds) * _random_gain(rng, self.remix_gain_db)
        return total


class ExcerptDataset(Dataset[Item]):
    """Chosen excerpts, in their order (see `fixed_excerpts`).

    Args:
        excerpts: what to read.
        stem: the target, a stem's name or "mixture".
        input: "mixture", "separated/<separator>" or "target".
        sample_rate: of the items, in Hz.
        channels: of the items.
        cache_mb: keep all files in memory if they fit into so many MiB; 0 never does.

    Raises:
        UserError: a file is missing or bad.
    """

    def __init__(
        self,
        excerpts: Sequence[Excerpt],
        *,
        stem: str,
        input: str = "mixture",
        sample_rate: int,
        channels: int = 1,
        cache_mb: float = 0.0,
    ) -> None:
        self.excerpts = list(excerpts)
        self._targets = [excerpt.track.paths(stem) for excerpt in self.excerpts]
        self._inputs = [input_paths(excerpt.track, stem, input) for excerpt in self.excerpts]
        files = [path for paths in [*self._targets, *self._inputs] for path in paths]
        self.reader = ExcerptReader(files, sample_rate, channels, cache_mb)

    def __len__(self) -> int:
        return len(self.excerpts)

    def __getitem__(self, index: int) -> Item:
        """Read excerpt `index`.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        excerpt = self.excerpts[index]
        source = self.reader.read(self._inputs[index], excerpt.start_seconds, excerpt.seconds)
        target = self.reader.read(self._targets[index], excerpt.start_seconds, excerpt.seconds)
        return {
            "input": torch.from_numpy(source),
            "target": torch.from_numpy(target),
            "name": excerpt.name,
            "track": excerpt.track.name,
        }


def _random_gain(rng: np.random.Generator, range_db: tuple[float, float]) -> np.float32:
    return np.float32(10 ** (rng.uniform(*range_db) / 20))
