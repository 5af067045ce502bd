"""The stand-in separators as a source of separated stems for a whole data set.

Beside what every source leaves lies `calibration.json`: how strong the errors are, the published levels aimed at, and
the levels reached.
"""

from collections.abc import Sequence
from pathlib import Path

from codec_ft.audio.files import audio_info
from codec_ft.data.separators.build import read_levels
from codec_ft.data.separators.sources import Stems, StemSource
from codec_ft.data.separators.stand_ins.calibrate import (
    CALIBRATION_FILE,
    Calibration,
    calibrate,
    finite_median,
    read_calibration,
    read_stems,
    write_calibration,
)
from codec_ft.data.separators.stand_ins.kinds import STAND_INS
from codec_ft.data.tracks import Track
from codec_ft.data.workers import worker_processes
from codec_ft.errors import UserError

STEMS = ("drums", "bass", "other", "vocals")
"""What MUSDB18 and the demo set are made of."""


class StandInSource(StemSource):
    """A stand-in separator. It degrades a track's own stems, so each track has to have all of `stems`.

    Args:
        name: "spectrogram" or "waveform".
        seed: seed of the errors; with the stand-in and a track's name it determines the track.
        stems: what the mixture consists of; each is degraded.

    Raises:
        UserError: there is no such stand-in, or no published level of a stem.
    """

    def __init__(self, name: str, *, seed: int = 0, stems: Sequence[str] = STEMS):
        if name not in STAND_INS:
            raise UserError(f"separator={name}: no such stand-in separator. Use one of {', '.join(STAND_INS)}.")
        unknown = [stem for stem in stems if stem not in STAND_INS[name].target_sdr]
        if unknown:
            raise UserError(f"stems={unknown[0]}: no published level to calibrate to. Use some of {', '.join(STEMS)}.")
        if seed < 0:
            raise UserError(f"seed={seed}: a seed is 0 or more.")
        self.name, self.seed, self.stems = name, seed, tuple(stems)
        self.origin: dict[str, str | int] = {"stand-in": name, "seed": seed}
        self.calibration: Calibration | None = None

    def choose(self, tracks: Sequence[Track]) -> list[Track]:
        """See `StemSource.choose`; here all tracks, whose stems have to fit together."""
        for track in tracks:
            first, *others = (audio_info(track.paths(stem)[0]) for stem in self.stems)
            for other in others:
                for what in ("frames", "sample_rate", "channels"):
                    if getattr(first, what) != getattr(other, what):
                        raise UserError(
                            f"{other.path}: {what} = {getattr(other, what)}, but {getattr(first, what)} in "
                            f"{first.path.name}. The stems of a track must be alike in these: export them again."
                        )
        return list(tracks)

    def prepare(self, folder: Path, tracks: Sequence[Track], jobs: int) -> None:
        """See `StemSource.prepare`: the calibration, unless it is there."""
        path = folder / CALIBRATION_FILE
        self.calibration = read_calibration(path, self.seed, self.stems)
        if self.calibration is None:
            with worker_processes(min(jobs, len(tracks))) as run:
                self.calibration = calibrate(self.name, tracks, self.seed, self.stems, run)
            write_calibration(path, self.calibration)

    def separate(self, track: Track) -> tuple[Stems, int]:
        """See `StemSource.separate`."""
        assert self.calibration is not None, "prepare() comes first"
        stems, rate = read_stems(track, self.stems)
        strength = self.calibration.strength
        return STAND_INS[self.name].degrade(stems, rate, strength, seed=self.seed, track=track.name), rate

    def finish(self, folder: Path, tracks: Sequence[Track]) -> None:
        """See `StemSource.finish`: the levels reached are written to the calibration."""
        path = folder / CALIBRATION_FILE
        calibration = read_calibration(path, self.seed, self.stems)
        found = [levels for track in tracks if (levels := read_levels(folder, track))]
        if calibration is None or not found:
            return
        reached = {stem: finite_median([levels[stem]["sdr_med"] for levels in found]) for stem in self.stems}
        finished = calibration.model_copy(update={"reached_sdr_med": reached, "tracks": len(found)})
        if finished != calibration:
            write_calibration(path, finished)
