"""What a fine-tuning minimises: the terms that a configuration names, weighted or balanced, and their sum."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import Codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.discriminator import EmbeddingDiscriminator, generator_loss
from codec_ft.finetune.enhancer import Prediction
from codec_ft.finetune.losses.latents import latent_cosine, latent_l1
from codec_ft.finetune.losses.residual import layer_temperatures, residual_loss
from codec_ft.finetune.losses.soft_labels import soft_labels
from codec_ft.finetune.losses.softmax import softmax_accuracy, softmax_cross_entropy
from codec_ft.metrics.latents import latent_mse
from codec_ft.training.balancer import Balancer
from codec_ft.training.held_still import held_still

LATENT_LOSSES = {"latent_mse": latent_mse, "latent_l1": latent_l1, "latent_cosine": latent_cosine}
LOGGED_LAYERS = 4
"""Codebooks whose accuracy is logged one by one: thirty-two curves are read by nobody."""


@dataclass
class Wanted:
    """What the frozen codec says of the clean stem.

    Attributes:
        latents: what latents are compared with, `[B, D, T]`.
        codes: of the clean stem, `[B, K, T]`; None where no term and no space needs them.
    """

    latents: Tensor
    codes: Tensor | None


class Objective(nn.Module):
    """The terms of the loss by name.

    Args:
        config: says which terms there are and what they weigh.
        codec: the frozen codec.
        discriminator: what judges latents, for the adversarial term; it is trained in its own phase.

    Raises:
        UserError: a term asks for more codebooks than the codec has.
    """

    def __init__(self, config: FinetuneConfig, codec: Codec, discriminator: EmbeddingDiscriminator | None) -> None:
        super().__init__()
        assert isinstance(codec, ResidualCodec)
        for key, count in {
            "residual.codebooks": config.residual.codebooks,
            "target_codebooks": config.target_codebooks,
        }.items():
            if count is not None and count > codec.n_codebooks:
                raise UserError(
                    f"{key}={count}: {codec.name} has {codec.n_codebooks} codebooks. Take as many or fewer."
                )
        self._frozen = (codec, discriminator)
        self.weights = {name: weight for name, weight in config.losses.model_dump().items() if weight}
        self.form = config.residual.form
        self.layers = config.residual.codebooks or config.target_codebooks or codec.n_codebooks
        self.temperatures = (
            layer_temperatures(codec, config.residual.tau, config.residual.tau_unit, self.layers)
            if "residual" in self.weights
            else []
        )
        self.soft_labels = config.soft_labels
        self.balancer = Balancer(self.weights) if config.balance else None

    @property
    def needs_codes(self) -> bool:
        """Whether a term, or the space in which latents are compared, is made with the clean stem's codes."""
        geometry = self._frozen[0].geometry
        return bool({"softmax", "residual"} & self.weights.keys()) or geometry != "euclidean"

    def forward(self, prediction: Prediction, wanted: Wanted) -> dict[str, Tensor]:
        """Scalars by name: the terms, the accuracies that come with them, and their sum, `"loss"`."""
        terms, accuracies = self._latent_terms(prediction, wanted), {}
        if "softmax" in self.weights:
            terms["softmax"], accuracies["softmax"] = self._softmax(prediction, wanted)
        if "residual" in self.weights:
            terms["residual"], accuracies["residual"] = self._residual(prediction, wanted)
        discriminator = self._frozen[1]
        if discriminator is not None and discriminator.has_learnt:
            with held_still(discriminator):
                terms["adversarial"] = generator_loss(discriminator(prediction.latents))
        shares: dict[str, Tensor] = {}
        if self.balancer is None:
            loss = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        else:
            loss = self.balancer.weighted_sum(terms, prediction.latents)
            shares = {f"{name}_share": share for name, share in self.balancer.shares.items()}
        return {"loss": loss, **terms, **_logged(accuracies), **shares}

    def _latent_terms(self, prediction: Prediction, wanted: Wanted) -> dict[str, Tensor]:
        """Distances in the codec's `match_space`, both with residuals of the target's codes."""
        names = LATENT_LOSSES.keys() & self.weights.keys()
        if not names:
            return {}
        match = self._frozen[0].match_space
        found, target = match(prediction.latents, wanted.codes), match(wanted.latents, wanted.codes)
        return {name: function(found, target).mean() for name, function in LATENT_LOSSES.items() if name in names}

    def _softmax(self, prediction: Prediction, wanted: Wanted) -> tuple[Tensor, Tensor]:
        assert prediction.logits is not None and wanted.codes is not None
        codes = wanted.codes[:, : prediction.logits.shape[1]]
        labels = soft_labels(self._frozen[0], codes, self.soft_labels) if self.soft_labels else None
        entropies = softmax_cross_entropy(prediction.logits, codes, labels)
        return entropies.mean(), softmax_accuracy(prediction.logits, codes)

    def _residual(self, prediction: Prediction, wanted: Wanted) -> tuple[Tensor, Tensor]:
        assert wanted.codes is not None
        found = residual_loss(
            self._frozen[0],
            prediction.latents,
            wanted.codes[:, : self.layers],
            tau=self.temperatures,
            form=self.form,
            label_tau=self.soft_labels,
        )
        return found.cross_entropy.sum(dim=1).mean(), found.accuracy


def _logged(accuracies: dict[str, Tensor]) -> dict[str, Tensor]:
    """Accuracies `[B, K]` of each term as scalars: the first codebooks', and the mean over all."""
    found: dict[str, Tensor] = {}
    for name, accuracy in accuracies.items():
        layers = accuracy.detach().mean(dim=0)
        found |= {f"{name}_accuracy_{k}": layer for k, layer in enumerate(layers[:LOGGED_LAYERS], start=1)}
        found[f"{name}_accuracy"] = layers.mean()
    return found
