"""Audio files as tokens and back: what is coded, exact lengths, and the file of tokens; then the two commands."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from codec_ft.codecs.__main__ import app
from codec_ft.codecs.base import Codec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.encodec_segments import SegmentedEncodecCodec
from codec_ft.codecs.stereo import StereoMode
from codec_ft.codecs.tokens import TokenizedAudio, decode_tokens, encode_file
from codec_ft.errors import UserError


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, shape)


def write(path: Path, audio: np.ndarray, rate: int) -> Path:
    soundfile.write(path, audio.T, rate, subtype="FLOAT")
    return path


@torch.no_grad()
def codes_of(codec: Codec, audio: np.ndarray) -> torch.Tensor:
    """Codes `[K, T]` of a mono signal `[N]`."""
    return codec.quantize(codec.encode(torch.from_numpy(audio).float()[None, None]))[0][0]


@pytest.mark.parametrize("stereo", ["mid_side", "left_right"])
def test_stereo_in_a_mono_codec(tmp_path: Path, tiny_codec: EncodecCodec, stereo: StereoMode) -> None:
    audio = noise(2, 4003)
    tokens = encode_file(tiny_codec, write(tmp_path / "a.wav", audio, 8000), stereo=stereo)
    left, right = audio
    expected = (left, right) if stereo == "left_right" else ((left + right) / 2, (left - right) / 2)
    assert (tokens.length, tokens.sample_rate, tokens.stereo, tokens.scales) == (4003, 8000, stereo, None)
    assert tokens.codes.shape == (2, 3, 201)
    for codes, signal in zip(tokens.codes, expected, strict=True):
        assert (codes == codes_of(tiny_codec, signal)).float().mean() > 0.99  # but for ties
    decoded = decode_tokens(tiny_codec, tokens)
    assert decoded.shape == (2, 4003) and decoded.dtype == np.float32
    first, second = (tiny_codec.decode(tiny_codec.codes_to_latents(row[None]), 4003)[0, 0] for row in tokens.codes)
    pair = (first, second) if stereo == "left_right" else (first + second, first - second)
    np.testing.assert_allclose(decoded, torch.stack(pair).numpy(), atol=1e-5)


def test_mono_has_one_row_and_more_channels_their_average(tmp_path: Path, tiny_codec: EncodecCodec) -> None:
    audio = noise(6, 4003)
    mono = encode_file(tiny_codec, write(tmp_path / "mono.wav", audio[:1], 8000))
    assert mono.codes.shape == (1, 3, 201) and mono.stereo is None
    assert decode_tokens(tiny_codec, mono).shape == (1, 4003)
    surround = encode_file(tiny_codec, write(tmp_path / "six.wav", audio, 8000), n_codebooks=2)
    assert surround.codes.shape == (1, 2, 201) and surround.stereo is None
    assert (surround.codes[0] == codes_of(tiny_codec, audio.mean(axis=0))[:2]).float().mean() > 0.99


@pytest.mark.parametrize("channels", [1, 2])
def test_a_stereo_codec_takes_both_channels_and_keeps_the_scales(
    tmp_path: Path, segmented: SegmentedEncodecCodec, channels: int
) -> None:
    audio = 0.01 * noise(channels, 3777)
    tokens = encode_file(segmented, write(tmp_path / "a.wav", audio, 4000))
    assert tokens.stereo is None and tokens.codes.shape == (1, 3, segmented.n_frames(3777))
    both = torch.from_numpy(np.repeat(audio, 2 // channels, axis=0)).float()[None]
    scales = segmented.scales(both)
    assert tokens.scales is not None and scales is not None
    torch.testing.assert_close(tokens.scales, scales)
    tokens.save(tmp_path / "a.npz")
    decoded = decode_tokens(segmented, TokenizedAudio.load(tmp_path / "a.npz"))
    np.testing.assert_allclose(decoded, segmented.reconstruct(both)[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("rate, length, resampled", [(44100, 22050, 4000), (11025, 1000, 726), (8000, 1, 1)])
def test_the_length_is_that_of_the_resampled_file(
    tmp_path: Path, tiny_codec: EncodecCodec, rate: int, length: int, resampled: int
) -> None:
    tokens = encode_file(tiny_codec, write(tmp_path / "a.wav", noise(1, length), rate))
    assert tokens.length == resampled
    assert decode_tokens(tiny_codec, tokens).shape == (1, resampled)


@pytest.fixture
def tokens() -> TokenizedAudio:
    codes = torch.randint(16, (2, 3, 201), generator=torch.Generator().manual_seed(0))
    return TokenizedAudio(codes, 4003, 8000, "tiny", "left_right")


def test_saved_and_loaded_is_the_same(tmp_path: Path, tokens: TokenizedAudio) -> None:
    path = tmp_path / "new folder" / "a.npz"
    tokens.save(path)
    again = TokenizedAudio.load(path)
    assert torch.equal(again.codes, tokens.codes) and again.codes.dtype == torch.long
    assert again.scales is None
    assert (again.length, again.sample_rate, again.codec, again.stereo) == (4003, 8000, "tiny", "left_right")
    assert np.load(path, allow_pickle=False)["codes"].dtype == np.uint16
    assert [file.name for file in path.parent.iterdir()] == ["a.npz"]


def test_codes_of_a_huge_codebook_keep_their_value(tmp_path: Path) -> None:
    tokens = TokenizedAudio(torch.tensor([[[0, 70000]]]), 40, 8000, "huge")
    tokens.save(tmp_path / "a.npz")
    assert TokenizedAudio.load(tmp_path / "a.npz").codes.tolist() == [[[0, 70000]]]


def test_files_that_hold_no_tokens(tmp_path: Path, tokens: TokenizedAudio) -> None:
    tokens.save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("a song")
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "foreign.npz", codes=np.zeros((1, 2, 3)))
    np.savez(tmp_path / "pickled.npz", format=np.array({"any": "object"}, dtype=object))
    (tmp_path / "folder.npz").mkdir()
    for name in ("cut.npz", "empty.npz", "text.npz", "array.npy", "foreign.npz", "pickled.npz", "folder.npz"):
        with pytest.raises(UserError, match=f"{name}: is .*no file of tokens"):
            TokenizedAudio.load(tmp_path / name)
    with pytest.raises(UserError, match=r"missing\.npz: no such file"):
        TokenizedAudio.load(tmp_path / "missing.npz")


def test_tokens_of_another_codec(tiny_codec: EncodecCodec, tokens: TokenizedAudio) -> None:
    def changed(**changes: object) -> TokenizedAudio:
        return TokenizedAudio(**{**vars(tokens), **changes})

    for wrong, message in [
        (changed(sample_rate=16000), "expected audio at 8000 Hz, got 16000 Hz"),
        (changed(codes=tokens.codes + 1), r"codes must lie in 0\.\.15, got 1\.\.16"),
        (changed(codes=tokens.codes.repeat(1, 2, 1)), "1 <= K <= 3"),
        (
            changed(length=4100),
            r"expected codes \[2, K, 205\] for 4100 samples of stereo=left_right, got \[2, 3, 201\]",
        ),
        (changed(stereo=None), r"expected codes \[1, K, 201\]"),
        (changed(scales=torch.ones(1, 1)), "does not normalise"),
    ]:
        with pytest.raises(ValueError, match=message):
            decode_tokens(tiny_codec, wrong)


def call(*words: object) -> tuple[int, str]:
    """Exit status, and what the command printed."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_the_commands(tmp_path: Path, tiny_codec_folder: Path, tiny_codec: EncodecCodec) -> None:
    song = write(tmp_path / "song.wav", noise(2, 4003), 8000)
    packed, decoded = tmp_path / "song.npz", tmp_path / "song_decoded.wav"
    status, told = call("encode", song, packed, "--codec", tiny_codec_folder, "--stereo", "left_right")
    assert status == 0 and f"{packed}: codes [2, 3, 201], " in told
    assert call("decode", packed, decoded, "--chunk-seconds", 0.1, "--batch-size", 2)[0] == 0
    samples, rate = soundfile.read(decoded)
    assert (samples.shape, rate) == ((4003, 2), 8000)
    expected = decode_tokens(tiny_codec, encode_file(tiny_codec, song, stereo="left_right"))
    np.testing.assert_allclose(samples.T, np.clip(expected, -1, 1 - 2**-15), atol=1e-4)

    before = packed.read_bytes(), decoded.read_bytes()
    for words in (("encode", song, packed, "--codec", tiny_codec_folder), ("decode", packed, decoded)):
        status, told = call(*words)
        assert status == 2 and "is there already. Add --overwrite" in told
    assert (packed.read_bytes(), decoded.read_bytes()) == before
    assert call("encode", song, packed, "--codec", tiny_codec_folder, "--codebooks", 1, "--overwrite")[0] == 0
    assert TokenizedAudio.load(packed).codes.shape == (2, 1, 201)
    assert call("decode", packed, tmp_path / "song.flac")[0] == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["encode", "missing.wav", "a.npz"], "missing.wav: no such file"),
        (["encode", "song.wav", "a.wav.tokens"], "Choose a name that ends in .npz"),
        (["encode", "song.wav", "a.npz", "--codebooks", "99"], "--codebooks 99: "),
        (["encode", "song.wav", "a.npz", "--device", "abacus"], "--device abacus: cannot be used here"),
        (["decode", "song.wav", "b.wav"], "song.wav: is broken or no file of tokens"),
        (["decode", "tokens.npz", "b.wav", "--codec", "nowhere"], "nowhere: no such codec"),
        (["decode", "tokens.npz", "b.wav", "--codec", "demo"], "say with --codec where that is now"),
        (["decode", "tokens.npz", "b.xyz"], "b.xyz: is of no format that can be written"),
    ],
)
def test_mistakes_are_told_in_one_line_and_write_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_codec_folder: Path,
    tokens: TokenizedAudio,
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("song.wav"), noise(1, 500), 8000)
    TokenizedAudio(**{**vars(tokens), "codec": str(tiny_codec_folder)}).save(Path("tokens.npz"))
    before = sorted(tmp_path.iterdir())
    codec = ["--codec", str(tiny_codec_folder)] if words[0] == "encode" else []
    status, told = call(*words, *codec)
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    assert status == 2 and len(errors) == 1 and message in errors[0]
    assert sorted(tmp_path.iterdir()) == before
