import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec_ft.data.separators import build
from codec_ft.data.separators.build import SeparatedSet, Shard, build_separated
from codec_ft.data.separators.stand_ins import spectrogram, stft, waveform
from codec_ft.data.separators.stand_ins.calibrate import find_strength, median_sdr
from codec_ft.data.separators.stand_ins.kinds import STAND_INS, StandIn
from codec_ft.data.separators.stand_ins.noise import smooth_field
from codec_ft.data.separators.stand_ins.source import StandInSource
from codec_ft.errors import UserError

RATE = 44100
STEMS = ("drums", "bass", "other", "vocals")


def make_stems(seconds: float = 3.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Four stereo stems that overlap in time and frequency, float32 [2, N]: a beat, a bass, a chord, a voice."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    beat = np.exp(-8 * (time % 0.5))

    def tone(pitch: float, partials: int) -> np.ndarray:
        phase = 2 * np.pi * pitch * time + 0.3 * np.sin(2 * np.pi * 5 * time) + rng.uniform(0, 6)
        return sum(np.sin(n * phase) / n for n in range(1, partials + 1))

    root = 55 * 2 ** (rng.integers(12) / 12)
    mono = {
        "drums": 0.5 * beat * (rng.standard_normal(len(time)) * 0.4 + np.sin(2 * np.pi * 60 * time)),
        "bass": 0.2 * tone(root, 8) * np.exp(-2 * (time % 0.25)),
        "other": 0.05 * (tone(2 * root, 30) + tone(3 * root, 30) + tone(2.5 * root, 30)),
        "vocals": 0.15 * tone(4 * root, 40) * (time % 1.5 > 0.3),
    }
    sides = {stem: np.array([[1.0], [0.7]]) for stem in mono} | {"other": np.array([[0.7], [1.0]])}
    return {stem: (audio * sides[stem]).astype(np.float32) for stem, audio in mono.items()}


def write_track(folder: Path, stems: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for stem, audio in stems.items():
        soundfile.write(folder / f"{stem}.wav", audio.T, RATE, subtype="PCM_16")


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Three tracks of 2 s, one in each split."""
    for index, split in enumerate(("train", "valid", "test")):
        write_track(tmp_path / split / f"song {index}", make_stems(2.0, seed=index))
    return tmp_path


def usdr(reference: np.ndarray, estimate: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(reference**2) / np.sum((reference - estimate) ** 2)))


def separate(name: str, stems: dict[str, np.ndarray], strength: float, seed: int = 0) -> dict[str, np.ndarray]:
    kind = STAND_INS[name]
    values = dict.fromkeys(stems, strength)
    return kind.separate(stems, RATE, rng=np.random.default_rng(seed), **{kind.parameter: values})


# --- short-time spectrum and noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 1000, 44100, 3 * 44100 + 7])
@pytest.mark.parametrize(("n_fft", "hop"), [(4096, 1024), (2048, 1024)])
def test_an_unedited_spectrum_gives_the_signal_back(length: int, n_fft: int, hop: int) -> None:
    signals = np.random.default_rng(0).standard_normal((2, 2, length)).astype(np.float32)
    result = stft.edit_spectrum(list(signals), n_fft, hop, n_fft // 2 + 1, lambda spectrum: spectrum)
    np.testing.assert_allclose(result, signals, atol=1e-5)


def test_bins_above_those_edited_are_silenced() -> None:
    time = np.arange(RATE) / RATE
    low, high = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 15000 * time)
    signal = (low + high).astype(np.float32)[None]
    result = stft.edit_spectrum([signal], 4096, 1024, 1024, lambda spectrum: spectrum)[0]
    np.testing.assert_allclose(result[0, 4096:-4096], low[4096:-4096], atol=1e-3)


def test_blocks_leave_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = np.random.default_rng(0).standard_normal((1, 2 * RATE)).astype(np.float32)
    in_one = stft.edit_spectrum([signal], 2048, 1024, 500, lambda spectrum: 2 * spectrum)
    monkeypatch.setattr(stft, "BLOCK_FRAMES", 7)
    in_many = stft.edit_spectrum([signal], 2048, 1024, 500, lambda spectrum: 2 * spectrum)
    np.testing.assert_allclose(in_many, in_one, atol=1e-5)


def test_smooth_fields_are_gaussian_and_smooth() -> None:
    field = smooth_field(1000, 40, 120, np.random.default_rng(0))
    assert field.shape == (1000, 40, 120)
    assert field.dtype == np.float32
    assert abs(field.mean()) < 0.05
    assert field.var() == pytest.approx(1.0, abs=0.1)
    assert 0.75 < field.var(axis=0).min() < field.var(axis=0).max() < 1.3  # at each place

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    assert correlation(field[:, :, 1:], field[:, :, :-1]) > 0.95  # neighbouring bins
    assert correlation(field[:, 1:], field[:, :-1]) > 0.85  # neighbouring frames
    assert correlation(field[:, 12:], field[:, :-12]) == pytest.approx(0.33, abs=0.12)  # only the coarse half is left
    assert abs(correlation(field[::2], field[1::2])) < 0.05  # fields are independent


# --- the two stand-ins ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spectrogram", "waveform"])
def test_sdr_falls_as_the_error_grows(name: str) -> None:
    stems = make_stems()
    levels = [[usdr(stems[stem], separate(name, stems, s)[stem]) for stem in STEMS] for s in (0.5, 1.5, 3.0, 6.0)]
    assert (np.diff(levels, axis=0) < -0.1).all()


@pytest.mark.parametrize("name", ["spectrogram", "waveform"])
def test_estimates_have_the_form_of_the_stems_and_are_finite(name: str) -> None:
    stems = make_stems(1.0)
    for estimate in separate(name, stems, 3.0).values():
        assert estimate.shape == (2, RATE)
        assert estimate.dtype == np.float32
        assert np.isfinite(estimate).all()


@pytest.mark.parametrize("name", ["spectrogram", "waveform"])
def test_the_generator_alone_decides_the_errors(name: str) -> None:
    stems = make_stems(1.0)
    first, again, other = (separate(name, stems, 2.0, seed)["bass"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert usdr(first, other) < 30


@pytest.mark.parametrize("name", ["spectrogram", "waveform"])
def test_silence_stays_finite(name: str) -> None:
    stems = make_stems(1.0) | {"vocals": np.zeros((2, RATE), np.float32)}
    estimates = separate(name, stems, 3.0)
    assert all(np.isfinite(estimate).all() for estimate in estimates.values())
    mixture = sum(stems.values())
    leak = np.sum(estimates["vocals"] ** 2) / np.sum(mixture**2)
    assert leak == 0 if name == "waveform" else 10 * np.log10(leak) == pytest.approx(-34, abs=0.5)

    nothing = {stem: np.zeros((2, RATE), np.float32) for stem in STEMS}
    for estimate in separate(name, nothing, 3.0).values():
        np.testing.assert_array_equal(estimate, 0)


def test_spectrogram_type_lets_nothing_above_11_khz_through() -> None:
    stems = make_stems(2.0)
    for stem, estimate in separate("spectrogram", stems, 2.0).items():
        power = np.abs(np.fft.rfft(estimate[0])) ** 2
        above = np.fft.rfftfreq(estimate.shape[1], 1 / RATE) > 11025 + 50  # the window's main lobe is 32 Hz wide
        assert power[above].sum() < 1e-5 * power.sum(), stem


def test_spectrogram_type_at_zero_sigma_separates_what_does_not_overlap() -> None:
    time = np.arange(2 * RATE) / RATE
    tones = {"bass": 100, "other": 1000, "vocals": 5000, "drums": 15000}
    stems = {stem: np.tile(np.sin(2 * np.pi * hz * time), (2, 1)).astype(np.float32) for stem, hz in tones.items()}
    estimates = separate("spectrogram", stems, 0.0)
    for stem in ("bass", "other", "vocals"):
        assert usdr(stems[stem], estimates[stem]) > 25, stem  # what is left is the leak, -34 dB of each other stem
    assert usdr(stems["drums"], estimates["drums"]) == pytest.approx(0, abs=0.1)  # beyond the bandwidth


def test_waveform_type_at_zero_k_is_the_stem() -> None:
    stems = make_stems(1.0)
    for stem, estimate in separate("waveform", stems, 0.0).items():
        np.testing.assert_array_equal(estimate, stems[stem])


def test_waveform_type_loses_20_db_per_decade() -> None:
    stems = make_stems(1.0)
    weak, strong = separate("waveform", stems, 0.5), separate("waveform", stems, 5.0)
    for stem in STEMS:
        assert usdr(stems[stem], weak[stem]) - usdr(stems[stem], strong[stem]) == pytest.approx(20, abs=0.01)


def test_waveform_type_hisses_and_keeps_the_highs() -> None:
    stems = make_stems(2.0)
    estimates = separate("waveform", stems, 3.0)
    frequency = np.fft.rfftfreq(2 * RATE, 1 / RATE)

    def energy(audio: np.ndarray, low: float, high: float) -> float:
        return float(np.sum(np.abs(np.fft.rfft(audio[0])[(frequency > low) & (frequency < high)]) ** 2))

    drums = energy(estimates["drums"], 12000, 20000) / energy(stems["drums"], 12000, 20000)
    assert 10 * np.log10(drums) == pytest.approx(0, abs=2)
    bass = energy(estimates["bass"] - stems["bass"], 5000, 15000) / energy(stems["bass"], 0, RATE)
    assert -45 < 10 * np.log10(bass) < -30


def test_other_sample_rates_keep_the_bandwidth() -> None:
    stems = {stem: audio[:, : 2 * 32000] for stem, audio in make_stems(2.0).items()}
    kind = STAND_INS["spectrogram"]
    sigma = dict.fromkeys(stems, 2.0)
    drums = kind.separate(stems, 32000, sigma=sigma, rng=np.random.default_rng(0))["drums"]
    power = np.abs(np.fft.rfft(drums[0])) ** 2
    frequency = np.fft.rfftfreq(drums.shape[1], 1 / 32000)
    assert power[frequency > 11100].sum() < 1e-5 * power.sum()
    assert power[(frequency > 10000) & (frequency < 11000)].sum() > 1e-4 * power.sum()


# --- calibration -------------------------------------------------------------------------------------------------


def test_median_sdr_of_known_errors() -> None:
    reference = np.ones((2, 350), np.float32)
    reference[:, 100:200] = 0.0
    estimate = reference * np.repeat([0.9, 1.0, 0.99, 5.0], [100, 100, 100, 50]).astype(np.float32)
    # Frames: 20 dB, silent (left out), 40 dB; the last half frame is left out.
    assert median_sdr(reference, estimate, 100) == pytest.approx(30, abs=0.01)


def test_median_sdr_of_short_and_silent_audio() -> None:
    reference = np.ones((1, 50), np.float32)
    assert median_sdr(reference, 0.5 * reference, 100) == pytest.approx(6.02, abs=0.01)
    assert math.isnan(median_sdr(np.zeros((1, 200)), np.ones((1, 200)), 100))


def test_median_sdr_agrees_with_museval(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    monkeypatch.setitem(sys.modules, "stempeg", types.ModuleType("stempeg"))  # museval imports but does not need it
    museval = pytest.importorskip("museval")
    rng = np.random.default_rng(0)
    reference = rng.standard_normal((2, 4100))
    reference[:, 1000:2000] = 0.0
    estimate = reference + rng.standard_normal((2, 4100)) * np.linspace(0.1, 1.0, 4100)
    frames, *_ = museval.evaluate(reference.T[None], estimate.T[None], win=1000, hop=1000)
    assert median_sdr(reference, estimate, 1000) == pytest.approx(np.nanmedian(frames[0]), abs=1e-6)


def test_strength_is_found_where_the_error_is_proportional() -> None:
    calls = []

    def evaluate(strength: dict[str, float]) -> dict[str, float]:
        calls.append(strength)
        return {stem: 15 - 20 * math.log10(value) for stem, value in strength.items()}

    found, reached = find_strength(evaluate, {"a": 3.0, "b": 3.0}, {"a": 9.0, "b": 15.0}, -20 / math.log(10))
    assert found == pytest.approx({"a": 10**0.3, "b": 1.0}, rel=1e-6)
    assert reached == pytest.approx({"a": 9.0, "b": 15.0})
    assert len(calls) == 2


def test_strength_is_found_where_the_slope_is_unknown() -> None:
    found, reached = find_strength(lambda s: {"a": 8 - 1.7 * s["a"]}, {"a": 2.0}, {"a": 6.55}, -4.0)
    assert found["a"] == pytest.approx(1.45 / 1.7, abs=0.06)
    assert reached["a"] == pytest.approx(6.55, abs=0.1)


def test_a_target_out_of_reach_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found, reached = find_strength(lambda s: {"bass": 5 - s["bass"]}, {"bass": 2.0}, {"bass": 7.0}, -4.0)
    assert "bass 5.0 of 7.0" in caplog.text
    assert found["bass"] < 0.1
    assert reached["bass"] > 4.9


def test_a_stem_that_is_never_heard_keeps_its_strength() -> None:
    found, reached = find_strength(
        lambda s: {"a": math.nan, "b": 5 - s["b"]}, {"a": 2.0, "b": 1.0}, {"a": 6.0, "b": 3.0}, -4.0
    )
    assert found["a"] == pytest.approx(2.0)
    assert math.isnan(reached["a"])
    assert reached["b"] == pytest.approx(3.0, abs=0.1)


def test_tracks_are_unequally_hard_but_always_the_same() -> None:
    stems = make_stems(1.0)
    strength = dict.fromkeys(STEMS, 2.0)
    kind = STAND_INS["waveform"]
    first = kind.degrade(stems, RATE, strength, seed=0, track="a")
    again = kind.degrade(stems, RATE, strength, seed=0, track="a")
    np.testing.assert_array_equal(first["bass"], again["bass"])
    other_track = kind.degrade(stems, RATE, strength, seed=0, track="b")
    other_seed = kind.degrade(stems, RATE, strength, seed=1, track="a")
    assert usdr(first["bass"], other_track["bass"]) < 40
    assert usdr(first["bass"], other_seed["bass"]) < 40


def test_strengths_vary_by_thirty_percent() -> None:
    seen: list[float] = []

    def record(stems: dict[str, np.ndarray], rate: int, *, k: dict[str, float], rng: np.random.Generator) -> dict:
        seen.extend(k.values())
        return stems

    kind = StandIn("recorder", record, "k", {}, {}, -1.0)
    for index in range(100):
        kind.degrade(dict.fromkeys(STEMS, np.zeros((1, 1))), RATE, dict.fromkeys(STEMS, 2.0), seed=0, track=str(index))
    assert 1.4 <= min(seen) < 1.45
    assert 2.55 < max(seen) <= 2.6
    assert np.mean(seen) == pytest.approx(2.0, abs=0.05)


# --- a whole data set --------------------------------------------------------------------------------------------


def calibration(folder: Path) -> dict:
    return json.loads((folder / "calibration.json").read_text())


@pytest.mark.parametrize("name", ["spectrogram", "waveform"])
def test_build_writes_every_stem_at_its_published_level(data_set: Path, name: str) -> None:
    filled, levels = build_separated(data_set, StandInSource(name))
    assert (filled.made, filled.skipped) == (3, 0)
    separated = data_set / "separated" / name
    for index, split in enumerate(("train", "valid", "test")):
        folder = separated / split / f"song {index}"
        assert {path.name for path in folder.iterdir()} == {f"{stem}.wav" for stem in STEMS} | {"levels.json"}
        for stem in STEMS:
            info = soundfile.info(folder / f"{stem}.wav")
            assert (info.frames, info.samplerate, info.channels, info.subtype) == (2 * RATE, RATE, 2, "PCM_16")

    stored = calibration(separated)
    assert stored["separator"] == name
    assert stored["tracks"] == 3
    assert set(stored["strength"]) == set(STEMS)
    published = {"spectrogram": spectrogram, "waveform": waveform}[name].TARGET_SDR
    assert stored["target_sdr_med"] == published
    for stem in STEMS:
        files = [data_set / split / f"song {n}" / f"{stem}.wav" for n, split in enumerate(("train", "valid", "test"))]
        medians, means = [], []
        for path in files:
            true, estimate = (soundfile.read(p)[0] for p in (path, separated / path.relative_to(data_set)))
            medians.append(np.median([usdr(true[n : n + RATE], estimate[n : n + RATE]) for n in (0, RATE)]))
            means.append(usdr(true, estimate))
        assert stored["reached_sdr_med"][stem] == pytest.approx(np.median(medians), abs=0.01)
        assert levels[stem] == pytest.approx({"sdr_med": np.median(medians), "usdr": np.mean(means)}, abs=0.01)
        # Calibration heard the whole of such short tracks, so what it reached there is what is reached here.
        assert stored["reached_sdr_med"][stem] == pytest.approx(published[stem], abs=0.5), stem


def copy_of(data_set: Path, root: Path) -> Path:
    for path in data_set.rglob("*.wav"):
        target = root / path.relative_to(data_set)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return root


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}


def test_build_in_processes_and_in_shards_equals_build_in_one(
    data_set: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other, sharded = (copy_of(data_set, tmp_path_factory.mktemp(name)) for name in ("other", "sharded"))
    build_separated(data_set, StandInSource("waveform"))
    build_separated(other, StandInSource("waveform"), jobs=2)
    parts = [SeparatedSet(sharded, StandInSource("waveform")) for _ in range(2)]
    for index, part in enumerate(parts):
        part.prepare(shard=Shard(index, 2))
    made = [part.fill(shard=Shard(index, 2)).made for index, part in enumerate(parts)]
    parts[0].finish()
    assert made == [2, 1]
    first = contents(data_set / "separated" / "waveform")
    assert len(first) == 3 * 5 + 2
    assert first == contents(other / "separated" / "waveform") == contents(sharded / "separated" / "waveform")


def test_build_again_makes_only_what_is_missing(data_set: Path) -> None:
    build_separated(data_set, StandInSource("waveform"))
    folder = data_set / "separated" / "waveform"
    before = calibration(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}
    filled, _ = build_separated(data_set, StandInSource("waveform"))
    assert (filled.made, filled.skipped) == (0, 3)
    assert times == {path: path.stat().st_mtime_ns for path in folder.rglob("*.*")}

    lost = folder / "valid" / "song 1" / "bass.wav"
    content = lost.read_bytes()
    lost.unlink()
    write_track(data_set / "train" / "new song", make_stems(2.0, seed=7))
    (folder / "train" / ".partial-new song").mkdir()  # left by a kill
    (folder / "train" / ".partial-new song" / "drums.wav").write_bytes(b"half")
    filled, _ = build_separated(data_set, StandInSource("waveform"))
    assert (filled.made, filled.skipped) == (2, 2)
    assert lost.read_bytes() == content
    after = calibration(folder)
    assert after["strength"] == before["strength"]
    assert after["tracks"] == 4
    assert not list(folder.rglob(".partial*"))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, UserError])
def test_an_interrupted_build_leaves_no_half_track(
    data_set: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    written: list[Path] = []
    write_audio = build.write_audio

    def fail_at_sixth(path: Path, audio: np.ndarray, sample_rate: int) -> None:
        written.append(path)
        if len(written) == 6:
            raise interruption("the disk is full")
        write_audio(path, audio, sample_rate)

    monkeypatch.setattr(build, "write_audio", fail_at_sixth)
    with pytest.raises(interruption):
        build_separated(data_set, StandInSource("waveform"))
    folder = data_set / "separated" / "waveform"
    assert {path.name for path in folder.rglob("*") if path.is_dir()} == {"train", "song 0", "valid"}
    monkeypatch.undo()
    filled, _ = build_separated(data_set, StandInSource("waveform"))
    assert (filled.made, filled.skipped) == (2, 1)


def test_a_stem_that_rests_throughout_does_not_stop_the_build(data_set: Path) -> None:
    for path in data_set.rglob("vocals.wav"):
        soundfile.write(path, np.zeros((2 * RATE, 2)), RATE, subtype="PCM_16")
    _, levels = build_separated(data_set, StandInSource("spectrogram"))
    reached = calibration(data_set / "separated" / "spectrogram")["reached_sdr_med"]
    assert reached["vocals"] is None
    assert reached["drums"] == pytest.approx(5.93, abs=0.5)
    assert levels["vocals"] == {"sdr_med": None, "usdr": None}


def test_bad_data_sets_are_named(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(UserError, match="no such stand-in separator"):
        StandInSource("spleeter")
    with pytest.raises(UserError, match="seed=-1"):
        StandInSource("waveform", seed=-1)
    with pytest.raises(UserError, match="no tracks"):
        build_separated(tmp_path_factory.mktemp("empty"), StandInSource("waveform"))
    with pytest.raises(UserError, match="stems=piano"):
        StandInSource("waveform", stems=("bass", "piano"))

    bass = data_set / "valid" / "song 1" / "bass.wav"
    audio, _ = soundfile.read(bass)
    soundfile.write(bass, audio[:-1], RATE, subtype="PCM_16")
    with pytest.raises(UserError, match=r"song 1.bass\.wav: frames = 88199, but 88200 in drums\.wav"):
        build_separated(data_set, StandInSource("waveform"))
    bass.unlink()
    with pytest.raises(UserError, match=r"song 1.*no stem bass"):
        build_separated(data_set, StandInSource("waveform"))
    assert not (data_set / "separated").exists()


def test_calibration_hears_frames_from_all_over_a_long_track(tmp_path: Path) -> None:
    """Excerpts of a track that is silent but for its end: only an excerpt that reaches there hears it."""
    stems = make_stems(12.0)
    for audio in stems.values():
        audio[:, : 10 * RATE] = 0.0
    write_track(tmp_path / "train" / "late", stems)
    build_separated(tmp_path, StandInSource("waveform"))
    found = calibration(tmp_path / "separated" / "waveform")
    for stem in STEMS:
        assert found["calibrated_sdr_med"][stem] == pytest.approx(waveform.TARGET_SDR[stem], abs=0.1)
        assert found["reached_sdr_med"][stem] == pytest.approx(waveform.TARGET_SDR[stem], abs=4)


def test_stems_of_another_seed_are_not_mixed_in(data_set: Path) -> None:
    few = ("bass", "drums")
    build_separated(data_set, StandInSource("waveform", stems=few))
    folder = data_set / "separated" / "waveform"
    with pytest.raises(UserError, match="was made by stand-in waveform, seed 0, not by stand-in waveform, seed 1"):
        build_separated(data_set, StandInSource("waveform", seed=1, stems=few))
    with pytest.raises(UserError, match="stems bass, drums"):
        build_separated(data_set, StandInSource("waveform"))
    (folder / "calibration.json").write_text('{"separator": ')
    with pytest.raises(UserError, match="not a calibration"):
        build_separated(data_set, StandInSource("waveform", stems=few))
    (folder / "origin.json").write_text("{")
    with pytest.raises(UserError, match=r"origin\.json: broken"):
        build_separated(data_set, StandInSource("waveform", stems=few))
