"""Training a codec, alone or against discriminators."""

import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset
from transformers import EncodecModel

from codec_ft.codec_training.config import CodecTrainingConfig, DacTrainingConfig, EncodecTrainingConfig
from codec_ft.codec_training.critic import Critic, CriticStep
from codec_ft.codec_training.rescale import rescale_latents
from codec_ft.codec_training.start import Network, make_network
from codec_ft.codec_training.step import CodecStep
from codec_ft.codecs.save import save_model
from codec_ft.data.dataset import Batch, ExcerptDataset, PairDataset
from codec_ft.data.excerpts import fixed_excerpts
from codec_ft.data.interleaved import Interleaved
from codec_ft.data.tracks import MIXTURE, find_tracks
from codec_ft.errors import UserError
from codec_ft.metrics.spectral import log_mel_distance
from codec_ft.metrics.waveform import si_sdr
from codec_ft.training.config import OptimizerConfig, TrainConfig
from codec_ft.training.task import Task


class CodecTask(Task):
    """Trains a codec on single stems and mixtures in turn, and its discriminators on what it makes of them."""

    best_metric = "reconstruction"

    def __init__(self, config: CodecTrainingConfig):
        assert isinstance(config, EncodecTrainingConfig | DacTrainingConfig)
        if config.start is None and config.train.validate_every <= config.quantizer.start_step:
            raise UserError(
                f"train.validate_every={config.train.validate_every}: must be above quantizer.start_step="
                f"{config.quantizer.start_step}; a codec that does not quantise yet would look best."
            )
        self.config = config
        network = make_network(config)
        critic = Critic(config.discriminators) if config.losses.adversarial or config.losses.feature else None
        self.step = self.make_step(network, critic)
        self.phases = {"codec": self.step}
        if critic is not None:
            self.phases["discriminator"] = CriticStep(critic)
        self.stems = [config.stem]
        if config.stem == "all":
            tracks = find_tracks(config.data.root, "train")
            self.stems = [*sorted(set.intersection(*(set(track.stems) for track in tracks))), MIXTURE]

    def make_step(self, network: Network, critic: Critic | None) -> CodecStep:
        """The module of the main phase."""
        return CodecStep(self.config, network, critic)

    def optimizer_config(self, phase: str, train: TrainConfig) -> OptimizerConfig:
        """See `Task.optimizer_config`: the discriminators have their own."""
        return self.config.discriminators.optimizer if phase == "discriminator" else train.optimizer

    def order(self, step: int) -> Sequence[str]:
        """See `Task.order`: discriminators learn from `start_step` on, in a random `update_share` of the steps."""
        options = self.config.discriminators
        if "discriminator" not in self.phases or step < options.start_step:
            return ("codec",)
        # Drawn from the step, so that all processes and a resumed run draw alike.
        draw = random.Random(f"{self.config.train.seed} {step}").random()
        return ("codec", "discriminator") if draw < options.update_share else ("codec",)

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`: item i is of stem i modulo their number."""
        config = self.config
        tracks = find_tracks(config.data.root, "train")
        parts = [
            PairDataset(
                tracks=tracks,
                stem=stem,
                input="target",
                sample_rate=self.step.sample_rate,
                seconds=config.data.seconds,
                length=-(-items // len(self.stems)),
                seed=config.train.seed,
                speed=config.data.speed,
                gain_db=config.data.gain_db,
                cache_mb=config.data.cache_mb // len(self.stems),
            )
            for stem in self.stems
        ]
        return Interleaved(parts)

    def valid_data(self) -> Dataset:
        """See `Task.valid_data`."""
        return self.held_out("valid", self.config.data.valid_seconds, self.config.data.valid_per_track)

    def held_out(self, split: str, seconds: float, per_track: int) -> Dataset:
        """Fixed excerpts of every stem of a split."""
        tracks = find_tracks(self.config.data.root, split)
        return ConcatDataset(
            [
                ExcerptDataset(
                    fixed_excerpts(tracks, stem, seconds, per_track),
                    stem=stem,
                    input="target",
                    sample_rate=self.step.sample_rate,
                )
                for stem in self.stems
            ]
        )

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`."""
        assert isinstance(module, CodecStep)
        estimate, _ = module.reconstruct(batch.target)
        return {
            **module.reconstruction(estimate, batch.target),
            "log_mel_distance": log_mel_distance(estimate, batch.target, module.sample_rate),
            "si_sdr": si_sdr(estimate, batch.target),
        }

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: `codec/` in transformers' format; a new EnCodec gets latents of unit variance."""
        assert isinstance(module, CodecStep)
        if isinstance(module.model, EncodecModel) and self.config.start is None:
            rescale_latents(module.model, 1 / self.latent_std(module))
        save_model(module.model, folder / "codec")

    @torch.no_grad()
    def latent_std(self, module: CodecStep) -> float:
        """Standard deviation of the latents of the validation excerpts."""
        device = next(module.parameters()).device
        data = self.valid_data()
        latents = [module.model.encoder(data[i]["target"][None].to(device)) for i in range(len(data))]  # type: ignore
        return float(torch.cat(latents, dim=2).std())
