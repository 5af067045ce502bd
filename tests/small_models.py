"""Architectures that several tests build in small."""

import torch
from transformers import DacConfig, DacModel, EncodecConfig


def segmented_config() -> EncodecConfig:
    """The 48 kHz model in small: 50 frames of 20 samples per segment, and 49.5 between the starts of two segments."""
    return EncodecConfig(
        sampling_rate=4000,
        audio_channels=2,
        normalize=True,
        chunk_length_s=0.25,
        overlap=0.01,
        norm_type="time_group_norm",
        use_causal_conv=False,
        upsampling_ratios=(5, 4),
        num_filters=4,
        hidden_size=8,
        codebook_size=16,
        target_bandwidths=[2.4],  # 3 codebooks x 4 bits x 200 frames per second
    )


def tiny_dac() -> DacModel:
    """A DAC with random weights that let something through: K=3, V=16, codes of two numbers, hop 20 at 8 kHz."""
    torch.manual_seed(0)
    config = DacConfig(
        sampling_rate=8000,
        encoder_hidden_size=4,
        downsampling_ratios=[4, 5],
        decoder_hidden_size=8,
        n_codebooks=3,
        codebook_size=16,
        codebook_dim=2,
    )
    model = DacModel(config)
    for layer in model.modules():  # as drawn by transformers, the weights let next to nothing through
        if isinstance(layer, torch.nn.Conv1d):
            torch.nn.init.normal_(layer.weight, std=(layer.in_channels * layer.kernel_size[0]) ** -0.5)
    return model
