"""Excerpts of folders of audio: which, how long, how loud, and what is said about those that will not do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
import soundfile

from codec_ft.errors import UserError
from experiments.evaluation.systems import Comparison, compare_folders
from experiments.listening.trials import TestSet, block_levels, choose_conditions, make_trials

RATE = 8000
Make = Callable[..., Comparison]


def pulses(seconds: float, loud_from: float, loud_to: float, frequency: float = 110.0) -> np.ndarray:
    """A tone with overtones that is soft, but for one stretch."""
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * frequency * k * time) / k for k in range(1, 6))
    return np.where((time >= loud_from) & (time < loud_to), 0.2, 0.02) * tone


def write(path: Path, audio: np.ndarray, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio.T, rate, subtype="FLOAT")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write references and two systems, and compare them; a system's audio is a function of the reference's."""

    def made(
        tracks: dict[str, dict[str, np.ndarray]],
        good: Callable[[np.ndarray], np.ndarray] = lambda audio: 0.5 * audio,
        poor: Callable[[np.ndarray], np.ndarray] = lambda audio: np.clip(audio, -0.1, 0.1),
        rate: int = RATE,
    ) -> Comparison:
        for track, stems in tracks.items():
            for stem, audio in stems.items():
                write(tmp_path / "true" / track / f"{stem}.wav", audio)
                write(tmp_path / "good" / track / f"{stem}.wav", good(audio), rate)
                write(tmp_path / "poor" / track / f"{stem}.wav", poor(audio))
        return compare_folders(tmp_path / "true", [str(tmp_path / "good"), str(tmp_path / "poor")])

    return made


def starts(test: TestSet) -> list[tuple[str, str, float]]:
    return [(trial.track, trial.stem, trial.start) for trial in test.trials]


def test_the_loudest_stretch_of_every_track(make: Make):
    comparison = make({"a": {"bass": pulses(6, 1.0, 3.0)}, "b": {"bass": pulses(6, 3.5, 5.5)}})
    test = make_trials(comparison, count=2, seconds=2.0)
    assert sorted(starts(test)) == [("a", "bass", 1.0), ("b", "bass", 3.5)]
    assert test.sample_rate == RATE and test.seconds == 2.0 and test.conditions == ["good", "poor"]
    assert test.notes == ()


def test_all_stimuli_are_equally_loud_and_long(make: Make):
    test = make_trials(make({"a": {"bass": pulses(5, 1, 3), "drums": pulses(5, 2, 4, 700)}}), count=4, seconds=2.0)
    clips = [clip for trial in test.trials for clip in trial.clips]
    assert {clip.shape for clip in clips} == {(1, 2 * RATE)}
    for clip in clips:
        assert pyloudnorm.Meter(RATE).integrated_loudness(clip.T.astype(np.float64)) == pytest.approx(-23, abs=0.05)
    # Half as loud a copy needs 6.02 dB more, and is then the reference.
    for trial in test.trials:
        assert trial.gains["good"] - trial.gains["reference"] == pytest.approx(20 * np.log10(2), abs=1e-3)
        np.testing.assert_allclose(trial.conditions["good"], trial.reference, atol=1e-5)


def test_stems_and_tracks_take_turns_and_a_second_excerpt_comes_last(make: Make):
    tracks = {name: {"bass": pulses(6, 1, 3), "drums": pulses(6, 2, 4, 900)} for name in "abc"}
    test = make_trials(make(tracks), count=9, seconds=2.0)
    assert [trial.stem for trial in test.trials] == ["bass", "drums"] * 4 + ["bass"]
    assert sorted(trial.track for trial in test.trials[:6]) == ["a", "a", "b", "b", "c", "c"]
    assert len({trial.id for trial in test.trials}) == 9
    for track, stem, start in starts(test):
        others = [s for t, st, s in starts(test) if (t, st) == (track, stem) and s != start]
        assert all(abs(start - other) >= 2.0 for other in others)


def test_the_same_seed_gives_the_same_trials(make: Make):
    comparison = make({name: {"bass": pulses(8, 1, 3)} for name in "abcdef"})
    once, twice = (make_trials(comparison, count=3, seconds=2.0, choose="random", seed=5) for _ in range(2))
    assert starts(once) == starts(twice)
    assert all((a.reference == b.reference).all() for a, b in zip(once.trials, twice.trials, strict=True))
    assert starts(once) != starts(make_trials(comparison, count=3, seconds=2.0, choose="random", seed=6))


def test_what_would_clip_is_made_softer_together(make: Make):
    def spiky(audio: np.ndarray) -> np.ndarray:
        out = 0.001 * audio
        out[:: RATE // 2] += 0.9
        return out

    test = make_trials(make({"a": {"bass": pulses(5, 1, 3)}}, poor=spiky), count=1, seconds=2.0, loudness=-14.0)
    assert max(np.abs(clip).max() for clip in test.trials[0].clips) == pytest.approx(10 ** (-1 / 20), rel=1e-3)
    for clip in test.trials[0].clips:
        level = pyloudnorm.Meter(RATE).integrated_loudness(clip.T.astype(np.float64))
        assert level == pytest.approx(test.loudness, abs=0.1)
    assert test.loudness < -14 and any("so that none of them clips" in note for note in test.notes)


def test_a_silent_a_short_and_a_lost_excerpt_are_told(make: Make):
    tracks = {
        "fine": {"bass": pulses(5, 1, 3)},
        "silent": {"bass": np.zeros(5 * RATE)},
        "short": {"bass": pulses(1.5, 0, 1)},
        "lost": {"bass": pulses(5, 1, 3, 333)},
    }
    gone = np.abs(np.fft.rfft(tracks["lost"]["bass"])).argmax()

    def poor(audio: np.ndarray) -> np.ndarray:
        return audio * (np.abs(np.fft.rfft(audio)).argmax() != gone)

    test = make_trials(make(tracks, poor=poor), count=4, seconds=2.0)
    assert {trial.track for trial in test.trials} == {"fine"}
    told = "\n".join(test.notes)
    assert "silent: left out, its bass is silent (below -50 dBFS) throughout." in told
    assert "short: left out, its 1.5 s are shorter than the 2 s of an excerpt." in told
    assert "lost: the excerpt at 1 s is left out, poor is silent in it." in told
    assert "2 trials instead of 4" in told


def test_an_estimate_that_is_raised_a_lot_is_told(make: Make):
    test = make_trials(make({"a": {"bass": pulses(5, 1, 3)}}, good=lambda audio: 0.1 * audio), count=1, seconds=2.0)
    assert any("good was 20 dB softer" in note for note in test.notes)


def test_another_rate_is_resampled_and_told(make: Make):
    comparison = make({"a": {"bass": pulses(5, 1, 3)}}, good=lambda audio: np.repeat(audio, 2), rate=2 * RATE)
    test = make_trials(comparison, count=1, seconds=2.0)
    assert test.trials[0].conditions["good"].shape == (1, 2 * RATE)
    assert any("resampled from 16000 to 8000 Hz" in note for note in test.notes)
    assert make_trials(comparison, count=1, seconds=2.0, sample_rate=16000).sample_rate == 16000


def test_mono_and_stereo_tracks_become_one_test(make: Make):
    mono = pulses(5, 1, 3)
    test = make_trials(make({"a": {"bass": mono}, "b": {"bass": np.stack([mono, -mono])}}), count=2, seconds=2.0)
    assert {clip.shape[0] for trial in test.trials for clip in trial.clips} == {2}
    assert any("mono is played on both channels" in note for note in test.notes)


def test_nothing_to_hear_is_an_error(make: Make):
    with pytest.raises(UserError, match="no excerpt can be used"):
        make_trials(make({"a": {"bass": np.zeros(4 * RATE)}}), count=1, seconds=2.0)


def test_who_takes_part(make: Make):
    comparison = make({"a": {"bass": pulses(4, 1, 3), "drums": pulses(4, 1, 3, 500)}})
    assert choose_conditions(comparison) == ["good", "poor"]
    assert choose_conditions(comparison, ["poor", "mixture"]) == ["poor", "mixture"]
    with pytest.raises(UserError, match="--condition goood: no such system"):
        choose_conditions(comparison, ["goood"])
    with pytest.raises(UserError, match="two systems at least"):
        choose_conditions(comparison, ["good"])


def test_one_system_is_compared_with_the_mixture(tmp_path: Path):
    bass, drums = pulses(4, 1, 3), pulses(4, 1, 3, 500)
    for folder in ("true", "good"):
        write(tmp_path / folder / "a" / "bass.wav", bass)
        write(tmp_path / folder / "a" / "drums.wav", drums)
    comparison = compare_folders(tmp_path / "true", [str(tmp_path / "good")])
    test = make_trials(comparison, count=1, seconds=2.0)
    assert test.conditions == ["mixture", "good"]


def test_levels_of_blocks():
    audio = np.concatenate([np.full((1, 800), 0.1), np.zeros((1, 800)), np.full((1, 400), 1.0)], axis=1)
    assert block_levels(audio, RATE) == pytest.approx([-20.0, -130.0, 0.0])
    assert len(block_levels(np.ones((1, 22050)), 22050)) == 10
