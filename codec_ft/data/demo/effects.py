"""Studio effects for stems: equaliser, compressor, saturation, chorus, echo, reverb, and a limiter's gain curve.

Audio is [N] (mono) or [N, 2] (stereo), time first, at 44.1 kHz.
"""

import numpy as np
from scipy import fft, ndimage, signal

from codec_ft.data.demo.score import SAMPLE_RATE
from codec_ft.data.demo.synth import Audio

COMPRESSOR_BLOCK = 64  # samples, 1.5 ms: shorter than any attack used here


def pan(mono: Audio, place: float) -> Audio:
    """Mono to stereo [N, 2] at equal power; `place` from -1 (left) to 1 (right)."""
    angle = (place + 1.0) * np.pi / 4.0
    return mono[:, None] * np.array([np.cos(angle), np.sin(angle)])


def peaking(frequency: float, gain_db: float, q: float = 0.9) -> Audio:
    """Second-order section [1, 6] of a bell at `frequency` Hz (R. Bristow-Johnson's cookbook)."""
    w = 2.0 * np.pi * frequency / SAMPLE_RATE
    amplitude, alpha = 10.0 ** (gain_db / 40.0), np.sin(w) / (2.0 * q)
    b = np.array([1 + alpha * amplitude, -2 * np.cos(w), 1 - alpha * amplitude])
    a = np.array([1 + alpha / amplitude, -2 * np.cos(w), 1 - alpha / amplitude])
    return np.concatenate([b / a[0], a / a[0]])[None]


def shelf(frequency: float, gain_db: float, high: bool) -> Audio:
    """Second-order section [1, 6] of a low or high shelf (R. Bristow-Johnson's cookbook, slope 1)."""
    w = 2.0 * np.pi * frequency / SAMPLE_RATE
    amplitude, sign = 10.0 ** (gain_db / 40.0), -1.0 if high else 1.0
    cosine, root = sign * np.cos(w), 2.0 * np.sqrt(amplitude) * np.sin(w) / np.sqrt(2.0)
    b = amplitude * np.array(
        [
            (amplitude + 1) - (amplitude - 1) * cosine + root,
            2 * sign * ((amplitude - 1) - (amplitude + 1) * cosine),
            (amplitude + 1) - (amplitude - 1) * cosine - root,
        ]
    )
    a = np.array(
        [
            (amplitude + 1) + (amplitude - 1) * cosine + root,
            -2 * sign * ((amplitude - 1) + (amplitude + 1) * cosine),
            (amplitude + 1) + (amplitude - 1) * cosine - root,
        ]
    )
    return np.concatenate([b / a[0], a / a[0]])[None]


def equalise(audio: Audio, *sections: Audio) -> Audio:
    """Run audio through second-order sections, one after the other."""
    return signal.sosfilt(np.concatenate(sections), audio, axis=0)


def compress(audio: Audio, threshold_db: float, ratio: float, attack: float = 0.005, release: float = 0.12) -> Audio:
    """Feed-forward compressor on the RMS of short blocks; both channels share one gain.

    `threshold_db` is relative to the audio's own RMS, so that a chain sounds alike at any input level.
    """
    mono = audio if audio.ndim == 1 else audio.mean(axis=1)
    n_blocks = -(-len(mono) // COMPRESSOR_BLOCK)
    padded = np.zeros(n_blocks * COMPRESSOR_BLOCK)
    padded[: len(mono)] = mono
    power = np.mean(padded.reshape(n_blocks, -1) ** 2, axis=1)
    if not power.any():
        return audio
    level = 10.0 * np.log10(power + 1e-12)
    reference = 10.0 * np.log10(power[power > 1e-9].mean() if (power > 1e-9).any() else power.mean())
    wanted = np.maximum(0.0, level - reference - threshold_db) * (1.0 - 1.0 / ratio)
    rise = np.exp(-COMPRESSOR_BLOCK / SAMPLE_RATE / attack)
    fall = np.exp(-COMPRESSOR_BLOCK / SAMPLE_RATE / release)
    reduction, state = [], 0.0
    for target in wanted.tolist():
        weight = rise if target > state else fall
        state = target + weight * (state - target)
        reduction.append(state)
    centres = (np.arange(n_blocks) + 0.5) * COMPRESSOR_BLOCK
    gain = 10.0 ** (-np.interp(np.arange(len(mono)), centres, reduction) / 20.0)
    return audio * (gain if audio.ndim == 1 else gain[:, None])


def saturate(audio: Audio, drive: float) -> Audio:
    """Soft clipping, with `drive` times the audio's RMS at the knee. Level is kept for small signals."""
    rms = float(np.sqrt(np.mean(audio**2)))
    if rms == 0.0:
        return audio
    knee = 4.0 * rms / drive
    return knee * np.tanh(audio / knee)


def chorus(mono: Audio, rate: float, depth: float, mix: float = 0.5) -> Audio:
    """Mono to stereo: the sound and, on each side, a copy whose delay wobbles by `depth` seconds at `rate` Hz."""
    n = np.arange(len(mono))
    sides = []
    for phase in (0.0, np.pi / 2):
        delay = SAMPLE_RATE * (0.008 + depth * np.sin(2 * np.pi * rate * n / SAMPLE_RATE + phase))
        sides.append((1.0 - mix) * mono + mix * np.interp(n - delay, n, mono, left=0.0))
    return np.stack(sides, axis=1)


def echo(audio: Audio, seconds: float, feedback: float, mix: float) -> Audio:
    """Repeats that get quieter and darker, every `seconds`; left and right swap at each repeat."""
    out = audio.copy()
    step = int(seconds * SAMPLE_RATE)
    repeat = audio * mix
    for k in range(1, 5):
        if k * step >= len(audio):
            break
        repeat = feedback ** (k > 1) * signal.lfilter([0.4], [1.0, -0.6], repeat, axis=0)[:, ::-1]
        out[k * step :] += repeat[: len(audio) - k * step]
    return out


def reverb(audio: Audio, rng: np.random.Generator, seconds: float, mix: float, tone: float = 5000.0) -> Audio:
    """Room: stereo audio [N, 2] plus `mix` times its mono sum in a random hall of decay time `seconds`.

    The response is noise that decays faster above `tone` Hz, after some early reflections.
    """
    n = int(min(1.3 * seconds, 2.5) * SAMPLE_RATE)
    t = np.arange(n) / SAMPLE_RATE
    noise = rng.standard_normal((n, 2)).astype(np.float32)
    dark = signal.sosfilt(signal.butter(1, tone, fs=SAMPLE_RATE, output="sos"), noise, axis=0)
    tail = (
        dark * np.exp(-6.9 * t / seconds)[:, None] + 0.5 * (noise - dark) * np.exp(-6.9 * t / (0.4 * seconds))[:, None]
    )
    tail[: int(rng.uniform(0.01, 0.03) * SAMPLE_RATE)] = 0.0
    for _ in range(8):
        tail[int(rng.uniform(0.005, 0.05) * SAMPLE_RATE), rng.integers(2)] += rng.normal(0, 6.0)
    tail = signal.sosfilt(signal.butter(1, 180, "highpass", fs=SAMPLE_RATE, output="sos"), tail, axis=0)
    tail /= np.sqrt(np.sum(tail**2, axis=0))
    size = fft.next_fast_len(len(audio) + n, real=True)
    dry = fft.rfft(audio.mean(axis=1).astype(np.float32), size)
    wet = fft.irfft(dry * fft.rfft(tail.T.astype(np.float32), size), size)[:, : len(audio)]
    return audio + mix * wet.T


def limiter_gain(mixture: Audio, ceiling: float) -> Audio:
    """Gain [N] in (0, 1] that keeps both channels of `mixture` within `ceiling`, smooth over about 3 ms.

    Applied to every stem alike, it limits their sum and leaves the sum a sum.
    """
    window = 129
    needed = np.minimum(1.0, ceiling / np.maximum(np.abs(mixture).max(axis=1), 1e-9))
    held = ndimage.minimum_filter1d(needed, 2 * window + 1)
    return ndimage.uniform_filter1d(ndimage.uniform_filter1d(held, window), window)
