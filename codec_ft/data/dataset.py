"""Pairs of excerpts, input and target, from folders of tracks.

`PairDataset` draws random excerpts for training; `ExcerptDataset` gives chosen ones for validation and listening.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from codec_ft.data.excerpts import THRESHOLD_DB, Excerpt, activity_at, draw_active, find_activity
from codec_ft.data.noise import noise_of_place
from codec_ft.data.reader import PairReader
from codec_ft.data.remix import Part, Remixer, random_gain
from codec_ft.data.tracks import MIXTURE, SEPARATED, Track
from codec_ft.errors import UserError

# Random numbers beside those of the excerpts have streams of their own: options do not change which excerpts are drawn.
INPUT_STREAM, NOISE_STREAM = 1, 2


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


@dataclass(frozen=True)
class Draw:
    """What chance decided about an item.

    Attributes:
        index: the item's.
        excerpt: where it is from.
        input: the input, of those that there are.
        remix: what stands beside the target in a mixture that is made anew; None for the mixture as it is.
        gain: factor that all audio of the item shares.
        swap: whether left and right are exchanged.
    """

    index: int
    excerpt: Excerpt
    input: str
    remix: tuple[Part, ...] | None
    gain: np.float32
    swap: bool

    @property
    def name(self) -> str:
        """How messages and pages call the item."""
        return self.excerpt.name + " (remix)" * (self.remix is not None)


class PairDataset(Dataset[Item]):
    """Random excerpts of tracks in which the target is not silent.

    Every moment at which the target is active is drawn equally often. Item `index` depends on `seed` and `index`
    alone, not on workers, order or what was read before, so an interrupted training goes on with the same data.

    Args:
        tracks: tracks of one or more data sets (see `find_tracks`).
        stem: the target, a stem's name or "mixture".
        input: what is heard (see `input_paths`): "mixture"; "separated/<separator>"; "target", for training codecs on
            clean stems; "noisy", the target with white noise; or "noise" alone.
        inputs: inputs and their shares, one of which is drawn for each item, instead of `input`.
        context: a second input, of the same excerpt; beside a remix, "mixture" is that remix.
        sample_rate: of the items, in Hz; files of other rates are resampled.
        seconds: length of the items; they have round(seconds * sample_rate) samples.
        length: number of items.
        seed: of all random draws, 0 or more.
        channels: of the items; files with others are averaged or copied (see `to_channels`).
        grid_seconds: items begin at multiples of this; None lets them begin anywhere.
        only: give this excerpt each time, instead of drawing one.
        remix_probability: chance that the mixture is made anew from the target and other stems of random tracks at
            random places (Uhlich et al., 2017). Other inputs, and what is heard beside separated stems, are left as
            they are: nobody knows what a separator would make of a remix.
        remix_gain_db: range of the random gain of each of these other stems.
        gain_db: range of the random gain that input, context and target share.
        swap_channels: exchange left and right in half of the items (with two channels).
        noise_db: with "noisy", level of the target above its noise, in dB.
        threshold_db: RMS level in dBFS that the target must have in an excerpt.
        cache_mb: keep all files in memory, in every process, if they fit into so many MiB; 0 never does.

    Raises:
        UserError: a file is missing or bad, the target is silent in all tracks or in `only`, or remixes are asked for
            where no item could be one.
    """

    def __init__(
        self,
        *,
        tracks: Sequence[Track],
        stem: str,
        input: str = MIXTURE,
        inputs: Mapping[str, float] | None = None,
        context: str | None = None,
        sample_rate: int,
        seconds: float,
        length: int,
        seed: int,
        channels: int = 1,
        grid_seconds: float | None = None,
        only: Excerpt | None = None,
        remix_probability: float = 0.0,
        remix_gain_db: tuple[float, float] = (-6.0, 6.0),
        gain_db: tuple[float, float] = (0.0, 0.0),
        swap_channels: bool = False,
        noise_db: float = 20.0,
        threshold_db: float = THRESHOLD_DB,
        cache_mb: float = 1024.0,
    ) -> None:
        if only is not None and only.seconds != seconds:
            raise ValueError(f"the only excerpt lasts {only.seconds:g} s, but items last {seconds:g} s")
        self.stem = stem
        self.inputs = dict(inputs or {input: 1.0})
        self.context = context
        self.seconds = seconds
        self.length = length
        self.seed = seed
        self.remix_probability = remix_probability
        self.gain_db = gain_db
        self.swap_channels = swap_channels and channels == 2
        self.grid_seconds = grid_seconds
        if remix_probability > 0 and not any(map(self._can_be_remixed, self.inputs)):
            beside = f" and context={context}" if context else ""
            raise UserError(
                f"remix_probability={remix_probability:g}: only mixtures can be remixed, not "
                f"input={', '.join(self.inputs)}{beside} with stem={stem}. Set it to 0."
            )

        sources = [*self.inputs, *([context] if context else [])]
        if only is None:
            self._activities = find_activity(
                tracks, stem, seconds, source=sources, threshold_db=threshold_db, grid_seconds=grid_seconds
            )
        else:
            self._activities = [activity_at(only, stem, source=sources, threshold_db=threshold_db)]
        self._cumulative = np.cumsum([len(activity.starts) for activity in self._activities])
        self._exact = grid_seconds is not None or only is not None
        self._remixer = Remixer(tracks, stem, seconds, remix_gain_db) if remix_probability > 0 else None
        self.reader = PairReader(
            self.tracks,
            stem,
            sources,
            sample_rate=sample_rate,
            channels=channels,
            cache_mb=cache_mb,
            noise_db=noise_db,
            others=self._remixer.paths if self._remixer else (),
        )

    @property
    def tracks(self) -> list[Track]:
        """The tracks that excerpts are taken from: those given, less the silent and too short ones."""
        return [activity.track for activity in self._activities]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Item:
        """Draw and read item `index`.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        return self.read(self.draw(index))

    def draw(self, index: int) -> Draw:
        """Decide what item `index` is, without reading anything."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng([self.seed, index])
        activity, _, start = draw_active(self._activities, self._cumulative, rng, exact=self._exact)
        if not self._exact:
            start = min(start, activity.duration - self.seconds)
        source = self._draw_input(index)
        wanted = rng.random() < self.remix_probability and self._can_be_remixed(source)
        remix = self._remixer.draw(activity.track, rng) if wanted and self._remixer else None
        gain = random_gain(rng, self.gain_db)
        swap = self.swap_channels and rng.random() < 0.5
        return Draw(index, Excerpt(activity.track, start, self.seconds), source, remix, gain, swap)

    def read(self, draw: Draw) -> Item:
        """Read the audio of an item.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        target = self.reader.target(draw.excerpt)
        remix = None
        if draw.remix is not None and self._remixer is not None:
            remix = target + self._remixer.read(draw.remix, self.reader)
        noise = np.random.default_rng([self.seed, draw.index, NOISE_STREAM])

        def change(audio: np.ndarray) -> torch.Tensor:
            return torch.from_numpy((audio[::-1] if draw.swap else audio) * draw.gain)

        def hear(source: str) -> torch.Tensor:
            if source == MIXTURE and remix is not None:
                return change(remix)
            return change(self.reader.heard(draw.excerpt, source, target, noise))

        item: Item = {"input": hear(draw.input), "target": change(target), "name": draw.name}
        if self.context is not None:
            item["context"] = hear(self.context)
        return item

    def _draw_input(self, index: int) -> str:
        names = list(self.inputs)
        if len(names) == 1:
            return names[0]
        limits = np.cumsum(list(self.inputs.values()))
        rng = np.random.default_rng([self.seed, index, INPUT_STREAM])
        return names[int(np.searchsorted(limits[:-1], rng.random() * limits[-1], side="right"))]

    def _can_be_remixed(self, source: str) -> bool:
        return source == MIXTURE and self.stem != MIXTURE and not (self.context or "").startswith(SEPARATED)


class ExcerptDataset(Dataset[Item]):
    """Chosen excerpts, in their order (see `fixed_excerpts`).

    Args:
        excerpts: what to read.
        stem: the target, a stem's name or "mixture".
        input: what is heard (see `input_paths`); noise is the same each time that an excerpt is read.
        context: a second input, of the same excerpt.
        sample_rate: of the items, in Hz.
        channels: of the items.
        noise_db: with "noisy", level of the target above its noise, in dB.
        cache_mb: keep all files in memory if they fit into so many MiB; 0 never does.

    Raises:
        UserError: a file is missing or bad.
    """

    def __init__(
        self,
        excerpts: Sequence[Excerpt],
        *,
        stem: str,
        input: str = MIXTURE,
        context: str | None = None,
        sample_rate: int,
        channels: int = 1,
        noise_db: float = 20.0,
        cache_mb: float = 0.0,
    ) -> None:
        self.excerpts = list(excerpts)
        self.input = input
        self.context = context
        self.reader = PairReader(
            list(dict.fromkeys(excerpt.track for excerpt in self.excerpts)),
            stem,
            [input, *([context] if context else [])],
            sample_rate=sample_rate,
            channels=channels,
            cache_mb=cache_mb,
            noise_db=noise_db,
        )

    def __len__(self) -> int:
        return len(self.excerpts)

    def __getitem__(self, index: int) -> Item:
        """Read excerpt `index`.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        excerpt = self.excerpts[index]
        target = self.reader.target(excerpt)
        noise = noise_of_place(excerpt.track.name, excerpt.start_seconds)

        def hear(source: str) -> torch.Tensor:
            return torch.from_numpy(self.reader.heard(excerpt, source, target, noise))

        item: Item = {
            "input": hear(self.input),
            "target": torch.from_numpy(target),
            "name": excerpt.name,
            "track": excerpt.track.name,
        }
        if self.context is not None:
            item["context"] = hear(self.context)
        return item
