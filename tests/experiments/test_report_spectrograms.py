import os
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import soundfile as sf
from matplotlib import image

from experiments.report import spectrograms
from experiments.report.spectrograms import frequency_ticks, log_spectrogram, spectrogram_png, time_ticks

SAMPLE_RATE = 16000


def sine(hz: float, amplitude: float = 1.0, seconds: float = 2.0, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    return amplitude * np.sin(2 * np.pi * hz * np.arange(int(seconds * sample_rate)) / sample_rate)[None]


@pytest.mark.parametrize(("sample_rate", "hz"), [(16000, 1000.0), (44100, 44100 / 4096 * 100), (16000, 125.0)])
def test_a_sine_stands_at_its_frequency_with_its_level(sample_rate: int, hz: float):
    levels = log_spectrogram(sine(hz, 0.5, sample_rate=sample_rate), sample_rate)
    middle = levels[:, levels.shape[1] // 2]
    rows, nyquist = len(middle), sample_rate / 2
    centre = 40 * (nyquist / 40) ** ((middle.argmax() + 0.5) / rows)
    assert centre == pytest.approx(hz, rel=(nyquist / 40) ** (1 / rows) - 1)
    assert middle.max() == pytest.approx(-6.02, abs=0.4)


def test_opposite_channels_do_not_cancel():
    mono = sine(1000.0)
    np.testing.assert_allclose(
        log_spectrogram(np.concatenate([mono, -mono]), SAMPLE_RATE), log_spectrogram(mono, SAMPLE_RATE), atol=1e-3
    )


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_silence_and_what_is_not_finite_lie_on_the_floor(value: float):
    assert (log_spectrogram(np.full((1, 8000), value), SAMPLE_RATE) == -90).all()


def test_a_click_stands_at_its_time():
    audio = np.zeros((1, 4 * SAMPLE_RATE))
    audio[0, 3 * SAMPLE_RATE] = 1.0
    levels = log_spectrogram(audio, SAMPLE_RATE)
    assert levels[-1].argmax() / levels.shape[1] == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(("sample_rate", "channels", "samples"), [(44100, 2, 44100 * 8), (16000, 1, 800), (8000, 6, 1)])
def test_the_picture_has_a_bounded_size(sample_rate: int, channels: int, samples: int):
    rows, columns = log_spectrogram(np.zeros((channels, samples)), sample_rate).shape
    assert rows == 160
    assert 1 <= columns <= 480


def test_all_pictures_share_one_colour_scale(tmp_path: Path):
    colours = matplotlib.colormaps["magma"]
    for name, audio in (("silent", np.zeros(SAMPLE_RATE)), ("loud", sine(1000.0)[0])):
        sf.write(tmp_path / f"{name}.wav", 0.999 * audio, SAMPLE_RATE)
    silent = image.imread(spectrogram_png(tmp_path / "silent.wav"))
    loud = image.imread(spectrogram_png(tmp_path / "loud.wav"))
    np.testing.assert_allclose(silent, np.broadcast_to(colours(0.0), silent.shape), atol=1 / 255)
    # 1000 Hz lies at log(1000/40) / log(8000/40) = 61 % of the height; row 0 of a picture is its top.
    row = round((1 - np.log(25) / np.log(200)) * loud.shape[0])
    near = loud[row - 2 : row + 2, loud.shape[1] // 2, :3]
    assert np.abs(near - np.array(colours(1.0)[:3])).max(axis=1).min() < 1 / 255


def test_a_newer_picture_is_kept_and_an_older_one_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wav = tmp_path / "a.wav"
    sf.write(wav, np.zeros(SAMPLE_RATE), SAMPLE_RATE)
    png = spectrogram_png(wav)
    drawn = png.stat().st_ino
    assert spectrogram_png(wav).stat().st_ino == drawn
    os.utime(wav, ns=(0, png.stat().st_mtime_ns + 10**9))
    assert spectrogram_png(wav).stat().st_ino != drawn

    os.utime(wav, ns=(0, 0))
    drawn = png.stat().st_ino
    monkeypatch.setattr(spectrograms, "SETTINGS", "log spectrogram on another scale")
    assert spectrogram_png(wav).stat().st_ino != drawn
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.png", "a.wav"]


def test_frequency_ticks_stand_where_the_rows_are():
    ticks = dict(frequency_ticks(16000))
    assert list(ticks) == ["50", "100", "200", "500", "1k", "2k", "5k"]
    assert ticks["100"] == pytest.approx(0.17294, abs=1e-4)  # ln 2.5 / ln 200


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [(8.0, ["0", "2", "4", "6", "8"]), (0.3, ["0", "0.1", "0.2", "0.3"]), (240.0, ["0", "60", "120", "180", "240"])],
)
def test_time_ticks_are_few_and_round(seconds: float, labels: list[str]):
    ticks = time_ticks(seconds)
    assert [label for label, _ in ticks] == labels
    assert [share for _, share in ticks] == pytest.approx(np.linspace(0, 1, len(labels)))
