"""Every analysis with a codec that can be worked out by hand, or with known answers of its parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from toy_codec import STEPS, ToyCodec
from transformers import DacConfig, DacModel

from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.errors import UserError
from experiments.tokens.ceiling import codebook_counts, kilobits_per_second, measure_ceiling
from experiments.tokens.clouds import measure_clouds
from experiments.tokens.config import AnalysisName, PiecesConfig, TokensConfig
from experiments.tokens.frames import choose_frames, layer_parts, partial_latents, read_latents
from experiments.tokens.gather import Material
from experiments.tokens.idempotence import measure_idempotence, pass_again
from experiments.tokens.levels import FLOOR_DB
from experiments.tokens.occurrence import measure_occurrence
from experiments.tokens.outcome import Outcome
from experiments.tokens.run import ANALYSES
from experiments.tokens.shift import measure_shift, move_by_vector, move_frames, nearer
from experiments.tokens.silence import decode_constant, digital_silence, measure_silence, settled_db

RATE, HOP = 8000, 20


@pytest.fixture(scope="module")
def steps_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tracks of a second: half of the bass is silent, the rest one of three values; the drums alternate fast."""
    root = tmp_path_factory.mktemp("sets") / "steps"
    for number in range(2):
        frames = np.arange(RATE // HOP)
        bass = np.where(frames % 2 == 0, 0.0, np.choose(frames // 2 % 3, [0.25, 0.5, -0.375]))
        drums = np.where(frames % 2 == 0, 0.0875, 0.0725)
        folder = root / "test" / f"song {number}"
        folder.mkdir(parents=True)
        for name, values in {"bass": bass, "drums": drums}.items():
            soundfile.write(folder / f"{name}.wav", values.repeat(HOP), RATE, subtype="FLOAT")
    return root


def config(root: Path, analysis: str, **options: Any) -> TokensConfig:
    data = PiecesConfig(root=root, per_track=0, seconds=1.0)
    return TokensConfig(id="T", analysis=analysis, data=data, **options)  # type: ignore[arg-type]


def material(root: Path, *sources: str) -> Material:
    return Material(ToyCodec(), PiecesConfig(root=root, per_track=0, seconds=1.0), sources)


def rows(outcome: Outcome, name: str) -> Mapping[str, list[Any]]:
    table = next(table for table in outcome.tables if table.name == name)
    return {label: list(values) for label, values in table.rows}


def columns(outcome: Outcome, name: str) -> list[str]:
    table = next(table for table in outcome.tables if table.name == name)
    return [heading.label for heading in table.columns]


def test_counts_of_codebooks() -> None:
    assert codebook_counts(1) == [1]
    assert codebook_counts(9) == list(range(1, 10))
    counts = codebook_counts(32)
    assert counts[:4] == [1, 2, 3, 4] and counts[-1] == 32 and len(counts) <= 12


def test_bit_rate() -> None:
    assert kilobits_per_second(ToyCodec()) == pytest.approx(400 * 4 / 1000)


def test_the_ceiling_of_a_codec_that_is_exact_with_two_codebooks(steps_set: Path) -> None:
    """The bass is made of coarse steps alone; of the drums one codebook makes the constant 0.125."""
    outcome = measure_ceiling(material(steps_set, "bass", "drums"), config(steps_set, "ceiling"))
    found = rows(outcome, "usdr_by_codebooks")
    assert found["bass"][0] > 80 and found["bass"][1] > 80
    drums = np.where(np.arange(400) % 2 == 0, 0.0875, 0.0725)
    expected = 10 * np.log10(np.mean(drums**2) / np.mean((drums - 0.125) ** 2))
    assert found["drums"][0] == pytest.approx(expected, abs=1e-3)
    assert found["drums"][1] > 80
    assert rows(outcome, "ceiling")["drums"][columns(outcome, "ceiling").index("usdr")] == found["drums"][1]


def test_occurrence_counts_what_was_written(steps_set: Path) -> None:
    """Half of the bass' frames are zero; its sounding ones have three codes of the first codebook, one of the last."""
    outcome = measure_occurrence(material(steps_set, "bass", "drums"), config(steps_set, "occurrence"))
    names = columns(outcome, "first_codebook")
    bass = dict(zip(names, rows(outcome, "first_codebook")["bass"], strict=True))
    assert (bass["frames"], bass["sounding frames"], bass["commonest code"]) == (800, 400, "8")
    assert bass["its share of all frames"] == 0.5 and bass["of sounding ones"] == 0.0
    assert bass["codes never used"] == pytest.approx(13 / 16)
    assert bass["by chance"] == pytest.approx((15 / 16) ** 400)
    assert bass["entropy"] == pytest.approx(np.log2(3), abs=1e-3)
    assert bass["perplexity"] == pytest.approx(3, abs=1e-2)
    assert rows(outcome, "unused")["bass"][1] == pytest.approx(15 / 16)
    assert rows(outcome, "unused")["all together"][0] == pytest.approx(12 / 16)
    divergence = rows(outcome, "divergence")
    assert divergence["bass – drums"][0] == pytest.approx(1.0) and divergence["bass"][0] == pytest.approx(0.0)


def test_one_piece_has_no_halves_to_compare(tmp_path: Path) -> None:
    (tmp_path / "test" / "a").mkdir(parents=True)
    soundfile.write(tmp_path / "test" / "a" / "bass.wav", np.full(RATE, 0.25), RATE)
    outcome = measure_occurrence(material(tmp_path, "bass"), config(tmp_path, "occurrence"))
    assert {table.name for table in outcome.tables} == {"first_codebook", "unused", "entropy"}
    assert [picture.name for picture in outcome.pictures] == ["histograms", "use"]


def test_silence_of_the_toy_is_silent(steps_set: Path) -> None:
    silence = digital_silence(ToyCodec())
    assert silence.codes.tolist() == [8, 8] and silence.constant.tolist() == [1.0, 1.0]
    assert silence.level_db == FLOOR_DB and float(silence.latent.abs().max()) == 0.0
    outcome = measure_silence(material(steps_set, "bass", "drums"), config(steps_set, "silence"))
    names = columns(outcome, "sources")
    bass, drums = (dict(zip(names, rows(outcome, "sources")[s], strict=True)) for s in ("bass", "drums"))
    assert bass["commonest codes"] == FLOOR_DB and bass["silent among these"] == 1.0
    assert bass["codebooks with the code of digital silence"] == "2 of 2"
    assert drums["codebooks with the code of digital silence"] == "0 of 2"
    assert drums["silent frames"] == 0.0
    assert drums["commonest codes"] == pytest.approx(20 * np.log10(0.0725), abs=1e-3)  # of two, the smaller code
    assert bass["the source, where it sounds"] == pytest.approx(
        10 * np.log10(np.mean(np.square(bass_values()))), abs=1e-3
    )
    assert rows(outcome, "codebooks")["1"][0] == "8"


def bass_values() -> np.ndarray:
    """The bass of the set, where it sounds."""
    return np.choose(np.arange(1, 400, 2) // 2 % 3, [0.25, 0.5, -0.375])


def test_the_same_seed_gives_the_same_numbers(steps_set: Path) -> None:
    found = [measure_silence(material(steps_set, "bass"), config(steps_set, "silence", seed=s)) for s in (1, 1, 2)]
    medians = [rows(outcome, "sources")["bass"] for outcome in found]
    audio = [outcome.sounds[1].audio["one frame"] for outcome in found]
    assert medians[0] == medians[1] and torch.equal(audio[0], audio[1])


def test_a_constant_grid_is_one_frame_repeated() -> None:
    audio = decode_constant(ToyCodec(), torch.tensor([10, 9]), seconds=0.1)
    assert audio.shape == (1, 1, 800)
    torch.testing.assert_close(audio, torch.full_like(audio, 2 * STEPS[0] + STEPS[1]))
    assert settled_db(torch.cat([torch.ones(10), torch.full((10,), 0.1)])) == pytest.approx(-20.0)


def test_partial_latents_add_up(tiny_codec: EncodecCodec) -> None:
    codes = torch.randint(0, 16, (3, 50), generator=torch.manual_seed(0))
    whole = partial_latents(tiny_codec, codes, slice(None))
    torch.testing.assert_close(whole, tiny_codec.codes_to_latents(codes[None])[0].T)
    split = [partial_latents(tiny_codec, codes, part) for part in (slice(0, 1), slice(1, 2), slice(2, None))]
    torch.testing.assert_close(sum(split), whole)
    torch.testing.assert_close(split[1], tiny_codec.layers[1].codebook.embed[codes[1]])


def test_readings_of_latents() -> None:
    latents = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert read_latents(latents, "latents") is latents
    torch.testing.assert_close(read_latents(latents, "direction"), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    assert read_latents(latents, "length").tolist() == [[5.0], [0.0]]


def test_parts_of_codecs_of_any_depth() -> None:
    assert list(layer_parts(1).values()) == [slice(0, 1)]
    assert list(layer_parts(2).values()) == [slice(0, 1), slice(0, 2), slice(1, 2)]
    assert layer_parts(9) == {
        "codebook 1": slice(0, 1),
        "codebooks 1–2": slice(0, 2),
        "all 9 codebooks": slice(0, 9),
        "codebooks 6–9": slice(5, 9),
    }


def test_frames_are_drawn_from_sounding_ones(steps_set: Path) -> None:
    found = choose_frames(material(steps_set, "bass", "drums"), points=50, seed=0)
    assert {len(frames.groups) for frames in found.values()} == {400}  # as many as the bass has
    assert 8 not in found["bass"].codes[0]
    assert set(found["drums"].groups.tolist()) == {0, 1}
    again = choose_frames(material(steps_set, "bass", "drums"), points=50, seed=0)
    assert torch.equal(found["bass"].codes, again["bass"].codes)
    with pytest.raises(UserError, match="points=401: bass has only 400 sounding frames"):
        choose_frames(material(steps_set, "bass", "drums"), points=401, seed=0)


def test_sources_without_a_common_code_are_told_apart(steps_set: Path, tiny_codec: EncodecCodec) -> None:
    pieces = PiecesConfig(root=steps_set, per_track=0, seconds=1.0)
    found = Material(tiny_codec, pieces, ["bass", "drums"])
    outcome = measure_clouds(found, config(steps_set, "clouds", points=30))
    told = rows(outcome, "told_apart")
    assert len(told) == 6 and set(map(len, told.values())) == {3}
    assert told["codebooks 1 … k, latents"][-1] == told["codebooks k … K, latents"][0] > 0.5
    assert outcome.findings[0].startswith("Bass and drums are told apart in ")
    with pytest.raises(UserError, match="pair: vocals is not among"):
        measure_clouds(found, config(steps_set, "clouds", pair=("bass", "vocals")))


def test_a_silent_source_is_named(tmp_path: Path) -> None:
    for name, value in {"bass": 0.25, "drums": 0.0}.items():
        (tmp_path / "test" / "a").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "test" / "a" / f"{name}.wav", np.full(RATE, value), RATE)
    with pytest.raises(UserError, match="sources: drums is silent throughout"):
        measure_clouds(material(tmp_path, "bass", "drums"), config(tmp_path, "clouds"))


@pytest.fixture(scope="module")
def cosine_codec() -> DacCodec:
    """A tiny DAC: four codebooks that are searched by angle, each in three of 32 dimensions."""
    torch.manual_seed(0)
    sizes = {"encoder_hidden_size": 2, "downsampling_ratios": (4, 4), "decoder_hidden_size": 8}
    model = DacModel(DacConfig(sampling_rate=RATE, n_codebooks=4, codebook_size=16, codebook_dim=3, **sizes))
    return DacCodec(model, "tiny_dac")


@pytest.mark.parametrize("name", ANALYSES)
def test_any_geometry(name: AnalysisName, steps_set: Path, cosine_codec: DacCodec) -> None:
    pieces = PiecesConfig(root=steps_set, seconds=0.5)
    found = Material(cosine_codec, pieces, ["bass", "drums", "bass+drums"])
    outcome = ANALYSES[name].measure(found, config(steps_set, name, points=20, steps=2, passes=2))
    assert outcome.findings and outcome.pictures
    assert all(len(cells) == len(table.columns) for table in outcome.tables for _, cells in table.rows)


def test_partial_latents_of_projected_codebooks_add_up(cosine_codec: DacCodec) -> None:
    codes = torch.randint(0, 16, (4, 10), generator=torch.manual_seed(0))
    parts = [partial_latents(cosine_codec, codes, part) for part in (slice(0, 3), slice(3, None))]
    torch.testing.assert_close(sum(parts), cosine_codec.codes_to_latents(codes[None])[0].T)
    alone = torch.cat([partial_latents(cosine_codec, codes[:, i : i + 1], slice(3, None)) for i in range(10)])
    torch.testing.assert_close(parts[1], alone)


def test_moves_of_latents() -> None:
    latents = torch.tensor([[[1.0, 2.0, 9.0]]])
    start, end = torch.tensor([[[2.0]]]), torch.tensor([[[0.0]]])
    assert move_by_vector(latents, start, end, 0.5).tolist() == [[[0.0, 1.0, 8.0]]]
    chosen = nearer(latents, start, torch.tensor([[[8.0]]]))
    assert chosen.tolist() == [[True, True, False]]
    assert move_frames(latents, end, 0.25, chosen).tolist() == [[[0.75, 1.5, 9.0]]]
    assert move_frames(latents, end, 1.0, chosen).tolist() == [[[0.0, 0.0, 9.0]]]


def test_the_shift_silences_what_is_moved_all_the_way(steps_set: Path) -> None:
    outcome = measure_shift(material(steps_set, "bass", "drums"), config(steps_set, "shift", steps=3))
    alone = rows(outcome, "alone")
    level = alone["each frame, decoded from latents: level"]
    start = 10 * np.log10(np.mean(np.square(bass_values())) / 2)  # half of the frames are silent
    assert level == pytest.approx([start, start - 20 * np.log10(2), FLOOR_DB], abs=1e-2)
    assert alone["each frame, decoded from latents: SI-SDR"][1] > 80  # a fader leaves the shape as it is
    mean = float(np.mean(bass_values()))
    moved = np.concatenate([bass_values() - mean, np.full(200, -mean)])
    assert alone["one vector, decoded from latents: level"][2] == pytest.approx(
        10 * np.log10(np.mean(np.square(moved))), abs=1e-2
    )
    assert [sounds.name for sounds in outcome.sounds] == ["bass alone", "song 0 @ 0.0 s", "song 1 @ 0.0 s"]
    alone_audio = outcome.sounds[0].audio
    assert list(alone_audio) == ["at 0", "at 0.5", "at 1"] and float(alone_audio["at 1"].abs().max()) == 0.0
    with pytest.raises(UserError, match="pair: vocals"):
        measure_shift(material(steps_set, "bass"), config(steps_set, "shift", pair=("vocals", "bass")))


def test_the_toy_gives_its_own_tokens_again(steps_set: Path) -> None:
    outcome = measure_idempotence(material(steps_set, "bass", "drums"), config(steps_set, "idempotence", passes=3))
    assert rows(outcome, "idempotence")["bass"] == rows(outcome, "idempotence")["drums"] == [1.0, 1.0]
    assert rows(outcome, "against_previous")["drums, tokens (%)"] == [100.0] * 3
    assert rows(outcome, "against_previous")["drums, SI-SDR (dB)"] == [100.0] * 3
    assert outcome.sounds[0].audio.keys() == {"original", "pass 1", "pass 3"}


def test_generations_follow_each_other(tiny_codec: EncodecCodec) -> None:
    audio = 0.1 * torch.randn(1, 1, 2000, generator=torch.manual_seed(0))
    codes, quantized = tiny_codec.quantize(tiny_codec.encode(audio))
    found = pass_again(tiny_codec, codes, 2000, passes=2)
    assert torch.equal(found.codes[0], codes) and len(found.codes) == 3 and len(found.audio) == 2
    torch.testing.assert_close(found.audio[0], tiny_codec.decode(quantized, 2000))
    assert torch.equal(found.codes[2], tiny_codec.quantize(tiny_codec.encode(found.audio[1]))[0])
