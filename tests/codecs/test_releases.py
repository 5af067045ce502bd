"""What is known of published codecs without having them."""

from pathlib import Path

import pytest
import torch
from transformers import DacConfig, EncodecConfig

from codec_ft.codecs.lac import LacConfig
from codec_ft.codecs.load import as_codec
from codec_ft.codecs.models import CodecConfig, build_model, count_bytes, count_parameters, summarize
from codec_ft.codecs.releases import RELEASES


@pytest.mark.parametrize(
    "name, sample_rate, channels, frame_rate, n_codebooks, kbps",
    [
        ("encodec_24khz", 24000, 1, 75, 32, 24),
        ("encodec_48khz", 48000, 2, 150, 16, 24),
        ("dac_44khz", 44100, 1, 86.13, 9, 7.75),
        ("dac_44khz_16kbps", 44100, 1, 86.13, 18, 15.50),
        ("dac_24khz", 24000, 1, 75, 32, 24),
        ("dac_16khz", 16000, 1, 50, 12, 6),
        ("vampnet", 44100, 1, 57.42, 14, 8.04),
    ],
)
def test_rates(name: str, sample_rate: int, channels: int, frame_rate: float, n_codebooks: int, kbps: float) -> None:
    summary = summarize(RELEASES[name].config)
    assert (summary.sample_rate, summary.channels, summary.n_codebooks) == (sample_rate, channels, n_codebooks)
    assert summary.codebook_size == 1024
    assert summary.frame_rate == pytest.approx(frame_rate, abs=0.005)
    assert summary.kbps == pytest.approx(kbps, abs=0.005)


def test_where_the_files_are() -> None:
    urls = {name: release.url for name, release in RELEASES.items()}
    dac = "https://github.com/descriptinc/descript-audio-codec/releases/download"
    assert urls == {
        "encodec_24khz": "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th",
        "encodec_48khz": "https://dl.fbaipublicfiles.com/encodec/v0/encodec_48khz-7e698e3e.th",
        "dac_44khz": f"{dac}/0.0.1/weights.pth",
        "dac_44khz_16kbps": f"{dac}/1.0.0/weights_44khz_16kbps.pth",
        "dac_24khz": f"{dac}/0.0.4/weights_24khz.pth",
        "dac_16khz": f"{dac}/0.0.5/weights_16khz.pth",
        "vampnet": "https://huggingface.co/hugggof/vampnet/resolve/main/codec.pth",
    }
    assert [release.file for name, release in RELEASES.items() if name.startswith("dac")] == [
        "weights_44khz_8kbps_0.0.1.pth",
        "weights_44khz_16kbps_1.0.0.pth",
        "weights_24khz_8kbps_0.0.4.pth",
        "weights_16khz_8kbps_0.0.5.pth",
    ]


def test_where_the_original_packages_keep_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    places = {name: release.original_cache and release.original_cache() for name, release in RELEASES.items()}
    assert places["encodec_48khz"] == tmp_path / "torch" / "hub" / "checkpoints"
    assert places["dac_16khz"] == tmp_path / ".cache" / "descript" / "dac"
    assert places["vampnet"] is None


def test_licences() -> None:
    licences = {name: (release.licence_code, release.licence_weights) for name, release in RELEASES.items()}
    assert licences.pop("vampnet") == ("MIT", "CC BY-NC-SA 4.0")
    assert licences.pop("encodec_24khz") == licences.pop("encodec_48khz") == ("MIT", "not stated")
    assert set(licences.values()) == {("MIT", "MIT")}


def test_hashes_look_like_hashes() -> None:
    for release in RELEASES.values():
        if release.sha256 is not None:
            assert len(release.sha256) in (8, 64)
            assert set(release.sha256) <= set("0123456789abcdef")
    assert RELEASES["encodec_24khz"].file == "encodec_24khz-d7cc33bc.th"


def test_sizes() -> None:
    # Two of these files were published with their size, which the tensors make up but for 1 in 1000.
    for name in ("dac_44khz", "dac_44khz_16kbps"):
        assert count_bytes(RELEASES[name].config) == pytest.approx(RELEASES[name].n_bytes, rel=1e-3)
    assert RELEASES["dac_44khz"].size == "307 MB"
    assert RELEASES["encodec_24khz"].size == "93 MB"
    assert RELEASES["vampnet"].size == "180 MB"
    # As counted by others, in millions.
    assert RELEASES["dac_24khz"].parameters == pytest.approx(74.7e6, rel=1e-3)
    assert RELEASES["encodec_24khz"].parameters == pytest.approx(14.85e6, rel=1e-3)
    assert RELEASES["vampnet"].parameters is None


@pytest.mark.parametrize(
    "config",
    [
        EncodecConfig(num_filters=4, hidden_size=8, upsampling_ratios=(4, 2), target_bandwidths=[60.0]),
        DacConfig(encoder_hidden_size=4, decoder_hidden_size=16, downsampling_ratios=[2, 4]),
        LacConfig(encoder_hidden_size=4, decoder_hidden_size=8, downsampling_ratios=(2, 4), upsampling_ratios=(4, 2)),
    ],
    ids=["encodec", "dac", "lac"],
)
def test_counting_needs_no_weights(config: CodecConfig) -> None:
    codec = as_codec(build_model(config), "counted")
    assert count_parameters(config) == sum(p.numel() for p in codec.parameters())
    assert count_bytes(config) == sum(
        4 * value.numel() for value in build_model(config).state_dict().values() if value.dtype == torch.float32
    )
    summary = summarize(config)
    assert (summary.hop_length, summary.n_codebooks) == (codec.hop_length, codec.n_codebooks)
