from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from toy_codec import ToyCodec

from codec_ft.audio.files import AudioFileError
from codec_ft.data.tracks import find_tracks
from codec_ft.errors import UserError
from experiments.tokens import gather
from experiments.tokens.config import PiecesConfig
from experiments.tokens.gather import Material, check_pair, collect_codes, cut, find_sources, open_codec, source_track
from experiments.tokens.levels import FLOOR_DB, frame_levels, rms_db

RATE = 8000


def pieces(root: Path, **options: object) -> PiecesConfig:
    return PiecesConfig(root=root, **{"seconds": 0.5, **options})


def write_track(folder: Path, seconds: float, **stems: float) -> None:
    """A track whose stems are constant signals of the given values."""
    folder.mkdir(parents=True)
    for name, value in stems.items():
        soundfile.write(folder / f"{name}.wav", np.full(round(seconds * RATE), value), RATE, subtype="FLOAT")


def test_levels_of_known_signals() -> None:
    time = torch.arange(8000) / 8000
    assert rms_db(torch.full((1, 1, 100), 0.1)) == pytest.approx(-20.0)
    assert rms_db(torch.sin(2 * torch.pi * 100 * time)) == pytest.approx(-3.0103, abs=1e-4)
    assert rms_db(torch.zeros(5)) == FLOOR_DB


def test_levels_of_frames_with_a_short_last_one() -> None:
    audio = torch.tensor([1.0] * 4 + [0.1] * 4 + [0.0] * 4 + [0.1] * 2)[None, None]
    torch.testing.assert_close(frame_levels(audio, 4), torch.tensor([[0.0, -20.0, FLOOR_DB, -20.0]]))
    stereo = torch.cat([audio, torch.zeros_like(audio)], dim=1)
    assert float(frame_levels(stereo, 4)[0, 0]) == pytest.approx(-3.0103, abs=1e-4)


def test_the_sources_of_the_thesis_come_first(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_track(tmp_path / "train" / name, 1.0, piano=0.1, vocals=0.1, bass=0.1, drums=0.1)
    write_track(tmp_path / "train" / "c", 1.0, vocals=0.1, bass=0.1, drums=0.1, kazoo=0.1)
    assert find_sources(find_tracks(tmp_path, "train")[:2]) == [
        *("bass", "drums", "vocals", "bass+drums", "piano", "mixture")
    ]
    (tmp_path / "train" / "c" / "vocals.wav").unlink()
    tracks = [*find_tracks(tmp_path, "train"), *find_tracks(tmp_path, "valid")]
    assert find_sources(tracks) == ["bass", "drums", "bass+drums", "mixture"]


def test_a_sum_of_stems_is_their_sum(tmp_path: Path) -> None:
    write_track(tmp_path / "test" / "a", 1.0, bass=0.25, drums=0.5, vocals=0.125)
    material = Material(ToyCodec(), pieces(tmp_path, per_track=0), ["bass+drums", "mixture"])
    values = {piece.source: piece.audio.unique().tolist() for piece in material.pieces()}
    assert values == {"bass+drums": [0.75], "mixture": [0.875]}
    track, name = source_track(material.tracks[0], "drums")
    assert track is material.tracks[0] and name == "drums"


def test_pieces_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    write_track(tmp_path / "test" / "a", 2.2, bass=0.1)
    track = find_tracks(tmp_path, "test")[0]
    found = cut(track, "bass", 0.5)
    assert len(found) == 5
    assert [piece.start_seconds for piece in found] == pytest.approx([0.0, 0.44, 0.88, 1.32, 1.76])
    assert sum(piece.seconds for piece in found) == pytest.approx(2.2)
    material = Material(ToyCodec(), pieces(tmp_path, per_track=0), ["bass"])
    read = list(material.pieces())
    assert sum(piece.audio.shape[-1] for piece in read) == 17600
    assert all(piece.codes.shape == (1, 2, piece.active.shape[1]) for piece in read)


@pytest.mark.parametrize("length", [7999, 8000, 8001, 12345])
def test_a_file_of_any_length_is_read_to_its_end(tmp_path: Path, length: int) -> None:
    (tmp_path / "test" / "a").mkdir(parents=True)
    soundfile.write(tmp_path / "test" / "a" / "bass.wav", np.full(length, 0.1), RATE)
    material = Material(ToyCodec(), pieces(tmp_path, per_track=0, seconds=0.3), ["bass"])
    assert sum(piece.audio.shape[-1] for piece in material.pieces()) == pytest.approx(length, abs=3)


def test_the_loudest_pieces(tmp_path: Path) -> None:
    (tmp_path / "test" / "a").mkdir(parents=True)
    wave = np.concatenate([np.zeros(RATE), np.full(RATE // 2, 0.5), np.zeros(RATE)])
    soundfile.write(tmp_path / "test" / "a" / "bass.wav", wave, RATE, subtype="FLOAT")
    material = Material(ToyCodec(), pieces(tmp_path), ["bass"])
    (piece,) = material.pieces()
    assert piece.excerpt.start_seconds == pytest.approx(1.0) and piece.audio.unique().tolist() == [0.5]
    assert piece.codes[0, :, 0].tolist() == [12, 8]  # 0.5 is four steps above zero, and nothing is left


def test_groups_are_tracks_or_pieces_of_the_only_one(tmp_path: Path, tiny_set: Path) -> None:
    material = Material(ToyCodec(), pieces(tiny_set, per_track=2), ["bass"])
    assert [piece.group for piece in material.pieces()] == [0, 0, 1, 1]
    write_track(tmp_path / "test" / "a", 1.0, bass=0.1)
    material = Material(ToyCodec(), pieces(tmp_path, per_track=0), ["bass"])
    assert [piece.group for piece in material.pieces()] == [0, 1]


def test_all_frames_side_by_side(tmp_path: Path) -> None:
    write_track(tmp_path / "test" / "a", 0.01, bass=0.25)
    write_track(tmp_path / "test" / "b", 0.01, bass=0.0)
    found = collect_codes(Material(ToyCodec(), pieces(tmp_path, per_track=0), ["bass"]))["bass"]
    assert found.codes.tolist() == [[10] * 4 + [8] * 4, [8] * 8] and found.codes.dtype == torch.int16
    assert found.active.tolist() == [True] * 4 + [False] * 4
    assert found.groups.tolist() == [0] * 4 + [1] * 4
    assert found.levels.tolist() == pytest.approx([20 * np.log10(0.25)] * 4 + [FLOOR_DB] * 4, abs=1e-4)


def test_mistakes_are_named(tiny_set: Path) -> None:
    with pytest.raises(AudioFileError, match="no stem kazoo"):
        Material(ToyCodec(), pieces(tiny_set), ["kazoo"])
    with pytest.raises(AudioFileError, match="no stem kazoo"):
        Material(ToyCodec(), pieces(tiny_set, per_track=0), ["bass+kazoo"])
    with pytest.raises(UserError, match=r"pair: vocals is not among the sources \(bass, drums\)"):
        check_pair(("bass", "vocals"), ["bass", "drums"])


def test_a_stereo_codec_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = ToyCodec()
    codec.channels = 2
    monkeypatch.setattr(gather, "load_codec", lambda name: codec)
    with pytest.raises(UserError, match="codec=encodec_48khz: has 2 audio channels"):
        open_codec("encodec_48khz")
