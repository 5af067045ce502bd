"""The page's numbers and sentences in plain words, computed from what the run wrote down."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from codec_ft.metrics.registry import METRICS
from experiments.report.run_folder import finite, mapping, result_rows

# The metrics that the headline and the small tables speak of, most telling first.
LEADING_METRICS = ("usdr", "si_sdr", "log_mel_distance")

LOSS_LABELS = {
    "latent_l1": "latent L1",
    "latent_cosine": "latent cosine",
    "softmax": "softmax cross-entropy",
    "residual": "residual loss",
}
"""What people call the terms of a loss that are no metrics."""

CLIP_LABELS = {
    "input": "Input",
    "output": "Output",
    "target": "Target",
    "quantized_input": "Quantised input",
    "quantized_target": "Quantised target",
    "mixture": "Mixture",
    "untouched_decoder": "Untouched decoder",
    "context": "Context",
    "context_2": "Second context",
    "context_3": "Third context",
}

Verdict = Literal["better", "worse", "same"]


@dataclass(frozen=True)
class Sentence:
    """One finding of the headline, and whether it is good news."""

    text: str
    verdict: Verdict


def metric_label(name: str) -> str:
    """What people call the metric or loss: its heading, or the key with its underscores taken out."""
    return METRICS[name].name if name in METRICS else LOSS_LABELS.get(name, name.replace("_", " "))


def metric_unit(name: str) -> str:
    """Unit of the metric, empty for a pure number."""
    return METRICS[name].unit if name in METRICS else ""


def metric_arrow(name: str) -> str:
    """Arrow in the better direction; empty where the direction is not known."""
    return METRICS[name].arrow if name in METRICS else ""


def show(value: object, unit: str = "") -> str:
    """A number for people: dB with one decimal, others with three digits, a dash for what is not there."""
    if isinstance(value, float) and math.isinf(value):
        return "∞" if value > 0 else "−∞"
    number = finite(value)
    if number is None:
        return "–"
    if isinstance(value, int):
        text = f"{value:,}".replace(",", "\u2009")
    elif unit == "dB":
        text = f"{round(number, 1) + 0.0:.1f}"  # Adding zero turns a negative zero into a plain one.
    elif number == 0 or abs(number) >= 100:
        text = f"{number:.0f}"
    elif abs(number) >= 0.01:
        text = f"{number:.{2 - math.floor(math.log10(abs(number)))}f}"
    else:
        text = power_of_ten(number)
    return text.replace("-", "−")


def power_of_ten(number: float, digits: int = 1) -> str:
    """A very small or large number as `2.6×10⁻⁴`; a mantissa of one is left out when no digits are asked for."""
    mantissa, exponent = f"{number:.{digits}e}".split("e")
    power = "10" + str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return power if mantissa == "1" else f"{mantissa}×{power}".replace("-", "−")


def show_percent(value: object) -> str:
    """A share between 0 and 1 as per cent, a dash for what is not there."""
    number = finite(value)
    return "–" if number is None else f"{100 * number:.{int(number < 0.1)}f}\u00a0%"


def show_duration(seconds: object) -> str:
    """Seconds as `42 s`, `5 min 12 s` or `3 h 07 min`."""
    number = finite(seconds)
    if number is None:
        return "–"
    whole = round(number)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def setting(config: Mapping[str, Any], key: str) -> str:
    """The value of `key` in words, looked for at the top of the config and then in its `data` part."""
    value = config.get(key, mapping(config.get("data")).get(key))
    if isinstance(value, Mapping):
        value = value.get("name", "")
    return "" if value is None else str(value)


def headline(results: Mapping[str, Any], stem: str) -> list[Sentence]:
    """What changed, in plain words; empty when there are no results to speak of."""
    rows = result_rows(results)
    tokens = mapping(results.get("tokens"))
    sentences = [
        *(_metric_sentence(rows, name, stem) or _levels_sentence(rows, name) for name in LEADING_METRICS),
        _latent_sentence(rows),
        _token_sentence(tokens) or _idempotence_sentence(tokens),
    ]
    return [sentence for sentence in sentences if sentence]


def against(row: Mapping[str, Any], reference: str, metric: str) -> float | None:
    """The row's value of `metric` measured against `reference` (`target` or `quantized_target`), if it is there."""
    return finite(mapping(mapping(row.get("against")).get(reference)).get(metric))


def _metric_sentence(rows: Iterable[Mapping[str, Any]], metric: str, stem: str) -> Sentence | None:
    """Floor -> output -> ceiling of one metric against the target; of several floors the hardest to beat."""
    values: dict[str, list[tuple[float, str]]] = {}
    for row in rows:
        value = against(row, "target", metric)
        if value is not None:
            values.setdefault(str(row.get("role")), []).append((value, str(row.get("system", "floor"))))
    if metric not in METRICS or not values.get("floor") or not values.get("output"):
        return None
    sign = 1 if METRICS[metric].direction == "up" else -1
    floor, system = max(values["floor"], key=lambda pair: sign * pair[0])
    output = values["output"][0][0]
    unit = metric_unit(metric)
    suffix = f"\u00a0{unit}" if unit == "dB" else ""
    before, after = f"{show(floor, unit)}{suffix}", f"{show(output, unit)}{suffix}"
    origin = re.sub(r"\s*\([^)]*floor\)$", "", system)
    hint = " (lower is better)" if sign < 0 else ""
    reference = f" against the clean {stem}" if stem and metric == LEADING_METRICS[0] else ""
    subject = f"{metric_label(metric)}{reference}{hint}"
    verdict: Verdict
    if before == after:
        text, verdict = f"{subject} stayed at {after}, that of the {origin}", "same"
    else:
        text = f"{subject} {'rose' if output > floor else 'fell'} from {before} ({origin}) to {after}"
        verdict = "better" if sign * output > sign * floor else "worse"
    if values.get("ceiling"):
        ceiling = values["ceiling"][0][0]
        limit = f"{show(ceiling, unit)}{suffix}"
        if verdict == "better" and sign * ceiling > sign * output:
            way = (output - floor) / (ceiling - floor)
            text += f", {show_percent(way)} of the way to the codec's ceiling of {limit}"
        else:
            text += f"; the codec's ceiling is {limit}"
    return Sentence(_capital(text) + ".", verdict)


def _levels_sentence(rows: Sequence[Mapping[str, Any]], metric: str) -> Sentence | None:
    """What each output reaches, where there is no floor to compare it with (the stems that a codec codes)."""
    unit = metric_unit(metric)
    reached = [
        f"{row.get('system', 'output')} {show(value, unit)}"
        for row in rows
        if row.get("role") == "output" and (value := against(row, "target", metric)) is not None
    ]
    if not reached or any(row.get("role") == "floor" for row in rows):
        return None
    words = f" in {unit}" if unit else ""
    return Sentence(_capital(f"{metric_label(metric)}{words}: {', '.join(reached)}."), "same")


def _latent_sentence(rows: Iterable[Mapping[str, Any]]) -> Sentence | None:
    errors = {str(row.get("role")): finite(row.get("latent_mse")) for row in rows}
    before, after = errors.get("baseline"), errors.get("output")
    if not before or after is None:
        return None
    share = after / before
    text = f"The latents' mean squared error is {100 * share:.0f}\u00a0% of the untouched encoder's"
    return Sentence(
        f"{text} ({show(before)} before, {show(after)} now).",
        "better" if share < 0.995 else "worse" if share >= 1.005 else "same",
    )


def _token_sentence(tokens: Mapping[str, Any]) -> Sentence | None:
    first = {name: finite(values[0]) for name, values in tokens.items() if isinstance(values, list) and values}
    trained, copied = first.get("trained"), first.get("copy_input")
    if trained is None or copied is None:
        return None
    text = (
        f"Of the first codebook's tokens, {show_percent(trained)} are the target's. "
        f"Copying the input's tokens would give {show_percent(copied)}"
    )
    if first.get("majority") is not None:
        text += f", always answering the commonest token {show_percent(first['majority'])}"
    if first.get("idempotence") is not None:
        text += f"; the codec itself repeats {show_percent(first['idempotence'])} of its own tokens"
    if trained < copied:
        return Sentence(f"{text}. By this measure, doing nothing is still better.", "worse")
    return Sentence(f"{text}.", "better" if trained > copied else "same")


def _idempotence_sentence(tokens: Mapping[str, Any]) -> Sentence | None:
    values = tokens.get("idempotence")
    share = finite(values[0]) if isinstance(values, list) and values else None
    if share is None:
        return None
    text = f"Decoded and encoded again, {show_percent(share)} of the first codebook's tokens come back the same."
    return Sentence(text, "same")


def _capital(text: str) -> str:
    """The sentence with its first letter raised, unless it starts with a name such as uSDR."""
    first_word = text.split(" ", 1)[0]
    return text if first_word != first_word.lower() else text[:1].upper() + text[1:]
