"""Where the latents and codes of a data set lie, and what they were made of and with.

    ROOT/encoded/<codec>-<fingerprint>/<seconds>s-every-<grid>s/, or .../whole/
        origin.json                                     what made them, how they were cut, their shapes
        train/<track>/<stem>.safetensors                of a clean stem, or of the mixture
        train/<track>/separated/<separator>/<stem>.safetensors

Each file holds `latents` float32 [n, D, T] and `codes` int16 [n, K, T] of the n excerpts of a track that begin at the
multiples of a grid, whether the stem sounds there or not, each coded by itself; or of the whole track, n = 1. Its
header says which audio files it was made of.
"""

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from codec_ft.codecs.base import Codec
from codec_ft.data.scan import file_stamp
from codec_ft.data.tracks import ENCODED, MIXTURE, NOISE, NOISY, Track, input_paths
from codec_ft.errors import UserError

ORIGIN_FILE = "origin.json"
FILES_KEY = "files"
WHOLE = "whole"
"""Name of the folder of tracks that were coded in one piece."""
LARGEST_CODEBOOK = 1 << 15
"""Codes are stored in 16 bits with a sign, which safetensors and torch both have."""

Problem = Literal["missing", "broken", "changed"]


@dataclass(frozen=True)
class Origin:
    """What latents and codes were made with: what must be the same where they are used.

    Of tracks that were coded whole, length and grid are None and the number of frames, which differs, is 0.
    """

    codec: str
    fingerprint: str
    sample_rate: int
    channels: int
    seconds: float | None
    grid_seconds: float | None
    latent_dim: int
    n_codebooks: int
    codebook_size: int
    frames: int

    @classmethod
    def of(cls, codec: Codec, seconds: float | None, grid_seconds: float | None) -> "Origin":
        """The origin of what `codec` makes of excerpts of so many seconds on a grid, or, without both, of whole tracks.

        Raises:
            UserError: the codebooks are too large.
        """
        if (seconds is None) != (grid_seconds is None):
            raise ValueError("excerpts have a length and a grid, whole tracks neither")
        if codec.codebook_size > LARGEST_CODEBOOK:
            raise UserError(
                f"codec={codec.name}: has {codec.codebook_size} codes in a codebook, but up to {LARGEST_CODEBOOK} can "
                "be stored. Train without stored latents."
            )
        return cls(
            codec=Path(codec.name).name,
            fingerprint=fingerprint(codec),
            sample_rate=codec.sample_rate,
            channels=codec.channels,
            seconds=None if seconds is None else float(seconds),
            grid_seconds=None if grid_seconds is None else float(grid_seconds),
            latent_dim=codec.latent_dim,
            n_codebooks=codec.n_codebooks,
            codebook_size=codec.codebook_size,
            frames=0 if seconds is None else codec.n_frames(round(seconds * codec.sample_rate)),
        )

    @property
    def whole(self) -> bool:
        """Whether tracks were coded in one piece."""
        return self.seconds is None

    @property
    def cut(self) -> str:
        """How the excerpts were cut, in words: "1 s every 0.5 s"."""
        if self.whole:
            return "whole tracks"
        return f"{self.seconds:g} s every {self.grid_seconds:g} s"

    def folder(self, root: Path) -> Path:
        """Where the latents and codes of a data set lie."""
        cut = WHOLE if self.whole else f"{self.seconds:g}s-every-{self.grid_seconds:g}s"
        return Path(root) / ENCODED / f"{self.codec}-{self.fingerprint}" / cut

    def written(self) -> str:
        """The content of `origin.json`."""
        return json.dumps(asdict(self), indent=1) + "\n"


def fingerprint(codec: Codec) -> str:
    """Ten hexadecimal digits that tell the weights of codecs apart, the same on every machine.

    All of a codec's tensors are taken but the kernels of its convolutions: where these were weight-normed, the last bit
    of what is folded depends on the processor. No training changes them without the biases beside them.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(codec.state_dict().items()):
        if tensor.dim() != 3:
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]


@dataclass(frozen=True)
class EncodedFile:
    """The latents and codes of one track and source.

    Attributes:
        path: the file.
        track: the track.
        sources: the audio files whose sum was coded.
    """

    path: Path
    track: Track
    sources: tuple[Path, ...]

    def header(self) -> dict[str, str]:
        """What the file says about itself: its audio files, with their sizes and times of change as they are now."""
        stamps = [[os.path.relpath(path, self.track.root), *file_stamp(path)[:2]] for path in self.sources]
        return {FILES_KEY: json.dumps(stamps)}

    def problem(self) -> Problem | None:
        """Why the file cannot be used, or None: it is not there, not whole, or the audio has changed since."""
        if not self.path.is_file():
            return "missing"
        try:
            with safe_open(self.path, framework="pt") as file:
                header = file.metadata()
        except SafetensorError:
            return "broken"
        return None if header == self.header() else "changed"


def encoded_file(folder: Path, track: Track, stem: str, source: str) -> EncodedFile:
    """The file that holds one input of a stem, or the stem itself (`source` "target").

    Args:
        folder: see `Origin.folder`.
        track: the track.
        stem: the target, a stem's name or "mixture".
        source: see `input_paths`; noise is drawn anew for every item and cannot be stored.

    Raises:
        UserError: the source is unknown or noise, or its files are not there.
    """
    if source in (NOISE, NOISY):
        raise UserError(f"input={source}: cannot be stored, because noise is drawn anew for every item. Leave it out.")
    sources = tuple(input_paths(track, stem, source))
    parts = {"target": [stem], MIXTURE: [MIXTURE]}.get(source, [source, stem])
    place = Path(os.path.relpath(track.folder, track.root)).joinpath(*parts)
    return EncodedFile(folder / place.with_name(f"{place.name}.safetensors"), track, sources)


def encode_command(
    root: Path,
    codec: str,
    stems: Sequence[str],
    inputs: Sequence[str],
    splits: Sequence[str],
    *,
    seconds: float | None,
    grid_seconds: float | None,
) -> str:
    """The command that stores latents and codes; without a length and a grid, those of whole tracks."""
    words = ["--root", str(root), "--codec", codec]
    words += [word for stem in stems for word in ("--stem", stem)]
    words += [word for source in inputs for word in ("--input", source)]
    whole = seconds is None and grid_seconds is None
    words += ["--whole"] if whole else ["--seconds", f"{seconds:g}", "--grid", f"{grid_seconds:g}"]
    words += [word for split in splits if list(splits) != ["train"] for word in ("--split", split)]
    return f"python scripts/prepare_data.py encode {shlex.join(words)}"
