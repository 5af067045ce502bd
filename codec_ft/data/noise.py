"""White noise as an input: added to the target, which denoising learns from (thesis, N3), or alone (thesis, M0)."""

import hashlib

import numpy as np

NOISE_DBFS = -20.0
"""RMS level of noise that is the whole input, in dBFS: about that of a stem."""


def white_noise(shape: tuple[int, int], rng: np.random.Generator, rms: float = 10 ** (NOISE_DBFS / 20)) -> np.ndarray:
    """Gaussian white noise that has exactly the level `rms` over all its samples: float32 [C, N]."""
    noise = rng.standard_normal(shape)
    return (noise * (rms / _rms(noise))).astype(np.float32)


def add_noise(target: np.ndarray, noise_db: float, rng: np.random.Generator) -> np.ndarray:
    """Target [C, N] and white noise whose level over the excerpt lies `noise_db` below the target's.

    Silence stays silence: there is no level that the noise could be measured by.
    """
    return target + white_noise(target.shape, rng, _rms(target) * 10 ** (-noise_db / 20))


def noise_of_place(track: str, start_seconds: float) -> np.random.Generator:
    """The random numbers of a place in a track: the same in every process, on every machine."""
    digest = hashlib.sha256(f"{track}\0{start_seconds:.6f}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8]))


def _rms(audio: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
