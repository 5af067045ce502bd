"""The residual loss: cross-entropy of the codes near the latents themselves, without a bridge that predicts them.

Thesis, section 6.2.1, loss c. A layer's probabilities are a softmax over how near its codes are to its residual.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from codec_ft.codecs.base import outside_autocast
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.finetune.losses.soft_labels import code_spacing, layer_labels

CHUNK_FRAMES = 128
"""Frames computed at once on a CPU: up to four times their probabilities live for each layer, 2 MB of 1024 codes.

Fewer are slower, more are no faster.
"""

GPU_CHUNK_FRAMES = 2048
"""The same on a GPU, where the number of kernels counts more than their size: up to 30 MB for each layer."""


@dataclass(frozen=True)
class ResidualLoss:
    """What the residual loss finds in each of the first `K'` layers.

    Attributes:
        cross_entropy: in nats, mean over frames, `[B, K']`. The thesis' loss is the sum over layers.
        accuracy: share of frames in which the target's code is the layer's likeliest, equation 10; `[B, K']`, without
            gradient.
    """

    cross_entropy: Tensor
    accuracy: Tensor


def residual_loss(
    codec: ResidualCodec,
    latents: Tensor,
    target_codes: Tensor,
    *,
    tau: float | Sequence[float],
    form: Literal["soft", "teacher"],
    label_tau: float = 0.0,
    chunk_frames: int | None = None,
) -> ResidualLoss:
    """Cross-entropies of the target's codes under the latents, layer by layer (thesis, equations 6 to 10).

    With `v^0` the latents and `c_i^k` the vector of code `i` in layer `k`:

        p_i^k   = softmax_i(-||c_i^k - v^k||^2 / tau)        (6, 8)
        v^{k+1} = v^k - sum_i p_i^k c_i^k                    (7, 9), form "soft"
        v^{k+1} = v^k - c^k of the target's code             form "teacher"

    Equations 6 and 8 as printed begin with `softmax(||c - v||^2 / tau)`, by which the farthest code would be the
    likeliest. Their own right-hand side and the text below them have the minus sign, as is meant.

    In the soft form the gradient of a layer flows through the probabilities of those before it, and a layer sees the
    mistakes of those before it. In the other, which is ours, what was taken away is constant and right, so that every
    layer learns from its own residual.

    For a codec whose codes are the nearest by angle, the scores are the cosines. The soft code is then the mean of the
    projected codes, which is the projection of the mean code: the projection is affine, and probabilities sum to one.

    Frames are computed in chunks, and the backward pass computes each chunk again, so that no more than the
    probabilities `[K', V, chunk_frames]` ever live, whatever B, T and D. There are no second derivatives. The codec's
    own precision is computed in, whatever that of the latents, and autocast or not.

    Args:
        codec: frozen; no gradient reaches it.
        latents: `[B, D, T]`, which the gradient flows to.
        target_codes: `[B, K', T]`, of the first `K'` codebooks of the clean stem.
        tau: temperature above zero, in units of the scores; one for all layers, or one for each (see
            `layer_temperatures`).
        form: what a layer hands on to the next.
        label_tau: spread of the labels, see `layer_labels`; 0: the target's code is the one right answer.
        chunk_frames: frames that are computed at once, of all items together; None: what suits the device.

    Raises:
        ValueError: a temperature that is not above zero, or shapes or codes that do not fit together or to the codec.
    """
    _check_fit(codec, latents, target_codes)
    items, n_layers, frames = target_codes.shape
    taus = _one_per_layer(tau, n_layers)
    if chunk_frames is None:
        chunk_frames = CHUNK_FRAMES if latents.device.type == "cpu" else GPU_CHUNK_FRAMES
    if chunk_frames < 1:
        raise ValueError(f"chunk_frames must be at least 1, got {chunk_frames}")
    with outside_autocast(latents):
        codebooks = codec.codebooks() if form == "soft" else None
        losses = partial(_chunk_losses, codec, taus, label_tau, codebooks)
        points = latents.to(next(codec.parameters()).dtype).transpose(0, 1).reshape(1, codec.latent_dim, -1)
        codes = target_codes.long().transpose(0, 1).reshape(1, n_layers, -1)
        found = _InChunks.apply(points, codes, losses, chunk_frames)
    entropies, hits = (values.view(n_layers, items, frames) for values in found)
    return ResidualLoss(entropies.mean(dim=2).t(), hits.to(entropies.dtype).mean(dim=2).t())


def layer_temperatures(
    codec: ResidualCodec, tau: float, unit: Literal["absolute", "spacing"], n_layers: int
) -> list[float]:
    """Temperatures for the first `n_layers` layers, in units of their scores.

    Later layers code ever smaller residuals, so that one absolute temperature is sharp in the first and flat in the
    last. In units of the `code_spacing`, it says the same in each.

    Raises:
        ValueError: `tau` is not above zero, or there are fewer layers.
    """
    codec.check_codebooks(n_layers)
    factors = [code_spacing(codec, k) if unit == "spacing" else 1.0 for k in range(n_layers)]
    return _one_per_layer([tau * factor for factor in factors], n_layers)


class _InChunks(torch.autograd.Function):
    """Losses of all frames, chunk by chunk, which the backward pass computes again instead of keeping what they need.

    `torch.utils.checkpoint` does so too. But what it keeps of a chunk is allocated between the large tensors that are
    freed, so that a CPU's heap cannot give their room to the next chunk: it takes four times the memory, and more the
    more frames there are.
    """

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,  # [1, D, N]
        codes: Tensor,  # [1, K', N]
        losses: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
        chunk_frames: int,
    ) -> tuple[Tensor, Tensor]:
        """Cross-entropies and hits, `[K', N]`."""
        shape = codes.shape[1:]
        entropies, hits = points.new_empty(shape), torch.empty(shape, dtype=torch.bool, device=codes.device)
        chunks = [slice(first, first + chunk_frames) for first in range(0, shape[1], chunk_frames)]
        for chunk in chunks:
            entropies[:, chunk], hits[:, chunk] = losses(points[:, :, chunk], codes[:, :, chunk])
        ctx.save_for_backward(points, codes)
        ctx.losses, ctx.chunks = losses, chunks
        ctx.mark_non_differentiable(hits)
        return entropies, hits

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_entropies: Tensor, of_hits: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient at the points, `[1, D, N]`, from that at the cross-entropies, `[K', N]`."""
        del of_hits
        points, codes = ctx.saved_tensors
        gradient = torch.empty_like(points)
        for chunk in ctx.chunks:
            with torch.enable_grad(), outside_autocast(points):
                some = points[:, :, chunk].detach().requires_grad_()
                entropies, _ = ctx.losses(some, codes[:, :, chunk])
                (gradient[:, :, chunk],) = torch.autograd.grad(entropies, some, of_entropies[:, chunk])
        return gradient, None, None, None


def _chunk_losses(
    codec: ResidualCodec,
    taus: list[float],
    label_tau: float,
    codebooks: Tensor | None,
    residual: Tensor,
    codes: Tensor,
) -> tuple[Tensor, Tensor]:
    """Cross-entropies and hits `[K', n]` of `n` frames, from latents `[1, D, n]` and codes `[1, K', n]`."""
    entropies, hits = [], []
    for k, tau in enumerate(taus):
        codebook = None if codebooks is None else codebooks[k]
        entropy, hit, residual = _layer_losses(codec, k, residual, codes[:, k], tau, label_tau, codebook)
        entropies.append(entropy)
        hits.append(hit)
    return torch.cat(entropies), torch.cat(hits)


def _layer_losses(
    codec: ResidualCodec,
    k: int,
    residual: Tensor,
    codes: Tensor,
    tau: float,
    label_tau: float,
    codebook: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross-entropies and hits `[1, n]` of a layer with `residual [1, D, n]`, and the next one's residual.

    That is what the codes `[1, n]` leave over or, with `codebook [V, D]`, the soft code.
    """
    projected = codec.project(k, residual)
    scores = codec.scores(k, projected) / tau
    log_probabilities = scores.log_softmax(dim=1)
    if label_tau:
        entropy = -(layer_labels(codec, k, codes, label_tau) * log_probabilities).sum(dim=1)
    else:
        entropy = -log_probabilities.gather(1, codes[:, None])[:, 0]
    if codebook is None:
        with torch.no_grad():
            taken = codec.explained(k, projected, codes)
    else:
        # A softmax of its own: torch's exp of the logarithms takes six times as long on a CPU.
        taken = codebook.t() @ scores.softmax(dim=1)
    return entropy, scores.argmax(dim=1) == codes, residual - taken


def _one_per_layer(tau: float | Sequence[float], n_layers: int) -> list[float]:
    """One temperature for each layer.

    Raises:
        ValueError: one is not above zero, or there are not as many as layers.
    """
    taus = list(tau) if isinstance(tau, Sequence) else [tau] * n_layers
    if len(taus) != n_layers:
        raise ValueError(f"expected one temperature for all layers or {n_layers}, got {len(taus)}")
    if not all(0 < value < torch.inf for value in taus):
        raise ValueError(f"temperatures must be above zero and finite, got {', '.join(f'{tau:g}' for tau in taus)}")
    return taus


def _check_fit(codec: ResidualCodec, latents: Tensor, target_codes: Tensor) -> None:
    """Refuse what does not fit; latents that are not finite pass, since it is the training that stops at such a loss.

    Raises:
        ValueError: says what was given.
    """
    codec.check_codes(target_codes)
    if latents.shape != (target_codes.shape[0], codec.latent_dim, target_codes.shape[2]):
        raise ValueError(
            f"latents {list(latents.shape)} and target codes {list(target_codes.shape)} do not fit together: expected "
            f"[B, {codec.latent_dim}, T] and [B, K, T]"
        )
