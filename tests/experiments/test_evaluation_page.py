import json
import math
import random
import re
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_evaluation import STEMS, SYSTEMS, make_results, write_evaluation, write_sample
from test_report_page import Reader, read

from codec_ft.errors import UserError
from codec_ft.metrics.metric import Metric
from experiments.report import evaluation_results
from experiments.report.box_plots import Series, axis, box, box_plot, lanes
from experiments.report.evaluation import write_evaluation_page
from experiments.report.evaluation_results import read_evaluation
from experiments.report.evaluation_tables import coverage_words, pair_tables, summary_table, token_tables
from experiments.report.evaluation_wording import findings
from experiments.report.histograms import Counts, histograms, read_counts


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Six tracks, four stems, six systems, and samples of the first stem."""
    return write_evaluation(tmp_path / "evaluation", make_results(), samples=1)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write results, and return their folder."""
    return lambda results: write_evaluation(tmp_path / "evaluation", {"stems": [], **results})


@pytest.fixture(autouse=True)
def known_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """One metric of each direction, whatever the registry holds."""
    for name, direction in {"up": "up", "down": "down", "zero": "zero"}.items():
        monkeypatch.setitem(evaluation_results.METRICS, name, Metric(f"{name}-wards", "", direction, "How.", "Who"))


def _small() -> dict[str, Any]:
    """One stem, two systems and two metrics of five tracks: quick to write many times."""
    results = make_results(tracks=5, stems=["bass"])
    kept, metrics = ("ours", "through the codec"), ["usdr", "rolloff_error"]
    results |= {"metrics": metrics, "second_metrics": ["usdr"], "title": "Small"}
    results["systems"] = [system for system in results["systems"] if system["name"] in kept]
    results["rows"] = [row for row in results["rows"] if row["system"] in kept]
    results["pairs"] = [p for p in results["pairs"] if {p["a"], p["b"]} == set(kept) and p["metric"] in metrics]
    results["frechet"] = [found for found in results["frechet"] if found["system"] in kept]
    for section in ("summary", "second", "rolloff"):
        results[section] = {stem: {name: found[name] for name in kept} for stem, found in results[section].items()}
    for found in results["rolloff"]["bass"].values():
        found |= {"edges": [-1.5, 0.5, 2.5], "counts": [3, 4]}
    return results


SMALL = _small()


def cells(*numbers: float | None) -> dict[str, Any]:
    """A stem's summary of one metric, "up", for systems a, b, c..., with intervals of ±1."""
    return {
        system: {"up": {"value": v, "low": v and v - 1, "high": v and v + 1, "tracks": 6}}
        for system, v in zip("abcdef", numbers, strict=False)
    }


def roles(**by_name: str) -> list[dict[str, str]]:
    return [{"name": name, "role": role, "source": ""} for name, role in by_name.items()]


def test_the_page_tells_the_whole_story(made: Path):
    html = write_evaluation_page(made)
    assert html == made / "index.html"
    text = read(html).text
    for words in (
        "Three separators on the test songs",
        "3 systems compared with the clean stems; beside them “mixture” as floor, “rough” as input",
        "8 min 00 s",
        "44.1 kHz stereo",
        "8 × 1 024",
        "All stems: “ours” is best, with uSDR",
        "the difference is not significant (p = 0.21 after Holm; ours against Demucs)",
        "On 6 tracks · 2 min 00 s · 120 frames, 3 of them left out as silent.",
        "Against the reference as the codec can say it",
        "mixture less rough",
        "p = 0.004",
        "below five tracks there are dots only",
        "98 % spectral rolloff",
        "400 frames, median",
        "the best of “ours” by SDR-med",
        "mixture copy-input",
        "through the codec idempotence",
        "always the commonest token majority",
        "latents of the codec demo, 6000 vectors of 120 s against 6000 of 120 s",
        "Resampled from 48000 Hz.",
        "the estimate of MSG was resampled",
        "Mitsufuji et al.",
        "python scripts/evaluate.py data/demo/test",
    ):
        assert words in text, words
    assert "missing or damaged" not in text and "Not part of this" not in text and "nothing to listen to" not in text


def test_every_address_is_a_file_of_the_folder(made: Path):
    html = write_evaluation_page(made)
    addresses = [a for a in read(html).addresses if not a.startswith(("#", "data:"))]
    assert {"results.json", "results.csv"} < set(addresses)
    assert len([a for a in addresses if a.endswith(".png")]) == 2 * 7
    assert all((made / unquote(address)).is_file() for address in addresses)
    assert "http" not in html.read_text()


def test_every_link_within_the_page_leads_somewhere(made: Path):
    html = write_evaluation_page(made).read_text()
    links = {link for link in re.findall(r'<a href="#([^"]+)"', html)}
    assert links >= {"numbers", "tests", "spread", "rolloff", "listen", "tokens", "frechet", "tracks", "about"}
    assert links <= set(re.findall(r'id="([^"]+)"', html))


def test_nothing_waits_for_a_script_to_be_seen(made: Path):
    html = write_evaluation_page(made).read_text()
    body = html[html.index("<main>") : html.rindex("<script>")]
    assert " hidden" not in body and "display:none" not in body.replace(" ", "")
    for stem in STEMS:
        assert len(re.findall(rf"<h3>{stem.capitalize()}", body)) >= 3  # numbers, spread, tokens
    assert body.count('<tr class="system s2"') > 4 * 24


# Who is best, and what is said of it.


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("up", (1.0, 3.0, 2.0, 9.0), "b"),
        ("down", (1.0, 3.0, 2.0, 0.0), "a"),
        ("zero", (-1.0, 0.5, 0.7, 0.0), "b"),
        ("up", (3.0, 3.0, 2.0, 9.0), "ab"),
        ("up", (1.0, None, None, 9.0), ""),
        ("strange", (1.0, 3.0, 2.0, 9.0), ""),
    ],
)
def test_the_best_of_the_judged_systems_is_marked(write: Callable[..., Path], metric: str, values: tuple, best: str):
    summary = {"bass": {s: {metric: {"value": v}} for s, v in zip("abcd", values, strict=True)}}
    systems = roles(a="system", b="system", c="system", d="ceiling")
    evaluation = read_evaluation(
        write({"stems": ["bass"], "systems": systems, "metrics": [metric], "summary": summary})
    )
    table = summary_table(evaluation, "summary", "bass")
    marked = [line.label for line in table.lines if line.cells[0].emphasis]
    assert "".join(marked) == best
    assert marked == [line.label for line in table.lines if line.cells[0].sign]  # not by weight alone


def test_intervals_stand_beneath_the_numbers_they_are_of(write: Callable[..., Path]):
    results = {"systems": roles(a="system", b="system"), "metrics": ["up"], "summary": {"bass": cells(2.5, None)}}
    known, undefined = summary_table(read_evaluation(write(results)), "summary", "bass").lines
    assert (known.cells[0].text, known.cells[0].small) == ("2.50", "1.50 … 3.50")
    assert known.cells[0].title == "95 % interval 1.50 … 3.50, 6 tracks"
    assert (undefined.cells[0].text, undefined.cells[0].small, undefined.cells[0].title) == ("–", "", "undefined")


def headline(write: Callable[..., Path], summary: dict[str, Any], pairs: list[dict[str, Any]], **by_name: str) -> str:
    results = {"stems": ["bass"], "systems": roles(**by_name), "metrics": ["up"], "summary": {"bass": summary}}
    found = findings(read_evaluation(write({**results, "pairs": pairs})))
    text = " ".join(f"{name}: {sentence.text} [{sentence.verdict}]" for name, sentence in found)
    return text.replace("\u00a0", " ")


def test_the_headline_says_who_is_best_and_by_how_much(write: Callable[..., Path]):
    pair = {"stem": "bass", "metric": "up", "a": "c", "b": "b", "difference": -1.5, "p": 0.01, "p_holm": 0.03}
    systems = {"a": "floor", "b": "system", "c": "system", "d": "ceiling"}
    assert headline(write, cells(1.0, 4.0, 2.5, 10.0), [pair], **systems) == (
        "Bass: “b” is best, with up-wards 4.00 (95 % interval 3.00 … 5.00), 3.00 better than the floor “a” and "
        "6.00 short of the ceiling “d”. “c” follows 1.50 behind; the difference is significant (p = 0.03 after Holm). "
        "[better]"
    )


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (None, "there are not enough tracks to test the difference"),
        (0.2, "the difference is not significant (p = 0.2 after Holm; 6 pairs)"),
        (1e-7, "the difference is significant (p < 0.001 after Holm)"),
    ],
)
def test_the_headline_says_what_the_test_says(write: Callable[..., Path], p: float | None, words: str):
    pair = {"stem": "bass", "metric": "up", "a": "a", "b": "b", "difference": 1, "p_holm": p, "words": "6 pairs"}
    assert words in headline(write, cells(2.0, 1.0), [pair], a="system", b="system")


def test_a_best_system_below_the_floor_is_no_good_news(write: Callable[..., Path]):
    text = headline(write, cells(3.0, 1.0), [], a="input", b="system")
    assert text == "Bass: “b” has up-wards 1.00 (95 % interval 0 … 2.00), 2.00 worse than the input “a”. [worse]"


@pytest.mark.parametrize(
    ("metric", "a", "b", "p", "sign"),
    [
        ("up", 3.0, 1.0, 0.01, "▲"),
        ("up", 1.0, 3.0, 0.01, "▼"),
        ("down", 3.0, 1.0, 0.01, "▼"),
        ("zero", -3.0, 1.0, 0.01, "▼"),
        ("unknown", 3.0, 1.0, 0.01, "◆"),
        ("up", 3.0, 1.0, 0.05, ""),
        ("up", 3.0, 1.0, None, ""),
    ],
)
def test_a_pair_is_marked_by_who_is_better(
    write: Callable[..., Path], metric: str, a: float, b: float, p: float | None, sign: str
):
    summary = {"bass": {"x": {metric: {"value": a}}, "y": {metric: {"value": b}}}}
    pair = {"stem": "bass", "metric": metric, "a": "x", "b": "y", "difference": a - b, "p": p, "p_holm": p}
    results = {"stems": ["bass"], "metrics": [metric], "summary": summary, "pairs": [{**pair, "words": "so many"}]}
    ((cell,),) = (line.cells for line in pair_tables(read_evaluation(write(results)))[0].lines)
    assert (cell.sign, bool(cell.emphasis), cell.title) == (sign, bool(sign), "so many")
    assert cell.small == ("not tested" if p is None else f"p = {p:g}")


def test_pairs_of_judged_systems_come_first(made: Path):
    table = pair_tables(read_evaluation(made))[0]
    assert [(line.label, *line.words) for line in table.lines][:3] == [
        ("ours", "MSG"),
        ("ours", "Demucs"),
        ("MSG", "Demucs"),
    ]
    assert len(table.lines) == 15 and table.stems == STEMS


def test_all_stems_stand_on_the_sum_of_what_each_stands_on(made: Path):
    assert coverage_words(read_evaluation(made), "all") == (
        "The mean of the stems' numbers. On 6 tracks · 8 min 00 s · 480 frames, 12 of them left out as silent."
    )


def test_untouched_inputs_and_the_codec_itself_are_named_in_the_tables_of_tokens(made: Path):
    accuracy, *_, entropy = token_tables(read_evaluation(made), "bass")
    assert [role for _, role, *_ in accuracy.rows] == [
        "copy-input",
        "copy-input",
        "",
        "",
        "",
        "idempotence",
        "majority",
    ]
    assert [name for name, *_ in entropy.rows][-1] == "target"
    texts = [text for text, _ in accuracy.rows[2][3]]
    assert texts[:2] == ["57\u00a0%", "29\u00a0%"]  # (5.5 + 6) / 20, and half of it
    assert all(0 <= depth <= 1 for *_, row in (*accuracy.rows, *entropy.rows) for _, depth in row)


# Pictures.


def test_a_box_is_that_of_tukey():
    # Quartiles of 1..9 are 3 and 7: what is above 7 + 1.5 * 4 = 13 is beyond the whisker.
    edges = box([9, 1, 2, 8, 3, 7, 4, 6, 5])
    assert vars(edges) == {"whisker_low": 1, "low": 3, "median": 5, "high": 7, "whisker_high": 9}
    assert box([1, 2, 3, 4, 5, 6, 7, 8, 100]).whisker_high == 8


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_box_is_in_order_whatever_the_values(values: list[float]):
    edges = box(values)
    assert min(values) <= edges.whisker_low <= edges.whisker_high <= max(values)
    assert edges.low <= edges.median <= edges.high


def test_few_tracks_are_dots_without_a_box():
    four, five = ([Series("a", "s0", [(i, float(i)) for i in range(count)])] for count in (4, 5))
    assert 'class="box"' not in box_plot(four, "").rows[0].svg and 'class="box"' in box_plot(five, "").rows[0].svg
    assert box_plot(four, "").rows[0].svg.count("h0") == 4


def test_all_systems_share_an_axis_and_every_dot_has_its_name_and_value():
    plot = box_plot([Series("a", "s0", [(7, 0.0), (8, -5.0)]), Series("b", "s1", [(7, 10.0)])], "dB")
    assert re.search(r'd="M22 \d+h0M341 \d+h0"', plot.rows[0].svg)  # 22 of 1000 is -5 dB, 978 is 10 dB
    assert 'd="M978 ' in plot.rows[1].svg
    assert 'data-points="8:−5.0 7:0.0"' in plot.rows[0].svg
    assert dict(plot.ticks)["0"] == pytest.approx((22 + 956 / 3) / 10, abs=0.1)
    assert plot.rows[1].words == "one value, median 10.0 dB"
    assert box_plot([], "") is None and box_plot([Series("a", "s0", [])], "") is None


@given(st.lists(st.floats(0, 300), max_size=40))
def test_dots_of_a_lane_keep_their_distance_while_there_is_room(places: list[float]):
    chosen = lanes(sorted(places), nearest=10)
    assert len(chosen) == len(places) and set(chosen) <= {-2, -1, 0, 1, 2}
    if len(places) <= 5:
        for (place, lane), (other, other_lane) in zip(
            zip(sorted(places), chosen, strict=True), list(zip(sorted(places), chosen, strict=True))[1:], strict=False
        ):
            assert lane != other_lane or other - place >= 10


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 0.0), (-3.0, -3.0), (1e-320, 1e-320), (-1e308, 1e308), (5.0, 5.0 + 1e-12)]
)
def test_an_axis_has_a_length(low: float, high: float):
    start, end = axis(low, high)
    assert start < end and math.isfinite(end - start) and math.isfinite(1 / (end - start))


def counts(edges: list[float], numbers: list[int]) -> Counts:
    found = read_counts({"edges": edges, "counts": numbers, "median": 0.0, "low": -1.0, "high": 1.0})
    assert found is not None
    return found


def heights(svg: str) -> list[float]:
    """How high the steps of a histogram are, of the 56 units that there are."""
    (path,) = re.findall(r'class="area" d="([^"]+)"', svg)
    return [round(60 - float(y), 1) for y in re.findall(r"V([\d.]+)H", path)]


def test_equal_areas_are_equal_shares():
    # The first holds a quarter of its frames in a bin of width 1, the second half of them in one of width 2.
    plot = histograms(
        [("a", "s0", counts([-1, 0, 1], [1, 3])), ("b", "s1", counts([-2, 0, 2], [50, 50]))],
        "cents",
    )
    assert heights(plot.rows[0].svg) == [pytest.approx(56 / 3, abs=0.1), 56]
    assert heights(plot.rows[1].svg) == [pytest.approx(56 / 3, abs=0.1)] * 2
    assert ("0", 50.0) in plot.ticks
    assert plot.rows[1].words == "100 frames, median 0 cents, half within −1.00 … 1.00"


def test_the_axis_ends_with_the_errors_and_holds_zero():
    plot = histograms([("a", "s0", counts([0, 100, 200, 300, 400], [0, 1, 1, 0]))], "cents")
    (path,) = re.findall(r'class="area" d="M([\d.]+) ', plot.rows[0].svg)
    assert float(path) == 333.3  # from 100 of 0 to 300
    assert plot.ticks[0] == ("0", 0.0)


def test_a_ceiling_that_is_far_higher_is_cut_and_says_so():
    steep, flat = counts([-1, 0, 1], [1, 9]), counts([-1, 0, 1], [5, 5])
    plot = histograms([("codec", "ceiling s0", steep), ("ours", "system s1", flat)], "cents")
    assert heights(plot.rows[0].svg)[1] == heights(plot.rows[1].svg)[0] == 56
    assert plot.rows[0].words.endswith("; cut off, 1.80 times as high")
    assert heights(histograms([("codec", "ceiling s0", steep)], "cents").rows[0].svg) == [
        pytest.approx(6.2, abs=0.1),
        56,
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"edges": [0, 1], "counts": []},
        {"edges": [0, 1], "counts": [1, 2]},
        {"edges": [0, None], "counts": [1]},
        {"edges": [1, 0], "counts": [1]},
        {"edges": [0, 1], "counts": [0]},
        {"edges": [0, 1, 2], "counts": [-1, 2]},
        {"edges": "01", "counts": [1]},
    ],
)
def test_what_is_no_histogram_is_none(entry: dict[str, Any]):
    assert read_counts(entry) is None


# Whatever is missing, broken or strange.


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("systems", "results.json holds no list of systems."),
        ("coverage", "On how much audio this stands is not written down."),
        ("summary", "results.json holds no summary per stem."),
        ("rows", "results.json holds no numbers of single tracks."),
        ("second", "Not part of this evaluation: scores against the reference as the codec can say it."),
        ("pairs", "Not part of this evaluation: paired tests."),
        ("rolloff", "Not part of this evaluation: rolloff errors."),
        ("frechet", "Not part of this evaluation: Fréchet distances."),
        ("tokens", "Not part of this evaluation: tokens."),
        *((part, "") for part in ("title", "created", "command", "sample_rate", "channels", "references", "codec")),
        *((part, "") for part in ("stems", "metrics", "second_metrics", "notes")),
    ],
)
@pytest.mark.parametrize("value", ["missing", None])
def test_whatever_is_missing_is_said_and_the_rest_is_shown(
    write: Callable[..., Path], part: str, words: str, value: object
):
    results = {**SMALL, part: value}
    if value == "missing":
        del results[part]
    text = read(write_evaluation_page(write(results))).text
    assert words in text
    assert "uSDR" in text and "through the codec" in text


def test_a_page_without_audio_says_so(made: Path):
    shutil.rmtree(made / "samples")
    html = write_evaluation_page(made)
    assert "No audio was kept with this evaluation, so there is nothing to listen to." in read(html).text
    assert "<audio" not in html.read_text()


def test_an_evaluation_that_found_nothing_has_a_page(write: Callable[..., Path]):
    text = read(write_evaluation_page(write({"kind": "evaluation"}))).text
    assert "The results hold no numbers to compare systems by." in text


def test_undefined_numbers_are_dashes(made: Path):
    results = make_results(tracks=3)
    for row in results["rows"]:
        row["values"] = dict.fromkeys(row["values"])
    for stem in (*results["summary"].values(), *results["second"].values()):
        for cell in (cell for system in stem.values() for cell in system.values()):
            cell.update(value=None, low=None, high=None)
    for pair in results["pairs"]:
        pair.update(p=None, p_holm=None)
    for found in results["frechet"]:
        found.update(value=None, infinity=None)
    (made / "results.json").write_text(json.dumps(results))
    html = write_evaluation_page(made).read_text()
    text = Reader(html).text.replace("All None", "")
    assert not re.search(r"\bnan\b|None", text)
    assert 'class="box"' not in html and "★</i>" not in html
    assert "not tested" in html


def test_one_track_one_system(write: Callable[..., Path]):
    results = make_results(tracks=1, stems=["bass"])
    results["systems"] = [system for system in results["systems"] if system["name"] == "ours"]
    results["rows"] = [row for row in results["rows"] if row["system"] == "ours"]
    for part in ("summary", "second", "rolloff"):
        results[part] = {stem: {"ours": found["ours"]} for stem, found in results[part].items()}
    results["pairs"] = []
    html = write_evaluation_page(write(results)).read_text()
    text = Reader(html).text
    assert "“ours” has uSDR" in text and "“ours” is best" not in text and "All stems" not in text
    assert 'class="points"' in html and 'class="box"' not in html
    assert "★</i>" not in html and 'name="view"' not in html


NASTY = "<b>\"x\"</b> & 'y'/../z --></script><script>alert(1)</script>"


def test_names_cannot_break_out_of_the_markup(made: Path):
    text = (made / "results.json").read_text()
    for name in ("ours", "bass", "01 Song of the river", "usdr", "latents of the codec demo"):
        text = text.replace(json.dumps(name), json.dumps(f"{name} {NASTY}"))
    (made / "results.json").write_text(text)
    for facts in made.glob("samples/*/sample.json"):
        facts.write_text(facts.read_text().replace('"ours"', json.dumps(f"ours {NASTY}")))
    html = write_evaluation_page(made).read_text()
    assert "<script>alert" not in html and '<b>"x"' not in html
    reader = Reader(html)
    assert f"ours {NASTY}" in reader.text and f"01 Song of the river {NASTY}" in reader.text
    names = re.findall(r'id="names">(.*?)</script>', html)
    assert f"01 Song of the river {NASTY}" in json.loads(names[0])


def test_a_player_is_named_by_its_system_though_its_file_cannot_be(made: Path):
    results = make_results()
    text = json.dumps(results).replace('"ours"', '"runs/ours: 50% best?"')
    (made / "results.json").write_text(text)
    shutil.rmtree(made / "samples")
    write_sample(made / "samples" / "best", json.loads(text), "bass", "best")
    (made / "samples" / "best" / "runs_ours: 50% best?.wav").rename(made / "samples" / "best" / "runs-ours_50_best.wav")
    html = write_evaluation_page(made).read_text()
    assert "<b>runs/ours: 50% best?</b>" in html and "runs-ours_50_best.wav" in html
    assert "Not there" not in html


def test_a_clip_that_is_missing_is_named(made: Path):
    (made / "samples" / "best bass" / "Demucs.wav").unlink()
    (made / "samples" / "worst bass" / "MSG.wav").write_bytes(b"RIFF")
    text = read(write_evaluation_page(made)).text
    assert "Not there: Demucs.wav" in text and "worst bass: MSG.wav cannot be read as audio" in text


def test_names_that_are_no_text_are_shown_somehow(made: Path):
    text = (made / "results.json").read_text().replace("Demucs", "caf\\udce9")
    (made / "results.json").write_text(text)
    assert "caf?" in read(write_evaluation_page(made)).text


def test_an_unknown_metric_is_shown_without_judgement(write: Callable[..., Path]):
    results = make_results(tracks=2)
    text = json.dumps(results).replace("sar_med", "new_fangled_score")
    evaluation = write(json.loads(text))
    assert "new fangled score Not a metric that this version knows" in read(write_evaluation_page(evaluation)).text
    table = summary_table(read_evaluation(evaluation), "summary", "bass")
    place = [heading.column.label for heading in table.headings].index("new fangled score")
    assert not any(line.cells[place].emphasis for line in table.lines)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"3", b"\xff\xfe\x00", b'{"kind": "analysis"}', b"[" * 100_000, None]
)
def test_results_that_cannot_be_read_are_refused_in_one_line(tmp_path: Path, content: bytes | None):
    if content is not None:
        (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(UserError, match=r"results\.json") as caught:
        write_evaluation_page(tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "index.html").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="nowhere"):
        write_evaluation_page(tmp_path / "nowhere")


def test_fifty_tracks_make_a_small_page_quickly(tmp_path: Path):
    folder = write_evaluation(tmp_path, make_results(tracks=50))
    assert len(json.loads((folder / "results.json").read_text())["rows"]) == 50 * len(STEMS) * len(SYSTEMS) == 1200
    start = time.process_time()
    html = write_evaluation_page(folder)
    assert time.process_time() - start < 5
    assert html.stat().st_size < 3_000_000


def test_a_second_page_draws_nothing_again(made: Path):
    write_evaluation_page(made)
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*.png")}
    write_evaluation_page(made)
    assert before == {path: path.stat().st_mtime_ns for path in made.rglob("*.png")} and len(before) == 14


KEYS = [
    *(
        "kind",
        "stems",
        "systems",
        "name",
        "role",
        "metrics",
        "second_metrics",
        "coverage",
        "summary",
        "second",
        "pairs",
    ),
    *(
        "rolloff",
        "frechet",
        "tokens",
        "rows",
        "notes",
        "all",
        "bass",
        "a",
        "b",
        "usdr",
        "value",
        "low",
        "high",
        "tracks",
    ),
    *(
        "stem",
        "metric",
        "difference",
        "p",
        "p_holm",
        "edges",
        "counts",
        "median",
        "frames",
        "system",
        "values",
        "words",
    ),
    *("token_accuracy", "entropy_bits", "majority", "track", "seconds", "why", "codec", "sample_rate", "channels"),
]
numbers = st.floats() | st.integers(-(10**9), 10**9)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.sampled_from([*KEYS, "system", "ceiling", "best"]) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
part = st.sampled_from(["summary", "second", "pairs", "rolloff", "frechet", "tokens", "rows", "systems", "coverage"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(part | st.sampled_from(KEYS), anything, max_size=3), facts=anything)
def test_no_content_breaks_the_page(tmp_path: Path, changes: dict[str, Any], facts: object):
    results = {**SMALL, **changes, "kind": "evaluation"}
    folder = tmp_path / "evaluation"
    if not folder.exists():
        write_evaluation(folder, SMALL, samples=1)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "samples" / "best bass" / "sample.json").write_text(json.dumps(facts))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(write_evaluation_page(folder))


@pytest.mark.parametrize("seed", range(12))
def test_no_number_breaks_the_page(write: Callable[..., Path], seed: int):
    odd = [None, 0.0, -0.0, 1.5, -2.0, 1e308, -1e308, 5e-324, math.inf, -math.inf, math.nan, 1e-9, 12345.678]
    draw = random.Random(seed)
    folder = write(SMALL)
    text = re.sub(r"-?\d+\.\d+", lambda _: json.dumps(draw.choice(odd)), json.dumps({**SMALL, "command": ""}))
    (folder / "results.json").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(write_evaluation_page(folder))
