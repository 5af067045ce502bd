"""Amplitude spectrograms in blocks of frames: as exact as one of the whole audio, in memory that its length
does not change.

The blocks are also faster than one pass over everything: a block and what is computed from it stay in the
processor's cache.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from codec_ft.metrics.spectral import amplitude_window

# 1 MiB of windowed samples in float32: between 2**17 and 2**19 the time is the same, below it rises.
_BLOCK_SAMPLES = 2**18


def n_frames(n_samples: int, hop_length: int) -> int:
    """Frames of audio with `n_samples` samples: one is centred on every `hop_length`-th of them and on the first."""
    return 1 + n_samples // hop_length


def frame_blocks(audio: Tensor, n_fft: int, hop_length: int) -> Iterator[tuple[int, int]]:
    """Ranges of frames `(first, last + 1)` that cover all frames of `audio [..., N]` in order, each one once."""
    frames = n_frames(audio.shape[-1], hop_length)
    channels = audio[..., 0].numel()
    step = max(1, _BLOCK_SAMPLES // (n_fft * channels))
    for first in range(0, frames, step):
        yield first, min(first + step, frames)


def amplitude_frames(audio: Tensor, n_fft: int, hop_length: int, first: int, last: int) -> Tensor:
    """Frames `first` to `last - 1` of `audio [..., N]`'s amplitude spectrogram: `[..., last - first, n_fft // 2 + 1]`.

    Equal to those frames of `codec_ft.metrics.spectral.amplitude_spectrogram` up to rounding, with frequencies in
    the last dimension; `n_fft` is even. Not for training: at silence the gradient is not a number.
    """
    begin = first * hop_length - n_fft // 2
    end = (last - 1) * hop_length + n_fft // 2
    samples = audio.shape[-1]
    part = audio[..., max(begin, 0) : min(end, samples)]
    if begin < 0 or end > samples:  # otherwise padding would only copy
        part = functional.pad(part, (max(-begin, 0), max(end - samples, 0)))
    frames = part.unfold(-1, n_fft, hop_length)
    spectrum = torch.fft.rfft(frames * amplitude_window(n_fft, audio.device, audio.dtype))
    # Three times as fast as the modulus, which guards against squares out of range: audio has none.
    return torch.addcmul(spectrum.real.square(), spectrum.imag, spectrum.imag).sqrt_()
