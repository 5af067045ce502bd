"""Weights in files."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from codec_ft.weights import load_weights, save_weights


@pytest.mark.parametrize(("umask", "rights"), [(0o022, 0o644), (0o077, 0o600)])
def test_weights_are_read_by_whom_any_file_is_read(tmp_path: Path, umask: int, rights: int) -> None:
    layer, other = nn.Linear(3, 2), nn.Linear(3, 2)
    before = os.umask(umask)
    try:
        save_weights(layer, tmp_path / "layer.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "layer.safetensors").stat().st_mode & 0o777 == rights
    load_weights(other, tmp_path / "layer.safetensors")
    assert torch.equal(other.weight, layer.weight)
