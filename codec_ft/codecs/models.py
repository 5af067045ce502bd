"""The architectures that codecs here can have, and what can be said of one without its weights."""

import math
from dataclasses import dataclass

import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

from codec_ft.codecs.lac import LacConfig, LacModel

CodecConfig = EncodecConfig | DacConfig | LacConfig
CodecModel = EncodecModel | DacModel | LacModel


def build_model(config: CodecConfig) -> CodecModel:
    """A model of the given size with new weights."""
    if isinstance(config, EncodecConfig):
        return EncodecModel(config)
    return DacModel(config) if isinstance(config, DacConfig) else LacModel(config)


@dataclass(frozen=True)
class Summary:
    """What codes are worth knowing by.

    Attributes:
        sample_rate: Hz.
        channels: audio channels of the model itself.
        hop_length: samples per frame.
        n_codebooks: K.
        codebook_size: V.
    """

    sample_rate: int
    channels: int
    hop_length: int
    n_codebooks: int
    codebook_size: int

    @property
    def frame_rate(self) -> float:
        """Frames per second, without what overlapping segments add."""
        return self.sample_rate / self.hop_length

    @property
    def kbps(self) -> float:
        """Bit rate of all codebooks, in kilobits per second, without entropy coding."""
        return self.frame_rate * self.n_codebooks * math.log2(self.codebook_size) / 1000

    def __str__(self) -> str:
        return (
            f"{self.sample_rate} Hz, {self.channels} channel{'s' * (self.channels > 1)}, {self.hop_length} samples per "
            f"frame, {self.n_codebooks} codebooks of {self.codebook_size}"
        )


def summarize(config: CodecConfig) -> Summary:
    """The rates and codebooks of any of the architectures."""
    if isinstance(config, EncodecConfig):
        channels, n_codebooks = config.audio_channels, config.num_quantizers
    else:
        channels, n_codebooks = 1, config.n_codebooks
    return Summary(config.sampling_rate, channels, config.hop_length, n_codebooks, config.codebook_size)


def count_parameters(config: CodecConfig) -> int:
    """Parameters of the model as it is used, with weight norm folded; EnCodec's codebooks are buffers, not counted."""
    model = _without_memory(config)
    # A weight-normed weight consists of its lengths, which folding multiplies in, and its directions.
    return sum(p.numel() for name, p in model.named_parameters() if not name.endswith("weight.original0"))


def count_bytes(config: CodecConfig) -> int:
    """About the size of a file with all tensors of the model."""
    return sum(value.nbytes for value in _without_memory(config).state_dict().values())


def _without_memory(config: CodecConfig) -> CodecModel:
    with torch.device("meta"):
        return build_model(config)
