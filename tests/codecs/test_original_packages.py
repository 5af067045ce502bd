"""Against the packages `encodec` and `descript-audio-codec` themselves: their files, codes and audio, to the bit.

The extra `[originals]` installs them. They import torchaudio, of which they use nothing but the reading and resampling
of files. Its wheels come with CUDA and cannot be imported beside a torch without it; an empty module of that name will
do for all that happens here, so that these tests run there too.
"""

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.load import load_codec

pytestmark = [pytest.mark.originals, pytest.mark.filterwarnings("ignore")]


def import_original(name: str) -> Any:
    """The package, or a skipped test where it cannot be imported."""
    try:
        importlib.import_module("torchaudio")
        stand_in = False
    except (ImportError, OSError, RuntimeError):  # missing, or built for another torch
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
        stand_in = True
    try:
        return importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"{name} cannot be imported ({error}); the extra [originals] installs it")
    finally:
        if stand_in:  # others look whether there is a torchaudio
            del sys.modules["torchaudio"]


@pytest.fixture(scope="module")
def encodec() -> Any:
    return import_original("encodec")


@pytest.fixture(scope="module")
def dac() -> Any:
    return import_original("dac")


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    torch.manual_seed(2)
    with torch.no_grad():
        yield


def noise(*shape: int) -> Tensor:
    """A signal that changes, so that codes do."""
    return 0.3 * torch.randn(*shape) * torch.linspace(0.05, 2, shape[-1])


def make_encodec(encodec: Any, *, stereo: bool, ratios: list[int], full_size: bool = False) -> Any:
    """An EnCodec with random weights and filled codebooks: the mono model or the stereo one, or each in small."""
    if full_size:
        make = encodec.EncodecModel.encodec_model_48khz if stereo else encodec.EncodecModel.encodec_model_24khz
        model = make(pretrained=False)
    else:
        norm = "time_group_norm" if stereo else "weight_norm"
        sizes = {"channels": 1 + stereo, "dimension": 16, "n_filters": 4, "ratios": ratios, "causal": not stereo}
        model = encodec.EncodecModel(
            encodec.modules.SEANetEncoder(**sizes, norm=norm),
            encodec.modules.SEANetDecoder(**sizes, norm=norm),
            encodec.quantization.ResidualVectorQuantizer(dimension=16, n_q=5, bins=32),
            target_bandwidths=[1.0],
            sample_rate=48000 if stereo else 24000,
            channels=1 + stereo,
            normalize=stereo,
            segment=1.0 if stereo else None,
        )
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.1)
    return model.eval()


def check_encodec(model: Any, path: Path, samples: int) -> EncodecCodec | SegmentedEncodecCodec:
    """Save, load, and compare with the package's own `encode` and `decode`."""
    torch.save(model.state_dict(), path)
    codec = load_codec(path)
    assert isinstance(codec, SegmentedEncodecCodec if model.channels == 2 else EncodecCodec)
    audio = noise(1, model.channels, samples)
    frames = model.encode(audio)
    codes = torch.cat([segment for segment, _ in frames], dim=2)
    found, quantized = codec.quantize(codec.encode(audio))
    assert torch.equal(found, codes)
    assert len(codes.unique()) > 8, "so few codes prove little"
    decoded = codec.decode(quantized, samples, codec.scales(audio))
    assert torch.equal(decoded, model.decode(frames)[..., :samples])
    return codec


@pytest.mark.parametrize("stereo", [False, True], ids=["mono", "stereo"])
@pytest.mark.parametrize("ratios", [[4, 3, 2], [5, 5]])
@pytest.mark.parametrize("seconds", [0.3, 2.345])
def test_encodec(encodec: Any, tmp_path: Path, stereo: bool, ratios: list[int], seconds: float) -> None:
    if stereo and ratios == [5, 5]:
        ratios = [5, 4]  # segments of a second are whole frames
    model = make_encodec(encodec, stereo=stereo, ratios=ratios)
    check_encodec(model, tmp_path / "encodec.th", int(seconds * model.sample_rate))


@pytest.mark.slow
@pytest.mark.parametrize("stereo", [False, True], ids=["24 kHz", "48 kHz"])
def test_encodec_in_full_size(encodec: Any, tmp_path: Path, stereo: bool) -> None:
    model = make_encodec(encodec, stereo=stereo, ratios=[], full_size=True)
    codec = check_encodec(model, tmp_path / "encodec.th", 60000)
    assert codec.config.target_bandwidths == model.target_bandwidths


def check_dac(model: Any, path: Path, samples: int) -> None:
    """Save, load, and compare with the package's own way from audio to codes and from codes to audio."""
    for layer in model.quantizer.quantizers:
        layer.codebook.weight.normal_()
    for name, value in model.named_parameters():
        if name.endswith(("alpha", "weight_g")):
            value.mul_(0.5 + torch.rand_like(value))
    model.eval().save(str(path), package=False)
    codec = load_codec(path)
    assert isinstance(codec, DacCodec)
    audio = noise(2, 1, samples)
    _, codes, projected, _, _ = model.encode(model.preprocess(audio, model.sample_rate))
    found, quantized = codec.quantize(codec.encode(audio))
    assert torch.equal(found, codes)
    assert len(codes.unique()) > 8, "so few codes prove little"
    torch.testing.assert_close(codec.match_space(codec.encode(audio)), projected)
    from_codes = model.quantizer.from_codes(codes)[0]
    assert torch.equal(quantized, from_codes)
    wave = model.decode(from_codes)[..., :samples]
    decoded = codec.decode(quantized, samples)
    assert torch.equal(decoded[..., : wave.shape[-1]], wave)
    assert not decoded[..., wave.shape[-1] :].any()  # where odd ratios give fewer samples


@pytest.mark.parametrize(
    "sizes",
    [
        {"encoder_rates": [2, 4], "decoder_rates": [4, 2]},
        {"encoder_rates": [2, 3, 5], "decoder_rates": [5, 3, 2]},
        {"encoder_rates": [2, 6], "decoder_rates": [3, 2, 2]},
        {"encoder_rates": [2, 4], "decoder_rates": [4, 2], "latent_dim": 12},
    ],
    ids=["even", "odd", "not mirrored", "narrow"],
)
def test_dac(dac: Any, tmp_path: Path, sizes: dict) -> None:
    model = dac.DAC(
        encoder_dim=8, decoder_dim=32, n_codebooks=4, codebook_size=64, codebook_dim=4, sample_rate=16000, **sizes
    )
    check_dac(model, tmp_path / "weights.pth", 5003)


@pytest.mark.slow
def test_dac_in_full_size(dac: Any, tmp_path: Path) -> None:
    check_dac(dac.DAC(), tmp_path / "weights.pth", 5003)


def test_what_the_package_itself_saves(dac: Any, tmp_path: Path) -> None:
    """Its trainings leave two files, of which one holds code."""
    from codec_ft.errors import UserError

    model = dac.DAC(encoder_dim=4, encoder_rates=[2, 2], decoder_dim=8, decoder_rates=[2, 2], n_codebooks=2)
    folder = Path(model.save_to_folder(tmp_path))
    assert load_codec(folder / "weights.pth").n_codebooks == 2
    with pytest.raises(UserError, match="holds code"):
        load_codec(folder / "package.pth")
