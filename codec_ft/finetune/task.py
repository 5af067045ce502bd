"""Fine-tuning a codec's encoder as a task of the training loop."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import Batch, ExcerptDataset, PairDataset
from codec_ft.data.excerpts import Excerpt, fixed_excerpts
from codec_ft.data.tracks import MIXTURE, Track, find_tracks, song_tracks
from codec_ft.encoded.pairs import EncodedPairs
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.discriminator import DiscriminatorStep, EmbeddingDiscriminator
from codec_ft.finetune.losses.latents import latent_mse
from codec_ft.finetune.step import FinetuneStep
from codec_ft.metrics.tokens import active_frames, token_accuracy
from codec_ft.metrics.waveform import usdr
from codec_ft.training.config import OptimizerConfig, TrainConfig
from codec_ft.training.task import Task
from codec_ft.weights import save_weights

WEIGHTS = "enhancer.safetensors"
"""The file of a run folder that holds the enhancer's weights."""


class FinetuneTask(Task):
    """Trains `FinetuneStep` on pairs of an input and a clean stem, and, where asked for, a discriminator of latents.

    Raises:
        UserError: the configuration does not fit the codec.
    """

    def __init__(self, config: FinetuneConfig, codec: Codec):
        self.config = config
        self.codec = codec
        judged = bool(config.losses.adversarial)
        discriminator = EmbeddingDiscriminator(codec.latent_dim, config.discriminator.hidden) if judged else None
        self.step = FinetuneStep(codec, config, discriminator)
        self.phases = {"encoder": self.step}
        if discriminator is not None:
            self.phases["discriminator"] = DiscriminatorStep(discriminator)
        # Latents can come nearer while their codes become worse: who asks for codes is judged by codes.
        of_codes = config.losses.softmax or config.losses.residual
        self.best_metric = "token_error_1" if of_codes else "latent_mse"

    @property
    def report_split(self) -> str:
        """Split of the samples and of the table; what was learnt by heart is asked for again."""
        return self.config.data.report_split if self.config.data.scope == "set" else "train"

    def optimizer_config(self, phase: str, train: TrainConfig) -> OptimizerConfig:
        """See `Task.optimizer_config`: the discriminator has its own."""
        return self.config.discriminator.optimizer if phase == "discriminator" else train.optimizer

    def order(self, step: int) -> Sequence[str]:
        """See `Task.order`: the discriminator learns from its `start_step` on, in every `update_every`-th step."""
        options = self.config.discriminator
        learns = step >= options.start_step and (step - options.start_step) % options.update_every == 0
        return [name for name in self.phases if name != "discriminator" or learns]

    def to(self, device: torch.device) -> None:
        """See `Task.to`."""
        self.codec.to(device)

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`; a frozen encoder whose latents are stored needs no audio."""
        pairs, frozen = self.pairs(items), self.config.encoder == "frozen"
        if not self.config.data.encoded:
            return pairs
        return EncodedPairs(pairs, self.codec, inputs=frozen, whole=self.config.data.whole, audio=not frozen)

    def pairs(self, items: int) -> PairDataset:
        """The training pairs as audio."""
        config, data = self.config, self.config.data
        inputs = config.train_inputs or {config.input: 1.0}
        return PairDataset(
            tracks=[*self.tracks("train"), *(track for root in data.extra for track in find_tracks(root, "train"))],
            stem=config.stem,
            inputs=inputs,
            context=config.context,
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

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`: the untouched encoder stands beside the warm one."""
        assert isinstance(module, FinetuneStep)
        separation = module.separate(batch.input, batch.context, self.config.decode)
        reference = module.reference(batch.target)
        codec = self.codec

        def match(latents: Tensor) -> Tensor:
            return codec.match_space(latents, reference.codes)

        wanted = match(module.wanted_latents(reference.latents, reference.codes))
        active = active_frames(batch.target, codec.hop_length)
        metrics = {
            "latent_mse": latent_mse(match(separation.latents), wanted),
            "latent_mse_untouched": latent_mse(match(separation.input_latents), wanted),
            "usdr": usdr(separation.output, batch.target),
            "usdr_input": usdr(batch.input, batch.target),
        }
        predicted = separation.codes.shape[1]
        for name, codes in {"token_accuracy": separation.codes, "copy_input_accuracy": separation.input_codes}.items():
            accuracies = torch.stack(
                [
                    token_accuracy(
                        codes[i : i + 1, :predicted], reference.codes[i : i + 1, :predicted], active[i : i + 1]
                    )
                    for i in range(len(codes))
                ]
            )
            metrics |= {f"{name}_1": accuracies[:, 0], name: accuracies.mean(dim=1)}
        return metrics | {"token_error_1": 1 - metrics["token_accuracy_1"]}

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: the enhancer's weights as safetensors."""
        assert isinstance(module, FinetuneStep)
        save_weights(module.enhancer, folder / WEIGHTS)
