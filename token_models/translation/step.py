"""A training step of a translation model: the next code at every place, the true ones before it being known."""

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import Codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.data.dataset import Batch
from token_models.conditioning.heard import Listener
from token_models.config import ConditionConfig
from token_models.training.loss import masked_cross_entropy
from token_models.translation.config import TranslationConfig
from token_models.translation.model import TranslationModel


class TranslationStep(nn.Module):
    """A translation model and its loss; the codec stands outside the module registry (in a tuple).

    Args:
        codec: the frozen codec.
        config: of the training.

    Raises:
        UserError: the model does not fit the codec.
    """

    def __init__(self, codec: ResidualCodec, config: TranslationConfig) -> None:
        super().__init__()
        self.config = config
        self.model = TranslationModel(codec, config.model, inputs=1 + len(config.context))
        self._outside = (codec,)

    @property
    def codec(self) -> ResidualCodec:
        """The frozen codec."""
        return self._outside[0]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch by name: cross-entropy, and accuracy of all codebooks and of the first."""
        codes, heard = self.given(batch)
        logits = self.model(heard, codes)
        smoothing = self.config.label_smoothing if self.training else 0.0
        loss = masked_cross_entropy(logits.flatten(0, 2), codes.flatten(), smoothing).mean()
        right = (logits.argmax(dim=-1) == codes).float()
        return {"loss": loss, "accuracy": right.mean(), "accuracy_1": right[:, 0].mean()}

    @torch.no_grad()
    def given(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The clean stem's codes `[B, K, T]` of the model's codebooks, and those of the inputs `[B, K', T]`."""
        codes = batch.target_codes
        if codes is None:
            codes, _ = self.codec.quantize(self.codec.encode(batch.target), self.model.n_codebooks)
        heard = heard_codes(
            self.codec, self.config.model.input_codebooks, batch.input, batch.context, batch.input_latents
        )
        return codes[:, : self.model.n_codebooks].long(), heard


@torch.no_grad()
def heard_codes(
    codec: Codec, n_codebooks: int | None, audio: Tensor, context: Tensor | None = None, latents: Tensor | None = None
) -> Tensor:
    """Codes of an input and of what is beside it, one below the other, `[B, (1 + n) * K', T]`.

    Args:
        codec: the frozen codec.
        n_codebooks: K', of each; all if None.
        audio: the input, `[B, 1, N]`; may be empty where `latents` are given.
        context: what is beside it, `[B, n, N]`.
        latents: of both, one below the other, `[B, (1 + n) * D, T]`, if they are known.
    """
    found = Listener(codec, [ConditionConfig(latents=True)]).hear(audio, context, latents).latents
    assert found is not None  # it was asked for
    one_by_one = found.unflatten(1, (-1, codec.latent_dim)).flatten(0, 1)
    codes, _ = codec.quantize(one_by_one, n_codebooks)
    return codes.unflatten(0, (len(found), -1)).flatten(1, 2).long()
