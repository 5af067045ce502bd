"""The page of an evaluation in a real browser, opened from the disk."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_evaluation import make_results, write_evaluation
from matplotlib import image

from experiments.report.evaluation import write_evaluation_page

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of an evaluation with the best and the worst track of two stems."""
    folder = tmp_path_factory.mktemp("evaluations") / "evaluation"
    return write_evaluation_page(write_evaluation(folder, make_results(), samples=2, seconds=4.0))


@pytest.fixture
def opened(browser: "playwright.Browser", html: Path, watch: Callable[..., Any]) -> Iterator["playwright.Page"]:
    """The page in the browser; the test fails if it logs an error or leaves the disk."""
    with watch(browser, html, 1300, 900) as page:
        yield page


def choose_stem(page: "playwright.Page", name: str) -> None:
    page.locator(".tabs label", has_text=name).click()


def pick(page: "playwright.Page", what: str, name: str) -> None:
    """Tick or untick a system or a metric."""
    page.locator(f"#pick-{what} summary").click()
    page.locator(f"#pick-{what} label", has_text=name).first.locator("input").click()
    page.keyboard.press("Escape")


def shown(page: "playwright.Page", selector: str) -> list[str]:
    """The texts of what can be seen."""
    return page.eval_on_selector_all(
        selector, "all => all.filter(e => e.checkVisibility()).map(e => e.textContent.trim())"
    )


SYSTEMS = ["mixture", "rough", "ours", "MSG", "Demucs", "through the codec"]


def names(texts: list[str]) -> list[str]:
    """Texts without the roles after the systems' names."""
    return [text.rsplit(" ", 1)[0] if text.endswith(("floor", "input", "ceiling")) else text for text in texts]


def test_one_stem_is_shown_at_a_time(opened: "playwright.Page"):
    assert shown(opened, "#numbers h3") == ["All stems"]
    assert len(shown(opened, "#tokens h3")) == 4  # There are no tokens of all stems together: it is every stem's turn.
    choose_stem(opened, "Drums")
    for part in ("numbers", "spread", "rolloff", "tokens"):
        (heading,) = shown(opened, f"#{part} h3")
        assert heading.startswith("Drums")
    assert {text.split()[-1] for text in shown(opened, "#listen h3")} == {"drums"}
    assert set(shown(opened, "#track-table td:nth-child(2)")) == {"drums"}
    assert set(shown(opened, ".frechet td:nth-child(2)")) == {"drums"}
    assert opened.locator("#track-matches").inner_text() == "36 of 144 rows"
    choose_stem(opened, "All stems")
    assert shown(opened, "#numbers h3") == ["All stems"] and len(shown(opened, "#listen h3")) == 4


def test_choosing_a_stem_unfolds_its_first_track(opened: "playwright.Page"):
    unfolded = ".sample[open] > summary h3"
    choose_stem(opened, "Drums")
    assert len(shown(opened, unfolded)) == 1 and shown(opened, unfolded)[0].endswith("drums")


def test_a_system_can_be_left_out_everywhere(opened: "playwright.Page"):
    assert names(shown(opened, "#numbers .systems tbody th")) == SYSTEMS
    pick(opened, "systems", "MSG")
    kept = [name for name in SYSTEMS if name != "MSG"]
    assert names(shown(opened, "#numbers .systems tbody th")) == kept
    assert not any("MSG" in text for text in shown(opened, "main :is(th, td, figcaption b)"))
    assert opened.locator("#pick-systems summary span").inner_text() == "5 of 6"
    assert opened.locator("#track-matches").inner_text() == "120 of 144 rows"
    pick(opened, "systems", "MSG")
    assert names(shown(opened, "#numbers .systems tbody th")) == SYSTEMS


def test_a_metric_can_be_left_out_everywhere(opened: "playwright.Page"):
    before = shown(opened, "#track-table tbody tr:first-child td")
    pick(opened, "metrics", "uSDR")
    heads = shown(opened, "#numbers thead th, #track-table thead th, #spread figcaption b")
    assert not any(text.startswith("uSDR") for text in heads) and any(text.startswith("SI") for text in heads)
    after = shown(opened, "#track-table tbody tr:first-child td")
    assert after == before[:4] + before[5:]  # stem, system, seconds, SDR-med, and uSDR after it
    opened.locator("#pick-metrics summary").click()
    opened.locator("#pick-metrics button", has_text="None").click()
    assert len(shown(opened, "#numbers thead th")) == 1
    opened.locator("#pick-metrics button", has_text="All").click()
    assert shown(opened, "#track-table tbody tr:first-child td") == before


def test_a_heading_sorts_the_best_first(opened: "playwright.Page"):
    rows = "#numbers .systems tbody th"
    heading = opened.locator("#numbers .views > div").first.locator("thead th")
    heading.filter(has_text="uSDR").first.click()
    by_quality = ["through the codec", "ours", "Demucs", "MSG", "rough", "mixture"]
    assert names(shown(opened, rows)) == by_quality
    heading.filter(has_text="uSDR").first.click()
    assert names(shown(opened, rows)) == by_quality[::-1]
    heading.filter(has_text="LSD").first.click()  # less is better
    assert names(shown(opened, rows)) == by_quality
    heading.filter(has_text="loudness").first.click()  # the nearer to zero the better: -2.2 + 0.21 dB times quality
    values = [
        float(text.strip("★ ").split()[0].replace("−", "-")) for text in shown(opened, column(opened, "loudness"))
    ]
    assert [abs(value) for value in values] == sorted(abs(value) for value in values)


def column(page: "playwright.Page", name: str) -> str:
    """Selector of the cells of a column of the first table of numbers."""
    heads = shown(page, "#numbers thead th")
    place = next(i for i, head in enumerate(heads, start=1) if name in head)
    return f"#numbers .systems tbody td:nth-child({place})"


def test_what_is_undefined_is_sorted_last(opened: "playwright.Page"):
    heading = opened.locator("#track-table thead th", has_text="SIR")
    place = shown(opened, "#track-table thead th").index(heading.inner_text().replace("\n", " ")) + 1
    for _ in range(2):
        heading.click()
        cells = shown(opened, f"#track-table tbody td:nth-child({place})")
        assert cells[-1] == "–" and "–" not in cells[:-1]


def test_tracks_are_sorted_and_filtered(opened: "playwright.Page"):
    opened.locator("#track-filter").fill("05 vocals")
    assert names(shown(opened, "#track-table td:nth-child(3)")) == SYSTEMS
    assert opened.locator("#track-matches").inner_text() == "6 of 144 rows"
    opened.locator("#track-table thead th", has_text="system").click()
    assert shown(opened, "#track-table td:nth-child(3)") == sorted(SYSTEMS, key=str.lower)
    opened.locator("#track-filter").fill("nothing like it")
    assert shown(opened, "#track-table tbody th") == []
    opened.locator("#track-filter").fill("")
    assert len(shown(opened, "#track-table tbody th")) == 144


def test_intervals_can_be_put_away(opened: "playwright.Page"):
    assert len(shown(opened, "#numbers .systems td small")) == 6 * 16
    opened.locator("#intervals").uncheck()
    assert shown(opened, "#numbers .systems td small") == []


def test_tests_are_shown_for_the_metric_that_is_chosen(opened: "playwright.Page"):
    first = shown(opened, "#tests tbody td")
    assert len(first) == 15 * 4
    opened.locator("#pick-test").select_option("LSD")
    assert len(shown(opened, "#tests tbody td")) == 15 * 4 and shown(opened, "#tests tbody td") != first


def test_a_dot_tells_its_track_and_value(opened: "playwright.Page"):
    choose_stem(opened, "Bass")
    figure = opened.locator("#spread figure:visible", has_text="SIR-med")
    points = figure.locator(".mixture, .s0 .points")
    output = figure.locator("output")
    points.scroll_into_view_if_needed()
    # The first of the dots is the farthest left; one of the six tracks is undefined here.
    data = points.get_attribute("data-points").split(" ")
    assert len(data) == 5
    box = points.evaluate("""path => {
        const {x, y, width, height} = path.ownerSVGElement.getBoundingClientRect();
        const [left, top] = path.getAttribute("d").match(/M(\\d+) (\\d+)/).slice(1).map(Number);
        return [x + left / 1000 * width, y + top / 30 * height];
    }""")
    opened.mouse.move(*box)
    number, value = data[0].split(":")
    name = opened.evaluate(f"JSON.parse(document.getElementById('names').textContent)[{number}]")
    assert name.endswith("Song of the river") and output.inner_text() == f"{name}: {value}"
    opened.mouse.move(0, 0)
    assert output.inner_text() == ""


def test_players_share_their_position(opened: "playwright.Page"):
    opened.get_by_role("button", name="Play Reference").first.click()
    opened.wait_for_function("document.querySelector('.reference audio').currentTime > 0.3")
    opened.get_by_role("button", name="Play ours").first.click()
    opened.wait_for_function("!document.querySelector('.clip.s2 audio').paused")
    assert opened.evaluate("document.querySelector('.reference audio').paused")
    assert opened.evaluate("document.querySelector('.clip.s2 audio').currentTime") >= 0.3


def test_a_key_in_a_filter_plays_nothing(opened: "playwright.Page"):
    opened.locator("#track-filter").press("1")
    opened.locator("#pick-test").press("2")
    assert opened.evaluate("[...document.querySelectorAll('audio')].every(audio => audio.paused)")


@pytest.mark.parametrize("stem", ["All stems", "Bass"])
def test_nothing_is_wider_than_a_phone(opened: "playwright.Page", stem: str):
    opened.set_viewport_size({"width": 390, "height": 800})
    choose_stem(opened, stem)
    opened.evaluate("document.querySelectorAll('main details').forEach(details => details.open = true)")
    assert opened.evaluate("document.documentElement.scrollWidth") == 390


def test_long_names_are_no_wider_than_a_phone(browser: "playwright.Browser", tmp_path: Path):
    folder = write_evaluation(tmp_path / "evaluation", make_results(), samples=1)
    for file in (folder / "results.json", *folder.glob("samples/*/sample.json")):
        text = file.read_text()
        for name in ("ours", "mixture", "01 Song of the river", "bass"):
            text = text.replace(f'"{name}"', f'"{name}_{"x" * 150}"')
        file.write_text(text)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(write_evaluation_page(folder).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()


def test_the_tables_can_be_read_without_scripts(browser: "playwright.Browser", html: Path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(html.as_uri())
    headings = page.locator("#numbers h3").all()
    assert [heading.inner_text() for heading in headings] == ["All stems", "Bass", "Drums", "Other", "Vocals"]
    assert all(heading.is_visible() for heading in headings)
    assert page.locator("#track-table tbody tr").last.is_visible()
    assert not page.locator("#controls").is_visible() and not page.locator("#track-filter").is_visible()
    assert page.locator("audio").first.is_visible()
    context.close()


def test_everything_is_quick_with_fifty_tracks(browser: "playwright.Browser", tmp_path: Path):
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    page.goto(write_evaluation_page(write_evaluation(tmp_path, make_results(tracks=50))).as_uri())
    elapsed = page.evaluate("""async () => {
        const start = performance.now();
        const heads = [...document.querySelectorAll("#track-table thead th")];
        const filter = document.getElementById("track-filter");
        heads.find(head => head.textContent.startsWith("uSDR")).click();
        filter.value = "17";
        filter.dispatchEvent(new Event("input"));
        document.querySelectorAll("input[name=view]")[2].click();
        document.querySelectorAll("#pick-metrics input")[3].click();
        document.body.offsetHeight;
        return performance.now() - start;
    }""")
    assert len(shown(page, "#track-table tbody th")) == 6
    page.close()
    assert elapsed < 3000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_looks_like_something_in_light_and_dark(opened: "playwright.Page", tmp_path: Path, scheme: str):
    opened.emulate_media(color_scheme=scheme)
    opened.locator("#spread").scroll_into_view_if_needed()
    opened.screenshot(path=tmp_path / "page.png")
    pixels = image.imread(tmp_path / "page.png")[..., :3]
    ground = np.median(pixels.reshape(-1, 3), axis=0)
    assert (ground > 0.9).all() if scheme == "light" else (ground < 0.15).all()
    drawn = np.abs(pixels - ground).max(axis=-1) > 0.1
    assert 0.02 < drawn.mean() < 0.9
