"""A tiny codec training."""

from pathlib import Path

import pytest

from codec_ft.codec_training.config import DacTrainingConfig, EncodecTrainingConfig


@pytest.fixture
def codec_config(tiny_set: Path) -> EncodecTrainingConfig:
    """A codec of 8 kHz with three codebooks of 16, trained on half seconds."""
    return EncodecTrainingConfig.model_validate(
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
                "lstm_layers": 1,
                "causal": False,
                "n_codebooks": 3,
                "codebook_size": 16,
            },
            "quantizer": {"start_step": 10, "kmeans_vectors": 2048},
            "losses": {"log_mel": 2.0, "noise_to_signal": 1.5, "commitment": 0.25, "latent_scale": 0.1},
            "train": {"steps": 60, "batch_size": 6},
        }
    )


@pytest.fixture
def adversarial_config(codec_config: EncodecTrainingConfig) -> EncodecTrainingConfig:
    """The tiny codec against tiny discriminators, with the balancer."""
    changes = {
        "balancer": True,
        "losses": {"log_mel": 2.0, "waveform_l1": 1.0, "adversarial": 0.5, "feature": 0.7, "commitment": 0.2},
        "quantizer": {"start_step": 0, "kmeans_vectors": 256},
        "discriminators": {
            "stft_windows": [64, 32],
            "stft_filters": 2,
            "update_share": 0.6667,
            "optimizer": {"learning_rate": 2e-3, "betas": [0.5, 0.9]},
        },
        "train": {"steps": 6, "batch_size": 2, "validate_every": 3, "checkpoint_every": 2, "log_every": 1},
    }
    return EncodecTrainingConfig.model_validate({**codec_config.model_dump(exclude_unset=True), **changes})


@pytest.fixture
def dac_config(codec_config: EncodecTrainingConfig) -> DacTrainingConfig:
    """A DAC of 8 kHz with three codebooks of 16 and odd strides, DAC's losses and discriminators."""
    return DacTrainingConfig.model_validate(
        {
            "id": "tiny-dac",
            "data": codec_config.data.model_dump(exclude_unset=True),
            "model": {
                "sample_rate": 8000,
                "strides": [4, 5],
                "encoder_channels": 4,
                "decoder_channels": 16,
                "n_codebooks": 3,
                "codebook_size": 16,
                "codebook_dim": 4,
            },
            "losses": {"mel_l1": 15.0, "adversarial": 1.0, "feature": 2.0, "commitment": 0.25, "codebook": 1.0},
            "discriminators": {
                "periods": [2, 3],
                "period_channels": [2, 4],
                "band_windows": [64],
                "band_filters": 2,
                "loss": "least_squares",
                "relative_features": False,
            },
            "train": {"steps": 6, "batch_size": 2, "validate_every": 3, "checkpoint_every": 2, "log_every": 1},
        }
    )
