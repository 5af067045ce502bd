"""The one interface that every embedding has here."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Embedding(ABC):
    """A frozen network that turns audio into vectors.

    Attributes:
        name: what it is called in a report.
        sample_rate: Hz of the audio that it takes.
        dimension: D.
        seconds_per_vector: time from the start of one vector's audio to that of the next.
    """

    name: str
    sample_rate: int
    dimension: int
    seconds_per_vector: float

    @abstractmethod
    def __call__(self, audio: Tensor) -> Tensor:
        """Mono audio `[1, N]` in -1..1 at `sample_rate` to vectors `[n, D]`, float32 on the CPU, without gradients.

        Memory does not grow with the length of the audio, but for the vectors. There may be none for short audio.

        Raises:
            ValueError: it is not audio of that shape, or not finite.
        """


def check_mono(audio: Tensor) -> Tensor:
    """Audio `[1, N]` as float32.

    Raises:
        ValueError: it has another shape, no samples, is not in floating point, or holds NaN or infinite samples.
    """
    if audio.ndim != 2 or audio.shape[0] != 1 or audio.numel() == 0 or not audio.is_floating_point():
        raise ValueError(f"expected mono audio [1, N] in floating point, N > 0, got {list(audio.shape)} {audio.dtype}")
    if not torch.isfinite(audio).all():
        raise ValueError("the audio has NaN or infinite samples")
    return audio.float()
