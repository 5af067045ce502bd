"""The multi-period discriminator of HiFi-GAN (Kong et al., 2020) as DAC uses it (Kumar et al., 2023, section 3.3)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from codec_ft.codec_training.discriminators import FeatureMaps, check_audio, conv2d, feature_maps

SLOPE = 0.1
"""Of the leaky ReLUs below zero."""

PEAK = 0.8
"""Of the audio that DAC's discriminators see."""

QUIETEST_PEAK = 1e-3
"""Audio whose peak is below this (-60 dBFS) is amplified as if it were at this, and so stays quiet."""


def normalize_level(audio: Tensor) -> Tensor:
    """Audio `[B, 1, N]` without its mean and with a peak of `PEAK` per item: DAC's discriminators judge no level.

    DAC amplifies by `PEAK / (peak + 1e-9)`, and was trained on audio of -16 dB. Stems fall silent: the gradient grows
    with the amplification, and one nearly silent item would outweigh all the others of its batch a thousandfold. So
    the amplification ends at a peak of `QUIETEST_PEAK`; above, it is DAC's.
    """
    audio = audio - audio.mean(dim=-1, keepdim=True)
    return PEAK * audio / audio.abs().amax(dim=-1, keepdim=True).clamp(min=QUIETEST_PEAK)


class Period(nn.Module):
    """One period `p`: the audio folded into `p` columns, and convolutions along the columns only."""

    def __init__(self, period: int, channels: Sequence[int]):
        super().__init__()
        self.period = period
        last = len(channels) - 1
        self.layers = nn.ModuleList(
            conv2d(inputs, outputs, (5, 1), stride=(1, 1) if index == last else (3, 1))
            for index, (inputs, outputs) in enumerate(zip((1, *channels), channels, strict=False))
        )
        self.logits = conv2d(channels[-1], 1, (3, 1))

    def forward(self, audio: Tensor) -> list[Tensor]:
        """Audio `[B, 1, N]` to feature maps `[B, channels, L, period]` and logits `[B, 1, L, period]`."""
        missing = -audio.shape[-1] % self.period
        if missing:
            audio = F.pad(audio, (0, missing), mode="reflect")
        maps = feature_maps(self.layers, audio.unflatten(-1, (-1, self.period)), SLOPE)
        return [*maps, self.logits(maps[-1])]


class PeriodDiscriminator(nn.Module):
    """One `Period` per period, after `normalize_level`.

    All layers but the last keep every third sample of a column. 41.1 M parameters with the published sizes, which
    are the defaults.
    """

    def __init__(self, periods: Sequence[int] = (2, 3, 5, 7, 11), channels: Sequence[int] = (32, 128, 512, 1024, 1024)):
        super().__init__()
        self.shortest = max(periods)
        self.periods = nn.ModuleList(Period(period, channels) for period in periods)

    def forward(self, audio: Tensor) -> FeatureMaps:
        """Audio `[B, 1, N]` to the feature maps of each period; the last of each are its logits.

        Raises:
            ValueError: the audio is not mono, or shorter than the longest period.
        """
        check_audio(audio, self.shortest, "its longest period")
        audio = normalize_level(audio)
        return [period(audio) for period in self.periods]
