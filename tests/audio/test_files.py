"""Reading and writing audio: every kind of file that people have, and every way in which it can be broken."""

import errno
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from codec_ft.audio.files import audio_info, read_audio, to_channels, to_mono, write_audio
from codec_ft.audio.resample import resample, resampled_length
from codec_ft.audio.riff import wav_missing_bytes
from codec_ft.errors import UserError


def sine(frequency: float, sample_rate: int, n: int, first: int = 0) -> np.ndarray:
    """0.5 sin(2 pi f t), float64 [n], beginning with sample `first`."""
    return 0.5 * np.sin(2 * np.pi * frequency * (first + np.arange(n)) / sample_rate)


@pytest.mark.parametrize(
    ("subtype", "step"),
    [
        ("PCM_U8", 2**-7),
        ("PCM_16", 2**-15),
        ("PCM_24", 2**-23),
        ("PCM_32", 2**-24),
        ("FLOAT", 2**-24),
        ("DOUBLE", 2**-24),
    ],
)
def test_every_bit_depth_becomes_float32_between_minus_one_and_one(tmp_path: Path, subtype: str, step: float) -> None:
    path = tmp_path / "x.wav"
    expected = sine(440, 44100, 4410)
    soundfile.write(path, expected, 44100, subtype=subtype)
    audio, rate = read_audio(path)
    assert (audio.dtype, audio.shape, rate) == (np.float32, (1, 4410), 44100)
    assert np.abs(audio[0] - expected).max() <= 1.01 * step
    info = audio_info(path)
    assert (info.subtype, info.channels, info.frames, info.seconds) == (subtype, 1, 4410, 0.1)


@pytest.mark.parametrize(("suffix", "tolerance"), [("flac", 2**-15), ("ogg", 0.02), ("mp3", 0.06)])
def test_compressed_formats_are_written_and_read_from_anywhere(tmp_path: Path, suffix: str, tolerance: float) -> None:
    path = tmp_path / f"x.{suffix}"
    expected = np.stack([sine(440, 44100, 88200), sine(300, 44100, 88200)])
    write_audio(path, expected, 44100, subtype=None)
    whole, rate = read_audio(path)
    assert (whole.shape, rate) == ((2, 88200), 44100)
    assert np.abs(whole - expected).max() <= tolerance
    # An mp3 decoder that jumps into a simple sound like this one is silent for a while.
    for start in (0.01, 0.25, 0.7, 1.3):
        first = round(start * 44100)
        audio, _ = read_audio(path, start=start, seconds=0.5)
        assert np.abs(audio - whole[:, first : first + 22050]).max() < 1e-6


def test_six_channels_at_192_khz_become_mono_at_16_khz(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    factors = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    soundfile.write(path, sine(440, 192000, 192000)[:, None] * factors, 192000, subtype="PCM_24")
    audio, rate = read_audio(path, sample_rate=16000, channels=1)
    assert (audio.shape, rate) == ((1, 16000), 16000)
    inside = slice(100, -100)
    assert np.abs(audio[0] - 0.5 * sine(440, 16000, 16000))[inside].max() < 1e-4


def test_a_tenth_of_a_second_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, sine(440, 44100, 4410), 44100)
    assert read_audio(path, sample_rate=16000)[0].shape == (1, 1600)
    assert read_audio(path, sample_rate=16000, seconds=2.0)[0].shape == (1, 1600)


@pytest.mark.parametrize(("rate_in", "rate_out"), [(44100, 16000), (16000, 24000), (48000, 44100), (44100, 44100)])
def test_an_excerpt_is_the_sine_itself_up_to_its_edges(tmp_path: Path, rate_in: int, rate_out: int) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, sine(1000, rate_in, 2 * rate_in), rate_in, subtype="FLOAT")
    start = 0.7123
    audio, _ = read_audio(path, sample_rate=rate_out, start=start, seconds=0.5)
    expected = sine(1000, rate_out, rate_out // 2, first=round(start * rate_out))
    assert np.abs(audio[0] - expected).max() < 1e-5


@given(start=st.floats(0, 1.5), seconds=st.floats(0.01, 0.5), rate_out=st.sampled_from([8000, 16000, 24000, 48000]))
def test_an_excerpt_is_a_range_of_the_whole_file(
    tmp_path_factory: pytest.TempPathFactory, start: float, seconds: float, rate_out: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.wav"
    if not path.exists():
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 2 * 44100)
        soundfile.write(path, noise, 44100, subtype="FLOAT")
    whole, _ = read_audio(path, sample_rate=rate_out)
    part, _ = read_audio(path, sample_rate=rate_out, start=start, seconds=seconds)
    assert part.shape[1] == round(seconds * rate_out)
    first = round(start * rate_out)
    if first + part.shape[1] <= whole.shape[1]:
        assert np.abs(part - whole[:, first : first + part.shape[1]]).max() < 1e-5


def test_excerpts_that_end_with_the_file_have_their_full_length(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(44101), 44100)  # 1.0000227 s: 16000.36 samples at 16 kHz
    for start in np.linspace(0.1, 0.9, 97):
        seconds = 44101 / 44100 - start
        assert read_audio(path, sample_rate=16000, start=start, seconds=seconds)[0].shape[1] == round(seconds * 16000)


@given(
    n=st.integers(1, 3000),
    rates=st.tuples(*[st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 192000])] * 2),
)
def test_resampled_length_is_the_nearest_whole_number(n: int, rates: tuple[int, int]) -> None:
    length = resample(np.zeros((2, n), np.float32), *rates).shape[1]
    assert length == resampled_length(n, *rates)
    assert abs(length - n * rates[1] / rates[0]) <= 0.5


def test_a_length_of_half_a_sample_is_rounded_up() -> None:
    assert resample(np.zeros((1, 400), np.float32), 48000, 44100).shape == (1, 368)  # 367.5
    assert resample(np.zeros((1, 200), np.float32), 48000, 44100).shape == (1, 184)  # 183.75


def test_only_the_excerpt_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    audio = sine(440, 16000, 32000)
    audio[24000] = np.nan
    soundfile.write(path, audio, 16000, subtype="FLOAT")
    assert read_audio(path, seconds=1.0)[0].shape == (1, 16000)
    with pytest.raises(UserError, match=r"x\.wav: holds NaN or infinite samples, the first at 1\.500 s\. Export it"):
        read_audio(path, start=1.0)
    audio[24000] = -np.inf
    soundfile.write(path, audio, 16000, subtype="DOUBLE")
    with pytest.raises(UserError, match=r"the first at 1\.500 s"):
        read_audio(path)


def broken_file(kind: str, folder: Path) -> Path:
    """Make a file that is broken in some way."""
    path = folder / f"x.{'flac' if 'flac' in kind else 'wav'}"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no audio at all\n" * 100)
    elif kind == "no samples":
        soundfile.write(path, np.zeros((0, 2)), 44100)
    elif kind != "missing":
        audio = np.random.default_rng(0).uniform(-0.5, 0.5, (44100, 2))
        if kind == "truncated RF64":
            soundfile.write(path, audio, 44100, format="RF64")
        elif kind == "truncated RIFX":
            soundfile.write(path, audio, 44100, format="WAV", endian="BIG")
        else:
            soundfile.write(path, audio, 44100)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", r"x\.wav: no such file\. Check the path\.$"),
        ("folder", r"x\.wav: is a folder, not an audio file\. Give the path of a file\.$"),
        ("empty", r"x\.wav: is empty \(0 bytes\)\. Copy or export it again\.$"),
        ("no samples", r"x\.wav: holds no samples\. Copy or export it again\.$"),
        ("text", r"x\.wav: cannot be read as audio \(format not recognised\)\. Copy or export it again as wav, flac"),
        ("truncated", r"x\.wav: is truncated: its header promises 1\.00 s, but it holds 0\.50 s\. Copy or export"),
        ("truncated RF64", r"x\.wav: is truncated: its header promises 1\.00 s, but it holds 0\.50 s\. Copy or export"),
        ("truncated RIFX", r"x\.wav: is truncated: its header promises 1\.00 s, but it holds 0\.50 s\. Copy or export"),
        ("truncated flac", r"x\.flac: (breaks off near|is truncated).*Copy or export it again\.$"),
    ],
)
def test_broken_files_are_named_in_one_line(tmp_path: Path, kind: str, words: str) -> None:
    path = broken_file(kind, tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        read_audio(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_start_behind_the_end_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    with pytest.raises(UserError, match=r"x\.wav: is 1\.00 s long: there is nothing at 1\.50 s"):
        read_audio(path, start=1.5, seconds=0.1)


def test_a_sample_of_a_higher_rate_is_none_of_a_lower_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", np.ones(1), 48000)
    with pytest.raises(UserError, match=r"click\.wav: has 1 samples at 48000 Hz, which are none at 16000 Hz"):
        read_audio(tmp_path / "click.wav", sample_rate=16000)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_header_that_was_written_before_the_length_was_known_is_fine(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(bytes(content))
    assert wav_missing_bytes(path)[0] == 0


def test_sixteen_and_24_bit_audio_is_written_bit_for_bit(tmp_path: Path) -> None:
    every_value = np.arange(-(2**15), 2**15)
    write_audio(tmp_path / "x.wav", (every_value / 2**15).astype(np.float32), 44100)
    with wave.open(str(tmp_path / "x.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (1, 44100, 2)
        assert np.array_equal(np.frombuffer(file.readframes(2**16), "<i2"), every_value)

    values = np.array([[-(2**23), -1, 0, 1, 2**23 - 1], [5, 4, 3, 2, 1]])
    write_audio(tmp_path / "y.wav", values / 2**23, 44100, subtype="PCM_24")
    read, _ = soundfile.read(tmp_path / "y.wav", dtype="int32")
    assert np.array_equal(read.T >> 8, values)


def test_clipping_is_never_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    audio = np.array([[0.0, 2.0, -2.0, 0.5]])
    write_audio(tmp_path / "x.wav", audio, 16000)
    assert "x.wav: clipped, the peak was 6.0 dB above full scale" in caplog.text
    assert np.allclose(read_audio(tmp_path / "x.wav")[0], [[0.0, 1.0, -1.0, 0.5]], atol=2**-15)
    caplog.clear()
    write_audio(tmp_path / "x.wav", audio, 16000, subtype="FLOAT")
    assert not caplog.text
    assert np.array_equal(read_audio(tmp_path / "x.wav")[0], audio)


@pytest.mark.parametrize(
    ("name", "audio", "words"),
    [
        ("x.wav", np.array([0.0, np.nan]), r"x\.wav: not written, because the audio holds NaN"),
        ("x.wav", np.zeros((2, 0)), r"x\.wav: there are no samples to write"),
        ("x.aac", np.zeros(10), r"x\.aac: cannot be written as PCM_16\. Choose \.wav"),
        ("x.ogg", np.zeros(10), r"x\.ogg: cannot be written as PCM_16\. Choose \.wav"),
    ],
)
def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path, name: str, audio: np.ndarray, words: str) -> None:
    with pytest.raises(UserError, match=words):
        write_audio(tmp_path / name, audio, 16000)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.wav"
    write_audio(path, np.full(100, 0.5), 16000)
    before = path.read_bytes()

    def write_half(self: Path, content: bytes) -> int:
        with open(self, "wb") as file:
            file.write(bytes(content)[:50])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(UserError, match=r"x\.wav: the disk is full"):
        write_audio(path, np.zeros(100), 16000)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_channels_are_averaged_and_copied() -> None:
    stereo = np.array([[1.0, 2.0], [3.0, 6.0]])
    assert np.array_equal(to_mono(stereo), [[2.0, 4.0]])
    assert np.array_equal(stereo, [[1.0, 2.0], [3.0, 6.0]])
    assert to_channels(stereo, 2) is stereo
    assert np.array_equal(to_channels(np.array([[1.0, 2.0]]), 2), [[1.0, 2.0], [1.0, 2.0]])
    six = np.arange(6.0)[:, None]
    assert np.array_equal(to_channels(six, 1), [[2.5]])
    assert np.array_equal(to_channels(six, 2), [[2.5], [2.5]])


@pytest.mark.parametrize(
    "call",
    [
        lambda: resample(np.zeros(10), 44100, 16000),
        lambda: resample(np.zeros((1, 10)), 0, 16000),
        lambda: read_audio(Path("x.wav"), start=-1.0),
        lambda: read_audio(Path("x.wav"), seconds=0.0),
        lambda: write_audio(Path("x.wav"), np.zeros((1, 1, 5)), 16000),
    ],
)
def test_wrong_arguments_are_programming_errors(call) -> None:
    with pytest.raises(ValueError):
        call()
