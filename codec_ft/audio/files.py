"""Audio files in and out: any format that libsndfile knows (wav, flac, ogg, mp3, ...), as float32 [C, N].

Integer files of every depth are scaled to [-1, 1). Every failure names the file and says what to do; nothing
is ever replaced by silence.
"""

import io
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from codec_ft.atomic import atomic_path
from codec_ft.audio.resample import CONTEXT_SECONDS, common_step, resample, resampled_length
from codec_ft.audio.riff import wav_missing_bytes
from codec_ft.errors import UserError

logger = logging.getLogger(__name__)

MP3_WARM_UP_SECONDS = 0.5
"""Read before an excerpt of an mp3 file and dropped: its frames keep data in the frames before them, so that what
follows a jump is silent for up to 70 ms where the music is simple (measured with libsndfile 1.2.2, whose decoder may
print a complaint about the dropped part)."""


class AudioFileError(UserError):
    """An audio file that cannot be used.

    Attributes:
        path: the file.
        problem: what is wrong with it.
        advice: what to do about it.
    """

    path: Path
    problem: str
    advice: str

    @classmethod
    def at(cls, path: Path, problem: str, advice: str) -> "AudioFileError":
        """Make the error for a file; the message is "path: problem. advice."."""
        error = cls(f"{path}: {problem}. {advice}.")
        error.path, error.problem, error.advice = path, problem, advice
        return error


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file's header says.

    `frames` counts samples per channel; `subtype` is libsndfile's name of the sample format ("PCM_16", "FLOAT").
    """

    path: Path
    sample_rate: int
    channels: int
    frames: int
    subtype: str

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def open_audio(path: Path) -> soundfile.SoundFile:
    """Open an audio file that holds all of its samples, at least one, for reading.

    Raises:
        AudioFileError: it is missing, a folder, empty, not readable as audio, or a wav file that was cut short.
    """
    path = Path(path)
    if not path.exists():
        raise AudioFileError.at(path, "no such file", "Check the path")
    if path.is_dir():
        raise AudioFileError.at(path, "is a folder, not an audio file", "Give the path of a file")
    if path.stat().st_size == 0:
        raise AudioFileError.at(path, "is empty (0 bytes)", "Copy or export it again")
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".").lower()
        raise AudioFileError.at(
            path, f"cannot be read as audio ({reason})", "Copy or export it again as wav, flac, ogg or mp3"
        ) from error
    if file.frames == 0:
        file.close()
        raise AudioFileError.at(path, "holds no samples", "Copy or export it again")
    try:
        refuse_truncated(file, path)
    except AudioFileError:
        file.close()
        raise
    return file


def refuse_truncated(file: soundfile.SoundFile, path: Path) -> None:
    """Refuse a wav file whose header promises more audio than there is; libsndfile reads it without a word.

    Raises:
        AudioFileError: more than a tenth of a second is missing.
    """
    missing, held = wav_missing_bytes(path)
    seconds = file.frames / file.samplerate
    if missing and missing / held * seconds > 0.1:
        promised = seconds * (1 + missing / held)
        raise AudioFileError.at(
            path,
            f"is truncated: its header promises {promised:.2f} s, but it holds {seconds:.2f} s",
            "Copy or export it again",
        )


def audio_info(path: Path) -> AudioInfo:
    """Read a file's header.

    Raises:
        AudioFileError: it is missing, empty, or not readable as audio.
    """
    with open_audio(path) as file:
        return AudioInfo(Path(path), file.samplerate, file.channels, file.frames, file.subtype)


def read_frames(file: soundfile.SoundFile, path: Path, count: int) -> np.ndarray:
    """Read the next `count` samples of an open file as float32 [C, count].

    Raises:
        AudioFileError: the file ends or breaks before, or holds NaN or infinite samples.
    """
    first = file.tell()
    try:
        audio = file.read(count, dtype="float32", always_2d=True).T
    except soundfile.LibsndfileError as error:
        reason = error.error_string.rstrip(".").lower()
        raise AudioFileError.at(
            path, f"breaks off near {first / file.samplerate:.2f} s ({reason})", "Copy or export it again"
        ) from error
    if audio.shape[1] < count:
        ends = (first + audio.shape[1]) / file.samplerate
        raise AudioFileError.at(path, f"is truncated: its data end at {ends:.2f} s", "Copy or export it again")
    finite = np.isfinite(audio)
    if not finite.all():
        position = (first + int(np.argmin(finite.all(axis=0)))) / file.samplerate
        raise AudioFileError.at(
            path, f"holds NaN or infinite samples, the first at {position:.3f} s", "Export it again, or leave it out"
        )
    return audio


def excerpt_range(length: int, sample_rate: int, start: float, seconds: float | None) -> tuple[int, int]:
    """First sample and number of samples of an excerpt of audio with `length` samples.

    The number is round(seconds * sample_rate) inside the audio, less where the excerpt reaches over its end, and
    0 or less where it begins behind it.
    """
    first = round(start * sample_rate)
    if seconds is None:
        return first, length - first
    count = round(seconds * sample_rate)
    if first + count == length + 1 and first > 0:
        first -= 1  # start and seconds were both rounded up: an excerpt that ends with the audio is still in it
    return first, min(count, length - first)


def read_audio(
    path: Path,
    *,
    sample_rate: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
    channels: int | None = None,
) -> tuple[np.ndarray, int]:
    """Read an audio file or an excerpt of it; only the excerpt is read from the disk.

    An excerpt equals the same range of the whole file read at the same rate: it is resampled with a little
    audio of its surroundings, which is then cut off, so it has no clicks at its ends.

    Args:
        path: the file.
        sample_rate: rate wanted in Hz; None keeps the file's.
        start: where to begin, in seconds.
        seconds: how much to read; None reads to the end. The result has exactly round(seconds * sample_rate)
            samples where the file is long enough, and ends with the file where it is not.
        channels: number of channels wanted (see `to_channels`); None keeps the file's.

    Returns:
        (audio float32 [C, N], sample rate in Hz).

    Raises:
        AudioFileError: the file is missing, empty, corrupt, truncated, holds NaN, or ends before `start`.
    """
    path = Path(path)
    if start < 0 or (seconds is not None and seconds <= 0):
        raise ValueError(f"start must be 0 or more and seconds positive, not {start} and {seconds}")
    with open_audio(path) as file:
        rate_in, frames = file.samplerate, file.frames
        rate_out = rate_in if sample_rate is None else sample_rate
        length = resampled_length(frames, rate_in, rate_out)
        first, count = excerpt_range(length, rate_out, start, seconds)
        if not length:
            raise AudioFileError.at(
                path, f"has {frames} samples at {rate_in} Hz, which are none at {rate_out} Hz", "Give a longer file"
            )
        if count <= 0:
            raise AudioFileError.at(
                path, f"is {frames / rate_in:.2f} s long: there is nothing at {start:.2f} s", "Ask for an earlier start"
            )

        step = common_step(rate_in, rate_out)
        context = 0 if rate_in == rate_out else math.ceil(CONTEXT_SECONDS * rate_in)
        # Begin where an input and an output sample coincide, or the excerpt would be shifted by part of a sample.
        begin = max(0, (first * rate_in // rate_out - context) // step * step)
        end = min(frames, -(-(first + count) * rate_in // rate_out) + context)
        warm_up = min(begin, math.ceil(MP3_WARM_UP_SECONDS * rate_in)) if file.format == "MP3" else 0
        file.seek(begin - warm_up)
        audio = read_frames(file, path, warm_up + end - begin)[:, warm_up:]
    if channels is not None:
        audio = to_channels(audio, channels)
    cut = first - begin * rate_out // rate_in
    return resample(audio, rate_in, rate_out)[:, cut : cut + count], rate_out


def write_audio(path: Path, audio: np.ndarray, sample_rate: int, subtype: str | None = "PCM_16") -> None:
    """Write audio to a file, in full or not at all; the suffix chooses the format (wav, flac, ogg, mp3).

    Integer samples are rounded to the nearest step, so 16-bit audio that was read is written back bit for bit.
    What lies outside [-1, 1] cannot be held by an integer format: it is clipped, with a warning that says by
    how much. "FLOAT" keeps it.

    Args:
        path: the file; its folders are created.
        audio: float [C, N] or [N].
        sample_rate: in Hz.
        subtype: libsndfile's sample format: "PCM_16", "PCM_24", "FLOAT", ...; None takes the format's usual one
            (needed for ogg and mp3).

    Raises:
        UserError: the audio holds NaN or infinite values or no samples, the format is unknown, the folder cannot be
            written to, or the disk is full.
    """
    path = Path(path)
    audio = np.atleast_2d(np.asarray(audio))
    if audio.ndim != 2:
        raise ValueError(f"audio must be [C, N] or [N], not of shape {audio.shape}")
    if audio.size == 0:
        raise UserError(f"{path}: there are no samples to write. Check the length that was asked for.")
    if not np.isfinite(audio).all():
        raise UserError(f"{path}: not written, because the audio holds NaN or infinite samples. Check what made it.")
    suffix = path.suffix.lstrip(".").upper()
    if suffix not in soundfile.available_formats() or not soundfile.check_format(suffix, subtype):
        raise UserError(f"{path}: cannot be written as {subtype}. Choose .wav or .flac and PCM_16.")

    if subtype not in ("FLOAT", "DOUBLE"):
        peak = float(np.abs(audio).max())
        if peak > 1.0:
            logger.warning("%s: clipped, the peak was %.1f dB above full scale", path, 20 * math.log10(peak))
        audio = np.clip(audio, -1.0, 1.0)
    if subtype in ("PCM_16", "PCM_24"):
        # libsndfile's own conversion from float truncates the loudest samples by one step.
        bits = int(subtype[-2:])
        steps = np.clip(np.rint(audio.astype(np.float64) * 2 ** (bits - 1)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        audio = steps.astype(np.int16) if bits == 16 else steps.astype(np.int32) * 2 ** (32 - bits)

    # Encoded in memory first: libsndfile hides the reason of a failed write, Python tells a full disk by name.
    encoded = io.BytesIO()
    soundfile.write(encoded, audio.T, sample_rate, format=suffix, subtype=subtype)
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())


def to_mono(audio: np.ndarray) -> np.ndarray:
    """Average all channels: float [C, N] -> [1, N]."""
    if audio.shape[0] == 1:
        return audio
    # Channel by channel: files are interleaved in memory, where numpy's mean over the first axis is ten times slower.
    total = audio[0].copy()
    for channel in audio[1:]:
        total += channel
    total /= audio.shape[0]
    return total[None]


def to_channels(audio: np.ndarray, channels: int) -> np.ndarray:
    """Give audio [C, N] another number of channels: equal stays, anything else is averaged and then duplicated.

    Stereo to mono and six channels to mono are averages; mono to stereo is a copy; six channels to stereo are their
    average twice, since a file does not say reliably which channel is which.
    """
    if audio.shape[0] == channels:
        return audio
    mono = to_mono(audio)
    return mono if channels == 1 else np.repeat(mono, channels, axis=0)
