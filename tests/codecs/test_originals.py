"""Checkpoints of the original packages: what is read is what was written, and what is no such checkpoint is refused."""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from original_models import DAC, LAC, OriginalDac, OriginalEncodec
from torch import Tensor
from transformers import DacModel, EncodecModel

from codec_ft.codecs.base import fold_weight_norm
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.lac import LacModel
from codec_ft.codecs.load import load_codec
from codec_ft.codecs.models import summarize
from codec_ft.codecs.original_names import original_names
from codec_ft.codecs.originals import read_original
from codec_ft.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning", "ignore:.*pickle protocol:UserWarning")

NARROW = DAC | {"latent_dim": 6, "encoder_rates": [2, 6], "decoder_rates": [2, 6]}
"""Latents of fewer dimensions than the encoder has channels, as in the model of 16 kbps; rates not mirrored."""


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(1)


@pytest.mark.parametrize(
    "arguments, is_lac", [(DAC, False), (NARROW, False), (LAC, True)], ids=["dac", "narrow dac", "lac"]
)
@torch.no_grad()
def test_dac_and_lac_to_the_bit(tmp_path: Path, arguments: dict, is_lac: bool) -> None:
    original = OriginalDac(arguments, is_lac=is_lac).eval()
    model = read_original(original.save(tmp_path / "codec.pth"))
    assert isinstance(model, LacModel if is_lac else DacModel)
    codec = DacCodec(model, "codec")
    assert codec.sample_rate == arguments["sample_rate"]
    assert (codec.n_codebooks, codec.codebook_size) == (3, 16)
    audio = 10 * noise(2, 1, 30 * codec.hop_length)
    latents = original.encoder(audio)
    assert torch.equal(codec.encode(audio), latents)
    codes = original.quantizer.encode(latents)
    assert len(codes.unique()) > 8, "so few codes prove little"
    found, quantized = codec.quantize(latents)
    assert torch.equal(found, codes)
    assert torch.equal(quantized, original.quantizer.decode(codes))
    wave = original.decoder(quantized)
    assert torch.equal(codec.decode(quantized), wave[..., : audio.shape[-1]])


@pytest.mark.parametrize("grouped", [False, True], ids=["mono", "stereo"])
@torch.no_grad()
def test_encodec_to_the_bit(tmp_path: Path, grouped: bool) -> None:
    original = OriginalEncodec(grouped=grouped, n_codebooks=5, lstm_layers=1).eval()
    codec = load_codec(original.save(tmp_path / "encodec.th"))
    assert isinstance(codec, SegmentedEncodecCodec if grouped else EncodecCodec)
    # What the file does not say: the rate, and for the stereo model segments of a second which overlap by a hundredth.
    assert codec.sample_rate == (48000 if grouped else 24000)
    if isinstance(codec, SegmentedEncodecCodec):
        assert (codec.segment_length, codec.segment_stride) == (48000, 47520)
        assert codec.config.normalize
    assert (codec.channels, codec.hop_length, codec.n_codebooks, codec.codebook_size, codec.latent_dim) == (
        1 + grouped, 12, 5, 16, 8,
    )  # fmt: skip
    audio = noise(2, codec.channels, 360)
    latents = original.encoder(audio)
    assert torch.equal(codec.encoder(audio), latents)
    assert torch.equal(codec.decoder(latents), original.decoder(latents))
    codebooks = torch.stack([layer._codebook.embed for layer in original.quantizer.vq.layers])
    codes = torch.tensor([3, 15, 0, 7, 8])[None, :, None]
    summed = sum(codebooks[k, code] for k, code in enumerate(codes[0, :, 0]))
    torch.testing.assert_close(codec.codes_to_latents(codes)[0, :, 0], summed)


def test_the_published_sizes_are_read_off_the_files(tmp_path: Path) -> None:
    """All of the configuration of transformers, which was made from the same files."""
    from codec_ft.codecs.original_sizes import encodec_config
    from codec_ft.codecs.releases import RELEASES

    for name in ("encodec_24khz", "encodec_48khz"):
        expected = RELEASES[name].config
        with torch.device("meta"):
            model = EncodecModel(expected)
        names = original_names(model)
        state = {names[key]: value for key, value in model.state_dict().items()}
        assert encodec_config(state, tmp_path).to_dict() == expected.to_dict()


def test_names_by_hand() -> None:
    """Some that are easily mistaken for their neighbours; the numbers are those of the original modules."""
    with torch.device("meta"):
        from transformers import DacConfig, EncodecConfig

        encodec, dac = original_names(EncodecModel(EncodecConfig())), original_names(DacModel(DacConfig()))
    assert encodec["encoder.layers.0.conv.bias"] == "encoder.model.0.conv.conv.bias"
    assert (
        encodec["encoder.layers.1.block.3.conv.parametrizations.weight.original0"]
        == "encoder.model.1.block.3.conv.conv.weight_g"
    )
    assert encodec["encoder.layers.13.lstm.weight_ih_l1"] == "encoder.model.13.lstm.weight_ih_l1"
    assert (
        encodec["decoder.layers.3.conv.parametrizations.weight.original1"] == "decoder.model.3.convtr.convtr.weight_v"
    )
    assert encodec["quantizer.layers.31.codebook.embed"] == "quantizer.vq.layers.31._codebook.embed"
    assert dac["encoder.conv2.weight"] == "encoder.block.6.weight"
    assert dac["encoder.block.1.res_unit3.snake2.alpha"] == "encoder.block.2.block.2.block.2.alpha"
    assert dac["encoder.block.3.conv1.bias"] == "encoder.block.4.block.4.bias"
    assert dac["decoder.block.0.conv_t1.weight"] == "decoder.model.1.block.1.weight"
    assert dac["decoder.block.3.res_unit1.conv2.weight"] == "decoder.model.4.block.2.block.3.weight"
    assert dac["quantizer.quantizers.8.out_proj.bias"] == "quantizer.quantizers.8.out_proj.bias"


def test_weight_norm_may_be_folded_or_in_the_new_notation(tmp_path: Path) -> None:
    original = OriginalDac(DAC)
    expected = read_original(original.save(tmp_path / "old.pth")).state_dict()
    old = original.state_dict()
    new = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for key, value in old.items()
    }
    for layer in list(original.modules()):
        if hasattr(layer, "weight_g"):
            torch.nn.utils.remove_weight_norm(layer)
    for name, state in (("new", new), ("folded", original.state_dict())):
        torch.save({"state_dict": state, "metadata": {"kwargs": DAC}}, tmp_path / f"{name}.pth")
        found = read_original(tmp_path / f"{name}.pth").state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], expected[key]) for key in expected), name


def test_half_precision_is_read_as_single(tmp_path: Path) -> None:
    model = read_original(OriginalDac(DAC).half().save(tmp_path / "codec.pth"))
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_one_size_of_codebooks_may_be_given_per_layer(tmp_path: Path) -> None:
    original = OriginalDac(DAC)
    original.arguments = DAC | {"codebook_dim": [3, 3, 3]}
    assert summarize(read_original(original.save(tmp_path / "codec.pth")).config).n_codebooks == 3


def test_the_hash_in_the_name_is_checked_wherever_the_file_lies(tmp_path: Path) -> None:
    path = OriginalEncodec(grouped=False).save(tmp_path / "encodec.th")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    good = path.rename(tmp_path / f"encodec_mine-{digest[:8]}.th")
    assert load_codec(good).name == str(good)
    bad = good.rename(tmp_path / "encodec_24khz-d7cc33bc.th")
    text = refusal(bad)
    assert digest in text
    assert "d7cc33bc" in text
    assert "fetch it again" in text


def refusal(path: Path) -> str:
    """What is said of a file, which is one line and begins with its name."""
    with pytest.raises(UserError) as caught:
        load_codec(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("name", ["weights.pth", "encodec.th"])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, name: str, zipped: bool) -> None:
    mark, path = tmp_path / "code was run", tmp_path / name
    content = {"state_dict": {"encoder.block.0.bias": Bomb(mark)}, "metadata": {"kwargs": DAC}}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    text = refusal(path)
    assert f"wants to run {os.mkdir.__module__}.mkdir" in text
    assert "Nothing of it was run" in text
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists(), "the bomb is none, so that the test proves nothing"


def test_bare_pickles_are_not_run_either(tmp_path: Path) -> None:
    mark = tmp_path / "code was run"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path = tmp_path / f"weights{protocol}.pth"
        path.write_bytes(pickle.dumps({"state_dict": Bomb(mark)}, protocol))
        refusal(path)
        assert not mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_are_cut_short(tmp_path: Path, share: float, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save(
        {"state_dict": OriginalDac(DAC).state_dict(), "metadata": {"kwargs": DAC}},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    text = refusal(path)
    assert "is broken, cut short" in text or "wants to run" in text  # cut in the middle of a name


@pytest.mark.parametrize(
    "content", [b"<!DOCTYPE html><html>not found", b"RIFF" * 100, b"version https://git-lfs", b"\0"]
)
def test_files_that_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert "no checkpoint at all" in refusal(path)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "weights.pth").write_bytes(b"secret")
    monkeypatch.setattr(torch, "load", closed)
    assert "cannot be read (Permission denied)" in refusal(tmp_path / "weights.pth")


def test_a_torch_package_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "package.pth"
    with torch.package.PackageExporter(str(path)) as package:
        package.save_pickle("DAC", "DAC.pth", {"kwargs": DAC})
    assert "is a torch package, which holds code. Give the weights.pth" in refusal(path)


@pytest.mark.parametrize(
    "content, words",
    [
        ([1, 2], "holds list,"),
        ({}, "holds nothing,"),
        ({1: torch.zeros(3), 2: torch.zeros(3)}, "holds 1, 2,"),
        (torch.zeros(3), "holds Tensor,"),
        ({"transformer.layers.0.weight": torch.zeros(2)}, "holds transformer.layers.0.weight,"),
        (
            {"best_state": {"encoder.model.0.conv.conv.bias": torch.zeros(2)}, "xp.cfg": "x"},
            "holds best_state, xp.cfg,",
        ),
        ({"state_dict": {"a.b": torch.zeros(2)}, "metadata": {"kwargs": DAC}}, "holds a.b,"),
        ({"state_dict": [1], "metadata": {"kwargs": DAC}}, "holds state_dict, metadata,"),
        ({"state_dict": {"encoder.block.0.bias": 3}, "metadata": {"kwargs": DAC}}, "holds state_dict, metadata,"),
        ({"encoder.block.0.bias": torch.zeros(2)}, "holds encoder.block.0.bias,"),
        ({"encoder.model.0.conv.conv.bias": torch.zeros(2)}, "its encoder or its codebooks are not an EnCodec's"),
    ],
)
def test_checkpoints_of_something_else(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "model.pth")
    assert words in refusal(tmp_path / "model.pth")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"n_codebooks": 4}, "quantizer.quantizers.3.in_proj.weight is missing"),
        ({"n_codebooks": 2}, "quantizer.quantizers.2.in_proj.bias is not part of the model"),
        ({"codebook_size": 32}, "quantizer.quantizers.0.codebook.weight has shape [16, 3], expected [32, 3]"),
        ({"codebook_size": 15}, "no codec can have the size that it gives: The codebook_size must be a power of 2"),
        ({"latent_dim": 8}, "encoder.block.4.weight has shape [16, 16, 3], expected [8, 16, 3]"),
        ({"encoder_rates": [4, 2]}, "encoder.block.1.block.4.weight has shape [8, 4, 4], expected [8, 4, 8]"),
        ({"encoder_rates": [2, 2, 2]}, "encoder.block.3.block.0.block.0.alpha is missing"),
        ({"decoder_rates": [2, 4]}, "decoder.model.1.block.1.weight has shape [16, 8, 8], expected [16, 8, 4]"),
        ({"decoder_rates": [2, 2]}, "encoder_rates [2, 4] and decoder_rates [2, 2] disagree"),
        ({"decoder_dim": 32}, "decoder.model.0.weight has shape [16, 16, 7], expected [32, 16, 7]"),
        ({"codebook_dim": [3, 3, 4]}, "kwargs.codebook_dim: Value error, differs between codebooks ([3, 3, 4])"),
        ({"sample_rate": 0}, "kwargs.sample_rate: Input should be greater than 0"),
        ({"encoder_rates": []}, "kwargs.encoder_rates: List should have at least 1 item"),
        ({"encoder_rates": "2, 4"}, "kwargs.encoder_rates: Input should be a valid list"),
        ({"n_codebooks": None}, "kwargs.n_codebooks: Input should be a valid integer"),
    ],
)
def test_metadata_that_do_not_fit_the_tensors(tmp_path: Path, change: dict, words: str) -> None:
    original = OriginalDac(DAC)
    original.arguments = DAC | change
    assert words in refusal(original.save(tmp_path / "weights.pth"))


def test_weight_norm_that_does_not_fit_itself(tmp_path: Path) -> None:
    state = OriginalDac(DAC).state_dict()
    state["encoder.block.0.weight_g"] = torch.ones(3, 1, 1)
    torch.save({"state_dict": state, "metadata": {"kwargs": DAC}}, tmp_path / "weights.pth")
    assert "encoder.block.0.weight is missing and 2 more" in refusal(tmp_path / "weights.pth")


@pytest.mark.parametrize("metadata", [{}, {"kwargs": {}}, {"kwargs": [1]}, None, "none"])
def test_metadata_that_say_nothing(tmp_path: Path, metadata: object) -> None:
    torch.save({"state_dict": OriginalDac(DAC).state_dict(), "metadata": metadata}, tmp_path / "weights.pth")
    assert "metadata.kwargs" in refusal(tmp_path / "weights.pth")


def test_lac_of_odd_rates_is_refused(tmp_path: Path) -> None:
    original = OriginalDac(LAC, is_lac=True)
    original.arguments = LAC | {"encoder_rates": [4, 3]}
    assert "LAC has even ratios, got [4, 3, 6, 2]" in refusal(original.save(tmp_path / "codec.pth"))


NAME = "decoder.model.3.convtr.convtr.weight_v"


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda state: state.pop(NAME), f"{NAME} is missing"),
        (lambda state: state.update({NAME: state[NAME][:-1]}), f"{NAME} has shape [15, 8, 8], expected [16, 8, 8]"),
        (lambda state: state.update(more=torch.zeros(2)), "more is not part of the model"),
        (lambda state: state.pop("quantizer.vq.layers.1._codebook.embed"), "_codebook.embed is missing and 4 more"),
        (lambda state: [state.pop(key) for key in list(state) if "quantizer" in key], "its codebooks are not"),
        (
            lambda state: state.update({"encoder.model.3.conv.conv.weight_v": torch.zeros(8, 4, 1)}),
            "its encoder or its codebooks are not",
        ),
    ],
)
def test_encodecs_that_are_not_whole(tmp_path: Path, spoil: Callable[[dict], object], words: str) -> None:
    state = OriginalEncodec(grouped=False).state_dict()
    spoil(state)
    torch.save(state, tmp_path / "encodec.th")
    assert words in refusal(tmp_path / "encodec.th")


@torch.no_grad()
def test_an_encodec_keeps_its_weight_norm_for_training(tmp_path: Path) -> None:
    model = read_original(OriginalEncodec(grouped=False).save(tmp_path / "encodec.th"))
    assert isinstance(model, EncodecModel)
    audio = noise(1, 1, 120)
    before = model.eval().encoder(audio)
    assert any(name.endswith("weight.original0") for name, _ in model.named_parameters())
    fold_weight_norm(model)
    assert torch.equal(model.encoder(audio), before)
