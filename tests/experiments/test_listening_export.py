"""What is written for webMUSHRA, for ReSEval and for the forced-choice page."""

import base64
import io
import itertools
import json
import re
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from codec_ft.errors import UserError
from experiments.listening import forced_choice
from experiments.listening.export import export
from experiments.listening.forced_choice import Options, write_forced_choice
from experiments.listening.reseval import write_reseval
from experiments.listening.trials import TestSet, Trial
from experiments.listening.webmushra import write_webmushra
from experiments.tasks import PROJECT

RATE = 22050
SYSTEMS = ("our system", "their <b>system</b>")


def make_test(seconds: float = 1.0, systems: tuple[str, ...] = SYSTEMS, count: int = 3, rate: int = RATE) -> TestSet:
    """Noise, of which every system has its own."""
    rng = np.random.default_rng(4)

    def clip() -> np.ndarray:
        return (0.1 * rng.standard_normal((2, round(seconds * rate)))).astype(np.float32)

    trials = [
        Trial(f"{i:02d}-bass", f"Song <{i}>", "bass", float(i), clip(), {name: clip() for name in systems}, {})
        for i in range(1, count + 1)
    ]
    return TestSet(tuple(trials), rate, -23.0, ("a note",))


def same_shape(paths: list[Path]) -> None:
    infos = [soundfile.info(path) for path in paths]
    assert len({(info.samplerate, info.frames, info.channels, info.subtype) for info in infos}) == 1


def load_page(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """A page's text, its data, and the key in them."""
    html = (folder / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="test">(.*?)</script>', html, re.DOTALL)
    assert found
    data = json.loads(found[1])
    return html, data, json.loads(base64.b64decode(data["key"]))


def stimulus(html: str, name: str) -> np.ndarray:
    """A stimulus of a page, decoded: [C, N]."""
    found = re.search(rf'<script type="text/plain" id="audio-{name}">(.*?)</script>', html)
    assert found
    return soundfile.read(io.BytesIO(base64.b64decode(found[1])))[0].T


def test_webmushra_finds_every_file(tmp_path: Path):
    test = make_test()
    assert write_webmushra(test, tmp_path / "out", "mine") == []
    config = yaml.safe_load((tmp_path / "out" / "configs" / "mine.yaml").read_text())
    assert set(config) == {
        "testname", "testId", "bufferSize", "stopOnErrors", "showButtonPreviousPage", "remoteService", "pages"
    }  # fmt: skip
    assert config["testId"] == "mine" and config["stopOnErrors"] is True
    assert config["bufferSize"] in (256, 512, 1024, 2048, 4096, 8192, 16384)
    welcome, volume, trials, finish = config["pages"]
    assert (welcome["type"], volume["type"], finish["type"]) == ("generic", "volume", "finish")
    assert finish["writeResults"] is True and {question["type"] for question in finish["questionnaire"]} == {
        "number",
        "likert",
    }
    assert trials[0] == "random" and len(trials) == 4
    files = [tmp_path / "out" / volume["stimulus"]]
    for page in trials[1:]:
        assert page["type"] == "mushra"
        # The anchors are stimuli of ours, or webMUSHRA's own: never both. The hidden reference is webMUSHRA's work.
        assert not page["createAnchor35"] and not page["createAnchor70"]
        assert set(page["stimuli"]) == {"our-system", "their-b-system-b", "anchor35", "anchor70"}
        assert page["reference"] not in page["stimuli"].values()
        files += [tmp_path / "out" / path for path in (page["reference"], *page["stimuli"].values())]
    same_shape(files)
    assert len(set(files)) == 3 * 5
    read = soundfile.read(tmp_path / "out" / trials[1]["stimuli"]["our-system"])[0].T
    np.testing.assert_allclose(read, test.trials[0].conditions["our system"], atol=2**-15)


def test_webmushra_anchors_are_muffled_references(tmp_path: Path):
    test = make_test(seconds=2.0)
    write_webmushra(test, tmp_path, "mine")
    folder = tmp_path / "configs" / "resources" / "mine" / "01-bass"
    for name, cutoff in (("anchor35", 3500), ("anchor70", 7000)):
        audio = soundfile.read(folder / f"{name}.wav")[0].T
        power = np.abs(np.fft.rfft(audio[0])) ** 2
        above = np.fft.rfftfreq(audio.shape[1], 1 / RATE) > cutoff + 500
        assert power[above].mean() < 1e-4 * power[~above].mean()
        assert np.corrcoef(audio[0], test.trials[0].reference[0])[0, 1] > 0.5


def test_webmushra_says_where_anchors_are_useless(tmp_path: Path):
    time = np.arange(2 * 12000) / 12000
    tone = (0.1 * np.sin(2 * np.pi * 80 * time))[None].astype(np.float32)
    test = TestSet((Trial("01-bass", "a", "bass", 0.0, tone, {"x": tone, "y": tone}, {}),), 12000, -23.0, ())
    notes = write_webmushra(test, tmp_path, "mine")
    assert any("anchor70 left out: at 12000 Hz" in note for note in notes)
    assert any("anchor35 of bass is hardly to be told from the reference" in note for note in notes)
    assert not list(tmp_path.rglob("anchor70.wav"))


def test_webmushra_refuses_what_it_would_stop_at(tmp_path: Path):
    with pytest.raises(UserError, match="12 s at most"):
        export(make_test(seconds=13, count=1, rate=2000), tmp_path, "x")
    with pytest.raises(UserError, match="12 at most"):
        export(make_test(systems=tuple("abcdefghij"), count=1), tmp_path, "x")
    assert not list(tmp_path.iterdir())


def test_reseval_has_a_test_for_every_pair(tmp_path: Path):
    test = make_test(systems=("one", "two", "three"))
    assert write_reseval(test, tmp_path / "out", "mine") == []
    configs = {path.stem: yaml.safe_load(path.read_text()) for path in (tmp_path / "out").glob("*.yaml")}
    pairs = [f"{a}-{b}" for a, b in itertools.combinations(("one", "two", "three"), 2)]
    assert set(configs) == {f"mine-{kind}-{pair}" for kind in ("ab", "abx") for pair in pairs} | {"mine-mushra"}
    for name, config in configs.items():
        assert config["name"] == name and re.fullmatch(r"[a-z0-9-]+", name)
        assert config["datatype"] == "audio" and config["samples_per_participant"] == 3
        assert {"storage", "database", "server", "crowdsource", "participants", "random_seed"} <= set(config)
        assert {"welcome_text", "prescreen_questions", "survey_instructions", "followup_questions"} <= set(config)
        assert set(config["listening_test"]) == {"instructions", "num_questions", "retries"}
        folders = {path.name: path for path in (tmp_path / "out" / name).iterdir()}
        expected = {"reference", "anchor35", "anchor70", "one", "two", "three"}
        if config["test"] != "mushra":
            expected = set(name.removeprefix(f"mine-{config['test']}-").split("-"))
            expected |= {"reference"} if config["test"] == "abx" else set()
        assert set(folders) == expected
        for folder in folders.values():  # ReSEval matches files by their names
            assert sorted(path.name for path in folder.iterdir()) == ["01-bass.wav", "02-bass.wav", "03-bass.wav"]
        same_shape([path for folder in folders.values() for path in folder.iterdir()])


def test_reseval_tells_what_has_no_common_stem(tmp_path: Path):
    bass, other = make_test(systems=("one", "two"), count=2).trials
    conditions = {"two": other.conditions["two"], "three": other.reference}
    drums = Trial("02-drums", "b", "drums", 0.0, other.reference, conditions, {})
    notes = write_reseval(TestSet((bass, drums), RATE, -23.0, ()), tmp_path / "out", "mine")
    assert notes == [
        "one and three have no stem in common: no pairwise test of them.",
        "one, three: left out of ReSEval's MUSHRA test, which wants all stems of each system.",
    ]
    assert len(list((tmp_path / "out" / "mine-ab-two-three" / "two").iterdir())) == 1


def test_the_page_holds_all_pairs_and_hides_their_names(tmp_path: Path):
    test = make_test(systems=("alpha-net", "beta-net", "gamma-net"))
    write_forced_choice(test, tmp_path, "mine", Options(attention_checks=2))
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    html, data, key = load_page(tmp_path)
    assert not re.search("(alpha|beta|gamma)-net|Song", html)
    assert "http" not in re.sub(r'<script type="text/plain".*?</script>', "", html)
    named = [(c["trial"], *sorted(key["names"][hidden] for hidden in c["pair"])) for c in data["comparisons"]]
    pairs = [("alpha-net", "beta-net"), ("alpha-net", "gamma-net"), ("beta-net", "gamma-net")]
    assert sorted(named) == sorted((trial.id, *pair) for trial in test.trials for pair in pairs)
    for comparison in data["comparisons"]:
        trial = next(trial for trial in test.trials if trial.id == comparison["trial"])
        np.testing.assert_allclose(stimulus(html, comparison["reference"]), trial.reference, atol=2**-14)
        for hidden in comparison["pair"]:
            expected = trial.conditions[key["names"][hidden]]
            np.testing.assert_allclose(stimulus(html, hidden), expected, atol=2**-14)
        assert key["tracks"][trial.id] == trial.track


def test_attention_checks_have_a_right_answer(tmp_path: Path):
    write_forced_choice(make_test(count=1), tmp_path, "mine", Options(attention_checks=3))
    html, data, key = load_page(tmp_path)
    assert len({check["trial"] for check in data["checks"]}) == 3
    for check in data["checks"]:
        right = key["right"][check["trial"]]
        assert right in check["pair"] and key["names"][right] == "reference"
        assert (stimulus(html, right) == stimulus(html, check["reference"])).all()


def test_asking_for_quality_shows_no_reference(tmp_path: Path):
    write_forced_choice(make_test(), tmp_path, "mine", Options(question="quality", headphone_questions=0))
    html, data, _ = load_page(tmp_path)
    assert all(trial["reference"] is None for trial in data["comparisons"] + data["checks"])
    assert data["headphones"] is None and 'data-clip="reference"' not in html


def test_stimuli_too_big_for_one_file_lie_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(forced_choice, "SINGLE_FILE_BYTES", 1000)
    [note] = write_forced_choice(make_test(), tmp_path / "out", "mine")
    assert "pass the folder on as a whole" in note
    html, data, _ = load_page(tmp_path / "out")
    assert len(html) < 100_000 and "audio-" not in re.sub("(?s).*</main>", "", html).split("<script>")[0]
    for trial in data["comparisons"]:
        for hidden in (trial["reference"], *trial["pair"]):
            text = (tmp_path / "out" / "audio" / f"{hidden}.js").read_text()
            assert text.startswith(f'stimulus("{hidden}","')


def test_the_test_is_named_by_what_is_in_it(tmp_path: Path):
    for name, test in (("a", make_test()), ("b", make_test()), ("c", make_test(count=2))):
        write_forced_choice(test, tmp_path / name, "mine")
    ids = [load_page(tmp_path / name)[1]["id"] for name in "abc"]
    assert ids[0] == ids[1] != ids[2]


def test_export_writes_what_was_asked_for(tmp_path: Path):
    notes = export(make_test(), tmp_path / "out", "My Test!", ["forced_choice", "reseval"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["forced_choice", "reseval", "stimuli.json"]
    about = json.loads((tmp_path / "out" / "stimuli.json").read_text())
    assert about["name"] == "my-test" and about["notes"] == notes == ["a note"]
    assert [trial["start"] for trial in about["trials"]] == [1.0, 2.0, 3.0]
    assert about["conditions"] == list(SYSTEMS)


def test_the_command(tmp_path: Path, tiny_set: Path):
    app = runpy.run_path(str(PROJECT / "scripts" / "listening_test.py"))["app"]
    words = ["export", str(tiny_set), str(tiny_set / "separated" / "rough"), "--out", str(tmp_path / "my test")]
    words += ["--stem", "bass", "--seconds", "1", "--trials", "2", "--comparisons", "1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "2 trials of 1 s with mixture, rough" in done.output
    assert "anchor35, anchor70 left out: at 8000 Hz" in done.output
    _, data, _ = load_page(tmp_path / "my test" / "forced_choice")
    assert data["id"].startswith("my-test-") and data["each"] == 1 and len(data["comparisons"]) == 2
    assert (tmp_path / "my test" / "webmushra" / "configs" / "my-test.yaml").is_file()

    failed = CliRunner().invoke(app, [*words, "--condition", "smooth"])
    assert failed.exit_code == 2 and "error: --condition smooth: no such system" in failed.output
    failed = CliRunner().invoke(app, ["export", str(tiny_set), "--out", str(tmp_path / "x")])
    assert failed.exit_code == 2 and "give references and then estimates" in failed.output
