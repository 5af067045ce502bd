"""EnCodec in segments: the same numbers as transformers' model, and where segments begin and end."""

import copy
import math

import pytest
import torch
from torch import Tensor
from transformers import EncodecConfig, EncodecModel

from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.errors import UserError


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def official_model() -> EncodecModel:
    """The official 48 kHz model with a quarter of its channels, and random weights and codebooks."""
    torch.manual_seed(2)
    config = EncodecConfig(
        target_bandwidths=[3.0, 6.0, 12.0, 24.0],
        sampling_rate=48000,
        audio_channels=2,
        normalize=True,
        chunk_length_s=1.0,
        overlap=0.01,
        norm_type="time_group_norm",
        use_causal_conv=False,
        num_filters=8,
    )
    model = EncodecModel(config).eval()
    for k, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.normal_(std=0.5 * 0.9**k)
    return model


@pytest.fixture(scope="module")
def official(official_model: EncodecModel) -> SegmentedEncodecCodec:
    return SegmentedEncodecCodec(copy.deepcopy(official_model), "48k")


@torch.no_grad()
def assert_equals_transformers(codec: SegmentedEncodecCodec, model: EncodecModel, audio: Tensor) -> None:
    encoded = model.encode(audio, bandwidth=model.config.target_bandwidths[-1])
    padding = max(0, encoded.last_frame_pad_length)
    wanted = encoded.audio_codes.permute(1, 2, 0, 3).flatten(2)  # [B, K, S * F]
    codes, quantized = codec.quantize(codec.encode(audio))
    assert torch.equal(codes, wanted[..., : wanted.shape[-1] - padding])
    assert codes.shape[-1] < 50 or len(codes.unique()) > 10, "codes that are all alike would prove nothing here"
    scales = codec.scales(audio)
    assert scales is not None
    assert torch.equal(scales, torch.cat(encoded.audio_scales, dim=1))
    for given in (scales, None):
        one_by_one = torch.ones_like(scales) if given is None else given
        decoded = model.decode(
            encoded.audio_codes, one_by_one.unbind(dim=1), torch.ones_like(audio), last_frame_pad_length=padding
        )
        assert torch.equal(codec.decode(quantized, audio.shape[-1], given), decoded.audio_values)


@pytest.mark.parametrize("length", [48000, 120000, 60013])  # 1 s, 2.5 s, and an odd length
def test_it_equals_transformers_model_at_48_khz(
    official: SegmentedEncodecCodec, official_model: EncodecModel, length: int
) -> None:
    audio = 0.3 * noise(1, 2, length) * torch.linspace(0.1, 2, length)
    assert_equals_transformers(official, official_model, audio)


@pytest.mark.parametrize("length", [1, 19, 20, 990, 991, 1000, 1001, 1980, 2500, 2503, 3977, 10007])
def test_it_equals_transformers_model_at_many_lengths(segmented: SegmentedEncodecCodec, length: int) -> None:
    model = EncodecModel(segmented.config).eval()
    model.load_state_dict(segmented.state_dict())
    assert_equals_transformers(segmented, model, 0.3 * noise(2, 2, length))


def test_where_the_segments_are(official: SegmentedEncodecCodec) -> None:
    # A segment of 48000 samples gives 150 frames of 320, and the next one starts 47520 samples later.
    frames = {
        1: 1,
        320: 1,
        321: 2,
        47520: 149,  # alone: 148.5 frames
        47521: 149 + 1,
        47680: 149 + 1,
        47681: 150 + 1,
        48000: 150 + 2,  # the last 480 samples are a segment of their own
        95040: 150 + 149,
        95041: 150 + 149 + 1,
        120000: 150 + 150 + 78,  # the last from 95040 on
        48000 * 600: 606 * 150 + 9,  # the 607th segment, from 28797120 on, has 2880 samples
    }
    assert {length: official.n_frames(length) for length in frames} == frames
    longest = {1: 320, 149: 47520, 150: 47680, 151: 47840, 152: 48160, 378: 120000}
    assert {count: official.n_samples(count) for count in longest} == longest


def test_frames_tell_the_length_up_to_a_hop(segmented: SegmentedEncodecCodec) -> None:
    counts = [segmented.n_frames(length) for length in range(1, 4000)]
    assert counts == sorted(counts)
    for length, count in enumerate(counts, start=1):
        assert segmented.n_samples(count) - 20 < length <= segmented.n_samples(count)


@pytest.mark.parametrize("length", [991, 1000, 1005, 1981, 1990, 2000])
def test_a_segment_that_lies_in_the_overlap_is_decoded_too(segmented: SegmentedEncodecCodec, length: int) -> None:
    # There the last segment may end before the one before it does, which transformers cannot add up.
    audio = 0.3 * noise(1, 2, length)
    found = segmented.reconstruct(audio)
    assert found.shape == audio.shape and found.isfinite().all()
    # What lies before the last segment knows nothing of it.
    start = (length - 1) // 990 * 990
    latents = segmented.codes_to_latents(segmented.quantize(segmented.encode(audio))[0])
    before = math.ceil(min(1000, length - start + 990) / 20)
    scales = segmented.scales(audio)
    assert scales is not None
    alone = segmented.decoder(latents[..., 50 * (start // 990 - 1) :][..., :before]) * scales[:, -2, None, None]
    torch.testing.assert_close(found[..., start - 900 : start], alone[..., 90:990])


def test_fading_from_segment_to_segment(segmented: SegmentedEncodecCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    # A decoder that says the same everywhere in a segment: what is heard between them is the fade.
    monkeypatch.setattr(segmented.decoder, "forward", lambda part: part[:, :2, :1].expand(-1, -1, 20 * part.shape[-1]))
    latents = torch.zeros(1, 8, 100)
    latents[..., 50:] = 1.0
    audio = segmented.decode(latents, length=1980)
    assert audio[..., :990].abs().max() == 0
    torch.testing.assert_close(audio[..., 1000:], torch.ones(1, 2, 980))
    # The 10 samples that both cover: weights 10, 9, ... 1 of the one that ends, 1, 2, ... 10 of the one that begins.
    torch.testing.assert_close(audio[0, 0, 990:1000], torch.arange(1, 11) / 11, rtol=1e-3, atol=1e-4)


def test_loudness_is_in_the_scales_alone(segmented: SegmentedEncodecCodec) -> None:
    audio = 0.3 * noise(1, 2, 2500)
    quiet = audio / 64
    torch.testing.assert_close(segmented.encode(audio), segmented.encode(quiet), rtol=1e-4, atol=1e-4)
    scales = segmented.scales(audio)
    assert scales is not None and scales.shape == (1, 3)
    mono = audio[0].mean(dim=0)
    wanted = [float(part.square().mean().sqrt()) for part in (mono[:1000], mono[990:1990], mono[1980:])]
    assert scales[0].tolist() == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(segmented.reconstruct(quiet), segmented.reconstruct(audio) / 64, rtol=1e-3, atol=1e-5)


def test_numbers_of_frames_that_no_audio_gives_are_refused() -> None:
    # Segments of 20 frames that start every 18: when the 18th is full, the next sample begins two frames at once.
    config = EncodecConfig(
        sampling_rate=400,
        chunk_length_s=0.1,
        overlap=0.1,
        upsampling_ratios=(2,),
        num_filters=2,
        hidden_size=2,
        codebook_size=2,
        norm_type="time_group_norm",
        use_causal_conv=False,
        target_bandwidths=[0.2],
    )
    codec = SegmentedEncodecCodec(EncodecModel(config), "even")
    assert (codec.segment_length, codec.segment_stride) == (40, 36)
    assert (codec.n_frames(36), codec.n_frames(37)) == (18, 19 + 1)
    with pytest.raises(ValueError, match="even: no audio gives 19 frames; 36 samples give 18, one more 20"):
        codec.decode(torch.zeros(1, 2, 19))


def test_it_cannot_be_fine_tuned(segmented: SegmentedEncodecCodec) -> None:
    for start in ("pretrained", "random"):
        with pytest.raises(UserError, match=r"2 channels, and on segments .* Choose a mono codec"):
            segmented.new_encoder(start)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"chunk_length_s": None}, "expected an EnCodec model with segments, this one has chunk_length_s=None"),
        ({"overlap": None}, "overlap=None"),
        ({"sampling_rate": 4004}, "segments of 1001 samples are no whole number of frames of 20 samples"),
    ],
)
def test_other_models_are_refused(segmented: SegmentedEncodecCodec, change: dict, said: str) -> None:
    model = EncodecModel(segmented.config)
    for key, value in change.items():
        setattr(model.config, key, value)
    with pytest.raises(UserError, match=said):
        SegmentedEncodecCodec(model, "other")
