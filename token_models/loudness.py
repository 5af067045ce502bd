"""Bringing a sound to the loudness that models have learnt from."""

from torch import Tensor

from codec_ft.metrics.loudness import GATE_LUFS, integrated_loudness


def gain_to(loudness: float, audio: Tensor, sample_rate: int) -> float:
    """The factor that brings audio `[C, N]` to a loudness in LUFS, or as near as its peak can come below 1.

    1 for what is too quiet to be measured, silence included.

    Args:
        loudness: integrated, by ITU-R BS.1770.
        audio: all channels together.
        sample_rate: of it, in Hz.
    """
    found = integrated_loudness(audio, sample_rate)
    if found <= GATE_LUFS:
        return 1.0
    return min(10 ** ((loudness - found) / 20), 1 / float(audio.abs().max()))
