"""The clean stems that a Frechet distance is measured from, when they are not those of the tracks that are scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from codec_ft.audio.files import read_audio
from codec_ft.data.workers import ParallelMap
from codec_ft.errors import UserError
from codec_ft.metrics.frechet import Gaussian
from experiments.evaluation.systems import reference_files


@dataclass(frozen=True)
class ReferenceSet:
    """The embeddings of clean stems.

    Attributes:
        words: what they are.
        stems: stem -> their Gaussian.
    """

    words: str
    stems: dict[str, Gaussian]


def embed_references(
    folder: Path, split: str, stems: Sequence[str], embedding: str, device: str, run: ParallelMap
) -> ReferenceSet:
    """Embed the stems of a data set in MUSDB's layout.

    Args:
        folder: of the data set.
        split: which of its splits, where it has any.
        stems: which stems.
        embedding: its name.
        device: where it computes.
        run: a `map` over files.

    Raises:
        UserError: the folder has no such stems, a file is bad, or the embedding cannot be loaded.
    """
    files = {item: path for item, path in reference_files(folder, None, split, None).items() if item[1] in stems}
    if missing := sorted(set(stems) - {stem for _, stem in files}):
        raise UserError(f"{folder}: no {', '.join(missing)} in its {split} tracks. Give another --fad-reference.")
    parts = run(partial(_embed_file, embedding, device), list(files.values()))
    found: dict[str, list[Gaussian]] = {}
    for (_, stem), gaussian in tqdm(
        zip(files, parts, strict=True), desc="reference set", total=len(files), unit="file"
    ):
        found.setdefault(stem, []).append(gaussian)
    tracks = len({track for track, _ in files})
    words = f"{folder.name}, {split}, {tracks} tracks"
    return ReferenceSet(words, {stem: Gaussian.merge(gaussians) for stem, gaussians in found.items()})


def _embed_file(embedding: str, device: str, path: Path) -> Gaussian:
    from experiments.evaluation.coding import embed  # here, as in `parts`: it takes seconds

    return Gaussian.of(embed(embedding, *read_audio(path), device))
