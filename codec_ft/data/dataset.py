"""Pairs of excerpts, input and target, from folders of tracks.

`PairDataset` draws random excerpts for training; `ExcerptDataset` gives chosen ones for validation and listening.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from codec_ft.data.draw import Draw, draw_by_shares
from codec_ft.data.excerpts import THRESHOLD_DB, Excerpt, activity_at, draw_active, find_activity
from codec_ft.data.noise import noise_of_place
from codec_ft.data.reader import PairReader
from codec_ft.data.remix import Remixer, random_gain
from codec_ft.data.speed import UNCHANGED, draw_speed, highest_speed, span
from codec_ft.data.tracks import MIXTURE, SEPARATED, Track
from codec_ft.errors import UserError

# Random numbers beside those of the excerpts have streams of their own: options do not change which excerpts are drawn.
INPUT_STREAM, NOISE_STREAM, SPEED_STREAM = 1, 2, 3


class Item(TypedDict):
    """One pair: float32 tensors [C, N], what it is called, and where it comes from.

    `index` is that of a training item. `context` are other inputs beside the first, one below the other, [n * C, N].
    What a cache has stored of the pair stands in for coding it: latents [D, T] and codes [K, T] of the target, latents
    [(1 + n) * D, T] of the input and its context.
    """

    input: torch.Tensor
    target: torch.Tensor
    name: str
    track: NotRequired[str]
    index: NotRequired[int]
    context: NotRequired[torch.Tensor]
    target_latents: NotRequired[torch.Tensor]
    target_codes: NotRequired[torch.Tensor]
    input_latents: NotRequired[torch.Tensor]


@dataclass
class Batch:
    """Several pairs: `input` and `target`, float32 [B, C, N]; their names; and what is heard beside the inputs, if it
    is, as `context` [B, n * C, N].

    `indices` [B] are those of training items. `target_latents` [B, D, T], `target_codes` [B, K, T] and `input_latents`
    [B, (1 + n) * D, T], of all that is heard, are there if they come from a cache.
    `output` is what a trained module has made of the batch, without gradients, for a discriminator.
    """

    input: torch.Tensor
    target: torch.Tensor
    names: list[str]
    indices: torch.Tensor | None = None
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
        indices=torch.tensor([item["index"] for item in items]) if "index" in items[0] else None,
        context=stack("context"),
        target_latents=stack("target_latents"),
        target_codes=stack("target_codes"),
        input_latents=stack("input_latents"),
    )


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
        context: other inputs, of the same excerpt; beside a remix, "mixture" is that remix.
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
        speed: range of the random speed at which input, context and target are played, in steps of 0.01; all ratios
            are equally likely. Pitch and tempo change together. Excerpts of tracks that last less than `seconds`
            times the highest speed are played less fast; as stems of remixes, such tracks are left out.
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
        context: Sequence[str] = (),
        sample_rate: int,
        seconds: float,
        length: int,
        seed: int,
        channels: int = 1,
        grid_seconds: float | None = None,
        only: Excerpt | None = None,
        remix_probability: float = 0.0,
        remix_gain_db: tuple[float, float] = (-6.0, 6.0),
        speed: tuple[float, float] = (1.0, 1.0),
        gain_db: tuple[float, float] = (0.0, 0.0),
        swap_channels: bool = False,
        noise_db: float = 20.0,
        threshold_db: float = THRESHOLD_DB,
        cache_mb: float = 1024.0,
    ) -> None:
        if only is not None and only.seconds != seconds:
            raise ValueError(f"the only excerpt lasts {only.seconds:g} s, but items last {seconds:g} s")
        if speed != (1.0, 1.0) and (only is not None or grid_seconds is not None):
            raise ValueError(f"speed={speed}: chosen excerpts, and those on a grid, are played as they are")
        self.stem = stem
        self.inputs = dict(inputs or {input: 1.0})
        self.context = list(context)
        self.sample_rate = sample_rate
        self.seconds = seconds
        self.length = length
        self.seed = seed
        self.remix_probability = remix_probability
        self.gain_db = gain_db
        self.swap_channels = swap_channels and channels == 2
        self.grid_seconds = grid_seconds
        if remix_probability > 0 and not any(map(self._can_be_remixed, self.inputs)):
            beside = f" and context={', '.join(context)}" if context else ""
            raise UserError(
                f"remix_probability={remix_probability:g}: only mixtures can be remixed, not "
                f"input={', '.join(self.inputs)}{beside} with stem={stem}. Set it to 0."
            )

        sources = [*self.inputs, *context]
        self._slowest, self._fastest = (round(100 * factor) for factor in speed)
        if only is None:
            # Every excerpt holds one of the shortest, in which the target sounds.
            shortest = span(seconds, sample_rate, self._slowest)
            self._activities = find_activity(
                tracks, stem, shortest, source=sources, threshold_db=threshold_db, grid_seconds=grid_seconds
            )
        else:
            self._activities = [activity_at(only, stem, source=sources, threshold_db=threshold_db)]
        self._cumulative = np.cumsum([len(activity.starts) for activity in self._activities])
        self._exact = grid_seconds is not None or only is not None
        self._remixer: Remixer | None = None
        if remix_probability > 0:
            self._remixer = Remixer(tracks, stem, span(seconds, sample_rate, self._fastest), remix_gain_db)
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
        speed = self._draw_speed(index, activity.duration)
        lasts = span(self.seconds, self.sample_rate, speed)
        if not self._exact:
            start = max(0.0, min(start, activity.duration - lasts))
        source = draw_by_shares(self.inputs, np.random.default_rng([self.seed, index, INPUT_STREAM]))
        wanted = rng.random() < self.remix_probability and self._can_be_remixed(source)
        remix = self._remixer.draw(activity.track, rng, lasts) if wanted and self._remixer else None
        gain = random_gain(rng, self.gain_db)
        swap = self.swap_channels and rng.random() < 0.5
        return Draw(index, Excerpt(activity.track, start, self.seconds), source, remix, speed, gain, swap)

    def read(self, draw: Draw) -> Item:
        """Read the audio of an item.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        target = self.reader.target(draw.excerpt, draw.speed)
        remix = None
        if draw.remix is not None and self._remixer is not None:
            remix = target + self._remixer.read(draw.remix, self.reader, self.seconds, draw.speed)
        noise = np.random.default_rng([self.seed, draw.index, NOISE_STREAM])

        def change(audio: np.ndarray) -> torch.Tensor:
            return torch.from_numpy((audio[::-1] if draw.swap else audio) * draw.gain)

        def hear(source: str) -> torch.Tensor:
            if source == MIXTURE and remix is not None:
                return change(remix)
            return change(self.reader.heard(draw.excerpt, source, target, noise, draw.speed))

        item: Item = {"input": hear(draw.input), "target": change(target), "name": draw.name, "index": draw.index}
        if self.context:
            item["context"] = torch.cat([hear(source) for source in self.context])
        return item

    def _draw_speed(self, index: int, duration: float) -> int:
        if self._slowest == self._fastest == UNCHANGED:
            return UNCHANGED
        fastest = min(self._fastest, highest_speed(duration, self.seconds, self.sample_rate))
        return draw_speed(np.random.default_rng([self.seed, index, SPEED_STREAM]), self._slowest, fastest)

    def _can_be_remixed(self, source: str) -> bool:
        separated_beside = any(other.startswith(SEPARATED) for other in self.context)
        return source == MIXTURE and self.stem != MIXTURE and not separated_beside


class ExcerptDataset(Dataset[Item]):
    """Chosen excerpts, in their order (see `fixed_excerpts`).

    Args:
        excerpts: what to read.
        stem: the target, a stem's name or "mixture".
        input: what is heard (see `input_paths`); noise is the same each time that an excerpt is read.
        context: other inputs, of the same excerpt.
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
        context: Sequence[str] = (),
        sample_rate: int,
        channels: int = 1,
        noise_db: float = 20.0,
        cache_mb: float = 0.0,
    ) -> None:
        self.excerpts = list(excerpts)
        self.input = input
        self.context = list(context)
        self.reader = PairReader(
            list(dict.fromkeys(excerpt.track for excerpt in self.excerpts)),
            stem,
            [input, *context],
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
        if self.context:
            item["context"] = torch.cat([hear(source) for source in self.context])
        return item
