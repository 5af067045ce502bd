"""From tracks to tables: values over tracks, paired tests, coverage; and what is chosen for the ear."""

import numpy as np
import pytest

from experiments.evaluation.listen import badness, choose, leading_metric
from experiments.evaluation.loudest import loudest_part
from experiments.evaluation.results import Row
from experiments.evaluation.summary import ALL, collect, compare_pairs, coverage, summarize
from experiments.evaluation.systems import Comparison, System

SDR = {
    ("a", "bass"): (1.0, 3.0),
    ("b", "bass"): (2.0, 2.5),
    ("c", "bass"): (9.0, 9.5),
    ("a", "drums"): (5.0, 6.0),
    ("b", "drums"): (5.0, np.nan),
    ("c", "drums"): (5.0, 8.0),
}


@pytest.fixture
def rows():
    """Two systems on two stems of three tracks; one number is undefined."""
    return [
        Row(
            track,
            stem,
            system,
            2.0,
            values={"usdr": value, "sdr_med": value},
            frames={"sdr": np.array([value, np.nan])},
        )
        for (track, stem), pair in SDR.items()
        for system, value in zip(("one", "two"), pair, strict=True)
    ]


@pytest.fixture
def comparison():
    systems = tuple(System(name, "system", "", {item: () for item in SDR}) for name in ("one", "two"))
    return Comparison(System("reference", "ceiling", "", {item: () for item in SDR}), systems, tuple(SDR), ())


def test_each_metric_has_its_own_way_over_tracks(rows):
    summary = summarize(collect(rows))
    bass = summary["bass"]["one"]
    assert bass["usdr"]["value"] == pytest.approx(4.0)  # the mean of 1, 2, 9
    assert bass["sdr_med"]["value"] == pytest.approx(2.0)  # their median
    assert bass["usdr"]["low"] <= 4.0 <= bass["usdr"]["high"]
    assert bass["usdr"]["low"] >= 1.0 and bass["usdr"]["high"] <= 9.0


def test_undefined_numbers_are_left_out_and_counted(rows):
    cell = summarize(collect(rows))["drums"]["two"]["usdr"]
    assert cell["value"] == pytest.approx(7.0) and cell["tracks"] == 2


def test_all_stems_together_are_the_mean_of_the_stems(rows):
    both = summarize(collect(rows))[ALL]
    assert both["one"]["usdr"]["value"] == pytest.approx((4.0 + 5.0) / 2)
    assert both["one"]["sdr_med"]["value"] == pytest.approx((2.0 + 5.0) / 2)
    assert both["two"]["usdr"]["value"] == pytest.approx((5.0 + 7.0) / 2)
    # Drawing tracks moves the bass between 1 and 9, and the drums not at all.
    assert 3.0 <= both["one"]["usdr"]["low"] < 4.5 < both["one"]["usdr"]["high"] <= 7.0


def test_one_stem_needs_no_table_of_all(rows):
    assert list(summarize(collect([row for row in rows if row.stem == "bass"]))) == ["bass"]


def test_systems_that_lack_a_stem_are_not_in_the_table_of_all(rows):
    rows = [row for row in rows if (row.stem, row.system) != ("drums", "two")]
    summary = summarize(collect(rows))
    assert list(summary[ALL]) == ["one"] and list(summary["bass"]) == ["one", "two"]


def test_a_metric_that_is_nowhere_defined_is_empty():
    rows = [Row("a", "bass", "x", 1.0, values={"si_sdr": np.nan})]
    assert summarize(collect(rows))["bass"]["x"]["si_sdr"] == {"value": None, "low": None, "high": None, "tracks": 0}


def test_the_order_of_the_tracks_does_not_matter(rows):
    forwards, backwards = summarize(collect(rows)), summarize(collect(rows[::-1]))
    for stem in ("bass", "drums"):
        for system in ("one", "two"):
            assert forwards[stem][system]["usdr"]["value"] == backwards[stem][system]["usdr"]["value"]


def test_pairs_are_tested_on_the_tracks_where_both_are_defined(rows, comparison):
    tests = compare_pairs(comparison, collect(rows), ["usdr"])
    by_stem = {test["stem"]: test for test in tests}
    assert [by_stem[stem]["tracks"] for stem in ("bass", "drums")] == [3, 2]
    assert by_stem["bass"]["a"] == "one" and by_stem["bass"]["b"] == "two"
    assert by_stem["drums"]["p"] is None and by_stem["drums"]["words"]


def test_seven_tracks_of_seven_give_the_smallest_p_there_is(comparison):
    items = {(f"{i}", "bass"): () for i in range(7)}
    systems = tuple(System(name, "system", "", items) for name in ("one", "two"))
    comparison = Comparison(systems[0], systems, tuple(items), ())
    rows = [
        Row(track, stem, name, 1.0, values={"usdr": int(track) + gain * (1 + int(track) / 10)})
        for track, stem in items
        for name, gain in (("one", 0.0), ("two", 1.0))
    ]
    (test,) = compare_pairs(comparison, collect(rows), ["usdr"])
    assert test["p"] == pytest.approx(2 / 2**7) and test["p_holm"] == pytest.approx(2 / 2**7)


def test_coverage_counts_what_a_table_stands_on(rows):
    assert coverage(rows) == {
        # The second frame of every row is undefined for all; the one of drums, b and "two" for one system only.
        "bass": {"tracks": 3, "seconds": 6.0, "frames": 6, "silent_frames": 3},
        "drums": {"tracks": 3, "seconds": 6.0, "frames": 6, "silent_frames": 3},
    }


def test_best_and_worst_track_of_the_best_system_are_to_be_heard(rows, comparison):
    choices = choose(comparison, collect(rows), "usdr", [])
    assert [(choice.item, choice.why, choice.system) for choice in choices] == [
        (("c", "bass"), "best", "two"),
        (("b", "bass"), "worst", "two"),
        (("c", "drums"), "best", "two"),
        (("a", "drums"), "worst", "two"),
    ]
    asked = choose(comparison, collect(rows), "usdr", ["b"])
    assert [(choice.item, choice.why) for choice in asked] == [
        (("b", "bass"), "asked for"),
        (("b", "drums"), "asked for"),
    ]


def test_badness_follows_the_direction():
    assert badness("usdr", 5.0) < badness("usdr", 4.0)
    assert badness("log_mel_distance", 0.1) < badness("log_mel_distance", 0.2)
    assert badness("rolloff_error", -50.0) < badness("rolloff_error", 100.0)
    assert leading_metric(["si_sdr", "usdr"]) == "usdr" and leading_metric(["onset_f1"]) == "onset_f1"


def test_the_loudest_stretch_is_found():
    audio = np.zeros((1, 1000))
    audio[:, 500:700] = 1.0
    assert loudest_part(audio, 100, 2.0) == slice(500, 700)
    assert loudest_part(audio, 100, 2.05).start in (490, 500)
    assert loudest_part(audio[:, :100], 100, 2.0) == slice(0, 100)
    audio[:, -30:] = 9.0
    assert loudest_part(audio, 100, 1.0) == slice(900, 1000)
