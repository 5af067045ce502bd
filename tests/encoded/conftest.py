"""A data set that may be written to, and what a codec makes of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import PairDataset
from codec_ft.data.tracks import find_tracks
from codec_ft.encoded.write import EncodedWriter

CUT = {"seconds": 0.5, "grid_seconds": 0.25}


@pytest.fixture
def root(tmp_path: Path, tiny_set: Path) -> Path:
    """The tiny data set: four training tracks of 2 s, which are seven excerpts of half a second every quarter."""
    return Path(shutil.copytree(tiny_set, tmp_path / "set"))


@pytest.fixture
def encode(root: Path) -> Callable[..., EncodedWriter]:
    """A function that stores what a codec makes of the bass and of the separated bass, or of something else."""

    def run(codec: Codec, **options) -> EncodedWriter:
        settings = {"root": root, "stems": ["bass"], "inputs": ["separated/rough"], **CUT} | options
        writer = EncodedWriter(settings.pop("root"), codec, **settings)
        writer.prepare()
        writer.fill()
        return writer

    return run


@pytest.fixture
def pairs(root: Path) -> Callable[..., PairDataset]:
    """A function that gives 40 pairs of separated and clean bass on the grid, or others."""

    def make(codec: Codec, **options) -> PairDataset:
        settings = {"stem": "bass", "input": "separated/rough", "length": 40, "seed": 5, **CUT} | options
        tracks = settings.pop("tracks", None) or find_tracks(root, "train")
        return PairDataset(tracks=tracks, sample_rate=codec.sample_rate, **settings)

    return make
