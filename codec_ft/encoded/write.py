"""Make the latents and codes of a data set: file by file, each whole or not there."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from codec_ft.atomic import atomic_path, remove_leftovers
from codec_ft.audio.files import audio_info
from codec_ft.codecs.base import Codec
from codec_ft.codecs.long import latents_in_chunks
from codec_ft.data.excerpts import grid_starts
from codec_ft.data.reader import ExcerptReader
from codec_ft.data.separators.build import Filled, Shard
from codec_ft.data.tracks import Track, find_tracks
from codec_ft.encoded.layout import ORIGIN_FILE, EncodedFile, Origin, encoded_file
from codec_ft.errors import UserError

BATCH_SECONDS = 32.0
"""Audio that is coded at once: enough to keep a GPU busy, within the memory of a small one."""
ALONE = Shard()
"""The share of a process that works alone: everything."""


class EncodedWriter:
    """What one codec makes of the excerpts of a data set.

    Each process calls `prepare`, the first one (of shard 0) before the others; then `fill`. Run again, only what is
    missing, broken or made of files that have changed is made. Stopped at any moment, there is no half of a file.

    Args:
        root: folder of the data set.
        codec: what codes them, on its device.
        stems: clean stems, or "all" for those that every track has; "mixture" for the mixture.
        inputs: what is stored of each stem beside it: "mixture", "separated/<separator>".
        seconds: length of the excerpts; None codes tracks in one piece.
        grid_seconds: they begin at the multiples of this; None likewise.
        splits: whose tracks are coded.

    Attributes:
        origin: what they are made with.
        folder: where they are written.
        files: what is written there.

    Raises:
        UserError: there are no tracks, or one lacks a stem or an input; an input cannot be stored.
    """

    def __init__(
        self,
        root: Path,
        codec: Codec,
        *,
        stems: Sequence[str],
        inputs: Sequence[str] = (),
        seconds: float | None,
        grid_seconds: float | None,
        splits: Sequence[str] = ("train",),
    ) -> None:
        self.codec = codec
        self.origin = Origin.of(codec, seconds, grid_seconds)
        self.folder = self.origin.folder(root)
        tracks = {track.folder: track for split in splits for track in find_tracks(root, split)}
        chosen = _choose_stems(list(tracks.values()), stems)
        files: dict[Path, EncodedFile] = {}  # each once: the mixture is the same for all stems
        for track in tracks.values():
            for stem in chosen:
                for source in ("target", *inputs):
                    file = encoded_file(self.folder, track, stem, source)
                    files[file.path] = file
        self.files = list(files.values())

    def prepare(self, shard: Shard = ALONE) -> None:
        """Do what has to be done once.

        Raises:
            UserError: the folder holds what was made in another way.
        """
        path = self.folder / ORIGIN_FILE
        if path.is_file():
            try:
                there = json.loads(path.read_text())
            except ValueError as error:
                raise UserError(f"{path}: broken. Delete {self.folder}, and it is made anew.") from error
            if there != json.loads(self.origin.written()):
                raise UserError(f"{self.folder}: was made in another way. Delete it, and it is made anew.")
        if shard.index == 0:
            remove_leftovers(self.folder)
            if not path.is_file():
                with atomic_path(path) as temporary:
                    temporary.write_text(self.origin.written())

    def fill(self, shard: Shard = ALONE) -> Filled:
        """Make the shard's files that are missing.

        Raises:
            UserError: a file cannot be read or written.
        """
        mine = self.files[shard.index :: shard.count]
        missing = [file for file in mine if file.problem() is not None]
        starts = {file.path: self._starts(file) for file in missing}
        share = f" {shard.index + 1}/{shard.count}" * (shard.count > 1)
        total, unit = sum(map(len, starts.values())), "track" if self.origin.whole else "excerpt"
        with tqdm(desc=f"{self.origin.codec}{share}", total=total, unit=unit, disable=not missing) as bar:
            for file in missing:
                self._write(file, starts[file.path], bar)
        return Filled(len(missing), len(mine) - len(missing))

    def _starts(self, file: EncodedFile) -> list[float]:
        origin = self.origin
        if origin.seconds is None or origin.grid_seconds is None:
            return [0.0]
        return grid_starts(_seconds(file), origin.seconds, origin.grid_seconds).tolist()

    def _write(self, file: EncodedFile, starts: Sequence[float], bar: tqdm) -> None:
        header = file.header()  # before the audio is read: what changes meanwhile will be noticed
        reader = ExcerptReader(file.sources, self.origin.sample_rate, self.origin.channels, cache_mb=float("inf"))
        seconds = self.origin.seconds
        if seconds is None:
            made = [encode_whole(self.codec, torch.from_numpy(reader.read(file.sources, 0.0, _seconds(file))))]
            bar.update()
        else:
            made = self._excerpts(file, reader, starts, seconds, bar)
        latents, codes = (torch.cat(parts) for parts in zip(*made, strict=True))
        with atomic_path(file.path) as temporary:
            save_file({"latents": latents, "codes": codes}, temporary, metadata=header)

    def _excerpts(
        self, file: EncodedFile, reader: ExcerptReader, starts: Sequence[float], seconds: float, bar: tqdm
    ) -> list[tuple[Tensor, Tensor]]:
        """Latents and codes of a file's excerpts, some at a time."""
        origin, at_once = self.origin, max(1, int(BATCH_SECONDS / seconds))
        nothing = torch.empty(0, origin.n_codebooks, origin.frames, dtype=torch.int16)
        made = [(torch.empty(0, origin.latent_dim, origin.frames), nothing)]
        for first in range(0, len(starts), at_once):
            audio = [reader.read(file.sources, start, seconds) for start in starts[first : first + at_once]]
            made.append(encode_excerpts(self.codec, torch.stack([torch.from_numpy(excerpt) for excerpt in audio])))
            bar.update(len(audio))
        return made


@torch.no_grad()
def encode_excerpts(codec: Codec, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Excerpts `[B, C, N]` to latents `[B, D, T]` and codes `[B, K, T]` as they are stored."""
    return _as_stored(codec, codec.encode(audio.to(next(codec.parameters()).device)))


def encode_whole(codec: Codec, audio: Tensor) -> tuple[Tensor, Tensor]:
    """A track `[C, N]` to latents `[1, D, T]` and codes `[1, K, T]` as they are stored, some seconds at a time."""
    chunks = latents_in_chunks(codec, audio[None].to(next(codec.parameters()).device))
    parts = [_as_stored(codec, latents) for latents in chunks]
    latents, codes = (torch.cat(each, dim=-1) for each in zip(*parts, strict=True))
    return latents, codes


def _as_stored(codec: Codec, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and their codes on the CPU, the codes in 16 bits."""
    return latents.cpu(), codec.quantize(latents)[0].cpu().to(torch.int16)


def _seconds(file: EncodedFile) -> float:
    """How long what was summed up lasts."""
    return min(audio_info(path).seconds for path in file.sources)


def _choose_stems(tracks: Sequence[Track], stems: Sequence[str]) -> list[str]:
    """The stems asked for, each once; "all" stands for those that every track has.

    Raises:
        UserError: there is none that every track has.
    """
    shared = sorted(set.intersection(*(set(track.stems) for track in tracks)))
    if "all" in stems and not shared:
        raise UserError(f"--stem all: no stem is there in all tracks of {tracks[0].root}. Name the stems.")
    return list(dict.fromkeys(name for stem in stems for name in (shared if stem == "all" else [stem])))
