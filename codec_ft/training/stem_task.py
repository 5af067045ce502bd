"""What trainings have in common that draw one stem out of an input: their data."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import ExcerptDataset, PairDataset
from codec_ft.data.excerpts import Excerpt, fixed_excerpts
from codec_ft.data.tracks import MIXTURE, Track, find_tracks, song_tracks
from codec_ft.training.separation import Reference, Separation
from codec_ft.training.stem_config import StemConfig
from codec_ft.training.task import Task


class StemTask(Task):
    """A trainer that learns what a frozen codec says of a clean stem, from an input in which it sounds.

    Attributes:
        config: what it hears.
        codec: the frozen codec.
    """

    config: StemConfig
    codec: Codec

    def to(self, device: torch.device) -> None:
        """See `Task.to`."""
        self.codec.to(device)

    @abstractmethod
    def separate(self, module: nn.Module, audio: Tensor, context: Tensor | None = None) -> Separation:
        """Draw the stem out of `audio [B, 1, N]`, with `context [B, n, N]` beside it if it was trained with one."""

    def wanted_latents(self, reference: Reference) -> Tensor:
        """The latents `[B, D, T]` that those of a separation are compared with: the clean stem's."""
        return reference.latents

    def told(self) -> dict[str, object]:
        """What a sample's side-car says of how it was made."""
        return {}

    @property
    def report_split(self) -> str:
        """Split of the samples and of the table; what was learnt by heart is asked for again."""
        return self.config.data.report_split if self.config.data.scope == "set" else "train"

    def pairs(self, items: int, stem: str | None = None, *, heard: bool = True) -> PairDataset:
        """The training pairs as audio.

        Args:
            items: how many.
            stem: the configured one, or another one.
            heard: whether the input matters; if not, the stem stands for it, and nothing is beside it.
        """
        config, data = self.config, self.config.data
        inputs = (config.train_inputs or {config.input: 1.0}) if heard else {"target": 1.0}
        return PairDataset(
            tracks=[*self.tracks("train"), *(track for root in data.extra for track in find_tracks(root, "train"))],
            stem=stem or config.stem,
            inputs=inputs,
            context=config.context if heard else [],
            sample_rate=self.codec.sample_rate,
            seconds=data.seconds,
            length=items,
            seed=config.train.seed,
            # What a separator would make of a remix is not known.
            remix_probability=data.remix_probability if MIXTURE in inputs else 0.0,
            speed=data.speed,
            gain_db=data.gain_db,
            noise_db=data.noise_db,
            grid_seconds=self.codec.hop_length / self.codec.sample_rate if data.whole else data.grid_seconds,
            only=self._chosen("train", data.seconds, 1)[0] if data.scope == "segment" else None,
            cache_mb=data.cache_mb,
        )

    def tracks(self, split: str) -> list[Track]:
        """The data set's tracks that a split stands for; what overfits a song has no other one, whatever the split."""
        data = self.config.data
        if data.scope == "set":
            return find_tracks(data.root, split)
        return song_tracks(find_tracks(data.root, "train"), data.song)

    def valid_data(self) -> Dataset:
        """See `Task.valid_data`; what overfits one song is validated on that song."""
        data = self.config.data
        return self.excerpts("valid", data.valid_seconds, data.valid_per_track, self.config.input)

    def excerpts(self, split: str, seconds: float, per_track: int, source: str) -> ExcerptDataset:
        """Fixed excerpts of a split in which the stem sounds; `source` is the input to read beside it."""
        return self.reading(self._chosen(split, seconds, per_track), source)

    def reading(self, excerpts: Sequence[Excerpt], source: str) -> ExcerptDataset:
        """Stem, `source` as the input and the context of these excerpts."""
        config, data = self.config, self.config.data
        return ExcerptDataset(
            excerpts,
            stem=config.stem,
            input=source,
            context=config.context,
            sample_rate=self.codec.sample_rate,
            noise_db=data.noise_db,
            cache_mb=data.cache_mb,
        )

    def _chosen(self, split: str, seconds: float, per_track: int) -> list[Excerpt]:
        config, data = self.config, self.config.data
        if data.scope == "segment":  # always the one that is learnt by heart
            seconds, per_track = data.seconds, 1
        return fixed_excerpts(self.tracks(split), config.stem, seconds, per_track, source=config.input)
