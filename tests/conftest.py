"""What many tests need: a codec and a data set, both tiny and made on the spot."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ACCELERATE_USE_CPU", "true")

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from codec_ft.codec_training.encodec_model import EncodecShape, make_encodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import load_codec
from codec_ft.codecs.save import save_model

torch.set_num_threads(1)

RATE = 8000
TINY_SHAPE = EncodecShape(
    sample_rate=RATE,
    strides=(4, 5),
    n_filters=4,
    latent_dim=8,
    lstm_layers=1,
    causal=False,
    n_codebooks=3,
    codebook_size=16,
)
"""Hop 20 samples, 400 frames per second."""


@pytest.fixture(scope="session")
def tiny_codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny EnCodec with random weights and random, ever finer codebooks, in transformers' format."""
    folder = tmp_path_factory.mktemp("codecs") / "tiny"
    torch.manual_seed(7)
    model = make_encodec(TINY_SHAPE)
    for k, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.normal_(std=0.2 * 0.5**k)
    save_model(model, folder)
    return folder


@pytest.fixture
def tiny_codec(tiny_codec_folder: Path) -> EncodecCodec:
    """The tiny codec, frozen and freshly loaded."""
    codec = load_codec(str(tiny_codec_folder))
    assert isinstance(codec, EncodecCodec)
    return codec


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four training, two validation and two test tracks of 2 s: tones as bass, noise bursts as drums.

    With a separated input `separated/rough`, the bass with a little of the drums in it.
    """
    root = tmp_path_factory.mktemp("sets") / "tiny"
    rng = np.random.default_rng(3)
    for split, count in {"train": 4, "valid": 2, "test": 2}.items():
        for number in range(count):
            time = np.arange(2 * RATE) / RATE
            bass = 0.3 * np.sin(2 * np.pi * (60 + 20 * number) * time) * (1 + np.sin(2 * np.pi * 2 * time)) / 2
            drums = 0.2 * rng.standard_normal(len(time)) * np.exp(-8 * (time % 0.5))
            stems = {"bass": bass, "drums": drums, "mixture": bass + drums}
            _write(root / split / f"{split} song {number}", stems)
            _write(root / "separated" / "rough" / split / f"{split} song {number}", {"bass": bass + 0.3 * drums})
    return root


@pytest.fixture
def composed_set(tiny_set: Path, tmp_path: Path) -> Path:
    """A copy of the tiny set, called small, with the record that the demo composer leaves."""
    root = Path(shutil.copytree(tiny_set, tmp_path / "sets" / "small"))
    (root / "dataset.json").write_text(json.dumps({"generator": "demo", "version": 1, "seed": 5, "seconds": 2.0}))
    return root


def _write(folder: Path, stems: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for name, wave in stems.items():
        soundfile.write(folder / f"{name}.wav", wave, RATE, subtype="PCM_16")
