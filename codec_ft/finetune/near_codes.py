"""Codes by their nearness to latents and by what speaks for them beside."""

import math

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import outside_autocast
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.finetune.losses.soft_labels import code_spacing

START_TAU = 0.2
"""Temperature of the nearness at the start, in units of the distance between neighbouring codes."""


class NearCodes(nn.Module):
    """Log-probabilities of the codes of the first layers, and the codes of all.

    Of layer `k`, with `r` what the layers before left over,

        log p(code) = log softmax(nearness(code, r) / tau_k + preference(code))

    where the nearness is the codec's own (minus the squared distance, or the cosine) and `tau_k` is learnt. The latents
    are taken as they are: no gradient reaches them from here, since a classification would rather have them far off
    than undecided.

    Args:
        codec: the frozen codec.
        n_codebooks: K', the layers for which there are preferences; an attribute, too.
    """

    def __init__(self, codec: ResidualCodec, n_codebooks: int) -> None:
        super().__init__()
        self._frozen = (codec,)
        self.n_codebooks = n_codebooks
        spacing = [code_spacing(codec, k) for k in range(n_codebooks)]
        self.log_sharpness = nn.Parameter(torch.tensor([-math.log(START_TAU * gap) for gap in spacing]))

    def forward(self, latents: Tensor, preferences: Tensor, target_codes: Tensor | None = None) -> Tensor:
        """Log-probabilities `[B, K', V, T]`.

        Args:
            latents: `[B, D, T]`.
            preferences: in nats, `[B, K', V, T]`.
            target_codes: `[B, K'' >= K', T]`: what the layers take away (teacher forcing); without, their own.
        """
        codec, found = self._frozen[0], []
        with outside_autocast(latents):
            residual = latents.detach().float()
            for k, preference in enumerate(preferences.unbind(dim=1)):
                scores = codec.scores(k, codec.project(k, residual))
                found.append(torch.log_softmax(scores * self.log_sharpness[k].exp() + preference, dim=1))
                codes = found[-1].argmax(dim=1) if target_codes is None else target_codes[:, k].long()
                residual = residual - codec.vectors(k, codes)
        return torch.stack(found, dim=1)
