"""Predictors whose right outcome is known, and grids to try them on."""

import torch
from torch import Tensor

from token_models.sampling.predict import Predict


def by_table(table: Tensor) -> Predict:
    """Logits `[K, T, V]` (or `[B, K, T, V]`) of each cell, whatever else is known."""

    def predict(codes: Tensor, mask: Tensor) -> Tensor:
        return table.expand(*mask.shape, table.shape[-1])[mask]

    return predict


def oracle(answer: Tensor, n_codes: int, sureness: float = 20.0) -> Predict:
    """Knows the answer `[B, K, T]` for every cell."""
    return by_table(sureness * torch.nn.functional.one_hot(answer, n_codes).float())


def counting(n_codes: int, sureness: float = 20.0) -> Predict:
    """A code is one more than the one before it in its codebook; where that is unknown, 0 is guessed."""

    def predict(codes: Tensor, mask: Tensor) -> Tensor:
        wanted = torch.zeros_like(codes)
        wanted[..., 1:] = (codes[..., :-1] + 1) % n_codes
        known = torch.zeros_like(mask)
        known[..., 1:] = ~mask[..., :-1]
        wanted = wanted.where(known, 0)
        logits = sureness * torch.nn.functional.one_hot(wanted, n_codes).float()
        return torch.where(known[..., None], logits, logits / 10)[mask]

    return predict


def knows_by_half(answer: Tensor, n_codes: int) -> Predict:
    """Knows the answer for items of which half the cells are known, and is as sure of the next code in all others."""

    def predict(codes: Tensor, mask: Tensor) -> Tensor:
        known = (2 * mask.flatten(1).sum(dim=1) <= mask[0].numel())[:, None, None]
        wanted = torch.where(known, answer, (answer + 1) % n_codes)
        return oracle(wanted, n_codes)(codes, mask)

    return predict


def by_neighbours(n_codes: int, seed: int = 0) -> Predict:
    """Random logits that depend on the place and on the codes to the left and above, where these are known."""
    generator = torch.Generator().manual_seed(seed)
    left, above, place = (torch.randn(n_codes + 1, n_codes, generator=generator) for _ in range(3))

    def predict(codes: Tensor, mask: Tensor) -> Tensor:
        shown = codes.masked_fill(mask, n_codes)
        padded = torch.nn.functional.pad(shown, (1, 0, 1, 0), value=n_codes)
        n_codebooks, n_frames = codes.shape[1:]
        where = torch.arange(n_codebooks)[:, None] * 5 + torch.arange(n_frames) * 3
        logits = left[padded[:, 1:, :-1]] + above[padded[:, :-1, 1:]] + place[where % (n_codes + 1)]
        return logits[mask]

    return predict


class Recorder:
    """A predictor that remembers what it was asked."""

    def __init__(self, predict: Predict) -> None:
        self.predict, self.masks = predict, list[Tensor]()

    def __call__(self, codes: Tensor, mask: Tensor) -> Tensor:
        self.masks.append(mask.clone())
        return self.predict(codes, mask)

    @property
    def n_calls(self) -> int:
        return len(self.masks)


def random_grid(*shape: int, n_codes: int, share: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Codes and a mask; under the mask stands what is no code at all."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=generator) < share
    return torch.randint(n_codes, shape, generator=generator).masked_fill(mask, -7), mask
