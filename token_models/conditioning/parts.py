"""One module for each form in which a model may be shown its input; all give `[B, T, W]`."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec_ft.errors import UserError

COMPRESSION = 0.3
"""Power to which magnitudes are raised: loud and soft partials come nearer to each other (Li et al., 2024, MaskSR)."""


class LatentsPart(nn.Module):
    """Latents `[B, D', T]`, not quantised, to `[B, T, W]`.

    Args:
        dim: D', of all that is heard.
        width: W.
        kernel: frames that are looked at together, an odd number.
    """

    def __init__(self, dim: int, width: int, kernel: int = 1) -> None:
        super().__init__()
        self.project = nn.Conv1d(dim, width, kernel, padding=kernel // 2)

    def forward(self, latents: Tensor) -> Tensor:
        """See the class."""
        return self.project(latents).transpose(1, 2)


class SpectrogramPart(nn.Module):
    """Audio `[B, C, N]` to `[B, T, W]`: compressed magnitudes in frames of the codec's hop, and two convolutions.

    Args:
        inputs: C.
        hop_length: of the codec, samples.
        width: W.
        fft_size: samples of a window, which is centred on its frame; a hop or more, or some would not be heard.

    Raises:
        UserError: the window is shorter than a hop.
    """

    window: Tensor

    def __init__(self, inputs: int, hop_length: int, width: int, fft_size: int) -> None:
        super().__init__()
        if fft_size < hop_length:
            raise UserError(
                f"condition.fft_size={fft_size}: a frame of the codec has {hop_length} samples, and what lies between "
                "windows would not be heard. Take as many or more."
            )
        self.hop_length, self.fft_size = hop_length, fft_size
        self.register_buffer("window", torch.hann_window(fft_size), persistent=False)
        self.layers = nn.Sequential(
            nn.Conv1d(inputs * (fft_size // 2 + 1), width, 3, padding=1),
            nn.GELU(),
            nn.Conv1d(width, width, 3, padding=1),
        )

    def forward(self, audio: Tensor) -> Tensor:
        """See the class; `T = ceil(N / hop)`."""
        return self.layers(self.magnitudes(audio)).transpose(1, 2)

    def magnitudes(self, audio: Tensor) -> Tensor:
        """Audio `[B, C, N]` to `[B, C * F, T]`, frame `t` around the middle of the samples that it stands for."""
        n_frames = -(-audio.shape[-1] // self.hop_length)
        before = (self.fft_size - self.hop_length) // 2
        after = (n_frames - 1) * self.hop_length + self.fft_size - before - audio.shape[-1]
        padded = F.pad(audio.float(), (before, after)).flatten(0, 1)
        spectrum = torch.stft(
            padded, self.fft_size, self.hop_length, window=self.window, center=False, return_complex=True
        )
        return spectrum.abs().pow(COMPRESSION).unflatten(0, audio.shape[:2]).flatten(1, 2)
