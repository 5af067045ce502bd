"""Where a track is loudest: the part to listen to, to look for delays in, and to measure what is slow to measure."""

import numpy as np


def loudest_part(reference: np.ndarray, sample_rate: int, seconds: float) -> slice:
    """The loudest `seconds` of `reference [C, N]`, to a tenth of a second; all of it where it is shorter."""
    length, step = round(seconds * sample_rate), max(1, sample_rate // 10)
    if reference.shape[1] <= length:
        return slice(0, reference.shape[1])
    steps = np.add.reduceat(np.square(reference).sum(axis=0, dtype=np.float64), np.arange(0, reference.shape[1], step))
    energy = np.concatenate([[0.0], np.cumsum(steps)])
    starts = np.arange(0, (reference.shape[1] - length) // step + 1)
    ends = np.minimum(starts + -(-length // step), len(steps))
    start = int(starts[(energy[ends] - energy[starts]).argmax()]) * step
    return slice(start, start + length)
