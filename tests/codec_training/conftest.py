"""A tiny codec training."""

from pathlib import Path

import pytest

from codec_ft.codec_training.config import CodecTrainingConfig


@pytest.fixture
def codec_config(tiny_set: Path) -> CodecTrainingConfig:
    """A codec of 8 kHz with three codebooks of 16, trained on half seconds."""
    return CodecTrainingConfig.model_validate(
        {
            "id": "tiny-codec",
            "data": {
                "root": tiny_set,
                "seconds": 0.5,
                "valid_seconds": 1.0,
                "valid_per_track": 1,
                "report_split": "test",
                "report_seconds": 1.0,
            },
            "model": {
                "sample_rate": 8000,
                "strides": [4, 5],
                "n_filters": 4,
                "latent_dim": 8,
                "n_codebooks": 3,
                "codebook_size": 16,
            },
            "quantizer": {"start_step": 10, "kmeans_vectors": 2048},
            "train": {"steps": 60, "batch_size": 6},
        }
    )
