"""Small networks of each kind with random weights."""

import pytest
import torch
from small_models import segmented_config
from transformers import EncodecModel

from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec


@pytest.fixture
def stereo_codec() -> SegmentedEncodecCodec:
    """A small stereo EnCodec with segments of 1000 samples and normalisation."""
    torch.manual_seed(3)
    return SegmentedEncodecCodec(EncodecModel(segmented_config()), "stereo")
