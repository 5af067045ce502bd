"""Read latents and codes that were stored, and refuse them where they are not those of the data and the codec."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.data.tracks import ENCODED, Track
from codec_ft.encoded.layout import ORIGIN_FILE, EncodedFile, Origin, encode_command, encoded_file
from codec_ft.errors import UserError


class EncodedSet:
    """What a codec made of a stem and its inputs in some tracks.

    Files are mapped into memory, so that processes share them and a data set may be larger than memory.

    Args:
        tracks: of one or more data sets.
        codec: what codes them.
        stem: the target.
        sources: inputs that must have been stored beside it (see `input_paths`).
        seconds: length of the excerpts that were coded; None reads tracks that were coded whole.
        grid_seconds: what their starts are multiples of; None likewise.

    Raises:
        UserError: they were not made, or with another codec, other weights, or other excerpts; one is missing or
            broken; audio files have changed since. The message has the command that makes what is wanted.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        codec: Codec,
        *,
        stem: str,
        sources: Sequence[str] = (),
        seconds: float | None,
        grid_seconds: float | None,
    ) -> None:
        self.origin = Origin.of(codec, seconds, grid_seconds)
        self._frame_seconds = codec.hop_length / codec.sample_rate
        self._files: dict[tuple[Track, str], EncodedFile] = {}
        self._open: dict[Path, Any] = {}
        for root in dict.fromkeys(track.root for track in tracks):
            here = [track for track in tracks if track.root == root]
            splits = list(dict.fromkeys(track.split for track in here))
            inputs = [source for source in dict.fromkeys(sources) if source != "target"]
            command = encode_command(
                root, codec.name, [stem], inputs, splits, seconds=seconds, grid_seconds=grid_seconds
            )
            _check_origin(root, self.origin, command)
            folder = self.origin.folder(root)
            for source in ("target", *inputs):
                files = {track: encoded_file(folder, track, stem, source) for track in here}
                _check_files(list(files.values()), stem if source == "target" else source, command)
                self._files |= {(track, source): file for track, file in files.items()}

    def read(self, track: Track, source: str, start_seconds: float, n_frames: int) -> tuple[Tensor, Tensor]:
        """Latents float32 `[D, T]` and codes int64 `[K, T]` of an excerpt of the stem ("target") or of an input.

        Args:
            track: whose.
            source: "target" or an input.
            start_seconds: where it begins: at a multiple of the grid, or of the codec's frames in a whole track.
            n_frames: T.

        Raises:
            ValueError: no excerpt of this length begins there.
        """
        file = self._mapped(self._files[track, source].path)
        latents, codes = file.get_slice("latents"), file.get_slice("codes")
        grid = self.origin.grid_seconds or self._frame_seconds
        place = round(start_seconds / grid)
        count, _, length = latents.get_shape()
        last = length - n_frames if self.origin.whole else count - 1
        if abs(place * grid - start_seconds) > 1e-6 or not 0 <= place <= last:
            there = f"{length} frames of the whole track" if self.origin.whole else f"{count}, of {self.origin.cut}"
            raise ValueError(f"{track.name}: no stored excerpt begins at {start_seconds} s; there are {there}")
        if not self.origin.whole:
            return latents[place], codes[place].long()
        part = slice(place, place + n_frames)
        return latents[0, :, part], codes[0, :, part].long()

    def _mapped(self, path: Path) -> Any:
        if path not in self._open:
            self._open[path] = safe_open(path, framework="pt")
        return self._open[path]

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped files, which each process opens for itself."""
        return self.__dict__ | {"_open": {}}


def _check_origin(root: Path, origin: Origin, command: str) -> None:
    """Refuse a data set without what is wanted, and say what it has instead."""
    path = origin.folder(root) / ORIGIN_FILE
    if not path.is_file():
        raise UserError(f"{root}: {_instead(root, origin)}. Make it: {command}")
    try:
        same = json.loads(path.read_text()) == json.loads(origin.written())
    except ValueError:
        same = False
    if not same:
        raise UserError(f"{path}: is broken or of another version. Delete {path.parent}, and make it anew: {command}")


def _instead(root: Path, origin: Origin) -> str:
    """Why there is nothing of an origin."""
    base = Path(root) / ENCODED
    of_codec = sorted(base.glob(f"{origin.codec}-*"))
    if origin.folder(root).parent in of_codec:
        cuts = sorted(folder.name.replace("-", " ") for folder in origin.folder(root).parent.iterdir())
        return f"{origin.codec} has coded other excerpts ({', '.join(cuts)}), not of {origin.cut}"
    if of_codec:
        return f"{of_codec[0].name} was coded with other weights than those of {origin.codec} ({origin.fingerprint})"
    others = sorted(folder.name for folder in base.glob("*") if folder.is_dir())
    there = f"there is what {', '.join(others)} made" if others else "nothing is"
    return f"is not coded by {origin.codec} ({there})"


def _check_files(files: Sequence[EncodedFile], what: str, command: str) -> None:
    """Refuse missing, broken and outdated files of one stem or input."""
    words = {
        "missing": f"{what} is not coded",
        "broken": "is broken or cut short",
        "changed": "its audio has changed since it was coded",
    }
    problems = [(file.path, problem) for file in files if (problem := file.problem()) is not None]
    if problems:
        path, problem = problems[0]
        more = f" (and {len(problems) - 1} more like it)" if len(problems) > 1 else ""
        raise UserError(f"{path}: {words[problem]}{more}. Make it: {command}")
