"""A separator network after Open-Unmix: masks for the spectrogram of the mixture (Stöter et al., 2019).

Where it differs from the original: one network predicts the masks of all stems and normalises them jointly, so that
the estimates add up to the mixture and no filter is needed afterwards (the original's multichannel Wiener filter cost
0.1 dB of usdr on the demo songs); a mask holds for all channels; and it learns from complex spectrograms, so that the
phase of the mixture, with which estimates have to make do, is taken into account. Like the original it hears plain
magnitudes: logarithms of them, which give quiet bins as much weight as loud ones, cost half a decibel.
"""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from codec_ft.config import Config
from codec_ft.data.separators.networks import NetworkFacts, SeparatorNetwork

LEAST_DEVIATION = 1e-4
"""Standard deviation that a bin is taken to have at least, as a share of the largest one."""


class OpenUnmixShape(Config):
    """Size of an `OpenUnmix` network."""

    n_fft: int = Field(4096, ge=16, description="window of the spectrogram, samples")
    hop_length: int = Field(1024, ge=4, description="samples from one frame to the next; at most half a window")
    bandwidth: float = Field(16000.0, gt=0, description="highest frequency heard, Hz; masks are the same above it")
    hidden_size: int = Field(256, ge=2, multiple_of=2, description="width of all layers")
    lstm_layers: int = Field(2, ge=1, le=3)
    dropout: float = Field(0.0, ge=0, lt=1, description="between LSTM layers")


class OpenUnmix(SeparatorNetwork):
    """Mixtures to stems through a mask for each stem.

    The spectrogram's magnitudes, standardised per bin, go through a linear layer, a bidirectional LSTM with a
    skip connection around it and two linear layers, which give a number for each bin and stem. Their softmax over the
    stems is the mask.
    """

    window: Tensor

    def __init__(self, shape: OpenUnmixShape, facts: NetworkFacts):
        super().__init__()
        self.shape, self.stems = shape, len(facts.stems)
        bins, width = shape.n_fft // 2 + 1, shape.hidden_size
        self.heard_bins = min(bins, int(shape.bandwidth / facts.sample_rate * shape.n_fft) + 1)
        self.register_buffer("window", torch.hann_window(shape.n_fft), persistent=False)
        self.input_mean = nn.Parameter(torch.zeros(self.heard_bins))
        self.input_scale = nn.Parameter(torch.ones(self.heard_bins))
        self.narrow = nn.Linear(facts.channels * self.heard_bins, width, bias=False)
        self.narrow_norm = nn.BatchNorm1d(width)
        self.lstm = nn.LSTM(
            width, width // 2, shape.lstm_layers, batch_first=True, bidirectional=True, dropout=shape.dropout
        )
        self.blend = nn.Linear(2 * width, width, bias=False)
        self.blend_norm = nn.BatchNorm1d(width)
        self.widen = nn.Linear(width, self.stems * self.heard_bins)

    def forward(self, mixture: Tensor) -> Tensor:
        """See `SeparatorNetwork.forward`; the estimates add up to the mixture."""
        spectrum = self.spectrum(mixture)  # [B, C, T, F]
        masks = self.masks(spectrum.abs()).transpose(1, 2)  # [B, S, T, heard bins]
        unheard = spectrum.shape[-1] - self.heard_bins
        masks = torch.cat([masks, masks[..., -1:].expand(-1, -1, -1, unheard)], dim=-1)
        return self.audio(masks[:, :, None] * spectrum[:, None], mixture.shape[-1])

    def errors(self, mixture: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """See `SeparatorNetwork.errors`: of spectrograms up to the bandwidth.

        Of |mask * mixture - target|^2 only the mask has gradients; multiplied out, what does not depend on it is
        computed but once, and the complex numbers are gone before gradients need memory.
        """
        with torch.no_grad():
            heard = self.spectrum(mixture)
            magnitude = heard.abs()
            heard = torch.view_as_real(heard[..., : self.heard_bins])  # [B, C, T, F, 2]
            wanted = torch.view_as_real(self.spectrum(targets.flatten(0, 1))[..., : self.heard_bins])
            wanted = wanted.unflatten(0, targets.shape[:2])  # [B, S, C, T, F, 2]
            power = heard.square().sum(dim=(1, 4))[:, :, None]  # [B, T, 1, F]
            product = (heard[:, None] * wanted).sum(dim=(2, 5)).transpose(1, 2)  # [B, T, S, F]
            energy = wanted.square().sum(dim=(2, 3, 4, 5))
        masks = self.masks(magnitude)
        return (masks * (masks * power - 2 * product)).sum(dim=(1, 3)) + energy, energy

    def masks(self, magnitude: Tensor) -> Tensor:
        """Magnitudes `[B, C, T, F]` to masks `[B, T, S, heard bins]` between 0 and 1 that add up to 1."""
        batch, _, frames, _ = magnitude.shape
        x = (magnitude[..., : self.heard_bins] + self.input_mean) * self.input_scale
        x = self.narrow(x.transpose(1, 2).reshape(batch * frames, -1))
        x = torch.tanh(self.narrow_norm(x)).view(batch, frames, -1)
        x = torch.cat([x, self.lstm(x)[0]], dim=-1).flatten(0, 1)
        x = F.relu(self.blend_norm(self.blend(x)))
        return self.widen(x).float().view(batch, frames, self.stems, self.heard_bins).softmax(dim=2)

    def spectrum(self, audio: Tensor) -> Tensor:
        """Complex spectrogram `[B, C, T, F]` of audio `[B, C, N]`."""
        # Padded with zeros, because a reflection needs audio longer than half a window.
        spectrum = torch.stft(
            audio.flatten(0, 1),
            self.shape.n_fft,
            self.shape.hop_length,
            window=self.window,
            pad_mode="constant",
            return_complex=True,
        )
        return spectrum.transpose(1, 2).unflatten(0, audio.shape[:2])

    def audio(self, spectrum: Tensor, length: int) -> Tensor:
        """Audio `[..., length]` of a complex spectrogram `[..., T, F]`."""
        frames = spectrum.flatten(0, -3).transpose(1, 2)
        audio = torch.istft(frames, self.shape.n_fft, self.shape.hop_length, window=self.window, length=length)
        return audio.unflatten(0, spectrum.shape[:-2])

    @torch.no_grad()
    def standardise_to(self, mixtures: Tensor) -> None:
        """See `SeparatorNetwork.standardise_to`: mean and scale per bin, from which training goes on."""
        heard = self.spectrum(mixtures).abs()[..., : self.heard_bins].flatten(0, 2)
        deviation = heard.std(dim=0)
        self.input_mean.copy_(-heard.mean(dim=0))
        self.input_scale.copy_(1 / deviation.clamp(min=max(LEAST_DEVIATION * float(deviation.max()), 1e-8)))
