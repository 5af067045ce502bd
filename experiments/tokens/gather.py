"""The material of the analyses: pieces of audio of every source, with their latents and codes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from codec_ft.audio.files import audio_info
from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import load_codec
from codec_ft.data.excerpts import Excerpt, fixed_excerpts
from codec_ft.data.reader import ExcerptReader
from codec_ft.data.tracks import MIXTURE, Track, find_tracks
from codec_ft.errors import UserError
from codec_ft.metrics.tokens import active_frames
from experiments.tokens.config import PiecesConfig
from experiments.tokens.levels import frame_levels

SUM = "+"
THESIS_SOURCES = ("bass", "drums", "vocals", "other", "bass+drums")
"""Table 1 of the thesis, and `other`; the mixture comes last."""


@dataclass(frozen=True)
class Piece:
    """A piece of a source, and what the codec makes of it.

    Attributes:
        source: a stem, a sum of stems, or the mixture.
        excerpt: where it was cut.
        group: number of its track; of the piece itself where the data set has a single track. What is tested on
            pieces of one group is learnt from the others.
        audio: `[1, 1, N]`.
        latents: `[1, D, T]`, before quantisation.
        codes: `[1, K, T]`, of all codebooks.
        active: bool `[1, T]`, frames that are not silent.
    """

    source: str
    excerpt: Excerpt
    group: int
    audio: Tensor
    latents: Tensor
    codes: Tensor
    active: Tensor


class Material:
    """All pieces of all sources, read and encoded one at a time.

    Args:
        codec: on its device.
        data: which pieces.
        sources: stems, sums or mixture; none takes those of the thesis that every track has, and further stems.

    Raises:
        UserError: there are no tracks, a track lacks a source, or a source is silent throughout.
    """

    def __init__(self, codec: Codec, data: PiecesConfig, sources: Sequence[str] = ()) -> None:
        self.codec = codec
        self.tracks = find_tracks(data.root, data.split)
        self.sources = list(sources) or find_sources(self.tracks)
        self.excerpts = {source: find_pieces(self.tracks, source, data) for source in self.sources}

    @property
    def device(self) -> torch.device:
        """Where the codec computes."""
        return next(self.codec.parameters()).device

    def pieces(self, sources: Sequence[str] | None = None) -> Iterator[Piece]:
        """The pieces of some sources, or of all, in order, with a progress bar."""
        todo = [(source, excerpt) for source in sources or self.sources for excerpt in self.excerpts[source]]
        for source, excerpt in tqdm(todo, desc="pieces", unit="piece", disable=None):
            yield self.piece(source, excerpt)

    @torch.no_grad()
    def piece(self, source: str, excerpt: Excerpt) -> Piece:
        """Read and encode one piece; `excerpt` may be that of another source.

        Raises:
            AudioFileError: a file is missing or bad.
        """
        track = next(track for track in self.tracks if track.name == excerpt.track.name)
        part, name = source_track(track, source)
        reader = ExcerptReader(part.paths(name), self.codec.sample_rate, channels=1, cache_mb=0)
        wave = reader.read(part.paths(name), excerpt.start_seconds, excerpt.seconds)
        audio = torch.from_numpy(wave)[None].to(self.device)
        latents = self.codec.encode(audio)
        codes, _ = self.codec.quantize(latents)
        active = active_frames(audio, self.codec.hop_length)
        return Piece(source, excerpt, self._group(source, excerpt), audio, latents, codes, active)

    def _group(self, source: str, excerpt: Excerpt) -> int:
        if len(self.tracks) > 1:
            return [track.name for track in self.tracks].index(excerpt.track.name)
        return self.excerpts[source].index(excerpt) if excerpt in self.excerpts[source] else 0


def open_codec(name: str) -> Codec:
    """Load a codec, on the GPU where there is one.

    Raises:
        UserError: there is no such codec, or it is not for mono audio, as the 48 kHz EnCodec is not.
    """
    codec = load_codec(name)
    if codec.channels != 1:
        raise UserError(
            f"codec={name}: has {codec.channels} audio channels, but these experiments work in mono. Choose a mono "
            "codec, as encodec_24khz or dac_44khz."
        )
    return codec.to("cuda" if torch.cuda.is_available() else "cpu")


def check_pair(pair: Sequence[str], sources: Sequence[str]) -> None:
    """Refuse a pair of stems that is not among the sources.

    Raises:
        UserError: names the one that is lacking.
    """
    for source in pair:
        if source not in sources:
            raise UserError(f"pair: {source} is not among the sources ({', '.join(sources)}). Change pair or sources.")


def find_sources(tracks: Sequence[Track]) -> list[str]:
    """What there is to look at in every track: the sources of the thesis first, other stems, and the mixture."""
    stems = set.intersection(*(set(track.stems) for track in tracks))
    known = [source for source in THESIS_SOURCES if set(source.split(SUM)) <= stems]
    return [*known, *sorted(stems - set(known)), MIXTURE]


def source_track(track: Track, source: str) -> tuple[Track, str]:
    """A track and the name by which its files give `source`: a sum of stems is the mixture of a smaller track.

    Raises:
        AudioFileError: the track has no such stem.
    """
    stems = source.split(SUM)
    if len(stems) == 1:
        return track, source
    return replace(track, stems={stem: track.paths(stem)[0] for stem in stems}, mixture=None), MIXTURE


def find_pieces(tracks: Sequence[Track], source: str, data: PiecesConfig) -> list[Excerpt]:
    """The pieces of one source: the loudest of each track, or all of it.

    Raises:
        UserError: a track lacks the source, or the source is silent throughout.
    """
    parts = [source_track(track, source) for track in tracks]
    if data.per_track:
        return fixed_excerpts([track for track, _ in parts], parts[0][1], data.seconds, data.per_track)
    return [excerpt for track, name in parts for excerpt in cut(track, name, data.seconds)]


def cut(track: Track, name: str, seconds: float) -> list[Excerpt]:
    """Cut a track into pieces of equal length, of at most `seconds`, that follow each other without a gap."""
    duration = min(audio_info(path).seconds for path in track.paths(name))
    count = max(1, -int(-duration // seconds))
    return [Excerpt(track, i * duration / count, duration / count) for i in range(count)]


@dataclass(frozen=True)
class SourceCodes:
    """All frames `F` of one source: codes `[K, F]` (int16 or int32), bool active `[F]`, group and level `[F]` in dBFS.

    On the CPU.
    """

    codes: Tensor
    active: Tensor
    groups: Tensor
    levels: Tensor


def collect_codes(material: Material) -> dict[str, SourceCodes]:
    """The codes of every frame of every source, in as little memory as they need."""
    small = torch.int16 if material.codec.codebook_size <= 2**15 else torch.int32
    parts: dict[str, list[SourceCodes]] = {source: [] for source in material.sources}
    for piece in material.pieces():
        parts[piece.source].append(
            SourceCodes(
                piece.codes[0].to(small).cpu(),
                piece.active[0].cpu(),
                torch.full((piece.codes.shape[-1],), piece.group),
                frame_levels(piece.audio, material.codec.hop_length)[0].cpu(),
            )
        )
    return {
        source: SourceCodes(
            torch.cat([part.codes for part in found], dim=1),
            torch.cat([part.active for part in found]),
            torch.cat([part.groups for part in found]),
            torch.cat([part.levels for part in found]),
        )
        for source, found in parts.items()
    }
