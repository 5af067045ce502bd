"""Training a translation model as a task of the training loop."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.codecs.base import Codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.data.dataset import Batch
from codec_ft.encoded.pairs import EncodedPairs
from codec_ft.errors import UserError
from codec_ft.metrics.tokens import active_frames
from codec_ft.training.separation import Separation
from codec_ft.training.stem_task import StemTask
from codec_ft.weights import save_weights
from token_models.training.loss import masked_cross_entropy
from token_models.translation.config import TranslationConfig
from token_models.translation.generate import translate
from token_models.translation.step import TranslationStep, heard_codes
from token_models.windows import OVERLAP

WEIGHTS = "translation.safetensors"
"""The file of a run folder that holds the model's weights."""


class TranslationTask(StemTask):
    """Trains a model that writes the clean stem's codes when it hears those of an input.

    Raises:
        UserError: the configuration does not fit the codec.
    """

    config: TranslationConfig

    def __init__(self, config: TranslationConfig, codec: Codec):
        if not isinstance(codec, ResidualCodec):
            raise UserError(f"codec={codec.name}: token models are for residual codecs, such as EnCodec and DAC.")
        self.config, self.codec = config, codec
        self.phases = {"model": TranslationStep(codec, config)}
        self.best_metric = "cross_entropy"

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`; where codes and latents are stored, no audio is read."""
        pairs, data = self.pairs(items), self.config.data
        return EncodedPairs(pairs, self.codec, inputs=True, whole=data.whole, audio=False) if data.encoded else pairs

    @torch.no_grad()
    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`: cross-entropy and accuracy on frames that are not silent.

        The model knows the true codes before each one, so this is what it has learnt, not what it scores when it goes
        on from codes of its own. That is in the report.
        """
        assert isinstance(module, TranslationStep)
        codes, heard = module.given(batch)
        logits = module.model(heard, codes)
        active = active_frames(batch.target, self.codec.hop_length)
        entropy = masked_cross_entropy(logits.flatten(0, 2), codes.flatten()).view_as(codes)
        right = (logits.argmax(dim=-1) == codes).float()
        return {
            "cross_entropy": _mean_where(active, entropy),
            "accuracy": _mean_where(active, right),
            "accuracy_1": _mean_where(active, right[:, :1]),
            "copy_input_accuracy_1": _mean_where(active, (heard[:, :1] == codes[:, :1]).float()),
        }

    @torch.no_grad()
    def separate(self, module: nn.Module, audio: Tensor, context: Tensor | None = None) -> Separation:
        """See `StemTask.separate`; decoded from the codebooks that are written, without any finer ones."""
        assert isinstance(module, TranslationStep)
        config, codec, length = self.config, self.codec, audio.shape[-1]
        window = codec.n_frames(round(config.data.seconds * codec.sample_rate))
        codes = translate(
            module.model,
            heard_codes(codec, config.model.input_codebooks, audio, context),
            [config.train.seed] * len(audio),
            config.writing,
            window,
            math.floor(OVERLAP * window),
        )
        latents, input_latents = codec.codes_to_latents(codes), codec.encode(audio)
        input_codes, quantized_input = codec.quantize(input_latents)
        return Separation(
            latents=latents,
            input_latents=input_latents,
            codes=codes,
            input_codes=input_codes,
            output=codec.decode(latents, length),
            quantized_input=codec.decode(quantized_input, length),
        )

    def told(self) -> dict[str, object]:
        """See `StemTask.told`."""
        return {"writing": self.config.writing.model_dump()}

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: the model's weights as safetensors."""
        assert isinstance(module, TranslationStep)
        save_weights(module.model, folder / WEIGHTS)


def _mean_where(active: Tensor, values: Tensor) -> Tensor:
    """Mean of values `[B, K, T]` over codebooks and active frames `[B, T]`, `[B]`; NaN where no frame is active."""
    counted = active[:, None].float().expand_as(values)
    return (values * counted).sum(dim=(1, 2)) / counted.sum(dim=(1, 2))
