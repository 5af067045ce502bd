"""The second stage of an enhancer: the codec's decoder learns to play the codes that the enhancer predicts.

A codec's decoder has only ever met codes of clean audio. Those that an enhancer predicts are wrong here and there, and
a decoder that knows them can make more of them. The enhancer, and with it every code, stays as it is.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.codec_training.config import CodecTrainingConfig
from codec_ft.codec_training.critic import Critic
from codec_ft.codec_training.quantized import Quantized
from codec_ft.codec_training.start import Network
from codec_ft.codec_training.step import CodecStep
from codec_ft.codec_training.task import CodecTask
from codec_ft.codecs.load import load_codec
from codec_ft.data.dataset import Batch, ExcerptDataset, PairDataset
from codec_ft.data.excerpts import Excerpt, fixed_excerpts
from codec_ft.data.tracks import MIXTURE, find_tracks
from codec_ft.errors import UserError
from codec_ft.finetune.apply import TrainedEnhancer
from codec_ft.finetune.load import EXPORTED, load_enhancer
from codec_ft.finetune.save import save_enhancer
from codec_ft.metrics.spectral import log_mel_distance
from codec_ft.metrics.waveform import usdr


class DecoderStep(CodecStep):
    """The decoder in training: its input are the codes that an enhancer predicts, its target the clean stem.

    The enhancer stands outside the module registry (in a tuple): it is not trained.
    """

    def __init__(
        self, config: CodecTrainingConfig, network: Network, critic: Critic | None, enhancer: TrainedEnhancer
    ) -> None:
        super().__init__(config, network, critic)
        self._enhancer = (enhancer,)

    @property
    def enhancer(self) -> TrainedEnhancer:
        """What predicts."""
        return self._enhancer[0]

    def predicted(self, batch: Batch) -> Tensor:
        """The quantised latents `[B, D, T]` that the enhancer predicts, without gradients."""
        with torch.autocast(batch.input.device.type, enabled=False):  # half precision would choose other codes
            return self.enhancer.quantized(batch.input, batch.context)

    def estimate(self, batch: Batch) -> tuple[Tensor, Quantized | None]:
        """See `CodecStep.estimate`."""
        return self.decode(self.predicted(batch), batch.target.shape[-1]), None


class DecoderTask(CodecTask):
    """Trains a decoder on what an enhancer predicts, and discriminators on what the decoder makes of it.

    Raises:
        UserError: there is no such enhancer, or it is of another stem or codec.
    """

    def __init__(self, config: CodecTrainingConfig):
        assert config.enhancer is not None and config.start is not None, "the configuration sees to it"
        self.enhancer = load_enhancer(config.enhancer, runs=config.runs)
        stem = self.enhancer.stem
        if config.stem not in ("all", stem):
            raise UserError(f"stem={config.stem}: enhancer={config.enhancer} draws out the {stem}. Leave stem out.")
        if not load_codec(config.start).has_codes_of(self.enhancer.codec):
            raise UserError(
                f"start={config.start}: has other codes than {self.enhancer.codec.name}, the codec of "
                f"enhancer={config.enhancer}. Set start={self.enhancer.codec.name}."
            )
        super().__init__(config.model_copy(update={"stem": stem}))

    def make_step(self, network: Network, critic: Critic | None) -> DecoderStep:
        """See `CodecTask.make_step`."""
        return DecoderStep(self.config, network, critic, self.enhancer)

    def to(self, device: torch.device) -> None:
        """See `Task.to`."""
        self.enhancer.to(device)

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`: what the enhancer heard in its own training, and the clean stem."""
        config, facts, data = self.config, self.enhancer.facts, self.config.data
        inputs = facts.heard_in_training
        return PairDataset(
            tracks=find_tracks(data.root, "train"),
            stem=config.stem,
            inputs=inputs,
            context=facts.context,
            sample_rate=self.step.sample_rate,
            seconds=data.seconds,
            length=items,
            seed=config.train.seed,
            # What a separator would make of a remix is not known.
            remix_probability=data.remix_probability if MIXTURE in inputs else 0.0,
            speed=data.speed,
            gain_db=data.gain_db,
            noise_db=facts.noise_db,
            cache_mb=data.cache_mb,
        )

    def held_out(self, split: str, seconds: float, per_track: int) -> ExcerptDataset:
        """Fixed excerpts of a split, with the enhancer's input."""
        return self.pairs(self.chosen(split, seconds, per_track), self.enhancer.input)

    def chosen(self, split: str, seconds: float, per_track: int) -> Sequence[Excerpt]:
        """Fixed excerpts of a split in which the stem sounds."""
        tracks = find_tracks(self.config.data.root, split)
        return fixed_excerpts(tracks, self.config.stem, seconds, per_track, source=self.enhancer.input)

    def pairs(self, excerpts: Sequence[Excerpt], source: str) -> ExcerptDataset:
        """Excerpts with `source` as their input."""
        facts = self.enhancer.facts
        return ExcerptDataset(
            excerpts,
            stem=self.config.stem,
            input=source,
            context=facts.context,
            sample_rate=self.step.sample_rate,
            noise_db=facts.noise_db,
        )

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`: the codec's own decoder plays the same codes beside the one in training."""
        assert isinstance(module, DecoderStep)
        target, predicted = batch.target, module.predicted(batch)
        output = module.decode(predicted, target.shape[-1])
        untouched = self.enhancer.codec.decode(predicted, target.shape[-1])
        return {
            **module.reconstruction(output, target),
            "reconstruction_untouched": module.reconstruction(untouched, target)["reconstruction"],
            "log_mel_distance": log_mel_distance(output, target, module.sample_rate),
            "log_mel_distance_untouched": log_mel_distance(untouched, target, module.sample_rate),
            "usdr": usdr(output, target),
            "usdr_untouched": usdr(untouched, target),
        }

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: the codec with its new decoder in `codec/`, and in `enhancer/` the enhancer with it."""
        super().export(module, folder)
        save_enhancer(
            self.enhancer.enhancer,
            # The decoder knows codes, even where the codec's had been given latents.
            self.enhancer.facts.model_copy(update={"decode": "codes"}),
            folder / EXPORTED,
            decoder=load_codec(folder).get_submodule("decoder"),
        )
