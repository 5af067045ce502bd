"""A codec in training: audio through encoder, quantiser and decoder, and what is wrong with what comes out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DacModel, EncodecModel

from codec_ft.codec_training.adversarial import feature_matching
from codec_ft.codec_training.config import CodecTrainingConfig
from codec_ft.codec_training.critic import Critic
from codec_ft.codec_training.quantized import Quantized
from codec_ft.codec_training.reconstruction import RECONSTRUCTION
from codec_ft.codec_training.start import Network
from codec_ft.data.dataset import Batch
from codec_ft.training.balancer import Balancer
from codec_ft.training.held_still import held_still


class CodecStep(nn.Module):
    """The generator: its losses are those of reconstruction, of the codes, and what the critic thinks of it.

    The critic stands outside the module registry (in a tuple): it is trained in its own phase.
    """

    def __init__(self, config: CodecTrainingConfig, network: Network, critic: Critic | None = None):
        super().__init__()
        self.model: EncodecModel | DacModel = network.model
        self.learner = network.learner
        self.decoder_only = config.parts == "decoder"
        if self.decoder_only:
            self.model.encoder.requires_grad_(False)
            self.model.quantizer.requires_grad_(False)
        self.weights = {name: weight for name, weight in config.losses.model_dump().items() if weight}
        self.relative_features = config.discriminators.relative_features
        self.balancer = Balancer({n: w for n, w in self.weights.items() if n in OF_OUTPUT}) if config.balancer else None
        self._critic = (critic,)

    @property
    def sample_rate(self) -> int:
        """Of the audio, in Hz."""
        return self.model.config.sampling_rate

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return self.model.config.hop_length

    def reconstruct(self, audio: Tensor) -> tuple[Tensor, Quantized]:
        """Audio `[B, 1, N]` to its reconstruction `[B, 1, N]`, and what the quantiser did."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.decoder_only):
            latents = self.model.encoder(F.pad(audio, (0, -audio.shape[-1] % self.hop_length)))
            with torch.autocast(audio.device.type, enabled=False):  # half precision would choose other codes
                quantized = self.learner(latents.float(), learn=self.training and not self.decoder_only)
        return self.decode(quantized.latents, audio.shape[-1]), quantized

    def decode(self, latents: Tensor, length: int) -> Tensor:
        """Quantised latents `[B, D, T]` to audio `[B, 1, length]`."""
        decoded = self.model.decoder(latents)
        # A DAC with odd strides gives a few samples less than it was given.
        return F.pad(decoded, (0, max(0, length - decoded.shape[-1])))[..., :length]

    def estimate(self, batch: Batch) -> tuple[Tensor, Quantized | None]:
        """The output `[B, 1, N]` that is compared with the target, and what the quantiser did, if it took part."""
        return self.reconstruct(batch.target)

    def reconstruction(self, estimate: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """The terms that compare audio, per item `[B]`, and their weighted sum `"reconstruction"`."""
        names = [name for name in RECONSTRUCTION if name in self.weights]
        terms = {name: RECONSTRUCTION[name](estimate, audio, self.sample_rate) for name in names}
        return terms | {"reconstruction": sum(self.weights[name] * terms[name] for name in names)}

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch, and the health of the codebooks; leaves the output in `batch.output`."""
        audio = batch.target
        estimate, quantized = self.estimate(batch)
        batch.output = estimate.detach()
        losses = {name: value.mean() for name, value in self.reconstruction(estimate, audio).items()}
        critic = self._critic[0]
        if critic is not None and critic.has_learnt:
            losses |= self.judged(critic, estimate, audio)
        if quantized is not None:
            losses |= {
                "commitment": quantized.commitment,
                "codebook": quantized.codebook,
                "latent_scale": quantized.log_variance.square(),
            }
        losses["loss"] = self.weighted(losses, estimate)
        if self.balancer is not None:
            losses |= {f"share_{name}": share for name, share in self.balancer.shares.items()}
        return losses if quantized is None else losses | _health(quantized)

    def judged(self, critic: Critic, estimate: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """What the critic thinks of an estimate, and how far its view of it is from that of the target."""
        with held_still(critic):
            fake = critic(estimate)
            with torch.no_grad():
                real = critic(audio)
        return {
            "adversarial": critic.generator_loss(fake),
            "feature": feature_matching(real, fake, relative=self.relative_features),
        }

    def weighted(self, losses: dict[str, Tensor], estimate: Tensor) -> Tensor:
        """The sum of the weighted terms; with a balancer its gradient is the balanced one, its value the plain sum."""
        terms = {name: losses[name] for name in self.weights if name in losses}
        if self.decoder_only:
            terms = {name: value for name, value in terms.items() if name in OF_OUTPUT}
        plain = torch.stack([self.weights[name] * value for name, value in terms.items()]).sum()
        if self.balancer is None:
            return plain
        balanced = self.balancer({name: value for name, value in terms.items() if name in OF_OUTPUT}, estimate)
        others = [self.weights[name] * value for name, value in terms.items() if name not in OF_OUTPUT]
        total = balanced + sum(others)
        return total + (plain - total).detach()


def _health(quantized: Quantized) -> dict[str, Tensor]:
    """How the codebooks do."""
    health = {
        "latent_std": (0.5 * quantized.log_variance.detach()).exp(),
        "codes_replaced": torch.tensor(float(quantized.replaced)),
    }
    for k, (perplexity, dead) in enumerate(zip(quantized.perplexity, quantized.dead, strict=True), start=1):
        health |= {f"perplexity_{k}": perplexity, f"dead_{k}": dead}
    return health


OF_OUTPUT = (*RECONSTRUCTION, "adversarial", "feature")
"""Terms that depend on the decoder's output alone, so that a balancer can weigh their gradients there."""
