import re

import pytest

from experiments.report.curves import curve_panels, linear_ticks, log_ticks, show_tick, thin


def line_points(svg: str, split: str = "train") -> list[tuple[float, float]]:
    (path,) = re.findall(rf'class="line {split}" d="M([^"]+)"', svg)
    return [tuple(map(float, point.split())) for point in path.split("L")]


def test_neighbours_are_averaged_and_their_span_kept():
    points = [(1, 4.0), (2, 2.0), (3, 1.0), (4, 0.0), (5, 7.0)]
    assert thin(points, most=3) == [(1.5, 3.0, 2.0, 4.0), (3.5, 0.5, 0.0, 1.0), (5.0, 7.0, 7.0, 7.0)]
    assert len(thin([(step, 0.0) for step in range(100_000)])) <= 120


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(0, 1, [0, 0.5, 1]), (-2.2, 3.9, [-2, 0, 2]), (10, 700, [200, 400, 600])]
)
def test_linear_ticks_are_round(low: float, high: float, ticks: list[float]):
    assert linear_ticks(low, high) == pytest.approx(ticks)


def test_log_ticks_are_powers_of_ten_or_finer_where_these_are_few():
    assert log_ticks(0.5e-3, 2) == pytest.approx([1e-3, 1e-2, 1e-1, 1])
    assert log_ticks(0.9, 40) == pytest.approx([1, 2, 5, 10, 20])
    assert len(log_ticks(1e-12, 1)) <= 5


@pytest.mark.parametrize(
    ("value", "label"), [(0.0, "0"), (-2.5, "−2.5"), (0.02, "0.02"), (1e-4, "10⁻⁴"), (5e-3, "5×10⁻³"), (20000.0, "20k")]
)
def test_tick_labels_are_short(value: float, label: str):
    assert show_tick(value) == label


def test_a_loss_over_decades_gets_a_logarithmic_axis():
    (panel,) = curve_panels({"loss": {"train": [(1, 1.0), (2, 0.1), (3, 0.01)]}})
    assert panel.logarithmic
    (_, top), (_, middle), (_, bottom) = line_points(panel.svg)
    assert middle - top == pytest.approx(bottom - middle, abs=0.2)  # A decade is as high as the next.


@pytest.mark.parametrize("values", [(1.0, 0.5, 0.2), (100.0, 1.0, -1.0)])
def test_a_narrow_or_signed_curve_stays_linear(values: tuple[float, ...]):
    (panel,) = curve_panels({"loss": {"train": list(enumerate(values))}})
    assert not panel.logarithmic


def test_decibels_are_logarithmic_already():
    (panel,) = curve_panels({"usdr": {"valid": [(1, 0.1), (2, 12.0)]}})
    assert not panel.logarithmic
    assert (panel.title, panel.unit, panel.arrow) == ("uSDR", "dB", "↑")
    assert panel.last == [("valid", "12.0", 2)]


def test_panels_are_in_reading_order_and_single_points_are_left_out():
    two, one = [(1, 1.0), (2, 2.0)], [(1, 1.0)]
    curves = {
        "lr": {"train": two},
        "usdr": {"valid": two},
        "adversarial": {"train": two},
        "loss": {"train": two, "valid": two},
        "rare": {"valid": one},
    }
    assert [panel.title for panel in curve_panels(curves)] == ["loss", "adversarial", "uSDR", "lr"]
    both = curve_panels(curves)[0].svg
    assert len(line_points(both, "train")) == len(line_points(both, "valid")) == 2


def test_a_constant_curve_is_drawn_in_the_middle():
    for value in (0.0, 3.0, -3.0):
        (panel,) = curve_panels({"loss": {"train": [(1, value), (2, value)]}})
        (_, first), (_, second) = line_points(panel.svg)
        assert first == second == pytest.approx((8 + 148) / 2)


def test_a_long_curve_is_a_mean_line_in_a_band():
    (panel,) = curve_panels({"loss": {"train": [(step, float(step % 2)) for step in range(480)]}})
    assert len(line_points(panel.svg)) == 120
    assert {y for _, y in line_points(panel.svg)} == {(8 + 148) / 2}  # Means of 0 and 1.
    (band,) = re.findall(r'class="band train" d="M([^"]+)Z"', panel.svg)
    assert {float(point.split()[1]) for point in band.split("L")} == {8.0, 148.0}


def test_colours_are_left_to_the_page():
    (panel,) = curve_panels({"loss": {"train": [(1, 1.0), (2, 2.0)]}})
    assert not re.search(r"#[0-9a-f]{3}|rgb|fill=|stroke=", panel.svg)


def test_names_are_escaped():
    (panel,) = curve_panels({'<b> "x"': {"train": [(1, 1.0), (2, 2.0)]}})
    assert "<b>" not in panel.svg


def test_of_many_codebooks_the_first_and_the_last_are_drawn():
    curve = {"train": [(1, 1.0), (2, 2.0)]}
    panels = curve_panels({f"{kind}_{k}": curve for kind in ("perplexity", "dead") for k in range(1, 13)})
    assert sorted(panel.title for panel in panels) == ["dead 1", "dead 12", "perplexity 1", "perplexity 12"]


def test_what_a_metric_is_compared_with_is_a_line_in_its_panel():
    flat, rising = {"valid": [(1, 2.0), (2, 2.0)]}, {"valid": [(1, 1.0), (2, 3.0)]}
    panels = curve_panels({"usdr": rising, "usdr_input": flat})
    assert [(panel.title, panel.reference) for panel in panels] == [("uSDR", "input 2.0")]
    # Half-way between the lowest and the highest value, over the whole width.
    assert '<path class="line reference" d="M46 78.0H312"/>' in panels[0].svg
    below = curve_panels({"usdr": rising, "usdr_input": {"valid": [(1, -1.0), (2, -1.0)]}})[0].svg
    assert '<path class="line reference" d="M46 148.0H312"/>' in below and line_points(below, "valid")[0][1] == 78.0
    (alone,) = curve_panels({"usdr": rising})
    assert alone.reference == "" and "reference" not in alone.svg


def test_a_reference_without_its_metric_has_a_panel_of_its_own():
    flat = {"valid": [(1, 2.0), (2, 2.0)]}
    assert [panel.title for panel in curve_panels({"usdr_input": flat})] == ["usdr input"]
    assert {panel.title for panel in curve_panels({"usdr_input": flat, "usdr": {"train": flat["valid"]}})} == {
        "usdr input",
        "uSDR",
    }


def test_a_fine_tuning_with_everything_stays_readable():
    """The sum, its terms, the metrics, what comes with the terms, and how the training went."""
    train = ["loss", "latent_mse", "residual", "adversarial", "residual_accuracy", "latent_mse_share", "residual_share"]
    train += [f"residual_accuracy_{k}" for k in (1, 2, 3, 4)]
    train += ["gradient_norm", "lr", "steps_per_second", "discriminator_loss", "discriminator_real_score"]
    train += ["discriminator_fake_score", "discriminator_gradient_norm", "discriminator_lr"]
    valid = ["latent_mse", "latent_mse_untouched", "usdr", "usdr_input", "token_accuracy", "token_accuracy_1"]
    valid += ["copy_input_accuracy", "copy_input_accuracy_1", "token_error_1"]
    curves: dict = {name: {"train": [(1, 1.0), (2, 0.5)]} for name in train}
    for name in valid:
        curves.setdefault(name, {})["valid"] = [(1, 0.4), (2, 0.6)]
    titles = [panel.title for panel in curve_panels(curves)]
    assert titles == [
        *("loss", "adversarial", "latent MSE", "residual loss"),
        *("token accuracy", "uSDR", "token accuracy 1"),
        *("discriminator fake score", "discriminator loss", "discriminator real score"),
        *("latent mse share", "residual accuracy", "residual accuracy 1", "residual accuracy 4", "residual share"),
        *("discriminator gradient norm", "discriminator lr", "gradient norm", "lr", "steps per second"),
    ]
    assert {panel.title: panel.reference for panel in curve_panels(curves) if panel.reference} == {
        "latent MSE": "untouched 0.600",
        "uSDR": "input 0.6",
        "token accuracy": "copied input 0.600",
        "token accuracy 1": "copied input 0.600",
    }
