"""Excerpts lie where the target can be heard."""

import logging
from pathlib import Path

import numpy as np
import pytest

from codec_ft.data.excerpts import active_starts, find_activity, fixed_excerpts
from codec_ft.data.tracks import find_tracks
from codec_ft.errors import UserError

RATE = 8000


def test_active_starts_by_hand() -> None:
    levels = np.array([-60.0, -60.0, -40.0, -60.0, -60.0, -60.0])  # six tenths of a second
    starts, found = active_starts(levels, duration=0.6, seconds=0.2, threshold_db=-50.0)
    assert np.allclose(starts, [0.1, 0.2])
    assert np.allclose(found, 10 * np.log10((1e-4 + 1e-6) / 2))
    # One loud tenth in five: -40 - 7 dB. In six: -47.7.
    assert np.allclose(active_starts(levels, 0.6, 0.5, -47.5)[0], [0.0, 0.1])
    assert np.allclose(active_starts(levels, 0.6, 0.6, -47.5)[0], [])
    assert np.allclose(active_starts(levels, 0.6, 0.6, -47.9)[0], [0.0])
    assert active_starts(levels, duration=0.6, seconds=0.7)[0].size == 0
    assert active_starts(np.full(6, -127.5), duration=0.6, seconds=0.2)[0].size == 0


def noise(pattern: dict[tuple[float, float], float], seconds: float, seed: int = 0) -> np.ndarray:
    """Noise of given amplitudes in given ranges of seconds, silence elsewhere."""
    audio = np.zeros(round(seconds * RATE))
    for (start, end), amplitude in pattern.items():
        part = slice(round(start * RATE), round(end * RATE))
        audio[part] = amplitude * np.random.default_rng(seed).uniform(-1, 1, audio[part].shape)
    return audio


def test_fixed_excerpts_are_the_loudest_of_each_section(tmp_path: Path, make_track) -> None:
    bass = noise({(0, 8): 0.05, (2, 3): 0.4, (4.5, 5.5): 0.3}, 12)
    make_track(tmp_path / "train/a", {"bass": bass, "drums": noise({(0, 12): 0.1}, 12)})
    excerpts = fixed_excerpts(find_tracks(tmp_path, "train"), "bass", 1.0, 3)
    # Three sections of 4 s; in the third the bass is silent.
    assert [(e.track.name, e.start_seconds, e.seconds) for e in excerpts] == [("a", 2.0, 1.0), ("a", 4.5, 1.0)]
    assert excerpts[1].name == "a @ 4.5 s"


def test_fixed_excerpts_never_overlap(tmp_path: Path, make_track) -> None:
    make_track(tmp_path / "train/a", seconds=5.0)
    starts = [e.start_seconds for e in fixed_excerpts(find_tracks(tmp_path, "train"), "bass", 2.0, 10)]
    assert len(starts) == 2
    assert starts[1] >= starts[0] + 2.0
    assert starts[1] <= 3.0


def test_silent_and_short_tracks_are_left_out_with_a_warning(
    tmp_path: Path, make_track, caplog: pytest.LogCaptureFixture
) -> None:
    drums = noise({(0, 3): 0.1}, 3)
    make_track(tmp_path / "train/loud", {"bass": drums, "drums": drums})
    make_track(tmp_path / "train/quiet", {"bass": 0 * drums, "drums": drums})
    make_track(tmp_path / "train/short", {"bass": drums[:4000], "drums": drums[:4000]})
    make_track(tmp_path / "valid/quiet", {"bass": 0 * drums, "drums": drums})
    with caplog.at_level(logging.WARNING):
        found = find_activity(find_tracks(tmp_path, "train"), "bass", 1.0)
    assert [activity.track.name for activity in found] == ["loud"]
    assert "left out, because bass is silent throughout: quiet" in caplog.text
    assert "left out, because they are shorter than 1 s: short" in caplog.text

    with pytest.raises(UserError, match=r"none of the 1 valid tracks can be used: bass is silent in 1\. Choose"):
        find_activity(find_tracks(tmp_path, "valid"), "bass", 1.0)
    with pytest.raises(
        UserError, match=r"none of the 3 train tracks can be used: 3 are shorter than the 9 s of an excerpt\. Choose"
    ):
        find_activity(find_tracks(tmp_path, "train"), "bass", 9.0)
    with pytest.raises(UserError, match="no tracks to take excerpts from"):
        find_activity([], "bass", 1.0)


def test_a_mixture_without_a_file_is_as_loud_as_its_stems_together(tmp_path: Path, make_track) -> None:
    stems = {"bass": noise({(0, 1): 0.1}, 3), "drums": noise({(2, 3): 0.1}, 3)}
    make_track(tmp_path / "train/a", stems, mixture=False)
    (activity,) = find_activity(find_tracks(tmp_path, "train"), "mixture", 0.5)
    heard = {round(float(start), 1) for start in activity.starts}
    assert {0.0, 0.9, 1.6, 2.5} <= heard
    assert not {1.0, 1.2, 1.5} & heard
