"""Excerpts of audio at one rate and number of channels: of files, and of what a pair is made of."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from codec_ft.audio.files import AudioFileError, audio_info, excerpt_range, read_audio
from codec_ft.data.excerpts import Excerpt
from codec_ft.data.noise import add_noise, white_noise
from codec_ft.data.speed import UNCHANGED, play, samples_played, span
from codec_ft.data.tracks import NOISE, NOISY, Track, input_paths


class ExcerptReader:
    """Reads excerpts at one rate and number of channels, from the disk or from files kept in memory.

    Files are kept whole once they were read if *all* of `paths` fit into `cache_mb`: a data set that does not fit is
    read from the disk throughout, since random excerpts would push each other out of a smaller cache. Each process
    has a cache of its own.
    """

    def __init__(self, paths: Sequence[Path], sample_rate: int, channels: int, cache_mb: float) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        megabytes = sum(audio_info(path).seconds for path in set(paths)) * sample_rate * channels * 4 / 2**20
        self.in_memory = megabytes <= cache_mb
        self._whole: dict[Path, np.ndarray] = {}

    def read(self, paths: Sequence[Path], start: float, seconds: float, speed: int = UNCHANGED) -> np.ndarray:
        """Sum of an excerpt of some files: float32 [C, round(seconds * sample_rate)].

        At another `speed` than 100 %, more or less of the files is played in so many seconds.

        Raises:
            AudioFileError: a file is missing, bad, or ends before the excerpt does.
        """
        played, seconds = round(seconds * self.sample_rate), span(seconds, self.sample_rate, speed)
        count = samples_played(played, speed)
        total = np.zeros((self.channels, count), dtype=np.float32)
        for path in paths:
            audio = self._read(path, start, seconds)
            if audio.shape[1] != count:
                raise AudioFileError.at(
                    path, f"ends before {start + seconds:.2f} s", "It was replaced or cut short; start the run again"
                )
            total += audio
        return play(total, speed, played)

    def _read(self, path: Path, start: float, seconds: float) -> np.ndarray:
        rate, channels = self.sample_rate, self.channels
        if not self.in_memory:
            return read_audio(path, sample_rate=rate, start=start, seconds=seconds, channels=channels)[0]
        if path not in self._whole:
            self._whole[path] = read_audio(path, sample_rate=rate, channels=channels)[0]
        whole = self._whole[path]
        first, count = excerpt_range(whole.shape[1], rate, start, seconds)
        return whole[:, first : first + count]


class PairReader(ExcerptReader):
    """Reads target and inputs of excerpts.

    Args:
        tracks: where excerpts may come from.
        stem: the target.
        sources: the inputs (see `input_paths`).
        sample_rate: in Hz.
        channels: files with others are averaged or copied.
        cache_mb: see `ExcerptReader`.
        noise_db: with the input "noisy", level of the target above its noise, in dB.
        others: more files that will be read.

    Raises:
        UserError: a file is missing or bad.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        stem: str,
        sources: Sequence[str],
        *,
        sample_rate: int,
        channels: int,
        cache_mb: float,
        noise_db: float,
        others: Sequence[Path] = (),
    ) -> None:
        self.stem = stem
        self.noise_db = noise_db
        self._paths = {
            (track, source): input_paths(track, stem, source) for track in tracks for source in ("target", *sources)
        }
        files = [path for paths in self._paths.values() for path in paths]
        super().__init__([*files, *others], sample_rate, channels, cache_mb)

    def target(self, excerpt: Excerpt, speed: int = UNCHANGED) -> np.ndarray:
        """The target of an excerpt, played at `speed` percent: float32 [C, N].

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        return self.read(self._paths[excerpt.track, "target"], excerpt.start_seconds, excerpt.seconds, speed)

    def heard(
        self,
        excerpt: Excerpt,
        source: str,
        target: np.ndarray,
        rng: np.random.Generator,
        speed: int = UNCHANGED,
    ) -> np.ndarray:
        """One of the inputs of an excerpt, played at `speed` percent: float32 [C, N].

        Args:
            excerpt: where it is from, and how long it is when it is played.
            source: the input (see `input_paths`).
            target: what noise is added to; at this speed already.
            rng: what noise is made with.
            speed: in percent.

        Raises:
            AudioFileError: a file has disappeared or is broken.
        """
        if source == NOISE:
            return white_noise(target.shape, rng)
        if source == NOISY:
            return add_noise(target, self.noise_db, rng)
        return self.read(self._paths[excerpt.track, source], excerpt.start_seconds, excerpt.seconds, speed)
