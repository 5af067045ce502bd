"""Training a separator as a task of the training loop."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.data.dataset import Batch
from codec_ft.data.excerpts import fixed_excerpts
from codec_ft.data.separators.networks import level_gain, make_network, save_network
from codec_ft.data.tracks import MIXTURE, find_tracks
from codec_ft.metrics.waveform import usdr
from codec_ft.separation.config import SeparatorConfig
from codec_ft.separation.stems import RemixDataset, StemsDataset
from codec_ft.separation.step import SeparatorStep
from codec_ft.training.task import Task

STATISTICS_ITEMS = 32
"""Training mixtures from which the network takes the mean and scale of its input."""


class SeparatorTask(Task):
    """Trains `SeparatorStep` on mixtures and remixes."""

    best_metric = "distortion"

    def __init__(self, config: SeparatorConfig):
        self.config = config
        network = make_network(config.facts)
        training = self.train_data(STATISTICS_ITEMS)
        mixtures = torch.stack([training[i]["input"] for i in range(STATISTICS_ITEMS)])
        network.standardise_to(mixtures * level_gain(mixtures))
        self.step = SeparatorStep(network, config.stems)
        self.phases = {"separator": self.step}

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`."""
        config, data = self.config, self.config.data
        return RemixDataset(
            find_tracks(data.root, "train", config.stems),
            config.stems,
            sample_rate=config.sample_rate,
            channels=config.channels,
            seconds=data.seconds,
            length=items,
            seed=config.train.seed,
            remix_probability=data.remix_probability,
            gain_db=data.gain_db,
            cache_mb=data.cache_mb,
        )

    def valid_data(self) -> Dataset:
        """See `Task.valid_data`."""
        data = self.config.data
        return self.excerpts("valid", data.valid_seconds, data.valid_per_track)

    def excerpts(self, split: str, seconds: float, per_track: int) -> StemsDataset:
        """Fixed excerpts of a split, where the mixture is loudest."""
        config = self.config
        tracks = find_tracks(config.data.root, split, config.stems)
        chosen = fixed_excerpts(tracks, MIXTURE, seconds, per_track)
        return StemsDataset(chosen, config.stems, sample_rate=config.sample_rate, channels=config.channels)

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`: `usdr` of each stem where it sounds; `distortion` is minus their mean."""
        assert isinstance(module, SeparatorStep)
        estimates = module.separate(batch.input)
        levels = torch.stack(
            [
                usdr(estimates[:, s], batch.target[:, s]).masked_fill(silent(batch.target[:, s]), torch.nan)
                for s in range(len(module.stems))
            ]
        )  # [S, B]
        mean = levels.nanmean(dim=0)
        return {
            "distortion": -mean,
            "usdr": mean,
            **{f"usdr_{stem}": level for stem, level in zip(module.stems, levels, strict=True)},
        }

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: `separator/`, which `load_separator` reads."""
        assert isinstance(module, SeparatorStep)
        save_network(module.network, self.config.facts, folder / "separator")


def silent(audio: Tensor) -> Tensor:
    """Which items of `[B, C, N]` are digital silence, `[B]`."""
    return (audio == 0).all(dim=2).all(dim=1)
