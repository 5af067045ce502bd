"""Long audio through a separator piece by piece, without seams."""

from collections.abc import Callable

import torch
from torch import Tensor


def separate_in_chunks(separate: Callable[[Tensor], Tensor], mixture: Tensor, *, chunk: int, overlap: int) -> Tensor:
    """Separate chunks that overlap, and fade from each to the next.

    At the ends of a chunk, where the network knows least of what is around, the neighbour counts most. Memory is
    that of the result and of one chunk.

    Args:
        separate: audio `[1, C, n]` to estimates `[1, S, C, n]`, for n up to `chunk`.
        mixture: `[C, N]`.
        chunk: samples that are separated at once.
        overlap: samples that a chunk shares with the next one, at most half of it.

    Returns:
        `[S, C, N]`.
    """
    if not 0 < 2 * overlap <= chunk:
        raise ValueError(f"an overlap of {overlap} samples is more than half a chunk of {chunk}, or nothing")
    length = mixture.shape[-1]
    rising = torch.linspace(0, 1, overlap + 2, device=mixture.device)[1:-1]
    total: Tensor | None = None
    start = 0
    while True:
        end = min(start + chunk, length)
        estimates = separate(mixture[None, :, start:end])[0]
        if total is None:
            total = estimates.new_zeros(*estimates.shape[:-1], length)
        if start > 0:
            estimates[..., :overlap] *= rising
        if end < length:
            estimates[..., -overlap:] *= 1 - rising
        total[..., start:end] += estimates
        if end == length:
            return total
        start = end - overlap
