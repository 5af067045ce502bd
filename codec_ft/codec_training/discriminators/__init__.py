"""Discriminators: what tells decoded audio from real audio while a codec is trained.

- `stft`: EnCodec's, on complex spectrograms of several resolutions;
- `periods`: HiFi-GAN's and DAC's, on every p-th sample;
- `bands`: DAC's, on bands of complex spectrograms.

Each takes audio `[B, 1, N]` and gives, for each of its sub-discriminators, the list of its feature maps, of which the
last one is the logits: large for real audio. Stereo goes in as one item per channel. Losses are made of them in
`codec_ft.codec_training.adversarial`.
"""

from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

FeatureMaps = list[list[Tensor]]
"""For each sub-discriminator its feature maps; the last one holds the logits."""


def conv2d(
    inputs: int,
    outputs: int,
    kernel: tuple[int, int],
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
) -> nn.Conv2d:
    """A weight-normed convolution, padded with zeros so that only the stride shortens its input."""
    padding = (dilation[0] * (kernel[0] // 2), dilation[1] * (kernel[1] // 2))
    return weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation))


def feature_maps(layers: Iterable[nn.Module], inputs: Tensor, slope: float) -> list[Tensor]:
    """What comes out of each layer in turn, after a leaky ReLU of this slope below zero."""
    maps: list[Tensor] = []
    for layer in layers:
        # In place, because the layer's own output is needed by nobody: it would double the memory.
        inputs = F.leaky_relu(layer(inputs), slope, inplace=True)
        maps.append(inputs)
    return maps


def check_audio(audio: Tensor, shortest: int, why: str) -> None:
    """Refuse what is not mono audio `[B, 1, N]` of at least `shortest` samples.

    Raises:
        ValueError: what was given, what is expected, and `why` it must be so long.
    """
    if audio.ndim != 3 or audio.shape[1] != 1:
        raise ValueError(f"a discriminator takes mono audio [B, 1, N], not {list(audio.shape)}")
    if audio.shape[2] < shortest:
        raise ValueError(
            f"audio of {audio.shape[2]} samples is too short for a discriminator: it needs {shortest}, {why}"
        )
