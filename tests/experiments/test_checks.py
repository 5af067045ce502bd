"""Claims about numbers: what can be said, what is refused, and what is decided."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_ft.errors import UserError
from experiments.registry.catalogue import experiments, read_catalogue
from experiments.results_table.claim import Verdict, decide, read_claim
from experiments.results_table.entries import read_claims
from experiments.results_table.numbers import FIXED_NAMES, METRICS, is_number_name, read_numbers

IDS = ["N3.bass", "N3.song", "N4.waveform", "A1"]
NUMBERS = {
    "N3.bass": {"usdr": 3.6, "accuracy_1": 0.25, "steps": 400.0},
    "N3.song": {"usdr": 5.0, "accuracy_1": 0.25},
    "N4.waveform": {"usdr": -1.5, "accuracy_to_4": 0.1},
}


def verdict(text: str, numbers: dict | None = None) -> Verdict:
    return decide(read_claim(text, "N3", IDS), NUMBERS if numbers is None else numbers)


@pytest.mark.parametrize(
    ("text", "kind", "because"),
    [
        ("song.usdr > bass.usdr + 1", "shown", "5.0 > 3.6 + 1"),
        ("N3.song.usdr < N3.bass.usdr", "not shown", "5.0 < 3.6"),
        ("N4.waveform.usdr < -1", "shown", "-1.5 < -1"),
        ("song.accuracy_1 >= bass.accuracy_1", "shown", "0.25 >= 0.25"),
        ("song.accuracy_1 > bass.accuracy_1", "not shown", "0.25 > 0.25"),
        ("0.9 < song.usdr / bass.usdr < 1.1", "not shown", "0.9 < 5.0 / 3.6 < 1.1"),
        ("song.usdr > 4 and bass.usdr > 4", "not shown", "5.0 > 4 and 3.6 > 4"),
        ("song.usdr > 4 or bass.usdr > 4", "shown", "5.0 > 4 or 3.6 > 4"),
        ("not song.usdr > 4", "not shown", "not 5.0 > 4"),
        ("-(song.usdr - 2 * bass.usdr) <= 2.2", "shown", "-(5.0 - 2 * 3.6) <= 2.2"),
        ("N4.waveform.accuracy_to_4 <= 0.1", "shown", "0.1 <= 0.1"),
        ("bass.steps\n  > 1", "shown", "400.0 > 1"),
    ],
)
def test_verdicts_worked_out_by_hand(text: str, kind: str, because: str) -> None:
    assert verdict(text) == Verdict(kind, because)  # type: ignore[arg-type]


def test_decimal_numbers_are_taken_as_they_are_printed() -> None:
    """In binary 0.1 + 0.2 > 0.3, and 4.61 > 3.61 + 1."""
    assert verdict("bass.usdr + 0.2 > 0.3", {"N3.bass": {"usdr": 0.1}}).kind == "not shown"
    assert (
        verdict("song.usdr > bass.usdr + 1", {"N3.bass": {"usdr": 3.61}, "N3.song": {"usdr": 4.61}}).kind == "not shown"
    )


def test_as_many_digits_as_the_verdict_needs() -> None:
    close = {"N3.bass": {"usdr": 3.60001}, "N3.song": {"usdr": 3.60002}}
    assert verdict("song.usdr > bass.usdr", close) == Verdict("shown", "3.60002 > 3.60001")
    both = verdict("song.usdr > 4 and song.usdr < bass.usdr", close)
    assert both == Verdict("not shown", "3.60002 > 4 and 3.60002 < 3.60001"), "each comparison reads as it is"
    far = {"N3.bass": {"usdr": 3.14159}, "N3.song": {"usdr": 2.71828}}
    assert verdict("song.usdr > bass.usdr", far) == Verdict("not shown", "2.72 > 3.14")
    alike = {"N3.bass": {"usdr": 1.0001, "accuracy_1": 1.0}, "N3.song": {"usdr": 1.0002}}
    divided = Verdict("shown", "1.0 / (1.0002 - 1.0001) > 1")
    assert verdict("bass.accuracy_1 / (song.usdr - bass.usdr) > 1", alike) == divided, "nothing is divided by zero"


def test_what_is_not_known_leaves_it_open() -> None:
    """Even where the rest would decide it."""
    assert verdict("song.usdr > 4 or bass.usdr > 4", {"N3.song": {"usdr": 5.0}}) == Verdict("open", "needs N3.bass")
    assert verdict("bass.usdr > 1", {"N3.bass": None}) == Verdict("open", "needs N3.bass")
    assert verdict("bass.copy_9 > 1") == Verdict("open", "not measured: N3.bass.copy_9")
    assert verdict("bass.usdr / (song.usdr - song.usdr) > 1") == Verdict("open", "divides by zero")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sonk.usdr > 1", "no experiment N3.sonk; did you mean N3.song"),
        ("N5.bass.usdr > 1", "no experiment N5.bass; did you mean N3.bass"),
        ("song.uzdr > 1", "no number uzdr; did you mean usdr"),
        ("song.accuracy_0 > 1", "no number accuracy_0"),
        ("usdr > 1", r"usdr is of no experiment; write VARIANT\.usdr"),
        ("song.usdr", "is a number where a comparison belongs"),
        ("(song.usdr > 1) + 1 > 2", "is a comparison where a number belongs"),
        ("song.usdr > 1 and bass.usdr", "'bass.usdr' is a number where a comparison belongs"),
        ("song.usdr == 1", "is not allowed"),
        ("song.usdr > True", "is not allowed"),
        ("song.usdr > 1e400", "is not allowed"),
        ("song.usdr > '1'", "is not allowed"),
        ("song.usdr > 2 ** 99999999", "is not allowed"),
        ("__import__('os').system('true') > 1", "no experiment|not allowed"),
        ("open('/etc/passwd') > 1", "is not allowed"),
        ("[song.usdr][0] > 1", "is not allowed"),
        ("(lambda: 1)() > 1", "is not allowed"),
        ("song.usdr > 1; 2", "cannot be read"),
        ("song.usdr >", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_anything_else_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_claim(text, "N3", IDS)
    assert str(caught.value).startswith("N3: the claim ") and "\n" not in str(caught.value)


@settings(deadline=None, max_examples=50)
@given(st.floats(-100, 100), st.floats(-100, 100), st.sampled_from(["<", "<=", ">", ">="]), st.integers(0, 5))
def test_what_is_printed_says_what_the_verdict_says(first: float, second: float, sign: str, added: int) -> None:
    """The numbers that are printed, compared as exact decimals, give the verdict; so do the measured ones."""
    numbers = {"N3.song": {"usdr": first}, "N3.bass": {"usdr": second}}
    found = verdict(f"song.usdr {sign} bass.usdr + {added}", numbers)
    left, right = found.because.split(f" {sign} ")
    wanted = Fraction(right.rsplit(" ", 2)[0]) + added
    compare = {"<": Fraction.__lt__, "<=": Fraction.__le__, ">": Fraction.__gt__, ">=": Fraction.__ge__}[sign]
    assert compare(Fraction(left), wanted) == (found.kind == "shown")
    assert compare(Fraction(str(first)), Fraction(str(second)) + added) == (found.kind == "shown")


def row(system: str, role: str, usdr: float, latent_mse: float | None = None) -> dict:
    return {"system": system, "role": role, "against": {"target": {"usdr": usdr}}, "latent_mse": latent_mse}


def test_numbers_of_a_run_by_name() -> None:
    results = {
        "seconds": 12.5,
        "steps": 400,
        "validation": {"coarse_accuracy_at_50": 0.25},
        "rows": [
            row("separated/rough (floor)", "floor", 6.0),
            row("mixture (floor)", "floor", -2.0),
            row("untouched encoder", "baseline", 5.0, 0.4),
            row("output", "output", 7.0, 0.3),
            row("quantized_target (ceiling)", "ceiling", 18.0),
        ],
        "tokens": {
            "frames": 100,
            "trained": [0.5, 0.3],  # two codebooks are predicted
            "copy_input": [0.4, 0.2, 0.1],
            "idempotence": [0.9, 0.8, 0.7],
            "majority": [0.1, 0.0, 0.0],
        },
    }
    numbers = read_numbers(results, "separated/rough")
    assert {name: numbers[name] for name in numbers if name.startswith("usdr")} == {
        "usdr": 7.0,
        "usdr_input": 6.0,
        "usdr_mixture": -2.0,
        "usdr_untouched": 5.0,
        "usdr_ceiling": 18.0,
    }
    assert (numbers["latent_mse"], numbers["latent_mse_untouched"]) == (0.3, 0.4)
    assert (numbers["seconds"], numbers["steps"]) == (12.5, 400)
    assert numbers["valid_coarse_accuracy_at_50"] == 0.25
    assert (numbers["accuracy_1"], numbers["accuracy_2"], numbers["copy_3"]) == (0.5, 0.3, 0.1)
    assert "accuracy_3" not in numbers and "si_sdr" not in numbers
    # Means over the two codebooks that are predicted, whatever the others do.
    assert (numbers["accuracy"], numbers["copy"]) == (pytest.approx(0.4), pytest.approx(0.3))
    assert numbers["idempotence"] == pytest.approx(0.85) and numbers["idempotence_to_3"] == pytest.approx(0.8)
    assert all(map(is_number_name, numbers))


def test_what_token_models_make_on_the_way_has_names() -> None:
    results = {
        "rows": [row("coarse", "step", 3.0), row("given_1", "step", 4.0), row("output", "output", 5.0)],
        "tokens": {"trained": [0.5, 0.3], "coarse": [0.6], "given_1": [0.7, 0.1], "frames": 3, "strange": [0.5]},
    }
    numbers = read_numbers(results, "mixture")
    assert {name: numbers[name] for name in numbers if name.startswith("usdr")} == {
        "usdr": 5.0,
        "usdr_coarse": 3.0,
        "usdr_given_1": 4.0,
    }
    assert (numbers["accuracy_1_given_1"], numbers["accuracy_2_given_1"]) == (0.7, 0.1)
    assert numbers["accuracy_given_1"] == pytest.approx(0.4) and numbers["accuracy_coarse"] == 0.6
    assert all(map(is_number_name, numbers))


def test_a_mixture_that_is_the_input_goes_by_two_names() -> None:
    numbers = read_numbers({"rows": [row("mixture (floor)", "floor", -2.0)]}, "mixture")
    assert numbers == {"usdr_input": -2.0, "usdr_mixture": -2.0}


def test_damaged_results_leave_gaps() -> None:
    assert read_numbers({}, "mixture") == {}
    odd = {"rows": [{"role": "output", "against": 3}, 7, {"role": "output", "against": {"target": {"usdr": None}}}]}
    assert read_numbers({**odd, "tokens": {"trained": "x", "copy_input": [None, 0.5]}, "seconds": "x"}, "noise") == {
        "copy_2": 0.5
    }


def test_names() -> None:
    known = ["accuracy_1", "majority_32", "copy_to_4", "si_sdr_c2f", "accuracy_to_4_steps_12", "valid_loss"]
    assert all(map(is_number_name, [*FIXED_NAMES, *known]))
    unknown = ["", "accuracy_", "accuracy_0", "usdr_1", "accuracy_to_", "seconds_input", "usdr_steps_", "valid_"]
    assert not any(map(is_number_name, unknown))


def test_every_claim_of_every_card_can_be_decided() -> None:
    """With some numbers for all: each speaks of experiments and numbers that there are."""
    ids = list(experiments())
    names = [
        *FIXED_NAMES,
        *(f"{kind}_{way}{k}" for kind in ("accuracy", "copy") for way in ("", "to_") for k in range(1, 9)),
        *(f"{metric}_given_1" for metric in METRICS),
        "valid_coarse_accuracy_at_50",
    ]
    numbers = {name: dict.fromkeys(names, 0.5) for name in ids}
    for group in read_catalogue().values():
        claims = read_claims(group, ids)
        assert {decide(claim, numbers).kind for claim in claims} <= {"shown", "not shown"}
        assert bool(claims) == bool(group.card and not group.card.left_out)
        assert all(any(name.experiment.startswith(f"{group.name}.") for name in claim.names) for claim in claims)
