"""Stored latents and codes are those of the audio, wherever they are read, or they are refused."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import safe_open
from torch.utils.data import DataLoader

import codec_ft.encoded.write as write
from codec_ft.codecs.base import Codec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.load import load_codec
from codec_ft.data.dataset import Item, collate
from codec_ft.data.separators.build import Filled, Shard
from codec_ft.data.tracks import find_tracks
from codec_ft.encoded.layout import fingerprint
from codec_ft.encoded.pairs import EncodedPairs
from codec_ft.encoded.read import EncodedSet
from codec_ft.encoded.write import EncodedWriter
from codec_ft.errors import UserError

CUT = {"seconds": 0.5, "grid_seconds": 0.25}


@pytest.fixture
def dac() -> Codec:
    """The shipped DAC; its 16 kHz are twice the rate of the data set."""
    return load_codec("demo_dac")


def write_wav(path: Path, audio: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, 8000)


def check_item(codec: Codec, item: Item) -> None:
    """Compare what is stored of an item with what the codec makes of its audio."""
    for sound in ("input", "target"):
        latents = codec.encode(item[sound][None])  # type: ignore[literal-required]
        torch.testing.assert_close(item[f"{sound}_latents"], latents[0], rtol=1e-4, atol=1e-5)  # type: ignore
        if sound == "target":
            assert torch.equal(item["target_codes"], codec.quantize(latents)[0][0])
    assert item["target_latents"].dtype == torch.float32 and item["target_codes"].dtype == torch.int64


@pytest.mark.parametrize("kind", ["tiny_codec", "dac"])
def test_what_is_stored_is_what_the_audio_gives(kind: str, encode, pairs, request: pytest.FixtureRequest) -> None:
    codec = request.getfixturevalue(kind)
    encode(codec, inputs=["separated/rough", "mixture"])
    inputs = {"separated/rough": 1.0, "mixture": 1.0, "target": 1.0}
    plain = pairs(codec, inputs=inputs, length=12)
    data = EncodedPairs(plain, codec, inputs=True)
    assert len(data) == 12 and {plain.draw(i).input for i in range(12)} == set(inputs)
    assert len({plain.draw(i).excerpt for i in range(12)}) > 5
    for index, item in enumerate(data):
        assert item["name"] == plain[index]["name"]
        assert all(torch.equal(item[key], plain[index][key]) for key in ("input", "target"))  # type: ignore
        check_item(codec, item)


def test_without_audio_there_are_latents_only(root: Path, encode, pairs, tiny_codec: EncodecCodec) -> None:
    encode(tiny_codec)
    heard = list(EncodedPairs(pairs(tiny_codec), tiny_codec, inputs=True))
    silent = EncodedPairs(pairs(tiny_codec), tiny_codec, inputs=True, audio=False)
    for folder in (root / "train", root / "separated"):
        shutil.rmtree(folder)  # whoever would read audio now would not find any
    for item, other in zip(silent, heard, strict=True):
        assert item["input"].shape == item["target"].shape == (1, 0) and item["name"] == other["name"]
        for key in ("target_latents", "target_codes", "input_latents"):
            assert torch.equal(item[key], other[key])  # type: ignore[literal-required]
    batch = collate([silent[0], silent[1]])
    assert batch.target_latents.shape == batch.input_latents.shape == (2, 8, 200)
    assert batch.target_codes.shape == (2, 3, 200) and batch.target.shape == (2, 1, 0)


def test_inputs_are_given_where_they_are_asked_for(encode, pairs, tiny_codec: EncodecCodec) -> None:
    encode(tiny_codec, inputs=[])
    for options in ({}, {"input": "mixture", "remix_probability": 1.0}, {"input": "noisy"}, {"context": ["mixture"]}):
        data = EncodedPairs(pairs(tiny_codec, **options), tiny_codec)
        assert "input_latents" not in data[0] and ("context" in data[0]) == ("context" in options)
        latents = tiny_codec.encode(data[3]["target"][None])[0]
        torch.testing.assert_close(data[3]["target_latents"], latents, rtol=1e-4, atol=1e-5)


def test_latents_of_a_context_stand_below_those_of_the_input(encode, pairs, tiny_codec: EncodecCodec) -> None:
    encode(tiny_codec, inputs=["separated/rough", "mixture"])
    plain = pairs(tiny_codec, context=["mixture"])
    for audio in (True, False):
        item = EncodedPairs(plain, tiny_codec, inputs=True, audio=audio)[2]
        assert item["input_latents"].shape == (16, 200) and ("context" in item) == audio
        for sound, latents in zip(("input", "context"), item["input_latents"].split(8), strict=True):
            torch.testing.assert_close(latents, tiny_codec.encode(plain[2][sound][None])[0], rtol=1e-4, atol=1e-5)


def test_workers_read_the_same(encode, pairs, tiny_codec: EncodecCodec) -> None:
    encode(tiny_codec)
    data = EncodedPairs(pairs(tiny_codec, length=6), tiny_codec, inputs=True, audio=False)
    here = [data[i] for i in range(6)]  # opens the files in this process, too
    sent = pickle.loads(pickle.dumps(data))  # as to a process that is started anew
    for others in (DataLoader(data, batch_size=None, num_workers=1), sent):
        for item, other in zip(others, here, strict=True):
            assert item["name"] == other["name"] and torch.equal(item["input_latents"], other["input_latents"])


def test_one_place_and_several_data_sets(tmp_path: Path, root: Path, encode, pairs, tiny_codec: EncodecCodec) -> None:
    other = Path(shutil.copytree(root, tmp_path / "other"))
    for folder in (root, other):
        encode(tiny_codec, root=folder)
    tracks = [*find_tracks(root, "train")[:2], *find_tracks(other, "train")[2:]]
    data = EncodedPairs(pairs(tiny_codec, tracks=tracks), tiny_codec, inputs=True)
    assert {data.pairs.draw(i).excerpt.track.root for i in range(40)} == {root, other}
    for i in range(6):
        check_item(tiny_codec, data[i])
    chosen = data.pairs.draw(3).excerpt
    one = EncodedPairs(pairs(tiny_codec, only=chosen, length=2), tiny_codec, inputs=True)
    assert torch.equal(one[1]["target_latents"], data[3]["target_latents"])


def test_places_off_the_grid_are_a_mistake_of_the_caller(root: Path, encode, tiny_codec: EncodecCodec) -> None:
    encode(tiny_codec)
    track = find_tracks(root, "train")[0]
    stored = EncodedSet([track], tiny_codec, stem="bass", seconds=0.5, grid_seconds=0.25)
    assert stored.read(track, "target", 1.5, 200)[0].shape == (8, 200)
    for start in (0.3, -0.25, 1.75):
        with pytest.raises(ValueError, match=rf"no stored excerpt begins at {start} s; there are 7, of 0\.5 s every"):
            stored.read(track, "target", start, 200)


def test_of_whole_tracks_excerpts_begin_at_any_frame(root: Path, encode, pairs, tiny_codec: EncodecCodec) -> None:
    writer = encode(tiny_codec, seconds=None, grid_seconds=None)
    assert writer.folder.name == "whole"
    frame = tiny_codec.hop_length / tiny_codec.sample_rate
    plain = pairs(tiny_codec, grid_seconds=frame, seconds=0.3)
    data = EncodedPairs(plain, tiny_codec, inputs=True, whole=True)
    starts = {plain.draw(i).excerpt.start_seconds for i in range(40)}
    assert len(starts) > 30 and any(abs(start / 0.25 - round(start / 0.25)) > 0.1 for start in starts)
    for i in range(8):
        draw, item = plain.draw(i), data[i]
        first = round(draw.excerpt.start_seconds / frame)
        for sound, path in (
            ("target", draw.excerpt.track.stems["bass"]),
            ("input", root / "separated" / "rough" / "train" / draw.excerpt.track.name / "bass.wav"),
        ):
            audio = torch.from_numpy(soundfile.read(path, dtype="float32")[0])[None, None]
            latents = tiny_codec.encode(audio)
            part = latents[0, :, first : first + 120]
            torch.testing.assert_close(item[f"{sound}_latents"], part, rtol=1e-4, atol=1e-5)  # type: ignore
            heard = audio[0, :, first * 20 : first * 20 + 2400]
            torch.testing.assert_close(item[sound], heard)  # type: ignore[literal-required]
            if sound == "target":
                assert torch.equal(item["target_codes"], tiny_codec.quantize(latents)[0][0, :, first : first + 120])
    stored = EncodedSet(find_tracks(root, "train"), tiny_codec, stem="bass", seconds=None, grid_seconds=None)
    track = find_tracks(root, "train")[0]
    for start in (0.001, -frame, 1.9):
        with pytest.raises(ValueError, match=rf"begins at {start} s; there are 800 frames of the whole track"):
            stored.read(track, "target", start, 120)
    shutil.rmtree(root / "encoded")
    with pytest.raises(UserError, match=r"is not coded by .*prepare_data\.py encode --root .* --whole$"):
        EncodedPairs(plain, tiny_codec, inputs=True, whole=True)


# --- what is written ---------------------------------------------------------------------------------------------


def test_each_file_is_made_once(root: Path, encode, tiny_codec: EncodecCodec) -> None:
    writer = encode(tiny_codec, stems=["drums", "all", "mixture"], inputs=["mixture"], splits=["train", "valid"])
    folder = root / "encoded" / f"tiny-{fingerprint(tiny_codec)}" / "0.5s-every-0.25s"
    assert writer.folder == folder
    tracks = [*(f"train/train song {i}" for i in range(4)), *(f"valid/valid song {i}" for i in range(2))]
    there = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))
    assert there == sorted(f"{track}/{stem}.safetensors" for track in tracks for stem in ("bass", "drums", "mixture"))
    assert json.loads((folder / "origin.json").read_text()) == {
        "codec": "tiny",
        "fingerprint": fingerprint(tiny_codec),
        "sample_rate": 8000,
        "channels": 1,
        "seconds": 0.5,
        "grid_seconds": 0.25,
        "latent_dim": 8,
        "n_codebooks": 3,
        "codebook_size": 16,
        "frames": 200,
    }
    with safe_open(folder / there[0], framework="pt") as file:
        assert file.get_tensor("latents").shape == (7, 8, 200)
        assert (file.get_tensor("codes").shape, file.get_tensor("codes").dtype) == ((7, 3, 200), torch.int16)


def test_silent_and_short_tracks_are_coded_too(root: Path, encode, tiny_codec: EncodecCodec) -> None:
    write_wav(root / "train/hushed/bass.wav", np.zeros(8000))
    write_wav(root / "train/brief/bass.wav", np.full(800, 0.1))
    writer = encode(tiny_codec, inputs=[])
    with safe_open(writer.folder / "train/hushed/bass.safetensors", framework="pt") as file:
        assert file.get_tensor("latents").shape == (3, 8, 200)
    with safe_open(writer.folder / "train/brief/bass.safetensors", framework="pt") as file:
        assert file.get_tensor("latents").shape == (0, 8, 200)


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_after_a_kill_it_goes_on(root: Path, tmp_path: Path, encode, tiny_codec: EncodecCodec) -> None:
    whole = encode(tiny_codec, root=shutil.copytree(root, tmp_path / "whole"))
    writer = EncodedWriter(root, tiny_codec, stems=["bass"], inputs=["separated/rough"], **CUT)
    process = multiprocessing.get_context("fork").Process(target=die_in_the_fourth_file, args=(writer,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert len(list(writer.folder.rglob("*/.partial-*"))) == 1
    finished = {name: content for name, content in bytes_below(writer.folder).items() if ".partial-" not in name}
    assert len(finished) == 4  # three files and origin.json

    writer.prepare()
    assert not list(writer.folder.rglob(".partial-*"))
    assert writer.fill() == Filled(made=5, skipped=3)
    assert bytes_below(writer.folder).items() > finished.items()
    assert bytes_below(writer.folder) == bytes_below(whole.folder)
    assert writer.fill() == Filled(made=0, skipped=8)


def die_in_the_fourth_file(writer: EncodedWriter) -> None:
    """Be killed while a file is half written."""
    save, count = write.save_file, iter(range(10))

    def save_half(tensors: dict, path: Path, **options) -> None:
        save(tensors, path, **options)
        if next(count) == 3:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    write.save_file = save_half
    writer.prepare()
    writer.fill()


def test_shards_share_out_the_files(root: Path, tiny_codec: EncodecCodec, encode, tmp_path: Path) -> None:
    whole = encode(tiny_codec, root=shutil.copytree(root, tmp_path / "whole"))
    writer = EncodedWriter(root, tiny_codec, stems=["bass"], inputs=["separated/rough"], **CUT)
    for index in range(3):
        writer.prepare(Shard(index, 3))
    made = [writer.fill(Shard(index, 3)) for index in range(3)]
    assert made == [Filled(3, 0), Filled(3, 0), Filled(2, 0)]
    assert bytes_below(writer.folder) == bytes_below(whole.folder)


def test_only_what_has_changed_is_made_again(root: Path, encode, pairs, tiny_codec: EncodecCodec) -> None:
    writer = encode(tiny_codec)
    write_wav(root / "train/train song 2/bass.wav", np.full(16000, 0.1))
    with pytest.raises(
        UserError, match=r"train song 2/bass\.safetensors: its audio has changed since it was coded\. M"
    ):
        EncodedPairs(pairs(tiny_codec), tiny_codec)
    assert writer.fill() == Filled(made=1, skipped=7)
    data = EncodedPairs(pairs(tiny_codec), tiny_codec, inputs=True)
    check_item(tiny_codec, next(item for item in data if item["name"].startswith("train song 2")))


def test_a_data_set_may_be_moved(root: Path, encode, pairs, tiny_codec: EncodecCodec) -> None:
    encode(tiny_codec)
    moved = root.rename(root.with_name("moved"))
    tracks = find_tracks(moved, "train")
    check_item(tiny_codec, EncodedPairs(pairs(tiny_codec, tracks=tracks), tiny_codec, inputs=True)[0])


def test_weights_are_told_apart_but_not_by_the_last_bit_of_a_kernel(tiny_codec_folder: Path, dac: Codec) -> None:
    codec = load_codec(str(tiny_codec_folder))
    before = fingerprint(codec)
    assert before == fingerprint(load_codec(str(tiny_codec_folder))) != fingerprint(dac)
    assert len(before) == 10
    kernel = next(value for value in codec.parameters() if value.dim() == 3)
    kernel.data *= 1 + 1e-7
    assert fingerprint(codec) == before
    bias = next(value for name, value in codec.named_parameters() if name.endswith("bias"))
    bias.data[0] += 1e-6
    assert fingerprint(codec) != before


# --- what is refused ---------------------------------------------------------------------------------------------


def refused(data, codec: Codec, **options) -> str:
    """The one line that is said to pairs that cannot be read."""
    with pytest.raises(UserError) as caught:
        EncodedPairs(data, codec, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_not_made_is_refused_with_the_command_that_makes_it(
    root: Path, encode, pairs, tiny_codec: EncodecCodec, dac: Codec
) -> None:
    def command(codec: Codec, inputs: str = "", cut: str = "--seconds 0.5 --grid 0.25") -> str:
        words = f"--root {root} --codec {codec.name} --stem bass{inputs} {cut}"
        return f"Make it: python scripts/prepare_data.py encode {words}"

    data = pairs(tiny_codec)
    rough = " --input separated/rough"
    assert refused(data, tiny_codec) == f"{root}: is not coded by tiny (nothing is). {command(tiny_codec)}"
    encode(dac)
    name = f"demo_dac-{fingerprint(dac)}"
    told = f"{root}: is not coded by tiny (there is what {name} made). {command(tiny_codec, rough)}"
    assert refused(data, tiny_codec, inputs=True) == told

    writer = encode(tiny_codec, inputs=[])
    told = f"{writer.folder}/train/train song 0/separated/rough/bass.safetensors: separated/rough is not coded"
    assert refused(data, tiny_codec, inputs=True) == f"{told} (and 3 more like it). {command(tiny_codec, rough)}"
    assert "bass.safetensors: bass is not coded (and 3 more like it). Make" in refused_for_a_stem(
        root, tiny_codec, writer
    )

    longer = pairs(tiny_codec, seconds=1.0)
    told = f"{root}: tiny has coded other excerpts (0.5s every 0.25s), not of 1 s every 0.25 s"
    assert refused(longer, tiny_codec) == f"{told}. {command(tiny_codec, cut='--seconds 1 --grid 0.25')}"
    assert "(0.5s every 0.25s), not of 0.5 s every 0.5 s" in refused(pairs(tiny_codec, grid_seconds=0.5), tiny_codec)

    old = f"tiny-{fingerprint(tiny_codec)}"
    tiny_codec.quantizer.layers[0].codebook.embed += 0.1
    told = f"{root}: {old} was coded with other weights than those of tiny ({fingerprint(tiny_codec)})"
    assert refused(data, tiny_codec) == f"{told}. {command(tiny_codec)}"


def refused_for_a_stem(root: Path, codec: Codec, writer: EncodedWriter) -> str:
    """What is said when the input is there but the stem is not."""
    for path in writer.folder.rglob("bass.safetensors"):
        path.unlink()
    with pytest.raises(UserError) as caught:
        EncodedSet(find_tracks(root, "train"), codec, stem="bass", seconds=0.5, grid_seconds=0.25)
    return str(caught.value)


def test_what_is_broken_is_refused_and_made_again(root: Path, encode, pairs, tiny_codec: EncodecCodec) -> None:
    writer = encode(tiny_codec)
    shard = writer.folder / "train/train song 1/bass.safetensors"
    content = shard.read_bytes()
    for broken in (content[: len(content) // 2], content[:3], b""):
        shard.write_bytes(broken)
        told = refused(pairs(tiny_codec), tiny_codec)
        assert told.startswith(
            f"{shard}: is broken or cut short. Make it: python scripts/prepare_data.py encode --root"
        )
    writer.fill()
    assert shard.read_bytes() == content

    origin = writer.folder / "origin.json"
    good = origin.read_text()
    for bad in (good.replace('"frames": 200', '"frames": 100'), good[:30]):
        origin.write_text(bad)
        assert (
            f"{origin}: is broken or of another version. Delete {writer.folder}, and make it anew: python"
            in refused(pairs(tiny_codec), tiny_codec)
        )
        with pytest.raises(UserError, match=r"Delete .*, and it is made anew"):
            writer.prepare()


def test_a_command_for_names_with_spaces_and_other_splits(root: Path, tiny_codec: EncodecCodec) -> None:
    moved = root.rename(root.with_name("my set"))
    with pytest.raises(UserError, match=rf"--root '{moved}' --codec .* --grid 0\.25 --split valid$"):
        EncodedSet(find_tracks(moved, "valid"), tiny_codec, stem="bass", **CUT)


def test_pairs_that_have_no_stored_latents(encode, pairs, tiny_codec: EncodecCodec) -> None:
    encode(tiny_codec)
    told = refused(pairs(tiny_codec, gain_db=(-6.0, 3.0)), tiny_codec)
    assert told.startswith("data.gain_db=(-6, 3): a louder stem has other latents than those that are stored. Set it")
    told = refused(pairs(tiny_codec, grid_seconds=None), tiny_codec)
    assert told.startswith("data.encoded=true: needs excerpts on a grid. Set data.grid_seconds")
    remixed = pairs(tiny_codec, input="mixture", remix_probability=0.5)
    told = refused(remixed, tiny_codec, inputs=True)
    assert told.startswith("data.remix_probability=0.5: a remix has no stored latents. Set it to 0")
    for noise in ("noise", "noisy"):
        told = refused(pairs(tiny_codec, inputs={"target": 1.0, noise: 1.0}), tiny_codec, inputs=True)
        assert told.startswith(f"input={noise}: cannot be stored, because noise is drawn anew for every item. Leave")
        with pytest.raises(UserError, match=f"input={noise}: cannot be stored"):
            encode(tiny_codec, inputs=[noise])
    with pytest.raises(ValueError, match="swapped channels"):
        EncodedPairs(pairs(tiny_codec, channels=2, swap_channels=True), tiny_codec)


def test_what_a_data_set_lacks_is_not_coded(encode, root: Path, tiny_codec: EncodecCodec) -> None:
    with pytest.raises(UserError, match=r"train song 0: no stem bas \(there are bass, drums; did you mean bass\?\)"):
        encode(tiny_codec, stems=["bas"])
    with pytest.raises(UserError, match=r"separated/ruff: no separated stems of ruff \(there are rough\)"):
        encode(tiny_codec, inputs=["separated/ruff"])
    with pytest.raises(UserError, match=r"split=dev: no such split"):
        encode(tiny_codec, splits=["dev"])
    (root / "train/train song 0/bass.wav").unlink()
    (root / "train/train song 1/drums.wav").unlink()
    with pytest.raises(UserError, match=r"--stem all: no stem is there in all tracks of .*Name the stems"):
        encode(tiny_codec, stems=["all"])
    tiny_codec.codebook_size = 40000
    with pytest.raises(UserError, match=r"has 40000 codes in a codebook, but up to 32768 can be stored"):
        encode(tiny_codec)
