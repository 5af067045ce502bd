"""Learning the codebooks of a factorised residual vector quantiser by gradient (Kumar et al., 2023, section 3.2).

Projections and codebooks are parameters of the DAC model itself, which an optimiser trains with the rest of it.
"""

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.dac.modeling_dac import DacResidualVectorQuantizer, DacVectorQuantize

from codec_ft.codec_training.quantized import Quantized, perplexity
from codec_ft.codec_training.quantizer import kmeans, layers_used, share_from_first
from codec_ft.codecs.dac import nearest_codes
from codec_ft.config import Config


class FactorizedConfig(Config):
    """How projections and codebooks are learnt."""

    start_step: int = Field(
        0, ge=0, description="steps without quantisation, after which k-means makes the codebooks; published: none"
    )
    kmeans_vectors: int = Field(16384, ge=1, description="latents collected for the k-means start")
    kmeans_iterations: int = Field(10, ge=1)
    dropout: float = Field(0.5, ge=0, le=1, description="share of items coded with a random number of codebooks")
    detach_residual: bool = Field(
        False, description="no gradient through the residuals from later layers into earlier ones; published: false"
    )
    decay: float = Field(0.99, gt=0, lt=1, description="of the moving average of each code's use")
    dead_share: float = Field(0.1, gt=0, lt=1, description="share of an even use below which a code counts as dead")
    replace_dead: bool = Field(
        False, description="move dead codes to vectors of the batch; published: false, small data need it"
    )


class FactorizedLearner(nn.Module):
    """Quantises as `quantizer` does, with gradients, loss terms and the health of the codebooks.

    Each layer projects what its predecessors left over to a few dimensions, chooses the code of the nearest direction,
    and projects that code (with its length) back. The gradient passes straight through in the projected space.

    For `start_step` calls in which it learns, projected vectors take the place of codes, and latents are collected;
    then k-means on what was collected gives each layer its first codebook. Small codecs need that: as long as a codec
    reconstructs nothing, constant latents serve it as well as any, and quantised from the start it soon uses few codes.

    Latents are expected in float32 and outside autocast: half precision would choose other codes.
    """

    step: Tensor
    recent: Tensor
    use: Tensor

    def __init__(self, quantizer: DacResidualVectorQuantizer, config: FactorizedConfig):
        super().__init__()
        self.quantizer = quantizer
        self.config = config
        size = self.layers[0].codebook.num_embeddings
        n_collected = config.kmeans_vectors if config.start_step else 0
        self.register_buffer("step", torch.tensor(0))
        self.register_buffer("recent", torch.zeros(n_collected, self.layers[0].in_proj.in_channels))
        # In units of an even use, [K, V]; nothing is dead before it had time to be used.
        self.register_buffer("use", torch.ones(len(self.layers), size))

    @property
    def layers(self) -> list[DacVectorQuantize]:
        """The layers of the quantiser, coarse to fine."""
        return list(self.quantizer.quantizers)  # type: ignore[arg-type]

    def forward(self, latents: Tensor, learn: bool | None = None) -> Quantized:
        """Quantise `latents [B, D, T]`.

        Commitment and codebook terms are, as published, squared errors averaged over the values of each item's
        projected latents, zero for the layers that quantiser dropout takes from an item, averaged over items and
        *summed* over layers.

        Args:
            latents: what the encoder gives.
            learn: count steps, drop layers, follow the use of codes and replace dead ones; none: as `self.training`. An
                explicit `False` takes the codebooks as they are and quantises, whether or not they have started.
        """
        quantise = learn is False or int(self.step) >= self.config.start_step
        learn = self.training if learn is None else learn
        n_layers, batch = len(self.layers), len(latents)
        everything = torch.full((batch,), n_layers, device=latents.device)
        used = layers_used(batch, n_layers, self.config.dropout, latents.device) if learn else everything  # [B]
        if not quantise:
            if learn:
                self._collect(latents)
            return self._without_codes(latents, used)
        residual, quantized = latents, torch.zeros_like(latents)
        commitment, codebook = latents.new_zeros(()), latents.new_zeros(())
        codes, perplexities, dead, replaced = [], [], [], 0
        for k, layer in enumerate(self.layers):
            projected = layer.in_proj(residual)  # [B, d, T]
            with torch.no_grad():
                codes.append(nearest_codes(projected, layer.codebook.weight))
            chosen = layer.codebook(codes[-1]).transpose(1, 2)
            in_use = (k < used).to(latents.dtype)  # [B]
            commitment = commitment + (in_use * _mean_square(projected - chosen.detach())).mean()
            codebook = codebook + (in_use * _mean_square(chosen - projected.detach())).mean()
            restored = layer.out_proj(projected + (chosen - projected).detach())
            quantized = quantized + in_use[:, None, None] * restored
            # As published, later layers' gradients reach the earlier ones through the residual. That is the derivative
            # of the whole chain: without it a direction that several layers see would get its gradient several times.
            residual = residual - (restored.detach() if self.config.detach_residual else restored)
            counts = torch.bincount(codes[-1].flatten(), minlength=layer.codebook.num_embeddings).float()
            perplexities.append(perplexity(counts))
            if learn:
                self._follow_use(k, counts)
            unused = self.use[k] < self.config.dead_share
            dead.append(unused.sum())
            if learn and self.config.replace_dead:
                self._replace(k, unused, projected.detach().transpose(1, 2).flatten(0, 1))
                replaced += int(unused.sum())
        return Quantized(
            latents=quantized,
            codes=torch.stack(codes, 1),
            commitment=commitment,
            codebook=codebook,
            log_variance=latents.var().clamp(min=1e-12).log(),
            perplexity=torch.stack(perplexities),
            dead=torch.stack(dead),
            replaced=replaced,
        )

    def go_on(self) -> None:
        """Keep the codebooks that are there."""
        self.step.fill_(self.config.start_step)

    def _without_codes(self, latents: Tensor, used: Tensor) -> Quantized:
        """What the projections of the first `used [B]` layers let through, without the choice of codes."""
        residual, through = latents, torch.zeros_like(latents)
        for k, layer in enumerate(self.layers):
            restored = layer.out_proj(layer.in_proj(residual))
            through = through + (k < used)[:, None, None] * restored
            residual = residual - (restored.detach() if self.config.detach_residual else restored)
        # A gradient of zero for codebooks that are not in use yet: distributed training waits for all parameters'.
        idle = torch.stack([0.0 * layer.codebook.weight.sum() for layer in self.layers]).sum()
        return Quantized(
            latents=through,
            codes=None,
            commitment=latents.new_zeros(()),
            codebook=idle,
            log_variance=latents.var().clamp(min=1e-12).log(),
            perplexity=latents.new_zeros(len(self.layers)),
            dead=latents.new_zeros(len(self.layers), dtype=torch.long),
            replaced=0,
        )

    @torch.no_grad()
    def _collect(self, latents: Tensor) -> None:
        """Count a step and keep its latents; after the last one before the start make the codebooks of them."""
        vectors = latents.detach().transpose(1, 2).flatten(0, 1)[: len(self.recent)]
        self.recent.copy_(torch.cat([self.recent[len(vectors) :], vectors]))
        self.step += 1
        if int(self.step) < self.config.start_step:
            return
        residual = self.recent[self.recent.abs().sum(dim=1) > 0].T[None]  # [1, D, M]; zeros were never filled
        for layer in self.layers:
            projected = layer.in_proj(residual)
            table = layer.codebook.weight
            # Clusters of directions, since directions choose; a code is as long as its cluster is on the average.
            centres, _ = kmeans(F.normalize(projected[0].T), len(table), self.config.kmeans_iterations)
            nearest = nearest_codes(projected, centres)[0]
            sums = torch.zeros_like(table).index_add_(0, nearest, projected[0].T)
            counts = torch.bincount(nearest, minlength=len(table))[:, None]
            table.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), centres * projected.norm(dim=1).mean()))
            share_from_first(table)
            residual = residual - layer.out_proj(layer.codebook(nearest_codes(projected, table)).transpose(1, 2))

    @torch.no_grad()
    def _follow_use(self, k: int, counts: Tensor) -> None:
        """Take the batch's histogram `[V]` into the moving average; with several processes, that of all of them."""
        if dist.is_initialized():
            counts = counts.clone()
            dist.all_reduce(counts)
        self.use[k].lerp_(counts / counts.mean(), 1 - self.config.decay)

    @torch.no_grad()
    def _replace(self, k: int, unused: Tensor, vectors: Tensor) -> None:
        """Give unused codes `[V]` the places of random vectors of `[B*T, d]`, the same in all processes."""
        # The picks are drawn whether or not they are needed, so that all processes draw alike.
        picks = vectors[torch.randint(len(vectors), (len(unused),), device=vectors.device)]
        share_from_first(picks)
        table = self.layers[k].codebook.weight
        table.copy_(torch.where(unused[:, None], picks, table))
        self.use[k].masked_fill_(unused, 1.0)


def _mean_square(error: Tensor) -> Tensor:
    """`[B, d, T] -> [B]`."""
    return error.pow(2).mean(dim=(1, 2))
