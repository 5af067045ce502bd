"""DAC's complex multi-band STFT discriminator (Kumar et al., 2023, section 3.3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec_ft.codec_training.discriminators import FeatureMaps, check_audio, conv2d, feature_maps
from codec_ft.codec_training.discriminators.periods import SLOPE, normalize_level
from codec_ft.codec_training.discriminators.stft import complex_spectrogram

BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))
"""Edges of DAC's bands, as shares of the frequencies up to Nyquist."""


class BandScale(nn.Module):
    """One resolution: a stack of convolutions for each band of the complex spectrogram, joined by a last one."""

    window: Tensor

    def __init__(self, n_fft: int, bands: Sequence[tuple[float, float]], filters: int):
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        n_bins = n_fft // 2 + 1
        self.edges = [(int(low * n_bins), int(high * n_bins)) for low, high in bands]
        for band, (first, end) in zip(bands, self.edges, strict=True):
            if end <= first:
                raise ValueError(f"band {band} of a spectrogram of {n_bins} bins (n_fft={n_fft}) is empty")
        self.bands = nn.ModuleList(
            nn.ModuleList(
                [
                    conv2d(2, filters, (3, 9)),
                    *(conv2d(filters, filters, (3, 9), stride=(1, 2)) for _ in range(3)),
                    conv2d(filters, filters, (3, 3)),
                ]
            )
            for _ in bands
        )
        self.logits = conv2d(filters, 1, (3, 3))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Audio `[B, 1, N]` to five feature maps `[B, filters, T, F']` per band and the logits `[B, 1, T, F']`."""
        spectrum = complex_spectrogram(self._padded(audio), self.window)
        stacks = [
            feature_maps(layers, spectrum[..., first:end], SLOPE)  # type: ignore[arg-type]
            for layers, (first, end) in zip(self.bands, self.edges, strict=True)
        ]
        joined = torch.cat([maps[-1] for maps in stacks], dim=-1)
        return [*(each for maps in stacks for each in maps), self.logits(joined)]

    def _padded(self, audio: Tensor) -> Tensor:
        """Reflected at the ends, so that there are as many frames as hops, each centred on its hop."""
        hop_length = self.n_fft // 4
        side = (self.n_fft - hop_length) // 2
        return F.pad(audio, (side, side + -audio.shape[-1] % hop_length), mode="reflect")


class BandDiscriminator(nn.Module):
    """One `BandScale` per resolution, after `normalize_level`; 1.4 M parameters with DAC's sizes, the defaults."""

    def __init__(
        self,
        n_ffts: Sequence[int] = (2048, 1024, 512),
        bands: Sequence[tuple[float, float]] = BANDS,
        filters: int = 32,
    ):
        super().__init__()
        self.shortest = max(n_ffts)
        self.scales = nn.ModuleList(BandScale(n_fft, bands, filters) for n_fft in n_ffts)

    def forward(self, audio: Tensor) -> FeatureMaps:
        """Audio `[B, 1, N]` to the feature maps of each resolution; the last of each are its logits.

        Raises:
            ValueError: the audio is not mono, or shorter than the longest window.
        """
        check_audio(audio, self.shortest, "the longest window of its spectrograms")
        audio = normalize_level(audio)
        return [scale(audio) for scale in self.scales]
