import copy

import pytest

from experiments.report.run_folder import Sample
from experiments.report.tables import dot_plots, results_table, sample_table, token_table
from experiments.report.wording import headline, show, show_duration, show_percent

NBSP = "\u00a0"


def row(role: str, usdr: float | None, system: str = "", **more: object) -> dict:
    return {"system": system or role, "role": role, "against": {"target": {"usdr": usdr}}, **more}


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (3.62, "dB", "3.6"),
        (-2.5, "dB", "−2.5"),
        (-0.04, "dB", "0.0"),
        (2.6e-4, "", "2.6×10⁻⁴"),
        (-2.6e-4, "", "−2.6×10⁻⁴"),
        (0.3524, "", "0.352"),
        (12.34, "", "12.3"),
        (0.0, "", "0"),
        (231000, "", "231\u2009000"),
        (float("nan"), "dB", "–"),
        (float("inf"), "dB", "∞"),
        (float("-inf"), "dB", "−∞"),
        (None, "", "–"),
        ("many", "", "–"),
        (True, "", "–"),
    ],
)
def test_numbers_are_shown_for_people(value: object, unit: str, text: str):
    assert show(value, unit) == text


def test_shares_and_durations():
    assert [show_percent(share) for share in (0.139, 0.031, None)] == [f"14{NBSP}%", f"3.1{NBSP}%", "–"]
    durations = [show_duration(seconds) for seconds in (42.2, 312, 3600 * 3 + 60 * 7, None)]
    assert durations == ["42 s", "5 min 12 s", "3 h 07 min", "–"]


def test_the_headline_says_how_far_the_output_came():
    rows = [row("floor", -2.5, "mixture (floor)"), row("output", 3.6), row("ceiling", 14.5)]
    (sentence,) = headline({"rows": rows}, "bass")
    assert sentence.text.replace(NBSP, " ") == (
        "uSDR against the clean bass rose from −2.5 dB (mixture) to 3.6 dB, "
        "36 % of the way to the codec's ceiling of 14.5 dB."  # 6.1 of 17.0
    )
    assert sentence.verdict == "better"


def test_the_headline_is_as_plain_about_a_loss():
    rows = [row("floor", 6.6, "separated/spectrogram (input floor)"), row("output", 6.0), row("ceiling", 14.5)]
    (sentence,) = headline({"rows": rows}, "")
    assert sentence.text.replace(NBSP, " ") == (
        "uSDR fell from 6.6 dB (separated/spectrogram) to 6.0 dB; the codec's ceiling is 14.5 dB."
    )
    assert sentence.verdict == "worse"


def test_less_is_better_for_a_distance():
    rows = [
        {"system": name, "role": role, "against": {"target": {"log_mel_distance": value}}}
        for name, role, value in (("mixture", "floor", 0.9), ("output", "output", 0.3), ("best", "ceiling", 0.1))
    ]
    (sentence,) = headline({"rows": rows}, "bass")
    assert sentence.verdict == "better"
    assert f"fell from 0.900 (mixture) to 0.300, 75{NBSP}% of the way" in sentence.text


def test_of_two_floors_the_hardest_counts():
    rows = [row("floor", -2.5, "mixture (floor)"), row("floor", 6.6, "input (floor)"), row("output", 3.0)]
    (sentence,) = headline({"rows": rows}, "")
    assert "from 6.6" in sentence.text and sentence.verdict == "worse"


def test_a_change_that_cannot_be_seen_is_none():
    (sentence,) = headline({"rows": [row("floor", 3.62, "input (floor)"), row("output", 3.61)]}, "")
    assert sentence.text.replace(NBSP, " ") == "uSDR stayed at 3.6 dB, that of the input."
    assert sentence.verdict == "same"


def test_without_a_floor_it_says_what_is_reached():
    rows = [row("output", 14.1, "bass reconstructed"), row("output", 13.1, "drums reconstructed")]
    first, second = headline({"rows": rows, "tokens": {"idempotence": [0.82, 0.6]}}, "all")
    assert first.text == "uSDR in dB: bass reconstructed 14.1, drums reconstructed 13.1."
    assert f"82{NBSP}% of the first codebook's tokens come back the same" in second.text


def test_latents_are_compared_with_the_untouched_encoder():
    rows = [row("baseline", None, latent_mse=1e-3), row("output", None, latent_mse=2.5e-4)]
    (sentence,) = headline({"rows": rows}, "")
    assert sentence.text.startswith(f"The latents' mean squared error is 25{NBSP}% of the untouched encoder's")


@pytest.mark.parametrize(("trained", "verdict"), [(0.139, "worse"), (0.4, "better"), (0.168, "same")])
def test_tokens_are_compared_with_doing_nothing(trained: float, verdict: str):
    (sentence,) = headline({"tokens": {"trained": [trained], "copy_input": [0.168]}}, "")
    assert sentence.verdict == verdict
    assert ("doing nothing is still better" in sentence.text) == (verdict == "worse")


@pytest.mark.parametrize(
    "results",
    [{}, {"rows": None}, {"rows": 3}, {"rows": [None, {}, {"role": "output"}]}, {"rows": [row("floor", None)]},
     {"tokens": {"trained": [], "copy_input": [None]}}, {"tokens": [1]}],
)  # fmt: skip
def test_no_numbers_no_headline(results: dict):
    assert headline(results, "bass") == []
    assert dot_plots(results) == []


def test_the_results_table_shows_each_metric_against_both_references():
    values = {"target": {"usdr": 1.0, "mine": 2.0}, "quantized_target": {"usdr": float("nan")}}
    results = {
        "rows": [{"system": "output", "role": "output", "against": values, "latent_mse": 1e-4, "frechet_distance": 3.0}]
    }
    table = results_table(results)
    assert table is not None
    assert table.groups == [("against target", 2), ("against quantised target", 1), ("in latent space", 2)]
    assert [(col.label, col.arrow) for col in table.columns] == [
        ("uSDR", "↑"), ("mine", ""), ("uSDR", "↑"), ("latent MSE", "↓"), ("FAD", "↓"),
    ]  # fmt: skip
    assert table.rows[0].cells == ["1.0", "2.00", "–", "1.0×10⁻⁴", "3.00"]


def test_a_recording_is_not_compared_with_itself(tmp_path):
    metrics = {
        "output": {"target": {"usdr": 3.0}, "quantized_target": {"usdr": 4.0}},
        "quantized_target": {"target": {"usdr": 14.0}, "quantized_target": {"usdr": float("inf")}},
    }
    table = sample_table(Sample("a", tmp_path, {"metrics": metrics}))
    assert table is not None
    assert [(line.label, line.cells) for line in table.rows] == [
        ("Output", ["3.0", "4.0"]),
        ("Quantised target", ["14.0", ""]),
    ]


def test_dots_lie_between_the_lowest_and_the_highest_system():
    rows = [row("floor", -2.0), row("output", 3.0), row("ceiling", 8.0)]
    (plot,) = dot_plots({"rows": copy.deepcopy(rows)})
    assert [dot.left for dot in plot.dots] == [0.0, 50.0, 100.0]


def test_codebooks_that_a_model_does_not_predict_get_a_dash():
    rows = token_table({"trained": [0.2, 0.0], "copy_input": [0.1, 0.1, 0.05, 0.0]})
    assert [[text.replace(NBSP, " ") for text, _ in cells] for _, _, cells in rows] == [
        ["20 %", "0.0 %", "–", "–"],
        ["10 %", "10 %", "5.0 %", "0.0 %"],
    ]


def test_token_rows_start_with_the_trained_model():
    rows = token_table({"majority": [0.03], "trained": [0.2, None], "copy_input": [2.0], "odd": "x"})
    assert [(role, [share for _, share in cells]) for _, role, cells in rows] == [
        ("trained", [0.2, 0.0]),
        ("copy_input", [1.0, 0.0]),
        ("majority", [0.03, 0.0]),
    ]


def test_numbers_of_steps_are_told_in_their_order():
    rows = token_table({"steps_36": [0.1], "steps_4": [0.1], "trained": [0.2], "steps_12": [0.1]})
    assert [role for _, role, _ in rows] == ["trained", "steps_4", "steps_12", "steps_36"]
