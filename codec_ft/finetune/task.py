"""Fine-tuning a codec's encoder as a task of the training loop."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import Batch
from codec_ft.encoded.pairs import EncodedPairs
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.discriminator import DiscriminatorStep, EmbeddingDiscriminator
from codec_ft.finetune.step import FinetuneStep
from codec_ft.metrics.latents import latent_mse
from codec_ft.metrics.tokens import active_frames, token_accuracy
from codec_ft.metrics.waveform import usdr
from codec_ft.training.config import OptimizerConfig, TrainConfig
from codec_ft.training.separation import Reference, Separation, reference_of
from codec_ft.training.stem_task import StemTask
from codec_ft.weights import save_weights

WEIGHTS = "enhancer.safetensors"
"""The file of a run folder that holds the enhancer's weights."""


class FinetuneTask(StemTask):
    """Trains `FinetuneStep` on pairs of an input and a clean stem, and, where asked for, a discriminator of latents.

    Raises:
        UserError: the configuration does not fit the codec.
    """

    config: FinetuneConfig

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

    def optimizer_config(self, phase: str, train: TrainConfig) -> OptimizerConfig:
        """See `Task.optimizer_config`: the discriminator has its own."""
        return self.config.discriminator.optimizer if phase == "discriminator" else train.optimizer

    def order(self, step: int) -> Sequence[str]:
        """See `Task.order`: the discriminator learns from its `start_step` on, in every `update_every`-th step."""
        options = self.config.discriminator
        learns = step >= options.start_step and (step - options.start_step) % options.update_every == 0
        return [name for name in self.phases if name != "discriminator" or learns]

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`; a frozen encoder whose latents are stored needs no audio."""
        pairs, frozen = self.pairs(items), self.config.encoder == "frozen"
        if not self.config.data.encoded:
            return pairs
        return EncodedPairs(pairs, self.codec, inputs=frozen, whole=self.config.data.whole, audio=not frozen)

    def separate(self, module: nn.Module, audio: Tensor, context: Tensor | None = None) -> Separation:
        """See `StemTask.separate`."""
        assert isinstance(module, FinetuneStep)
        return module.separate(audio, context, self.config.decode)

    def wanted_latents(self, reference: Reference) -> Tensor:
        """See `StemTask.wanted_latents`; those of the target's first codes where they are what is learnt."""
        return self.step.wanted_latents(reference.latents, reference.codes)

    def told(self) -> dict[str, object]:
        """See `StemTask.told`."""
        return {"decode": self.config.decode}

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`: the untouched encoder stands beside the warm one."""
        separation = self.separate(module, batch.input, batch.context)
        reference = reference_of(self.codec, batch.target)
        codec = self.codec

        def match(latents: Tensor) -> Tensor:
            return codec.match_space(latents, reference.codes)

        wanted = match(self.wanted_latents(reference))
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
