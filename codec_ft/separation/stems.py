"""All stems of a piece of music at once: random remixes for training, chosen excerpts for validation.

Items have the mixture as input, float32 [C, N], and the stems as target, float32 [S, C, N].
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from codec_ft.audio.files import audio_info
from codec_ft.data.dataset import Item
from codec_ft.data.excerpts import Excerpt, draw_active, find_activity
from codec_ft.data.reader import ExcerptReader
from codec_ft.data.tracks import MIXTURE, Track
from codec_ft.errors import UserError


class RemixDataset(Dataset[Item]):
    """Random excerpts of all stems, and their sum.

    In item `i` the stem `i` modulo their number is certain to sound. The others are from the same place or, in a
    remix (Uhlich et al., 2017), each from a random track and place, where they may rest. Item `i` depends on
    `seed` and `i` alone.

    Args:
        tracks: tracks of one data set.
        stems: what mixtures consist of; every track has all of them.
        sample_rate: of the items, in Hz.
        channels: of the items; left and right of a remix's stems are exchanged at random.
        seconds: length of the items.
        length: number of items.
        seed: of all random draws, 0 or more.
        remix_probability: share of remixes.
        gain_db: range of the random gain of each stem.
        cache_mb: keep all files in memory if they fit into so many MiB.

    Raises:
        UserError: a stem is missing, or silent in all tracks; tracks are shorter than the items; a file is bad.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        stems: Sequence[str],
        *,
        sample_rate: int,
        channels: int,
        seconds: float,
        length: int,
        seed: int,
        remix_probability: float = 0.0,
        gain_db: tuple[float, float] = (0.0, 0.0),
        cache_mb: float = 1024.0,
    ) -> None:
        self.stems = list(stems)
        self.seconds, self.length, self.seed = seconds, length, seed
        self.remix_probability, self.gain_db = remix_probability, gain_db
        self._durations = {track: min(audio_info(track.paths(stem)[0]).seconds for stem in stems) for track in tracks}
        self._tracks = [track for track, duration in self._durations.items() if duration >= seconds]
        if not self._tracks:
            raise UserError(f"data.seconds={seconds:g}: all {len(tracks)} tracks are shorter. Choose shorter excerpts.")
        self._activities = {stem: find_activity(self._tracks, stem, seconds) for stem in stems}
        self._cumulative = {
            stem: np.cumsum([len(activity.starts) for activity in found]) for stem, found in self._activities.items()
        }
        files = [track.paths(stem)[0] for track in self._tracks for stem in stems]
        self.reader = ExcerptReader(files, sample_rate, channels, cache_mb)

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
        leading = self.stems[index % len(self.stems)]
        track, start = self._active_place(leading, rng)
        remix = rng.random() < self.remix_probability
        parts = []
        for stem in self.stems:
            place = self._any_place(rng) if remix and stem != leading else (track, start)
            audio = self.reader.read(place[0].paths(stem), place[1], self.seconds)
            swap = remix and rng.random() < 0.5
            parts.append((audio[::-1] if swap else audio) * np.float32(10 ** (rng.uniform(*self.gain_db) / 20)))
        target = np.stack(parts)
        name = Excerpt(track, start, self.seconds).name + (f" (remix, {leading})" if remix else "")
        return {"input": torch.from_numpy(target.sum(axis=0)), "target": torch.from_numpy(target), "name": name}

    def _active_place(self, stem: str, rng: np.random.Generator) -> tuple[Track, float]:
        """A track and a second from which on the stem sounds; all such moments are equally likely."""
        activity, _, start = draw_active(self._activities[stem], self._cumulative[stem], rng)
        return activity.track, max(0.0, min(start, self._durations[activity.track] - self.seconds))

    def _any_place(self, rng: np.random.Generator) -> tuple[Track, float]:
        track = self._tracks[int(rng.integers(len(self._tracks)))]
        return track, rng.random() * (self._durations[track] - self.seconds)


class StemsDataset(Dataset[Item]):
    """Chosen excerpts of mixtures with all of their stems.

    Raises:
        UserError: a file is missing or bad.
    """

    def __init__(self, excerpts: Sequence[Excerpt], stems: Sequence[str], *, sample_rate: int, channels: int) -> None:
        self.excerpts, self.stems = list(excerpts), list(stems)
        files = [path for excerpt in self.excerpts for path in excerpt.track.paths(MIXTURE)]
        self.reader = ExcerptReader(files, sample_rate, channels, cache_mb=0.0)

    def __len__(self) -> int:
        return len(self.excerpts)

    def __getitem__(self, index: int) -> Item:
        """Read excerpt `index`.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        excerpt = self.excerpts[index]

        def read(source: str) -> torch.Tensor:
            paths = excerpt.track.paths(source)
            return torch.from_numpy(self.reader.read(paths, excerpt.start_seconds, excerpt.seconds))

        targets = torch.stack([read(stem) for stem in self.stems])
        return {"input": read(MIXTURE), "target": targets, "name": excerpt.name, "track": excerpt.track.name}
