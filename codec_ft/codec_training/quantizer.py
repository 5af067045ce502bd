"""Learning the codebooks of a residual vector quantiser by moving averages (van den Oord et al., 2017, appendix A.1).

The codebooks live in the buffers of the EnCodec model itself and are changed in place, so that a trained model
needs no conversion.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers.models.encodec.modeling_encodec import EncodecEuclideanCodebook, EncodecResidualVectorQuantizer

from codec_ft.codec_training.config import QuantizerConfig


@dataclass
class Quantized:
    """What one pass through the quantiser gives."""

    latents: Tensor  # [B, D, T], quantised, with the gradient of the input (straight-through)
    codes: Tensor | None  # [B, K, T]; None while quantisation has not started
    commitment: Tensor  # scalar: squared distance of the residuals from their codes over the latents' variance
    log_variance: Tensor  # scalar: of the latents before quantisation
    perplexity: Tensor  # [K]: exp of the entropy of the codes in this batch; V if all are used alike
    replaced: int  # dead codes that were given a new place


class CodebookLearner(nn.Module):
    """Trains `quantizer`'s codebooks while it quantises.

    For `start_step` calls in training mode it lets latents through unchanged and collects them; then k-means on what
    was collected gives each layer its first codebook, and moving averages of the vectors assigned to each code take
    over. A code whose use falls below `dead_share` of an even use jumps to a random vector of the batch. With several
    processes, the statistics of all of them are summed, so that their codebooks stay equal.
    """

    step: Tensor
    recent: Tensor

    def __init__(self, quantizer: EncodecResidualVectorQuantizer, latent_dim: int, config: QuantizerConfig):
        super().__init__()
        self.quantizer = quantizer
        self.config = config
        self.register_buffer("step", torch.tensor(0))
        self.register_buffer("recent", torch.zeros(config.kmeans_vectors, latent_dim))

    @property
    def codebooks(self) -> list[EncodecEuclideanCodebook]:
        """The layers' codebooks: `embed [V, D]`, `embed_avg [V, D]`, `cluster_size [V]`."""
        return [layer.codebook for layer in self.quantizer.layers]  # type: ignore[misc]

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise `latents [B, D, T]`; in training mode also learn."""
        n_layers = len(self.codebooks)
        variance = latents.var().clamp(min=1e-12)
        if self.training:
            self._collect(latents)
            self.step += 1
        if int(self.step) <= self.config.start_step:
            return Quantized(latents, None, latents.new_zeros(()), variance.log(), latents.new_zeros(n_layers), 0)

        used = self._layers_used(latents.shape[0], latents.device)  # [B]
        residual = latents.transpose(1, 2)  # [B, T, D]
        total = torch.zeros_like(residual)
        codes, perplexities, commitment, replaced = [], [], latents.new_zeros(()), 0
        for k, book in enumerate(self.codebooks):
            codes.append(book.quantize(residual.detach().flatten(0, 1)).unflatten(0, residual.shape[:2]))
            chosen = book.embed[codes[-1]].detach()  # a copy: the update below may not reach back into it
            in_use = (k < used)[:, None, None]
            # Against the detached code the gradient of every layer reaches the encoder; with a straight-through
            # subtraction only the first one would.
            # In units of the latents' variance: in absolute ones, shrinking would look like committing.
            distance = (in_use * (residual - chosen).pow(2)).mean() / variance.detach()
            commitment = commitment + distance / n_layers
            total = total + in_use * chosen
            counts = torch.bincount(codes[-1].flatten(), minlength=book.codebook_size).float()
            perplexities.append(perplexity(counts))
            if self.training:
                replaced += self._learn(book, residual.detach().flatten(0, 1), codes[-1].flatten(), counts)
            residual = residual - chosen
        quantized = latents + (total.transpose(1, 2) - latents).detach()
        return Quantized(
            quantized, torch.stack(codes, 1), commitment, variance.log(), torch.stack(perplexities), replaced
        )

    def _layers_used(self, batch: int, device: torch.device) -> Tensor:
        """Quantiser dropout: how many layers each item uses, `[B]`."""
        n_layers = len(self.codebooks)
        everything = torch.full((batch,), n_layers, device=device)
        if not self.training:
            return everything
        some = torch.randint(1, n_layers + 1, (batch,), device=device)
        return torch.where(torch.rand(batch, device=device) < self.config.dropout, some, everything)

    @torch.no_grad()
    def _collect(self, latents: Tensor) -> None:
        """Keep the latest latents; when enough steps have passed, start the codebooks with them."""
        start = self.config.start_step
        if int(self.step) > start:
            return
        vectors = latents.detach().transpose(1, 2).flatten(0, 1).float()[: len(self.recent)]
        self.recent.copy_(torch.cat([self.recent[len(vectors) :], vectors]))
        if int(self.step) == start:
            residual = self.recent[self.recent.abs().sum(dim=1) > 0]  # zeros were never filled
            for book in self.codebooks:
                centres, counts = kmeans(residual, book.codebook_size, self.config.kmeans_iterations)
                _share_from_first(centres, counts)
                book.embed.copy_(centres)
                # As if the averages had run for ever on batches like the present one, of all processes.
                book.cluster_size.copy_(counts / counts.sum() * len(vectors) * _processes())
                book.embed_avg.copy_(centres * book.cluster_size[:, None])
                residual = residual - book.embed[book.quantize(residual)]

    @torch.no_grad()
    def _learn(self, book: EncodecEuclideanCodebook, vectors: Tensor, codes: Tensor, counts: Tensor) -> int:
        """Move a codebook towards the vectors `[B*T, D]` assigned to it; returns the number of codes replaced."""
        sums = torch.zeros_like(book.embed_avg).index_add_(0, codes, vectors)
        counts = counts.clone()
        if dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        book.cluster_size.lerp_(counts, 1 - self.config.decay)
        book.embed_avg.lerp_(sums, 1 - self.config.decay)
        even_use = counts.sum() / len(counts)
        dead = book.cluster_size < self.config.dead_share * even_use
        # The picks are drawn whether or not they are needed, so that all processes draw alike.
        picks = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)].clone()
        _share_from_first(picks)
        book.cluster_size.copy_(torch.where(dead, even_use, book.cluster_size))
        book.embed_avg.copy_(torch.where(dead[:, None], picks * even_use, book.embed_avg))
        book.embed.copy_(book.embed_avg / book.cluster_size[:, None])
        return int(dead.sum())


@torch.no_grad()
def kmeans(vectors: Tensor, n_centres: int, iterations: int) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm on `vectors [M, D]`: centres `[n_centres, D]` and how many vectors each has, `[n_centres]`.

    It starts from randomly drawn vectors (with repeats where there are fewer than centres); a centre that no vector is
    closest to stays where it is.
    """
    repeats = -(-n_centres // len(vectors))
    order = torch.randperm(len(vectors), device=vectors.device).repeat(repeats)
    centres = vectors[order[:n_centres]].clone()
    counts = vectors.new_zeros(n_centres)
    for _ in range(iterations):
        nearest = (centres.pow(2).sum(1) - 2 * vectors @ centres.T).argmin(1)
        counts = torch.bincount(nearest, minlength=n_centres).to(vectors.dtype)
        sums = torch.zeros_like(centres).index_add_(0, nearest, vectors)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres, counts


def perplexity(counts: Tensor) -> Tensor:
    """Exp of the entropy of a histogram `[V]`: the number of codes it would take if they were used alike."""
    share = counts / counts.sum()
    return torch.special.entr(share).sum().exp()


def _processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _share_from_first(*tensors: Tensor) -> None:
    """Give all processes the first one's values."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
