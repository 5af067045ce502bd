"""VGGish against a description of its own: numpy's spectra, transformers' mel bands, torch's functions by name."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import get_window
from torch import Tensor
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from codec_ft.embeddings.vggish import VggishEmbedding, log_mel_examples, mel_weights, read_vggish
from codec_ft.errors import UserError

SHAPES = {
    "features.0": (64, 1, 3, 3),
    "features.3": (128, 64, 3, 3),
    "features.6": (256, 128, 3, 3),
    "features.8": (256, 256, 3, 3),
    "features.11": (512, 256, 3, 3),
    "features.13": (512, 512, 3, 3),
    "embeddings.0": (4096, 12288),
    "embeddings.2": (4096, 4096),
    "embeddings.4": (128, 4096),
}
"""Weights of the PyTorch port; the indices count ReLU and pooling layers in between."""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights of the real shapes.

    Those of the large layers are windows on a short row of numbers, so that the file is small.
    """
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in SHAPES.items():
        fan_in = int(np.prod(shape[1:]))
        row = torch.randn(shape[0] * 9 + fan_in, generator=generator) * (2.0 / fan_in) ** 0.5
        strides = (9, 9, 3, 1) if len(shape) == 4 else (7, 1)
        tensors[f"{name}.weight"] = row.as_strided(shape, strides)
        tensors[f"{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return tensors


@pytest.fixture(scope="module")
def weights(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "vggish.pth"
    torch.save(state, path)
    return path


def music(seconds: float, seed: int = 0) -> Tensor:
    """Chirps and noise, float32 `[1, N]` at 16 kHz."""
    time = np.arange(round(seconds * 16000)) / 16000
    random = np.random.default_rng(seed)
    wave = 0.3 * np.sin(2 * np.pi * (200 + 900 * time) * time) + 0.02 * random.standard_normal(len(time))
    return torch.from_numpy(wave.astype(np.float32))[None]


def described_log_mel(wave: np.ndarray) -> np.ndarray:
    """Frame by frame, `[frames, 64]`."""
    filters = mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=64,
        min_frequency=125.0,
        max_frequency=7500.0,
        sampling_rate=16000,
        norm=None,
        mel_scale="htk",
        triangularize_in_mel_space=True,
    )
    window = get_window("hann", 400, fftbins=True)
    starts = range(0, len(wave) - 400 + 1, 160)
    return np.stack([np.log(np.abs(np.fft.rfft(wave[s : s + 400] * window, 512)) @ filters + 0.01) for s in starts])


def described_network(state: dict[str, Tensor], examples: Tensor) -> Tensor:
    hidden = examples[:, None]
    for name, pool in zip((0, 3, 6, 8, 11, 13), (1, 1, 0, 1, 0, 1), strict=True):
        weight, bias = state[f"features.{name}.weight"], state[f"features.{name}.bias"]
        hidden = functional.relu(functional.conv2d(hidden, weight, bias, padding=1))
        hidden = functional.max_pool2d(hidden, 2) if pool else hidden
    rows = torch.stack([torch.cat([cell for line in item.permute(1, 2, 0) for cell in line]) for item in hidden])
    for name in (0, 2):
        rows = functional.relu(rows @ state[f"embeddings.{name}.weight"].T + state[f"embeddings.{name}.bias"])
    return rows @ state["embeddings.4.weight"].T + state["embeddings.4.bias"]


def test_mel_bands():
    weights = mel_weights()
    assert weights.shape == (257, 64)
    filters = mel_filter_bank(257, 64, 125.0, 7500.0, 16000, None, "htk", True)
    np.testing.assert_allclose(weights, filters, atol=2e-5)  # transformers rounds the factor of the scale
    assert (weights[:5] == 0).all() and (weights[241:] == 0).all()  # up to 125 Hz, from 7531 Hz
    inner = weights[20:220]
    np.testing.assert_allclose(inner.sum(axis=1), 1.0)  # neighbouring triangles share every bin in between


def test_spectra():
    wave = music(2.5)
    examples = log_mel_examples(wave[0])
    expected = described_log_mel(wave[0].double().numpy())
    assert examples.shape == (2, 96, 64) and len(expected) == 248  # 248 frames make two examples of 96
    np.testing.assert_allclose(examples.flatten(0, 1).numpy(), expected[:192], atol=1e-3)
    assert log_mel_examples(torch.zeros(16000)).eq(np.float32(np.log(0.01))).all()


@pytest.mark.parametrize("samples, n", [(1, 0), (399, 0), (15599, 0), (15600, 1), (30959, 1), (30960, 2)])
def test_as_many_examples_as_fit(samples: int, n: int):
    # One takes 95 hops of 160 samples and a window of 400; the next begins 96 hops later.
    assert log_mel_examples(torch.zeros(samples)).shape == (n, 96, 64)


def test_vectors(state: dict[str, Tensor], weights: Path, monkeypatch: pytest.MonkeyPatch):
    embedding = VggishEmbedding(weights)
    audio = music(3.9)
    expected = described_network(state, log_mel_examples(audio[0]))
    found = embedding(audio)
    assert found.shape == (4, 128) and found.dtype == torch.float32 and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found < 0).any(), "they are those before the last ReLU"
    assert not torch.allclose(found[0], found[1], atol=1e-2), "equal vectors prove little"
    monkeypatch.setattr("codec_ft.embeddings.vggish.BATCH", 3)
    torch.testing.assert_close(embedding(audio), found, rtol=1e-4, atol=1e-4)
    assert embedding(audio[:, :15599]).shape == (0, 128)
    assert (embedding.name, embedding.sample_rate, embedding.dimension) == ("VGGish", 16000, 128)
    assert embedding.seconds_per_vector == pytest.approx(0.96)


def test_missing_file(tmp_path: Path):
    with pytest.raises(UserError, match=r"no such file. Put vggish-10086976.pth there"):
        read_vggish(tmp_path / "vggish-10086976.pth")


def test_the_hash_in_the_name(weights: Path, tmp_path: Path):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    named = tmp_path / f"vggish-{digest[:8]}.pth"
    named.write_bytes(weights.read_bytes())
    read_vggish(named)
    other = named.rename(tmp_path / "vggish-10086976.pth")
    with pytest.raises(UserError, match=f"has SHA-256 {digest}, which does not begin with 10086976"):
        read_vggish(other)


@pytest.mark.filterwarnings("ignore:.*pickle protocol:UserWarning")
def test_files_that_are_no_vggish(state: dict[str, Tensor], tmp_path: Path):
    path = tmp_path / "weights.pth"
    for content, problem in [
        ({**state, "features.3.bias": torch.zeros(3)}, r"features.3.bias of shape \[128\] is not in it"),
        ({name: value for name, value in state.items() if name != "embeddings.4.bias"}, "embeddings.4.bias of shape"),
        ({**state, "more": torch.zeros(3)}, "holds other tensors too"),
        ([1, 2, 3], "features.0.weight of shape"),
    ]:
        torch.save(content, path)
        with pytest.raises(UserError, match=problem):
            read_vggish(path)
    for junk in (b"", b"not a checkpoint", pickle.dumps(Path("/"))):
        path.write_bytes(junk)
        with pytest.raises(UserError, match="broken, or no file of weights alone"):
            read_vggish(path)
