"""Sounds that are written anew, but for what is kept of them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import vampnet_format as vampnet
from original_models import LAC, OriginalDac
from torch import Tensor
from typer.testing import CliRunner

from codec_ft.audio.files import read_audio, write_audio
from codec_ft.audio.resample import resample
from codec_ft.codecs.base import Codec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.long import encode_long
from codec_ft.errors import UserError
from codec_ft.metrics.loudness import integrated_loudness
from token_models import apply
from token_models.__main__ import app
from token_models.apply import TrainedTokens
from token_models.load import load_token_models
from token_models.loudness import gain_to
from token_models.masks.kept import Kept
from token_models.model import TokenModel
from token_models.save import TokenFacts, save_token_models

SMALL = {"dim": 16, "heads": 2, "layers": 1, "dropout": 0.0}
SHAPE = (1, 3, 10)
HOP = 20


def sound(seconds: float = 0.5, rate: int = 8000, channels: int = 1, seed: int = 0) -> np.ndarray:
    shape = (channels, round(seconds * rate))
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def write_models(folder: Path, codec: EncodecCodec, codec_folder: Path, **condition: bool) -> Path:
    """Models of three codebooks with random weights."""
    sizes = SMALL | {"condition": {**condition, "drop": 0.0}}
    facts = TokenFacts.model_validate(
        {
            "codec": str(codec_folder), "stem": "bass", "input": "mixture", "seconds": 0.4, "fine_seconds": 0.2,
            "coarse": {**sizes, "codebooks": 2}, "fine": {**sizes, "known": 2},
            "sampling": {"steps": 2}, "fine_sampling": {"steps": 1},
        }
    )  # fmt: skip
    torch.manual_seed(0)
    save_token_models({name: TokenModel(codec, config) for name, config in facts.models.items()}, facts, folder)
    return folder


@pytest.fixture
def deaf(tmp_path: Path, tiny_codec: EncodecCodec, tiny_codec_folder: Path) -> TrainedTokens:
    return load_token_models(write_models(tmp_path / "deaf", tiny_codec, tiny_codec_folder))


@pytest.fixture
def hearing(tmp_path: Path, tiny_codec: EncodecCodec, tiny_codec_folder: Path) -> TrainedTokens:
    return load_token_models(write_models(tmp_path / "hearing", tiny_codec, tiny_codec_folder, latents=True))


# What is kept


def kept_frames(**options: object) -> list[int]:
    """Frames of the first codebook that are kept in ten frames of 20 samples at 200 Hz: each lasts a tenth second."""
    mask = Kept.model_validate(options).mask(SHAPE, torch.zeros(1, 1, 10 * HOP), 200, HOP, torch.Generator())
    assert mask.shape == SHAPE and bool((mask == mask[:, :1]).all()), "no codebook is another than the others"
    return (~mask[0, 0]).nonzero()[:, 0].tolist()


def test_what_is_kept_is_what_was_said() -> None:
    assert kept_frames() == []
    assert kept_frames(period=4) == [0, 4, 8]
    assert kept_frames(period=4, width=2) == [0, 1, 4, 5, 8, 9]
    assert kept_frames(prefix=0.2, suffix=0.1) == [0, 1, 9]
    assert kept_frames(prefix=0.2, period=4) == [0, 1, 4, 8], "for any of several reasons"
    assert kept_frames(onsets=3) == [], "silence has no onsets"
    assert kept_frames(prefix=1.0) == list(range(10))
    assert kept_frames(prefix=1.0, forgotten=1.0) == []
    halves = Kept(prefix=0.1, suffix=0.2).mask((1, 3, 3), torch.zeros(1, 1, 3 * HOP), 200, HOP, torch.Generator())
    assert not halves.any(), "0.1 + 0.2 is a little more than 0.3"
    with pytest.raises(ValueError, match=r"prefix=1\.1 and suffix=0 seconds are more than the 1 s that there are"):
        kept_frames(prefix=1.1)


def test_onsets_are_kept_where_notes_begin() -> None:
    """A click in the middle of 2 s at 16 kHz, in frames of 20 ms."""
    audio = torch.zeros(1, 1, 32000)
    audio[..., 16000:16400] = torch.sin(torch.arange(400) * 0.5)
    mask = Kept(onsets=1).mask((1, 2, 100), audio, 16000, 320, torch.Generator())
    (first, second) = (~mask[0, 0]).nonzero()[:, 0].tolist()
    assert abs(first - 50) <= 2 and second == first + 1, "the frame of the attack and one more"


def test_of_kept_frames_the_first_codebooks() -> None:
    mask = Kept(prefix=0.3, codebooks=1).mask(SHAPE, torch.zeros(1, 1, 10 * HOP), 200, HOP, torch.Generator())
    known = torch.zeros(SHAPE, dtype=torch.bool)
    known[:, 0, :3] = True
    assert torch.equal(mask, ~known)


# Models at work


@torch.no_grad()
def test_what_is_not_masked_stays_and_the_rest_is_written(deaf: TrainedTokens) -> None:
    codes = torch.randint(16, (1, 3, 60), generator=torch.Generator().manual_seed(0))
    mask = torch.rand(codes.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    found = deaf._writer.rewrite(codes, mask, None, [0])
    assert torch.equal(found[~mask], codes[~mask])
    assert float((found[mask] != codes[mask]).float().mean()) > 0.5
    assert torch.equal(deaf._writer.rewrite(codes, mask & False, None, [0]), codes), "nothing to do"
    assert torch.equal(deaf._writer.rewrite(codes, mask, None, [0], 1), deaf._writer.rewrite(codes, mask, None, [0], 1))
    with pytest.raises(ValueError, match=r"expected a mask of booleans \[1, 3, 60\], got torch.bool \[1, 3, 59\]"):
        deaf._writer.rewrite(codes, mask[..., 1:], None, [0])
    with pytest.raises(ValueError, match=r"expected a mask of booleans \[1, 3, 60\], got torch.bool \[1, 6, 60\]"):
        deaf._writer.rewrite(codes, torch.cat([mask, mask], dim=1), None, [0])
    with pytest.raises(ValueError, match=r"expected a mask of booleans \[1, 3, 60\], got torch.float32"):
        deaf._writer.rewrite(codes, mask.float(), None, [0])
    with pytest.raises(ValueError, match=r"expected codes \[B, 3, T\]"):
        deaf._writer.rewrite(codes[:, :2], mask[:, :2], None, [0])
    with pytest.raises(ValueError, match=r"known codes must lie in 0\.\.15"):
        deaf._writer.rewrite(codes + 16, mask, None, [0])
    with pytest.raises(ValueError, match="steps"):
        deaf._writer.rewrite(codes, mask, None, [0], 0)
    # What stands under the mask is not looked at, not even by models that begin with a draft.
    assert torch.equal(deaf._writer.rewrite(codes.masked_fill(mask, -1), mask, None, [0]), found)
    for name, stage in deaf._writer.stages.items():
        doubting = stage.sampling.model_copy(update={"doubt": 0.1})
        deaf._writer.stages[name] = replace(stage, sampling=doubting)
    assert torch.equal(deaf._writer.rewrite(codes, mask, None, [0]), found)


def test_a_sound_of_any_rate_and_channels(deaf: TrainedTokens) -> None:
    audio = sound(0.7, rate=11025, channels=2)
    found = deaf.regenerate(audio, 11025, Kept(period=3))
    assert found.shape == audio.shape and found.dtype == np.float32 and np.isfinite(found).all()
    np.testing.assert_array_equal(deaf.regenerate(audio, 11025, Kept(period=3)), found)
    deaf.seed = 1
    assert not np.array_equal(deaf.regenerate(audio, 11025, Kept(period=3)), found)
    np.testing.assert_array_equal(deaf.regenerate(audio, 11025, Kept(period=1)), audio)


def test_a_temperature_draws_another_version_for_each_seed(deaf: TrainedTokens) -> None:
    def versions(temperature: float | None) -> Iterator[np.ndarray]:
        deaf.temperature = temperature
        for deaf.seed in (0, 1):
            yield deaf.regenerate(sound(), 8000, Kept())

    deaf.steps = 1  # of several, the order would be drawn, too
    np.testing.assert_array_equal(*versions(0))
    for drawn in (None, 0.5):
        first, second = versions(drawn)
        assert not np.array_equal(first, second)
    deaf.temperature = float("nan")
    with pytest.raises(ValueError, match="temperature must be zero or above, and finite; got nan"):
        deaf.regenerate(sound(), 8000, Kept())


def test_what_is_too_short_for_a_sample_at_the_codecs_rate_stays(deaf: TrainedTokens, hearing: TrainedTokens) -> None:
    click = np.full((2, 1), 0.5, dtype=np.float32)
    np.testing.assert_array_equal(deaf.regenerate(click, 44100, Kept()), click)
    np.testing.assert_array_equal(hearing.enhance(click, 44100), 0 * click)
    with pytest.raises(ValueError, match=r"sample_rate must be a whole number of Hz, got 8000\.0"):
        hearing.enhance(sound(), 8000.0)  # type: ignore[arg-type]


def test_halves_are_all_of_it(deaf: TrainedTokens) -> None:
    """Of an odd number of frames, too."""
    audio = sound(0.5 + 10 / 8000)
    half = audio.shape[1] / 8000 / 2
    np.testing.assert_array_equal(deaf.regenerate(audio, 8000, Kept(prefix=half, suffix=half)), audio)


def test_a_chunk_without_length_is_refused_before_any_work(deaf: TrainedTokens) -> None:
    for work in (
        lambda: deaf.enhance(sound(), 8000, chunk_seconds=0),
        lambda: deaf.regenerate(sound(), 8000, Kept(), chunk_seconds=-1),
    ):
        with pytest.raises(ValueError, match="chunk_seconds must be above 0"):
            work()
    with pytest.raises(ValueError, match="chunk_seconds must be above 0 and finite, got inf"):
        deaf.enhance(sound(), 8000, chunk_seconds=float("inf"))


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("seed", -1), ("seed", 0.5)])
def test_settings_that_nothing_can_be_drawn_with_are_refused_before_any_work(
    deaf: TrainedTokens, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    setattr(deaf, name, value)
    monkeypatch.setattr(deaf.codec, "encode", None)
    for work in (lambda: deaf.enhance(sound(), 8000), lambda: deaf.regenerate(sound(), 8000, Kept())):
        with pytest.raises(ValueError, match=f"{name} must be a whole number .* got {value}"):
            work()


def test_a_sound_is_heard_at_the_loudness_that_was_learnt(deaf: TrainedTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its codes are the same at any level, and it comes back at its own."""
    deaf.facts = deaf.facts.model_copy(update={"loudness": -24.0})
    heard = []

    def listen(codec: Codec, audio: Tensor, *options: int, **more: float) -> Tensor:
        heard.append(audio)
        return encode_long(codec, audio, *options, **more)

    monkeypatch.setattr(apply, "encode_long", listen)
    audio, kept = sound(1.0, channels=2), Kept(period=2)
    loud, quiet = (deaf.regenerate(gain * audio, 8000, kept) for gain in (1.0, 0.01))
    np.testing.assert_allclose(100 * quiet, loud, rtol=1e-3, atol=1e-4)
    both = torch.cat([channel[0] for channel in heard[:2]])
    assert integrated_loudness(both, 8000) == pytest.approx(-24.0, abs=0.5), "both channels together"
    silent = deaf.regenerate(0 * audio, 8000, kept)
    assert np.isfinite(silent).all()


def test_the_gain_stops_at_the_peak() -> None:
    """A click of any level is hardly loud; silence has no loudness."""
    tone = 0.1 * torch.sin(torch.arange(16000) * 0.5)[None]
    assert integrated_loudness(gain_to(-24.0, tone, 8000) * tone, 8000) == pytest.approx(-24.0, abs=0.05)
    click = torch.zeros(1, 16000)
    click[0, 100] = 0.5
    assert gain_to(-24.0, click, 8000) == pytest.approx(2.0)
    assert gain_to(-24.0, torch.zeros(1, 16000), 8000) == 1.0


def test_models_that_hear_are_shown_what_they_hear(hearing: TrainedTokens, deaf: TrainedTokens) -> None:
    audio, mixture = sound(), sound(seed=1)
    found = hearing.regenerate(audio, 8000, Kept(prefix=0.1), [mixture])
    assert not np.array_equal(found, hearing.regenerate(audio, 8000, Kept(prefix=0.1), [-mixture]))
    with pytest.raises(UserError, match="hears mixture while it writes; give that of the same music"):
        hearing.regenerate(audio, 8000, Kept())
    with pytest.raises(UserError, match="hears nothing while it writes; leave out what it is to hear"):
        deaf.regenerate(audio, 8000, Kept(), [mixture])


# VampNet's files


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_a_folder_of_vampnets_files_is_loaded_as_a_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(2)
    (tmp_path / "files").mkdir()
    OriginalDac(LAC | {"n_codebooks": 14, "codebook_dim": 8}, is_lac=True).save(tmp_path / "files" / "codec.pth")
    for kind, sizes in (("coarse", vampnet.COARSE), ("c2f", vampnet.C2F)):
        vampnet.write(tmp_path / "files" / f"{kind}.pth", vampnet.random_state(sizes), sizes)
    models = load_token_models(tmp_path / "files")
    assert "CC BY-NC-SA 4.0" in caplog.text and models.facts.licence == "CC BY-NC-SA 4.0"
    assert models.facts.loudness == -24.0
    assert {name: model.n_codebooks for name, model in models.models.items()} == {"coarse": 4, "fine": 14}
    assert not models.hears and (models.facts.sampling.steps, models.facts.fine_sampling.steps) == (36, 2)
    models.steps = 2
    audio = sound(0.3, models.sample_rate)
    found = models.regenerate(audio, models.sample_rate, Kept(period=2, codebooks=3))
    assert found.shape == audio.shape and not np.array_equal(found, audio)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_files_that_were_swapped_are_told(tmp_path: Path) -> None:
    OriginalDac(LAC | {"n_codebooks": 14, "codebook_dim": 8}, is_lac=True).save(tmp_path / "codec.pth")
    for kind, sizes in (("c2f", vampnet.COARSE), ("coarse", vampnet.C2F)):
        vampnet.write(tmp_path / f"{kind}.pth", vampnet.random_state(sizes), sizes)
    with pytest.raises(UserError, match=r"its files do not belong together .* Have you swapped them"):
        load_token_models(tmp_path)


# The commands


def call(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_the_commands(hearing: TrainedTokens, deaf: TrainedTokens, tmp_path: Path) -> None:
    for name, seed in (("song.wav", 1), ("loop.wav", 0)):
        write_audio(tmp_path / name, sound(seed=seed, channels=2), 8000)
    song, loop, stem, other = (tmp_path / name for name in ("song.wav", "loop.wav", "bass.wav", "other.flac"))
    code, told = call("write", song, stem, "--models", hearing.name, "--steps", 1)
    assert code == 0 and str(stem) in told and read_audio(stem)[0].shape == (2, 4000)
    code, told = call("regenerate", loop, other, "--models", deaf.name, "--period", 3)
    assert code == 0 and read_audio(other)[0].shape == (2, 4000)
    code, told = call("regenerate", loop, other, "--models", deaf.name, "--temperature", 0, "--overwrite")
    assert code == 0 and read_audio(other)[0].shape == (2, 4000)
    code, told = call("list")
    assert code == 0 and "vampnet" in told


def test_what_is_heard_may_have_another_rate_and_other_channels(hearing: TrainedTokens, tmp_path: Path) -> None:
    """A run's mono samples at the codec's rate fit the song from which they were made."""
    write_audio(tmp_path / "loop.wav", sound(), 8000)
    for name, rate, channels in (("same.wav", 8000, 1), ("other.wav", 11025, 2)):
        write_audio(tmp_path / name, resample(sound(channels=1, seed=1), 8000, rate).repeat(channels, axis=0), rate)
        words = ("--models", hearing.name, "--heard", tmp_path / name, "--temperature", 0)
        code, told = call("regenerate", tmp_path / "loop.wav", tmp_path / f"from_{name}", *words)
        assert code == 0, told
    same, other = (read_audio(tmp_path / f"from_{name}.wav")[0] for name in ("same", "other"))
    assert same.shape == other.shape == (1, 4000)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["write", "song.wav", "song.wav"], "is there already. Add --overwrite to replace it"),
        (["write", "song.wav", "stem.doc"], "is of no format that can be written"),
        (["write", "song.wav", "stem.wav", "--device", "abacus"], "--device abacus: cannot be used here"),
        (["write", "song.wav", "stem.wav", "--context", "song.wav"], "was trained without a context; leave it out"),
        (["write", "no.wav", "stem.wav"], "no.wav"),
        (["regenerate", "song.wav", "stem.wav"], "hears mixture while it writes"),
        (
            ["regenerate", "song.wav", "stem.wav", "--heard", "short.wav"],
            "short.wav: lasts 0.250 s, but song.wav lasts 0.500 s. Give the same music, cut alike.",
        ),
        (["write", "song.wav", "stem.wav", "--temperature", "-1"], "--temperature must be zero or above, and finite"),
        (["regenerate", "song.wav", "stem.wav", "--prefix", "inf"], "--prefix: Input should be a finite number."),
        (
            ["regenerate", "song.wav", "stem.wav", "--heard", "song.wav", "--prefix", "9"],
            "prefix=9 and suffix=0 seconds are more than the 0.5 s that there are; keep less",
        ),
        (["regenerate", "song.wav", "stem.wav", "--codebooks", "1"], "codebooks limits what is kept, and nothing is"),
        (
            ["regenerate", "song.wav", "stem.wav", "--heard", "song.wav", "--period", "2", "--codebooks", "9"],
            "codebooks=9: there are 3; keep as many or fewer",
        ),
        (["regenerate", "song.wav", "stem.wav", "--width", "2"], "width is of no use without period"),
        (["regenerate", "song.wav", "stem.wav", "--prefix", "inf"], "Input should be a finite number"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told(
    hearing: TrainedTokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_audio(tmp_path / "song.wav", sound(), 8000)
    write_audio(tmp_path / "short.wav", sound(0.25), 8000)
    before = sorted(tmp_path.iterdir())
    code, output = call(*words, "--models", hearing.name)
    assert code == 2 and told in " ".join(output.split()), output
    assert sorted(tmp_path.iterdir()) == before, "nothing is written"


def test_models_that_hear_nothing_write_no_stem(deaf: TrainedTokens, tmp_path: Path) -> None:
    write_audio(tmp_path / "song.wav", sound(), 8000)
    code, told = call("write", tmp_path / "song.wav", tmp_path / "stem.wav", "--models", deaf.name)
    assert code == 2 and "hears nothing of an input. Its models write sounds anew: use regenerate" in told
    code, told = call("write", tmp_path / "song.wav", tmp_path / "stem.wav", "--models", "vampnet")
    assert code == 2 and "vampnet: hears nothing of an input" in told, "before anything is fetched"


def test_a_format_that_does_not_hold_the_audio_is_told_at_once(hearing: TrainedTokens, tmp_path: Path) -> None:
    write_audio(tmp_path / "song.wav", sound(rate=96000), 96000)
    code, told = call("write", tmp_path / "song.wav", tmp_path / "stem.mp3", "--models", tmp_path / "none")
    assert code == 2 and "this format cannot hold 1 channels at 96000 Hz" in " ".join(told.split())


def test_unknown_models_are_told_with_those_that_are_known() -> None:
    with pytest.raises(UserError, match=r"vampnt: no such token models; did you mean vampnet\? There are .*vampnet"):
        load_token_models("vampnt")


def test_a_model_of_one_stage(tiny_codec: EncodecCodec, tiny_codec_folder: Path, tmp_path: Path) -> None:
    facts = TokenFacts.model_validate(
        {
            "codec": str(tiny_codec_folder), "stem": "bass", "input": "mixture", "seconds": 0.4, "fine_seconds": 0.2,
            "coarse": {**SMALL, "codebooks": 3}, "sampling": {"steps": 2},
        }
    )  # fmt: skip
    save_token_models({"coarse": TokenModel(tiny_codec, facts.coarse)}, facts, tmp_path / "one")
    codes = torch.zeros(1, 3, 60, dtype=torch.long)
    mask = torch.ones_like(codes, dtype=torch.bool)
    found: Tensor = load_token_models(tmp_path / "one")._writer.rewrite(codes, mask, None, [0])
    assert found.shape == codes.shape and bool(found.any())
