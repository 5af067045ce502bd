"""The forced-choice page in a real browser, with listeners who really hear: from its first page to the analysis."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.listening import forced_choice
from experiments.listening.analysis import analyse, write_analysis
from experiments.listening.collected import CHOICE_COLUMNS
from experiments.listening.forced_choice import Options, write_forced_choice
from experiments.listening.trials import TestSet, Trial

playwright = pytest.importorskip("playwright.sync_api")

RATE = 22050
OPTIONS = Options(headphone_questions=3, tone_seconds=0.06, listen_seconds=0.1)
SHORT = Options(headphone_questions=0, attention_checks=0, listen_seconds=0.05)

EARS = """
window.voices = [];
const Source = AudioBufferSourceNode;
window.AudioBufferSourceNode = class extends Source {
  constructor(context, options) { super(context, options); this.heard = options.buffer; }
  start(when, offset = 0) { voices.push({buffer: this.heard, when, offset}); super.start(when, offset); }
};
const channels = buffer => [...Array(buffer.numberOfChannels).keys()].map(c => buffer.getChannelData(c));
const energy = wave => wave.reduce((sum, value) => sum + value * value, 0);
window.ears = {
  // Which of the last two voices differs less from the one before them, the reference?
  nearer() {
    const [reference, left, right] = voices.slice(-3).map(voice => channels(voice.buffer)[0]);
    const error = wave => energy(wave.map((value, i) => value - reference[i]));
    return error(left) < error(right) ? "left" : "right";
  },
  // Which of the last three voices is the softest, in one ear, or in the air, where both channels add up?
  softest(headphones) {
    const level = ([left, right]) => energy(headphones ? left : left.map((value, i) => value + right[i]));
    const levels = voices.slice(-3).map(voice => level(channels(voice.buffer)));
    return levels.indexOf(Math.min(...levels));
  },
};
"""
"""What the simulated listeners hear is what the page gives to the sound card, and not what its code knows."""

pytestmark = pytest.mark.browser


def make_test() -> TestSet:
    """Two excerpts with a slightly and a badly noisy version each."""
    rng = np.random.default_rng(2)
    time = np.arange(RATE) / RATE
    trials = []
    for number in (1, 2, 3):
        reference = (0.1 * np.sin(2 * np.pi * 110 * number * time))[None].astype(np.float32)
        noise = rng.standard_normal(reference.shape).astype(np.float32)
        conditions = {"rough": reference + 0.05 * noise, "fine, mostly": reference + 0.005 * noise}
        trials.append(Trial(f"0{number}-bass", f'Song "{number}"', "bass", 0.0, reference, conditions, {}))
    return TestSet(tuple(trials), RATE, -23.0, ())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listening") / "a test"
    write_forced_choice(make_test(), folder, "mine", OPTIONS)
    return folder


@pytest.fixture(scope="module")
def short_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without any checks."""
    folder = tmp_path_factory.mktemp("listening") / "short"
    write_forced_choice(make_test(), folder, "mine", SHORT)
    return folder


@pytest.fixture
def visit(browser: "playwright.Browser") -> Iterator[Callable[..., "playwright.Page"]]:
    """Open a test in a browser of its own; fails if a page logs anything or asks the network for something."""
    complaints: list[str] = []
    addresses: list[str] = []
    contexts = []

    def opened(folder: Path, query: str = "", **settings: Any) -> "playwright.Page":
        contexts.append(browser.new_context(accept_downloads=True, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.add_init_script(EARS)
        page.goto((folder / "index.html").as_uri() + query)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert {address.partition(":")[0] for address in addresses} <= {"file", "data", "blob"}


def set_volume(page: "playwright.Page") -> None:
    page.locator("#volume-play:enabled").click()
    page.locator("#volume-done:enabled").click()


def check_headphones(page: "playwright.Page", headphones: bool, questions: int = 3) -> None:
    for _ in range(questions):
        page.locator("#tones-play:enabled").click()
        page.locator(".lamp:enabled").first.wait_for()
        page.keyboard.press(str(page.evaluate(f"ears.softest({json.dumps(headphones)})") + 1))


def answer(page: "playwright.Page", choose: Callable[["playwright.Page"], str]) -> None:
    """Listen to all versions of a trial and choose."""
    assert page.locator("#choice input:enabled").count() == 0 and page.locator("#next").is_disabled()
    for name in ("reference", "left", "right"):
        page.locator(f"#trial .deck.{name}:enabled").click()
        heard = f"getComputedStyle(document.querySelector('#trial .deck.{name}')).getPropertyValue('--heard') >= 1"
        page.wait_for_function(heard)
    assert page.locator("#next").is_disabled()
    page.locator(f"#choice input[value={choose(page)}]").check()
    page.locator("#next:enabled").click()


def nearer(page: "playwright.Page") -> str:
    return page.evaluate("ears.nearer()")


def download(page: "playwright.Page", to: Path) -> Path:
    with page.expect_download() as started:
        page.locator("#download").click()
    to.mkdir(exist_ok=True)
    path = to / started.value.suggested_filename
    started.value.save_as(path)
    return path


def test_a_listener_with_headphones_is_understood(
    visit: Callable[..., "playwright.Page"], folder: Path, tmp_path: Path
):
    files = []
    for participant in ("anna", "ben"):
        page = visit(folder, f"?participant={participant}")
        page.locator("#begin").click()
        set_volume(page)
        check_headphones(page, headphones=True)
        for number in range(1, 6):
            assert page.locator("#count").inner_text() == f"{number} of 5"
            answer(page, nearer)
        files.append(download(page, tmp_path / "csv"))
        assert page.locator("#csv").input_value() == files[-1].read_text().replace("\r\n", "\n")
    assert participant in files[1].name

    analysis = analyse(files)
    assert analysis.rejected == () and analysis.preferences is not None
    [row] = analysis.preferences.overall
    # Six of six: p = 2 / 2^6. Of two people no more can be said than p = 0.5.
    assert (row.first, row.wins, row.trials, row.p) == ("fine, mostly", 6, 6, pytest.approx(2 / 64))
    assert (row.leaning_first, row.participants, row.p_participants) == (2, 2, pytest.approx(0.5))
    assert analysis.preferences.failed == {}
    rows = [line.split(",") for line in files[0].read_text().splitlines()]
    assert sorted(row[5] for row in rows[1:]) == ["attention"] * 2 + ["comparison"] * 3
    assert {row[4] for row in rows[1:]} == {"1", "2", "3", "4", "5"}


def test_a_careless_listener_at_loudspeakers_fails(
    visit: Callable[..., "playwright.Page"], folder: Path, tmp_path: Path
):
    page = visit(folder)
    page.locator("#begin").click()
    set_volume(page)
    check_headphones(page, headphones=False)
    assert "did not sound like headphones" in page.locator("#tones-status").inner_text()
    check_headphones(page, headphones=False)
    for _ in range(5):
        answer(page, lambda page: {"left": "right", "right": "left"}[nearer(page)])
    result = analyse([download(page, tmp_path)], keep_failed=True).preferences
    assert result is not None and list(result.failed.values()) == [("headphones", "attention")]
    assert result.overall[0].wins == 0 and result.overall[0].first == "fine, mostly"


def test_all_versions_play_in_step(visit: Callable[..., "playwright.Page"], short_test: Path):
    page = visit(short_test)
    page.locator("#begin").click()
    set_volume(page)
    page.locator("#trial .deck.left:enabled").click()
    voices = page.evaluate(
        "voices.slice(-3).map(({when, offset, buffer}) => [when, offset, buffer.length, buffer.sampleRate])"
    )
    assert voices[0] == voices[1] == voices[2] and voices[0][2:] == [RATE, RATE]
    count = page.evaluate("voices.length")
    page.keyboard.press("b")
    page.keyboard.press("r")
    page.locator("#trial .deck.reference.playing").wait_for()
    assert page.evaluate("voices.length") == count  # switching starts nothing anew
    page.keyboard.press(" ")
    page.locator("#pause:not(.playing)").wait_for()


def test_a_reload_loses_nothing(visit: Callable[..., "playwright.Page"], folder: Path):
    page = visit(folder)
    page.locator("#begin").click()
    set_volume(page)
    check_headphones(page, headphones=True)
    answer(page, nearer)
    answer(page, nearer)
    kept = "JSON.parse(Object.values(localStorage)[0])"
    before = page.evaluate(kept)
    page.reload()
    set_volume(page)
    page.locator("#trial .deck:enabled").first.wait_for()
    assert page.locator("#count").inner_text() == "3 of 5"
    after = page.evaluate(kept)
    assert len(before["answers"]) == 2
    assert {key: after[key] for key in ("participant", "seed", "answers", "headphones")} == {
        key: before[key] for key in ("participant", "seed", "answers", "headphones")
    }


def test_participants_get_orders_of_their_own(visit: Callable[..., "playwright.Page"], short_test: Path):
    """Sides and order follow from the participant's name alone."""

    def heard(participant: str) -> list[Any]:
        page = visit(short_test, f"?participant={participant}")
        page.locator("#begin").click()
        set_volume(page)
        for _ in range(3):
            answer(page, lambda _: "left")
        answers = page.evaluate("JSON.parse(Object.values(localStorage)[0]).answers")
        return [(answer["trial"], answer["pair"]) for answer in answers]

    once, again, other = heard("one"), heard("one"), heard("two")
    assert once == again != other
    assert sorted(trial for trial, _ in once) == sorted(trial for trial, _ in other)


def test_stimuli_beside_the_page_are_loaded_from_the_disk(
    visit: Callable[..., "playwright.Page"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(forced_choice, "SINGLE_FILE_BYTES", 0)
    write_forced_choice(make_test(), tmp_path / "big", "mine", SHORT)
    page = visit(tmp_path / "big")
    page.locator("#begin").click()
    set_volume(page)
    for _ in range(3):
        answer(page, nearer)
    result = analyse([download(page, tmp_path / "csv")]).preferences
    assert result is not None and (result.overall[0].wins, result.overall[0].trials) == (3, 3)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_no_screen_is_wider_than_its_window(
    visit: Callable[..., "playwright.Page"], folder: Path, tmp_path: Path, scheme: str, width: int
):
    page = visit(folder, viewport={"width": width, "height": 800}, color_scheme=scheme)
    for screen in ("welcome", "volume", "headphones", "trial", "done"):
        page.evaluate(
            "screen => document.querySelectorAll('.screen').forEach(s => { s.hidden = s.id !== screen; })", screen
        )
        assert page.evaluate("document.documentElement.scrollWidth") == width
    csv = tmp_path / "a.csv"
    names = ["a long name of one", "a long name of two"]
    values = ["t", "nearer", "p", "1", "1", "comparison", "01", "Song", "bass", *names, names[0], "left", *"1111"]
    csv.write_text(f"{','.join(CHOICE_COLUMNS)}\n{','.join([*values, 'passed', 'passed', ''])}\n")
    write_analysis(analyse([csv]), tmp_path / "out")
    page.goto((tmp_path / "out" / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
