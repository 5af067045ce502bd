"""Audio that is played faster or slower, as a tape is: pitch and tempo change together.

Speeds are whole numbers of percent. With ratios of so few terms, resampling takes a fifth of the time of others.
"""

import math

import numpy as np

from codec_ft.audio.resample import resample

UNCHANGED = 100


def draw_speed(rng: np.random.Generator, lowest: int, highest: int) -> int:
    """A speed in percent from a range, in which twice as fast is as likely as half as fast."""
    return int(np.clip(round(math.exp(rng.uniform(math.log(lowest), math.log(highest)))), lowest, highest))


def samples_played(count: int, speed: int) -> int:
    """How many samples it takes to get `count` of them when they are played at `speed` percent."""
    return -(-count * speed // 100)


def span(seconds: float, sample_rate: int, speed: int) -> float:
    """How many seconds of a recording it takes to get round(seconds * sample_rate) samples at `speed` percent."""
    if speed == UNCHANGED:
        return seconds
    return samples_played(round(seconds * sample_rate), speed) / sample_rate


def highest_speed(duration: float, seconds: float, sample_rate: int) -> int:
    """The highest speed in percent at which a recording of `duration` seconds is long enough for `seconds`."""
    return int(duration * sample_rate + 1e-6) * 100 // round(seconds * sample_rate)


def play(audio: np.ndarray, speed: int, count: int) -> np.ndarray:
    """Play audio at another speed.

    Silence is taken to stand before and after the audio: its first and last few samples ring a little.

    Args:
        audio: float [C, samples_played(count, speed)].
        speed: in percent.
        count: samples wanted.

    Returns:
        float32 [C, count].
    """
    if audio.shape[1] != samples_played(count, speed):
        raise ValueError(f"{count} samples at {speed} % need {samples_played(count, speed)}, not {audio.shape[1]}")
    return audio if speed == UNCHANGED else resample(audio, speed, UNCHANGED)[:, :count]
