"""EnCodec's multi-scale STFT discriminator (Défossez et al., 2022, section 3.4 and figure 2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codec_ft.codec_training.discriminators import FeatureMaps, check_audio, conv2d, feature_maps

SLOPE = 0.2
"""Of the leaky ReLUs below zero."""


def complex_spectrogram(audio: Tensor, window: Tensor) -> Tensor:
    """Real and imaginary part of the short-time Fourier transform of `audio [B, 1, N]`, as `[B, 2, T, F]`.

    For a window of `n_fft` samples, which hops by a quarter of itself, `F = n_fft // 2 + 1` and
    `T = 1 + (N - n_fft) // hop`: all frames lie within the audio. Computed in the precision of the window, whatever
    autocast says: half precision has neither the range nor the digits.
    """
    with torch.autocast(audio.device.type, enabled=False):
        spectrum = torch.stft(
            audio.squeeze(1).to(window.dtype),
            len(window),
            len(window) // 4,
            window=window,
            center=False,
            return_complex=True,
        )
    return torch.view_as_real(spectrum).permute(0, 3, 2, 1)


class StftScale(nn.Module):
    """One resolution: convolutions over the complex spectrogram, which see ever more of the time around."""

    window: Tensor

    def __init__(self, n_fft: int, filters: int):
        super().__init__()
        window = torch.hann_window(n_fft, dtype=torch.float64)
        # Of unit energy, so that white noise looks alike at all resolutions: the paper's "normalised" STFT.
        self.register_buffer("window", (window / window.square().sum().sqrt()).float(), persistent=False)
        self.layers = nn.ModuleList(
            [
                conv2d(2, filters, (3, 9)),
                *(conv2d(filters, filters, (3, 9), stride=(1, 2), dilation=(time, 1)) for time in (1, 2, 4)),
                conv2d(filters, filters, (3, 3)),
            ]
        )
        self.logits = conv2d(filters, 1, (3, 3))
        # Torch's own initial weights damp the audio to a half at each layer, and what comes out are biases, for the
        # first hundred steps; those of He et al. (2015) keep its size.
        for layer in (*self.layers, self.logits):
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            # Assigned, which sets both length and direction of the weight norm.
            layer.weight = nn.init.kaiming_normal_(torch.empty_like(layer.weight), a=SLOPE)
            nn.init.zeros_(layer.bias)

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Audio `[B, 1, N]` to five feature maps `[B, filters, T, F']` and logits `[B, 1, T, F']`."""
        maps = feature_maps(self.layers, complex_spectrogram(audio, self.window), SLOPE)
        return [*maps, self.logits(maps[-1])]


class StftDiscriminator(nn.Module):
    """One `StftScale` per resolution.

    All convolutions are weight-normed, as the paper says; the published code leaves the first one of each scale
    without. 0.47 M parameters with the paper's sizes, which are the defaults; for 48 kHz it doubles the windows.
    """

    def __init__(self, n_ffts: Sequence[int] = (2048, 1024, 512, 256, 128), filters: int = 32):
        super().__init__()
        self.shortest = max(n_ffts)
        self.scales = nn.ModuleList(StftScale(n_fft, filters) for n_fft in n_ffts)

    def forward(self, audio: Tensor) -> FeatureMaps:
        """Audio `[B, 1, N]` to the feature maps of each resolution; the last of each are its logits.

        Raises:
            ValueError: the audio is not mono, or shorter than the longest window.
        """
        check_audio(audio, self.shortest, "the longest window of its spectrograms")
        return [scale(audio) for scale in self.scales]
