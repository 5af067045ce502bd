"""LAC, the codec of VampNet (García et al., 2023): an early DAC.

Encoder and quantiser are DAC's; the decoder has its own ratios, and in every block the multi-receptive field fusion of
HiFi-GAN (Kong et al., 2020).
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from transformers.models.dac.modeling_dac import DacEncoder, DacResidualVectorQuantizer, Snake1d

KERNEL_SIZES = (3, 7, 11)
"""Of the stacks of residual layers that look at the same signal side by side."""
DILATIONS = (1, 3, 5)
"""Of the residual layers of a stack, one after the other."""


@dataclass(frozen=True)
class LacConfig:
    """The size of a LAC, with the names that transformers' `DacConfig` has; VampNet's by default.

    Raises:
        ValueError: the ratios are odd, or those of encoder and decoder lead to different hops.
    """

    sampling_rate: int = 44100  # Hz
    encoder_hidden_size: int = 64  # channels after the first convolution; they double with every ratio
    downsampling_ratios: tuple[int, ...] = (2, 6, 8, 8)
    decoder_hidden_size: int = 1536  # channels after the first convolution; they halve with every ratio
    upsampling_ratios: tuple[int, ...] = (6, 4, 4, 2, 2, 2)
    n_codebooks: int = 14
    codebook_size: int = 1024
    codebook_dim: int = 8
    quantizer_dropout: float = 0.0  # transformers' quantiser asks for it; a frozen codec has no use for it

    def __post_init__(self) -> None:
        ratios = (*self.downsampling_ratios, *self.upsampling_ratios)
        if any(ratio % 2 for ratio in ratios):
            raise ValueError(f"LAC has even ratios, got {list(ratios)}")
        if math.prod(self.upsampling_ratios) != self.hop_length:
            raise ValueError(
                f"the encoder makes a frame of {self.hop_length} samples, the decoder "
                f"{math.prod(self.upsampling_ratios)} samples of a frame"
            )

    @property
    def hop_length(self) -> int:
        """Samples per frame."""
        return math.prod(self.downsampling_ratios)

    @property
    def hidden_size(self) -> int:
        """D, size of a latent."""
        return self.encoder_hidden_size * 2 ** len(self.downsampling_ratios)


class LacModel(nn.Module):
    """The model with the parts that transformers' `DacModel` has, for `DacCodec`."""

    def __init__(self, config: LacConfig):
        super().__init__()
        self.config = config
        self.encoder = DacEncoder(config)  # type: ignore[arg-type]  # it has all that is read there
        self.quantizer = DacResidualVectorQuantizer(config)  # type: ignore[arg-type]
        self.decoder = LacDecoder(config)


class LacDecoder(nn.Module):
    """Latents `[B, D, T]` to audio `[B, 1, T * hop_length]`."""

    def __init__(self, config: LacConfig):
        super().__init__()
        channels = config.decoder_hidden_size
        self.conv1 = nn.Conv1d(config.hidden_size, channels, 7, padding=3)
        self.block = nn.ModuleList(
            LacDecoderBlock(channels // 2**i, channels // 2 ** (i + 1), stride)
            for i, stride in enumerate(config.upsampling_ratios)
        )
        channels //= 2 ** len(config.upsampling_ratios)
        self.snake1 = Snake1d(channels)
        self.conv2 = nn.Conv1d(channels, 1, 7, padding=3)
        self.tanh = nn.Tanh()

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, D, T]` to audio `[B, 1, N]`."""
        hidden = self.conv1(latents)
        for block in self.block:
            hidden = block(hidden)
        return self.tanh(self.conv2(self.snake1(hidden)))


class LacDecoderBlock(nn.Module):
    """Upsampling by `stride`, and fusion of three receptive fields."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.snake1 = Snake1d(in_channels)
        self.conv_t1 = nn.ConvTranspose1d(in_channels, out_channels, 2 * stride, stride, padding=stride // 2)
        self.fusion = ReceptiveFieldFusion(out_channels)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states `[B, in_channels, T]` to `[B, out_channels, T * stride]`."""
        return self.fusion(self.conv_t1(self.snake1(hidden)))


class ReceptiveFieldFusion(nn.Module):
    """The mean of stacks of residual layers that differ in the size of their kernels."""

    def __init__(self, channels: int):
        super().__init__()
        self.stacks = nn.ModuleList(
            nn.Sequential(*(LacResidualLayer(channels, size, dilation) for dilation in DILATIONS))
            for size in KERNEL_SIZES
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states `[B, channels, T]` to the same shape."""
        return sum(stack(hidden) for stack in self.stacks) / len(self.stacks)


class LacResidualLayer(nn.Module):
    """A dilated convolution and a plain one, whose output is added to the input."""

    def __init__(self, channels: int, kernel_size: int, dilation: int):
        super().__init__()
        reach = (kernel_size - 1) // 2
        self.snake1 = Snake1d(channels)
        self.conv1 = nn.Conv1d(channels, channels, kernel_size, dilation=dilation, padding=reach * dilation)
        self.snake2 = Snake1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, kernel_size, padding=reach)

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states `[B, channels, T]` to the same shape."""
        return hidden + self.conv2(self.snake2(self.conv1(self.snake1(hidden))))
