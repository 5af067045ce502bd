"""Small networks of each kind with random weights."""

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec


@pytest.fixture
def stereo_codec() -> SegmentedEncodecCodec:
    """A small stereo EnCodec with segments of 1000 samples and normalisation."""
    torch.manual_seed(3)
    config = EncodecConfig(
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
        target_bandwidths=[2.4],
    )
    return SegmentedEncodecCodec(EncodecModel(config), "stereo")
