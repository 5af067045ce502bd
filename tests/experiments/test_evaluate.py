"""Whole evaluations of audio whose numbers are known beforehand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from codec_ft.errors import UserError
from codec_ft.metrics.waveform import CEILING_DB
from experiments.evaluation.evaluate import Listening, evaluate
from experiments.evaluation.measure import measure_track
from experiments.evaluation.runs import compare_runs, find_runs
from experiments.evaluation.settings import Settings
from experiments.evaluation.systems import compare_folders

RATE = 16000
TRACKS = ("first", "second")
STEMS = ("bass", "drums")


def stereo(seed: int, seconds: float = 2.0) -> np.ndarray:
    """Noise whose loudness comes and goes, float32 [2, N]."""
    n = round(seconds * RATE)
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * np.arange(n) / RATE)
    noise = np.random.default_rng(seed).standard_normal((2, n))
    return (0.05 * noise * envelope).astype(np.float32)


def write(root: Path, audio: dict[tuple[str, str], np.ndarray]) -> Path:
    for (track, stem), samples in audio.items():
        (root / track).mkdir(parents=True, exist_ok=True)
        soundfile.write(root / track / f"{stem}.wav", samples.T, RATE, subtype="FLOAT")
    return root


@pytest.fixture
def true():
    items = [(track, stem) for track in TRACKS for stem in STEMS]
    return {item: stereo(number) for number, item in enumerate(items)}


@pytest.fixture
def references(tmp_path, true):
    return write(tmp_path / "references", true)


NO_CODEC = Settings(codec=None)
SILENT_EARS = Listening(seconds=0.0)


def run(tmp_path, references, *systems, settings=NO_CODEC, listening=SILENT_EARS, **options):
    comparison = compare_folders(references, [str(system) for system in systems], **options)
    out = tmp_path / "out"
    results = evaluate(
        comparison, settings, out, title="a test", command="evaluate", listening=listening, jobs=1, overwrite=True
    )
    return results, json.loads((out / "results.json").read_text())


def value(written, track, stem, system, metric):
    (row,) = [r for r in written["rows"] if (r["track"], r["stem"], r["system"]) == (track, stem, system)]
    return row["values"][metric]


def test_numbers_that_are_known_beforehand(tmp_path, references, true):
    rng = np.random.default_rng(9)

    def with_noise(audio: np.ndarray, decibels: float) -> np.ndarray:
        noise = rng.standard_normal(audio.shape)
        gain = np.sqrt(np.square(audio).sum() / np.square(noise).sum() / 10 ** (decibels / 10))
        return (audio + gain * noise).astype(np.float32)

    perfect = write(tmp_path / "perfect", true)
    noisy = write(tmp_path / "noisy", {item: with_noise(audio, 10.0) for item, audio in true.items()})
    halved = write(tmp_path / "halved", {item: 0.5 * audio for item, audio in true.items()})
    results, written = run(tmp_path, references, perfect, noisy, halved, settings=Settings(codec=None, bss=True))
    assert value(written, "first", "bass", "perfect", "sdr_med") == CEILING_DB
    assert value(written, "first", "bass", "perfect", "log_mel_distance") == 0.0
    assert value(written, "first", "bass", "perfect", "onset_f1") == 1.0
    for track, stem in true:
        assert value(written, track, stem, "noisy", "usdr") == pytest.approx(10.0, abs=1e-3)
        assert value(written, track, stem, "halved", "usdr") == pytest.approx(20 * np.log10(2), abs=1e-3)
        assert value(written, track, stem, "halved", "si_sdr") == CEILING_DB
        assert value(written, track, stem, "halved", "loudness_error") == pytest.approx(-20 * np.log10(2), abs=1e-3)
        assert value(written, track, stem, "halved", "rolloff_error") == 0.0
        assert value(written, track, stem, "halved", "sar_med") > 60.0  # a change of level is no artefact
        assert value(written, track, stem, "halved", "isr_med") == pytest.approx(20 * np.log10(2), abs=1e-2)
    # Two independent stems of equal energy: in the mixture, what is not the one is the other.
    mixture = results["summary"]["all"]["mixture"]
    assert abs(mixture["usdr"]["value"]) < 0.3 and mixture["sir_med"]["value"] < 1.0
    assert results["coverage"]["bass"] == {"tracks": 2, "seconds": 4.0, "frames": 4, "silent_frames": 0}
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == 4 * 4 and {row["system"] for row in table} == {"mixture", "perfect", "noisy", "halved"}
    assert (tmp_path / "out" / "index.html").is_file()


def test_floor_input_ceiling_and_tokens(tmp_path, references, true, tiny_codec_folder):
    perfect = write(tmp_path / "perfect", true)
    other = write(tmp_path / "other", {item: stereo(50 + i) for i, item in enumerate(true)})
    settings = Settings(codec=str(tiny_codec_folder))
    results, written = run(tmp_path, references, perfect, settings=settings, input=str(other))
    assert [(s["name"], s["role"]) for s in results["systems"]] == [
        ("mixture", "floor"),
        ("other", "input"),
        ("perfect", "system"),
        ("tiny codec", "ceiling"),
    ]
    tokens = results["tokens"]["bass"]
    assert tokens["systems"]["perfect"]["token_accuracy"].tolist() == [1.0, 1.0, 1.0]
    assert tokens["systems"]["perfect"]["codebook_distance"].tolist() == [0.0, 0.0, 0.0]
    assert tokens["systems"]["other"]["token_accuracy"][0] < 0.5
    assert tokens["systems"]["tiny codec"]["token_accuracy"][0] < 1.0  # what is called idempotence
    assert tokens["frames"] == 2 * 800  # both tracks, 400 frames per second
    frechet = {(row["stem"], row["system"]): row for row in results["frechet"]}
    assert frechet["bass", "perfect"]["value"] == pytest.approx(0.0, abs=1e-6)
    assert frechet["bass", "perfect"]["vectors"] == 1600
    assert "the bass of the 2 references" in frechet["bass", "other"]["words"]
    # Against the reference as the codec can say it, the true stem is as far as the codec's ceiling is from it.
    second = results["second"]["bass"]
    assert "tiny codec" not in second and set(second) == {"mixture", "other", "perfect"}
    assert value(written, "first", "bass", "perfect", "token_accuracy") == 1.0


def test_what_is_heard_is_written_and_shown(tmp_path, references, true):
    good = {item: audio if item[0] == "first" else 0.1 * audio for item, audio in true.items()}
    out = tmp_path / "out"
    run(tmp_path, references, write(tmp_path / "x", good), listening=Listening(seconds=0.5))
    folders = sorted(path.name for path in (out / "samples").iterdir())
    assert folders == ["bass - first", "bass - second", "drums - first", "drums - second"]
    sample = out / "samples" / "bass - second"
    facts = json.loads((sample / "sample.json").read_text())
    assert (facts["why"], facts["system"], facts["track"], facts["stem"]) == ("worst", "x", "second", "bass")
    audio, rate = soundfile.read(sample / "reference.wav")
    start = round(facts["start"] * RATE)
    assert rate == RATE and audio.shape == (RATE // 2, 2)
    assert np.abs(audio.T - true["second", "bass"][:, start : start + RATE // 2]).max() < 1e-4
    assert "bass - second" in (out / "index.html").read_text() or "second" in (out / "index.html").read_text()


def test_silence_is_defined_everywhere(tmp_path, true):
    silent = np.zeros_like(stereo(0))
    references = write(tmp_path / "references", {**true, ("first", "bass"): silent})
    quiet = write(tmp_path / "quiet", {item: silent for item in true})
    _, written = run(tmp_path, references, quiet)
    assert value(written, "first", "bass", "quiet", "usdr") == 0.0  # silence for silence
    assert value(written, "first", "bass", "mixture", "usdr") < -20.0  # anything else is wrong
    assert value(written, "first", "bass", "quiet", "sdr_med") is None
    assert value(written, "first", "bass", "quiet", "si_sdr") is None
    assert value(written, "first", "bass", "quiet", "log_mel_distance") == 0.0
    assert value(written, "second", "bass", "quiet", "usdr") == pytest.approx(0.0, abs=0.01)
    for row in written["rows"]:
        for name, number in {**row["values"], **row["second"]}.items():
            assert number is None or np.isfinite(number), name


def test_a_silent_second_of_one_stem_counts_for_no_stem(tmp_path, true):
    true["first", "bass"][:, RATE:] = 0.0
    references = write(tmp_path / "references", true)
    system = write(tmp_path / "x", {item: 0.9 * audio for item, audio in true.items()})
    results, written = run(tmp_path, references, system)
    frames = {(r["track"], r["stem"]): r["frames"]["sdr"] for r in written["rows"] if r["system"] == "x"}
    assert frames["first", "drums"] == [pytest.approx(20.0, abs=1e-3), None]
    assert frames["second", "drums"] == [pytest.approx(20.0, abs=1e-3)] * 2
    assert results["coverage"]["drums"]["silent_frames"] == 1


def test_opposite_phase_is_silent_to_museval_and_to_nothing_else(tmp_path, true):
    left = true["first", "bass"][:1]
    references = write(tmp_path / "references", {("first", "bass"): np.concatenate([left, -left])})
    system = write(tmp_path / "x", {("first", "bass"): np.concatenate([0.9 * left, -0.9 * left])})
    _, written = run(tmp_path, references, system)
    assert value(written, "first", "bass", "x", "usdr") == pytest.approx(20.0, abs=1e-3)
    assert value(written, "first", "bass", "x", "sdr_med") is None


def test_a_bad_file_is_left_out_for_all_systems_with_a_word(tmp_path, references, true):
    broken = write(tmp_path / "broken", true)
    audio = true["first", "bass"].copy()
    audio[0, 100] = np.nan
    write(broken, {("first", "bass"): audio})
    good = write(tmp_path / "good", true)
    results, written = run(tmp_path, references, broken, good)
    assert not [r for r in written["rows"] if (r["track"], r["stem"]) == ("first", "bass")]
    assert len([r for r in written["rows"] if r["system"] == "good"]) == 3
    (note,) = [note for note in results["notes"] if "left out for all systems" in note]
    assert "bass of first" in note and "bass.wav" in note and "NaN" in note


def test_if_nothing_can_be_measured_the_reason_is_told(tmp_path, true):
    references = write(tmp_path / "references", {("first", "bass"): true["first", "bass"]})
    system = write(tmp_path / "x", {("first", "bass"): stereo(1, seconds=9.0)})
    with pytest.raises(UserError, match=r"Nothing could be measured.*9\.00 s long, but its reference 2\.00 s"):
        run(tmp_path, references, system)


def test_one_track_has_values_and_no_tests(tmp_path, true):
    references = write(tmp_path / "references", {("first", "bass"): true["first", "bass"]})
    systems = [write(tmp_path / name, {("first", "bass"): stereo(7 + len(name))}) for name in ("x", "xy")]
    results, _ = run(tmp_path, references, *systems)
    assert results["summary"]["bass"]["x"]["usdr"]["value"] is not None
    assert all(pair["p"] is None and pair["words"] for pair in results["pairs"])


def test_the_order_of_systems_and_processes_changes_no_number(tmp_path, references, true):
    systems = [
        write(tmp_path / name, {item: gain * audio for item, audio in true.items()})
        for name, gain in (("x", 0.5), ("y", 0.8))
    ]
    forwards, _ = run(tmp_path, references, *systems)
    comparison = compare_folders(references, [str(system) for system in systems[::-1]])
    backwards = evaluate(
        comparison, NO_CODEC, tmp_path / "b", title="", command="", listening=SILENT_EARS, jobs=2, overwrite=False
    )
    assert forwards["summary"]["bass"]["x"] == backwards["summary"]["bass"]["x"]
    assert forwards["summary"]["all"]["y"] == backwards["summary"]["all"]["y"]


def test_a_stopped_evaluation_goes_on_with_the_missing_tracks(tmp_path, references, true, monkeypatch):
    system = write(tmp_path / "x", true)
    measured = []

    def stopped_after_one(comparison, settings):
        if measured:
            raise KeyboardInterrupt
        measured.append(comparison.tracks)
        return measure_track(comparison, settings)

    monkeypatch.setattr("experiments.evaluation.measure.measure_track", stopped_after_one)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, references, system)
    assert measured == [["first"]] and not (tmp_path / "out" / "results.json").exists()

    def only_the_second(comparison, settings):
        assert comparison.tracks == ["second"]
        return measure_track(comparison, settings)

    monkeypatch.setattr("experiments.evaluation.measure.measure_track", only_the_second)
    resumed, _ = run(tmp_path, references, system)
    assert not (tmp_path / "out" / "unfinished").exists()
    monkeypatch.setattr("experiments.evaluation.measure.measure_track", measure_track)
    at_once, _ = run(tmp_path, references, system)
    assert resumed["summary"] == at_once["summary"] and resumed["rolloff"] == at_once["rolloff"]


def test_another_set_of_clean_tracks_can_be_what_the_frechet_distance_is_from(
    tmp_path, references, true, tiny_codec_folder
):
    for number in range(3):
        write(tmp_path / "more" / "train", {(f"song {number}", "bass"): stereo(70 + number)})
    bass = {item: audio for item, audio in true.items() if item[1] == "bass"}
    settings = Settings(codec=str(tiny_codec_folder), fad_reference=tmp_path / "more")
    results, _ = run(tmp_path, references, write(tmp_path / "x", bass), settings=settings, stems=["bass"])
    (row,) = [row for row in results["frechet"] if row["system"] == "x"]
    assert row["reference_vectors"] == 2 * 800 and "the bass of more, train, 2 tracks" in row["words"]
    # Noise of one kind throughout: the distance is that of chance, and extrapolated it nearly vanishes.
    assert abs(row["infinity"]) < row["value"]
    with pytest.raises(UserError, match="more: no drums in its train tracks"):
        run(tmp_path, references, write(tmp_path / "y", true), settings=settings)


def test_results_are_not_overwritten_without_being_asked(tmp_path, references, true):
    comparison = compare_folders(references, [str(write(tmp_path / "x", true))])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.json").write_text("{}")
    with pytest.raises(UserError, match=r"out: holds an evaluation\. Give another --out"):
        evaluate(comparison, NO_CODEC, tmp_path / "out", title="", command="", listening=SILENT_EARS, jobs=1)


@pytest.mark.parametrize("theirs", ["samples/song.wav", "results.json"])
def test_what_no_evaluation_wrote_is_never_replaced(tmp_path, references, true, theirs):
    comparison = compare_folders(references, [str(write(tmp_path / "x", true))])
    kept = tmp_path / "out" / theirs
    kept.parent.mkdir(parents=True)
    kept.write_text('{"status": "finished"}')
    with pytest.raises(UserError, match="holds results or samples that no evaluation wrote"):
        evaluate(
            comparison,
            NO_CODEC,
            tmp_path / "out",
            title="",
            command="",
            listening=SILENT_EARS,
            jobs=1,
            overwrite=True,
        )
    assert kept.read_text() == '{"status": "finished"}'


def test_the_samples_of_a_run_are_scored_against_their_targets(tmp_path, true):
    folder = tmp_path / "run"
    audio = {"input": 0.5, "output": 0.9, "quantized_input": 0.4, "quantized_target": 0.99, "target": 1.0}
    for number, track in enumerate(TRACKS):
        sample = folder / "samples" / f"{number}"
        sample.mkdir(parents=True)
        for name, gain in audio.items():
            soundfile.write(sample / f"{name}.wav", (gain * true[track, "bass"][0]), RATE, subtype="FLOAT")
        facts = {"track": track, "start": 1.5, "stem": "bass", "input": "separated/rough"}
        (sample / "sample.json").write_text(json.dumps(facts))
    (folder / "config.yaml").write_text("id: my_run\ncodec: demo\n")
    (folder / "metrics.jsonl").write_text("")
    comparison, codec = compare_runs(find_runs([str(folder)]))
    assert codec == "demo" and comparison.tracks == ["first at 1.5 s", "second at 1.5 s"]
    assert [(system.name, system.role) for system in comparison.systems] == [
        ("rough", "input"),
        ("untouched encoder", "floor"),
        ("my_run", "system"),
        ("quantized_target", "ceiling"),
    ]
    measured = measure_track(comparison.of_track("first at 1.5 s"), NO_CODEC)
    of_run = next(row for row in measured.rows if row.system == "my_run")
    assert of_run.values["usdr"] == pytest.approx(20.0, abs=1e-3)
    assert of_run.second["usdr"] == pytest.approx(20 * np.log10(0.99 / 0.09), abs=1e-3)
    with pytest.raises(UserError, match="no_such: no such run folder or experiment"):
        find_runs(["no_such"])
    (folder / "samples" / "0" / "output.wav").unlink()
    (folder / "samples" / "1" / "output.wav").unlink()
    with pytest.raises(UserError, match="has no samples with output and target"):
        compare_runs([folder])


def test_the_command_line(tmp_path, references, true, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import evaluate as script
    import typer

    app = typer.Typer()
    app.command()(script.main)
    system = write(tmp_path / "x", true)
    words = [str(references), f"mine={system}", "--out", str(tmp_path / "out"), "--codec", "none", "--no-audio"]
    done = CliRunner().invoke(app, [*words, "--jobs", "1", "--stem", "bass"])
    assert done.exit_code == 0 and "mine" in done.output
    assert json.loads((tmp_path / "out" / "results.json").read_text())["stems"] == ["bass"]
    assert not (tmp_path / "out" / "samples").exists()
    for wrong in ([str(references)], [str(references), "--layout", "{track}"], ["nowhere"]):
        assert CliRunner().invoke(app, [*wrong, "--out", str(tmp_path / "other")]).exit_code == 2
