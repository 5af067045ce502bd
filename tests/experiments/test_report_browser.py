"""The page in a real browser, opened from the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image

from experiments.report.page import write_page

playwright = pytest.importorskip("playwright.sync_api")


pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def html(write_run: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with three tracks of awkward names."""
    return write_page(write_run(tmp_path_factory.mktemp("runs"), seconds=4.0))


@pytest.fixture
def opened(browser: "playwright.Browser", html: Path, watch: Callable[..., Any]) -> Iterator["playwright.Page"]:
    """The page in the browser; the test fails if it logs an error or leaves the disk."""
    with watch(browser, html, 1280, 800) as page:
        yield page


def test_every_player_and_picture_loads(opened: "playwright.Page"):
    opened.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    opened.wait_for_function("[...document.querySelectorAll('audio')].every(audio => audio.readyState >= 1)")
    durations = opened.eval_on_selector_all("audio", "all => all.map(audio => audio.duration)")
    assert durations == pytest.approx([4.0] * 15, abs=0.01)

    for picture in opened.query_selector_all("img"):
        picture.scroll_into_view_if_needed()
    opened.wait_for_function("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert len(opened.query_selector_all("img")) == 15


def test_names_are_shown_as_they_are(opened: "playwright.Page"):
    names = [heading.inner_text() for heading in opened.query_selector_all("h3")][:3]
    assert names == ["01 Rock #1", '02 it\'s 50% "quoted" & <b>bold', "03 Élan – 音楽?"]


def test_playing_one_pauses_the_other_at_the_same_moment(opened: "playwright.Page"):
    state = "[...document.querySelectorAll('audio')].map(audio => !audio.paused)"
    moment = "[...document.querySelectorAll('audio')].find(audio => !audio.paused).currentTime"
    opened.get_by_role("button", name="Play Input").first.click()
    opened.wait_for_function(f"{moment} > 0.3")
    before = opened.evaluate(moment)
    opened.get_by_role("button", name="Play Output").first.click()
    opened.wait_for_function("!document.querySelectorAll('audio')[1].paused")
    playing = opened.evaluate(state)
    assert playing.index(True) == 1 and playing.count(True) == 1
    assert before <= opened.evaluate(moment) < before + 1.0

    # Another track starts at its own beginning and silences the first.
    opened.get_by_role("button", name="Play Target").nth(1).click()
    opened.wait_for_function("!document.querySelectorAll('audio')[7].paused")
    assert opened.evaluate(state).count(True) == 1
    assert opened.evaluate(moment) < 1.0


def test_a_click_in_a_picture_plays_from_there(opened: "playwright.Page"):
    picture = opened.query_selector(".output .picture")
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    opened.wait_for_function("!document.querySelector('.output audio').paused")
    assert 1.9 <= opened.evaluate("document.querySelector('.output audio').currentTime") < 3.0


def test_keys_switch_move_and_pause(opened: "playwright.Page"):
    opened.keyboard.press("3")
    opened.wait_for_function("!document.querySelector('.target audio').paused")
    opened.keyboard.press("ArrowRight")
    opened.wait_for_function("document.querySelector('.target audio').currentTime >= 1")
    opened.keyboard.press("2")
    opened.wait_for_function("!document.querySelector('.output audio').paused")
    assert opened.evaluate("document.querySelector('.target audio').paused")
    assert opened.evaluate("document.querySelector('.output audio').currentTime") >= 1
    opened.keyboard.press(" ")
    opened.wait_for_function("document.querySelector('.output audio').paused")


def test_a_curve_shows_its_values_under_the_pointer(opened: "playwright.Page"):
    curve = opened.locator("svg.curve").first
    output = opened.locator(".panel output").first
    before = output.inner_text()
    curve.scroll_into_view_if_needed()
    box = curve.bounding_box()
    curve.hover(position={"x": box["width"] * 46 / 320 + 1, "y": box["height"] / 2})
    assert "@ 10" in output.inner_text()  # The left edge is the first logged step.
    opened.mouse.move(0, 0)
    assert output.inner_text() == before


def test_a_heading_sorts_and_a_name_unfolds(opened: "playwright.Page"):
    rows = "[...document.querySelectorAll('.sortable tbody tr')].map(row => row.textContent.trim().slice(0, 2))"
    heading = opened.locator(".sortable thead tr:last-child th").first
    heading.click()
    assert opened.evaluate(rows) == ["01", "02", "03"]
    heading.click()
    assert opened.evaluate(rows) == ["03", "02", "01"]
    opened.evaluate("document.getElementById('sample-3').open = false")
    opened.locator(".sortable tbody a").first.click()
    opened.wait_for_function("document.getElementById('sample-3').open")


def test_nothing_is_wider_than_a_phone(opened: "playwright.Page"):
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_looks_like_something_in_light_and_dark(opened: "playwright.Page", tmp_path: Path, scheme: str):
    opened.emulate_media(color_scheme=scheme)
    opened.wait_for_function("document.images[0].complete")
    opened.screenshot(path=tmp_path / "page.png")
    pixels = image.imread(tmp_path / "page.png")[..., :3]
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    assert (ground > 0.9).all() if scheme == "light" else (ground < 0.15).all()
    drawn = np.abs(pixels - ground).max(axis=-1) > 0.1
    assert 0.02 < drawn.mean() < 0.9


def test_paper_shows_everything_and_the_screen_stays_folded(opened: "playwright.Page"):
    folded = "document.querySelectorAll('.sample:not([open])').length"
    opened.evaluate("document.querySelectorAll('details').forEach(details => details.open = false)")
    opened.evaluate(f"addEventListener('beforeprint', () => window.foldedOnPaper = {folded})")
    opened.pdf()
    assert opened.evaluate("foldedOnPaper") == 0
    assert opened.evaluate(folded) == 3
