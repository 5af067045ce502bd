"""Learning the codebooks of a residual vector quantiser by moving averages (van den Oord et al., 2017, appendix A.1).

The codebooks live in the buffers of the EnCodec model itself and are changed in place, so that a trained model
needs no conversion.
"""

import torch
import torch.distributed as dist
from pydantic import Field
from torch import Tensor, nn
from transformers.models.encodec.modeling_encodec import EncodecEuclideanCodebook, EncodecResidualVectorQuantizer

from codec_ft.codec_training.quantized import Quantized, perplexity
from codec_ft.config import Config


class QuantizerConfig(Config):
    """How the codebooks are learnt."""

    start_step: int = Field(150, ge=0, description="steps without quantisation, so that k-means starts on real latents")
    kmeans_vectors: int = Field(16384, ge=1, description="latents collected for the k-means start")
    kmeans_iterations: int = Field(10, ge=1)
    decay: float = Field(0.98, gt=0, lt=1, description="of the moving averages that are the codebooks")
    dead_share: float = Field(0.1, gt=0, lt=1, description="share of an even use below which codes are replaced")
    dropout: float = Field(0.25, ge=0, le=1, description="share of items coded with a random number of codebooks")


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

    @torch.no_grad()
    def go_on(self, frames: float) -> None:
        """Keep the codebooks that are there, as if the averages had found their codes used alike.

        Args:
            frames: latents of a step in one process.
        """
        for book in self.codebooks:
            book.cluster_size.fill_(frames * _processes() / book.codebook_size)
            book.embed_avg.copy_(book.embed * book.cluster_size[:, None])
        self.step.fill_(self.config.start_step + 1)

    def forward(self, latents: Tensor, learn: bool | None = None) -> Quantized:
        """Quantise `latents [B, D, T]`.

        Args:
            latents: what the encoder gives.
            learn: collect latents, count steps, drop layers and move codebooks; none: as `self.training`. An explicit
                `False` takes the codebooks as they are and quantises, whether or not this learner has started them.
        """
        frozen = learn is False
        learn = self.training if learn is None else learn
        n_layers = len(self.codebooks)
        variance = latents.var().clamp(min=1e-12)
        nothing = latents.new_zeros(())
        if learn:
            self._collect(latents)
            self.step += 1
        if int(self.step) <= self.config.start_step and not frozen:
            return Quantized(
                latents=latents,
                codes=None,
                commitment=nothing,
                codebook=nothing,
                log_variance=variance.log(),
                perplexity=latents.new_zeros(n_layers),
                dead=latents.new_zeros(n_layers, dtype=torch.long),
                replaced=0,
            )

        everything = torch.full((len(latents),), n_layers, device=latents.device)
        used = layers_used(len(latents), n_layers, self.config.dropout, latents.device) if learn else everything  # [B]
        residual = latents.transpose(1, 2)  # [B, T, D]
        total = torch.zeros_like(residual)
        codes, perplexities, dead, commitment = [], [], [], nothing
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
            if learn:
                dead.append(self._learn(book, residual.detach().flatten(0, 1), codes[-1].flatten(), counts))
            else:
                dead.append(self._dead(book, book.cluster_size.mean()).sum())
            residual = residual - chosen
        return Quantized(
            latents=latents + (total.transpose(1, 2) - latents).detach(),
            codes=torch.stack(codes, 1),
            commitment=commitment,
            codebook=nothing,
            log_variance=variance.log(),
            perplexity=torch.stack(perplexities),
            dead=torch.stack(dead),
            replaced=int(torch.stack(dead).sum()) if learn else 0,
        )

    def _dead(self, book: EncodecEuclideanCodebook, even_use: Tensor) -> Tensor:
        """Which codes of a codebook are (almost) unused, `[V]`."""
        return book.cluster_size < self.config.dead_share * even_use

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
                share_from_first(centres, counts)
                book.embed.copy_(centres)
                # As if the averages had run for ever on batches like the present one, of all processes.
                book.cluster_size.copy_(counts / counts.sum() * len(vectors) * _processes())
                book.embed_avg.copy_(centres * book.cluster_size[:, None])
                residual = residual - book.embed[book.quantize(residual)]

    @torch.no_grad()
    def _learn(self, book: EncodecEuclideanCodebook, vectors: Tensor, codes: Tensor, counts: Tensor) -> Tensor:
        """Move a codebook towards the vectors `[B*T, D]` assigned to it; returns the number of codes replaced."""
        sums = torch.zeros_like(book.embed_avg).index_add_(0, codes, vectors)
        counts = counts.clone()
        if dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        book.cluster_size.lerp_(counts, 1 - self.config.decay)
        book.embed_avg.lerp_(sums, 1 - self.config.decay)
        even_use = counts.sum() / len(counts)
        dead = self._dead(book, even_use)
        # The picks are drawn whether or not they are needed, so that all processes draw alike.
        picks = vectors[torch.randint(len(vectors), (len(dead),), device=vectors.device)].clone()
        share_from_first(picks)
        book.cluster_size.copy_(torch.where(dead, even_use, book.cluster_size))
        book.embed_avg.copy_(torch.where(dead[:, None], picks * even_use, book.embed_avg))
        book.embed.copy_(book.embed_avg / book.cluster_size[:, None])
        return dead.sum()


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


def layers_used(batch: int, n_layers: int, dropout: float, device: torch.device) -> Tensor:
    """Quantiser dropout: how many layers each item uses, `[B]`.

    Each item is drawn for itself: with probability `dropout` it uses a random number of layers, else all. (DAC drops
    the first items of every batch, which would be the same stems each time where stems take turns.)
    """
    everything = torch.full((batch,), n_layers, device=device)
    some = torch.randint(1, n_layers + 1, (batch,), device=device)
    return torch.where(torch.rand(batch, device=device) < dropout, some, everything)


def _processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def share_from_first(*tensors: Tensor) -> None:
    """Give all processes the first one's values."""
    if dist.is_initialized():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
