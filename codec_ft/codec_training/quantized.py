"""What one pass through a quantiser in training gives, whichever way its codebooks are learnt."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Quantized:
    """Latents before and after, the terms of the loss, and the health of the codebooks."""

    latents: Tensor  # [B, D, T], quantised, with the gradient of the input (straight-through)
    codes: Tensor | None  # [B, K, T]; None while quantisation has not started
    commitment: Tensor  # scalar: pulls the encoder towards the codes
    codebook: Tensor  # scalar: pulls the codes towards the encoder; zero where moving averages do that
    log_variance: Tensor  # scalar: of the latents before quantisation
    perplexity: Tensor  # [K]: exp of the entropy of the codes in this batch; V if all are used alike
    dead: Tensor  # [K]: codes that a moving average finds (almost) unused
    replaced: int  # dead codes that were given a new place


def perplexity(counts: Tensor) -> Tensor:
    """Exp of the entropy of a histogram `[V]`: the number of codes it would take if they were used alike."""
    share = counts / counts.sum()
    return torch.special.entr(share).sum().exp()
