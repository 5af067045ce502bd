"""From a score to four stems: instruments, each stem's effect chain, levels, a common limiter, 16 bits.

The stems are rounded to 16 bits first; the mixture is their integer sum, so it is exact by construction.
"""

from collections.abc import Callable

import numpy as np
import pyloudnorm
from numpy.typing import NDArray
from scipy import signal

from codec_ft.data.demo import effects
from codec_ft.data.demo.bass import render_bass
from codec_ft.data.demo.composer import compose
from codec_ft.data.demo.drums import render_drums
from codec_ft.data.demo.effects import peaking, shelf
from codec_ft.data.demo.other import render_other
from codec_ft.data.demo.score import SAMPLE_RATE, STEMS, Song, TrackSpec
from codec_ft.data.demo.synth import Audio
from codec_ft.data.demo.vocals import render_vocals

# The voice a little in front; from song to song the levels differ by a standard deviation of LUFS_SPREAD dB.
STEM_LUFS = {"drums": -21.5, "bass": -20.5, "other": -20.5, "vocals": -19.0}
LUFS_SPREAD = 2.0
PEAK = 0.95  # of the mixture; what is left is for converters and lossy formats
FULL_SCALE = 32_768


def _drums_chain(song: Song, rng: np.random.Generator) -> Audio:
    audio = render_drums(song)
    audio = effects.equalise(
        audio,
        shelf(90, rng.uniform(-1, 3), high=False),
        peaking(rng.uniform(300, 600), rng.uniform(-5, -1)),
        shelf(7000, rng.uniform(-3, 2), high=True),
    )
    audio = effects.compress(audio, rng.uniform(0, 6), rng.uniform(2, 4), attack=0.008, release=0.1)
    audio = effects.saturate(audio, rng.uniform(0.6, 1.6))
    return effects.reverb(audio, rng, rng.uniform(0.25, 1.0), rng.uniform(0.05, 0.22), 6000)


def _bass_chain(song: Song, rng: np.random.Generator) -> Audio:
    mono = render_bass(song)
    mono = effects.equalise(
        mono, shelf(110, rng.uniform(-2, 2), high=False), peaking(rng.uniform(600, 1200), rng.uniform(-3, 3))
    )
    mono = effects.compress(mono, rng.uniform(-3, 2), rng.uniform(3, 6), attack=0.01, release=0.15)
    mono = effects.saturate(mono, rng.uniform(0.8, 2.5))
    if rng.random() < 0.3:
        # Only what lies above the fundamental is widened: a bass stays in the middle.
        low = signal.sosfilt(signal.butter(2, 200, fs=SAMPLE_RATE, output="sos"), mono)
        return effects.pan(low, 0.0) + effects.chorus(mono - low, rng.uniform(0.3, 0.9), 0.002)
    return effects.pan(mono, 0.0)


def _other_chain(song: Song, rng: np.random.Generator) -> Audio:
    audio = render_other(song)
    audio = effects.equalise(
        audio,
        peaking(rng.uniform(250, 500), rng.uniform(-3, 2)),
        peaking(rng.uniform(1500, 4000), rng.uniform(-3, 4)),
        shelf(4500, rng.uniform(0, 8), high=True),
    )
    audio = effects.compress(audio, rng.uniform(0, 5), rng.uniform(1.5, 3))
    audio = effects.saturate(audio, rng.uniform(0.3, 1.5))
    if rng.random() < 0.35:
        audio = effects.echo(audio, 60 / song.tempo * rng.choice((0.5, 0.75, 1.0)), 0.45, rng.uniform(0.1, 0.3))
    return effects.reverb(audio, rng, rng.uniform(0.5, 2.0), rng.uniform(0.1, 0.35), 4500)


def _vocals_chain(song: Song, rng: np.random.Generator) -> Audio:
    lead, harmony = render_vocals(song)
    lead = effects.compress(lead, rng.uniform(-3, 1), rng.uniform(2.5, 4), attack=0.004, release=0.1)
    lead = effects.equalise(
        lead, peaking(rng.uniform(200, 400), rng.uniform(-3, 1)), shelf(5500, rng.uniform(-1, 3), high=True)
    )
    audio = effects.pan(lead, 0.0)
    if harmony.any():
        audio += effects.chorus(harmony, 0.7, 0.003)
    audio = effects.saturate(audio, rng.uniform(0.3, 1.0))
    if rng.random() < 0.5:
        audio = effects.echo(audio, 60 / song.tempo * rng.choice((0.5, 0.75, 1.0)), 0.35, rng.uniform(0.08, 0.22))
    return effects.reverb(audio, rng, rng.uniform(0.7, 2.2), rng.uniform(0.08, 0.28), 5500)


CHAINS: dict[str, Callable[[Song, np.random.Generator], Audio]] = {
    "drums": _drums_chain,
    "bass": _bass_chain,
    "other": _other_chain,
    "vocals": _vocals_chain,
}


def loudness(audio: Audio) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770, gated); minus infinity for silence or less than 0.4 s."""
    if len(audio) < 0.4 * SAMPLE_RATE or not np.any(audio):
        return -np.inf
    return float(pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(audio))


def _set_level(audio: Audio, lufs: float) -> Audio:
    """Scale audio to a loudness; silence stays silence."""
    measured = loudness(audio)
    return audio * 10.0 ** ((lufs - measured) / 20.0) if np.isfinite(measured) else audio


def render_song(song: Song) -> dict[str, NDArray[np.int16]]:
    """Render a score to its four stems, int16 [N, 2] each. Their sum stays within `PEAK` of full scale."""
    air = song.spec.generator("roll-off").uniform(14_500, 17_500)
    smooth = signal.butter(3, air, fs=SAMPLE_RATE, output="sos")
    fade = np.minimum(1.0, np.arange(song.n_samples)[::-1] / (0.02 * SAMPLE_RATE))[:, None]
    stems: dict[str, Audio] = {}
    for stem in STEMS:
        rng = song.spec.generator(f"{stem} chain")
        audio = signal.sosfilt(smooth, CHAINS[stem](song, rng), axis=0) * fade
        # Two standard deviations at most, so that no stem is ever lost or alone.
        offset = float(np.clip(rng.normal(0.0, LUFS_SPREAD), -2 * LUFS_SPREAD, 2 * LUFS_SPREAD))
        stems[stem] = _set_level(audio, STEM_LUFS[stem] + offset)
    # Rounding four stems moves the sum by at most two steps of 1/32768.
    gain = effects.limiter_gain(sum(stems.values()), PEAK - 4 / FULL_SCALE)[:, None]  # type: ignore[arg-type]
    return {stem: np.round(audio * gain * FULL_SCALE).astype(np.int16) for stem, audio in stems.items()}


def render_track(spec: TrackSpec) -> dict[str, NDArray[np.int16]]:
    """Compose and render a track: its four stems, int16 [N, 2] each, at 44.1 kHz. Same spec, same stems."""
    return render_song(compose(spec))


def mix(stems: dict[str, NDArray[np.int16]]) -> NDArray[np.int16]:
    """The exact integer sum of the stems, [N, 2].

    Raises:
        ValueError: the sum does not fit into 16 bits.
    """
    total = sum(stem.astype(np.int32) for stem in stems.values())
    assert isinstance(total, np.ndarray)
    if np.abs(total).max() > FULL_SCALE - 1:
        raise ValueError("the sum of the stems does not fit into 16 bits")
    return total.astype(np.int16)
