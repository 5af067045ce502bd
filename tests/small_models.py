"""Architectures that several tests build in small."""

from transformers import EncodecConfig


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
