"""Codes by their nearness to latents that the model guesses, beside what its classifier says."""

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import outside_autocast
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.finetune.losses.soft_labels import code_spacing
from codec_ft.finetune.near_codes import START_TAU

UNSURE_TAU = 4.0
"""Temperature of the nearness at the start where a code before is not known, in the units of `START_TAU`."""


PACE = 10.0
"""How much faster than a weight the sharpness learns: nobody knows before how far off a guess is."""


class Nearness(nn.Module):
    """A guess of the stem's latents, and how near to it the codes of some layers are.

    The guess begins as latents that are heard, so a new model holds the codes of its input for the likeliest, and
    learns from there. A classifier alone would have to learn the codec's geometry first. As in `NearCodes`, no gradient
    of a classification reaches the guess, which has a loss of its own.

    Args:
        codec: the frozen codec.
        width: W, of the features.
        first: the first codebook that the model predicts.
        count: of how many codebooks, from that on, nearness counts.
        preferred: for how many of these an enhancer says what speaks for codes beside.
        copies: whether the input's codes are shown, and speak for themselves.

    Attributes:
        trust: how much the enhancer counts, for each codebook; None where there is none.
        log_copies: how much more likely the input's own code is, for each codebook, over `PACE`; None where it is not
            shown.
    """

    def __init__(
        self, codec: ResidualCodec, width: int, first: int, count: int, preferred: int = 0, copies: bool = False
    ) -> None:
        super().__init__()
        self._frozen = (codec,)
        self.first, self.stop = first, first + count
        self.trust = nn.Parameter(torch.ones(preferred)) if preferred else None
        self.log_copies = nn.Parameter(torch.full((count,), 1 / PACE)) if copies else None
        self.change = nn.Linear(width, codec.latent_dim)
        nn.init.zeros_(self.change.weight)
        nn.init.zeros_(self.change.bias)
        spacing = torch.tensor([code_spacing(codec, k) for k in range(first, self.stop)])
        # Where a coarser code is not known, what it leaves is a guess as well, and its neighbourhood says less.
        self.log_sharpness = nn.Parameter(-torch.stack([START_TAU * spacing, UNSURE_TAU * spacing]).log() / PACE)

    def guess(self, features: Tensor, start: Tensor | None) -> Tensor:
        """The stem's latents `[B, D, T]`, by features `[B, T, W]` and latents to begin with, or none."""
        change = self.change(features).transpose(1, 2).float()
        return change if start is None else start.float() + change

    def residual(self, guess: Tensor, codes: Tensor) -> Tensor:
        """What the codebooks that are always known leave of a guess, `[B, D, T]`; codes are `[B, K, T]`."""
        residual = guess.detach().float()
        for k in range(self.first):
            residual = self.without(k, residual, codes[:, k])
        return residual

    def without(self, k: int, residual: Tensor, codes: Tensor) -> Tensor:
        """What codes `[B, T]` of layer `k` leave of a residual."""
        with outside_autocast(residual):
            return residual - self._frozen[0].vectors(k, codes.long())

    def scores(self, k: int, residuals: Tensor, sure: Tensor) -> Tensor:
        """How near the codes of layer `k` are to residuals `[M, D]`, in nats, `[M, V]`.

        Args:
            k: the layer.
            residuals: what the codes before leave of the guess.
            sure: whether all these codes are known, `[M]`.
        """
        codec = self._frozen[0]
        with outside_autocast(residuals):
            scores = codec.scores(k, codec.project(k, residuals.t()[None]))[0].t()
            sharpness = (PACE * self.log_sharpness[:, k - self.first]).exp()
            return scores * torch.where(sure, sharpness[0], sharpness[1])[:, None]

    def for_copies(self, k: int, codes: Tensor) -> Tensor:
        """What speaks for the input's codes `[M]` of layer `k` because they are those, in nats, `[M, 1]`; 0 for -1."""
        assert self.log_copies is not None
        return (PACE * self.log_copies[k - self.first] * (codes >= 0))[:, None]
