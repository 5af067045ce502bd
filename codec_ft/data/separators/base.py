"""What every separator is to the rest of the project: a mixture goes in, its stems come out."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from codec_ft.audio.resample import resample


class Separator(ABC):
    """Takes mixtures apart.

    Attributes:
        name: as results call it.
        stems: what it separates, in a fixed order.
        sample_rate: that it works at, in Hz.
        channels: that it works with, 1 or 2.
        device: that it computes on.
    """

    name: str
    stems: tuple[str, ...]
    sample_rate: int
    channels: int
    device: torch.device

    def separate(self, mixture: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        """Separate audio of any rate and number of channels.

        It is resampled to the separator's own rate and back, so nothing is heard above half of that. Mono goes
        through a stereo separator as two equal channels; of audio with other numbers of channels, each is separated
        by itself. The same mixture gives the same stems.

        Args:
            mixture: float32 [C, N].
            sample_rate: in Hz.

        Returns:
            stem -> float32 [C, N].

        Raises:
            ValueError: the mixture is not [C, N] with finite samples.
        """
        if mixture.ndim != 2 or 0 in mixture.shape:
            raise ValueError(f"mixture must be [C, N], not of shape {mixture.shape}")
        if not np.isfinite(mixture).all():
            raise ValueError("mixture holds NaN or infinite samples")
        channels, length = mixture.shape
        audio = torch.from_numpy(resample(mixture, sample_rate, self.sample_rate)).to(self.device)
        with torch.inference_mode():
            if channels == self.channels:
                estimates = self.estimate(audio)
            else:
                single = [self.estimate(channel.expand(self.channels, -1)) for channel in audio[:, None]]
                estimates = torch.stack([estimate.mean(dim=1) for estimate in single], dim=1)
        return {
            stem: _of_length(resample(estimate, self.sample_rate, sample_rate), length)
            for stem, estimate in zip(self.stems, estimates.float().cpu().numpy(), strict=True)
        }

    @abstractmethod
    def estimate(self, mixture: Tensor) -> Tensor:
        """Estimates `[S, channels, N]` of a mixture `[channels, N]`, at `sample_rate` and on `device`.

        Called without gradients. Memory beyond the result itself should not grow with N.
        """


def _of_length(audio: np.ndarray, length: int) -> np.ndarray:
    """Audio [C, N] with the few samples cut off or added that resampling there and back may cost."""
    return np.ascontiguousarray(np.pad(audio[:, :length], ((0, 0), (0, max(0, length - audio.shape[1])))))
