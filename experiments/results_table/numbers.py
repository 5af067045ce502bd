"""The numbers of a finished run, under the names by which cards speak of them."""

import math
import re
from collections.abc import Mapping
from typing import Any

from experiments.report.run_folder import finite, mapping, result_rows

METRICS = ("usdr", "si_sdr", "sdr_med", "log_mel_distance", "log_spectral_distance", "frechet_distance")
"""Metrics against the clean stem; by itself a name is the output's."""
SYSTEMS = ("input", "mixture", "untouched", "ceiling")
"""Suffixes of the same metrics of what stands beside the output; untouched is the input through the codec."""
READINGS = {"accuracy": "trained", "copy": "copy_input", "majority": "majority", "idempotence": "idempotence"}
"""Token accuracies: by itself a name is the mean over the codebooks that are predicted; `_1` is the first codebook's;
`_to_4` is the mean of the first four."""
STEP = r"(coarse|c2f|given_\d+|steps_\d+)"
"""What token models made on the way, or from other codes of the input, or in other numbers of steps; a suffix of
metrics and, behind the codebook, of accuracies: `usdr_given_1`, `accuracy_1_steps_4`."""
VALIDATION = r"valid_[a-z]\w*"
"""What the best checkpoint scored in validation, by the names in the run's log: `valid_coarse_accuracy_at_50`."""
OTHERS = ("latent_mse", "latent_mse_untouched", "seconds", "steps", "parameters")

FIXED_NAMES = (
    *METRICS,
    *(f"{metric}_{system}" for metric in METRICS for system in SYSTEMS),
    *OTHERS,
    *READINGS,
)


def is_number_name(name: str) -> bool:
    """Whether runs have a number of that name; how many codebooks there are depends on the codec."""
    numbered = rf"({'|'.join(READINGS)})_(to_)?[1-9]\d?|({'|'.join(METRICS)})_{STEP}|accuracy(_(to_)?[1-9]\d?)?_{STEP}"
    return name in FIXED_NAMES or re.fullmatch(f"{numbered}|{VALIDATION}", name) is not None


def read_numbers(results: Mapping[str, Any], source: str) -> dict[str, float]:
    """The numbers of a run by name; what was not measured is left out.

    Args:
        results: `results.json` of a run that draws a stem out of an input.
        source: what it heard, as its configuration says: mixture, separated/..., noisy, noise.
    """
    numbers: dict[str, float | None] = {}
    for row in result_rows(results):
        against = mapping(mapping(row.get("against")).get("target"))
        for suffix in _suffixes(row, source):
            numbers |= {f"{metric}{suffix}": finite(against.get(metric, row.get(metric))) for metric in METRICS}
            if suffix in ("", "_untouched"):
                numbers[f"latent_mse{suffix}"] = finite(row.get("latent_mse"))
    numbers |= {name: finite(results.get(name)) for name in ("seconds", "steps", "parameters")}
    numbers |= {f"valid_{name}": finite(value) for name, value in mapping(results.get("validation")).items()}
    numbers |= _token_numbers(mapping(results.get("tokens")))
    return {name: value for name, value in numbers.items() if value is not None}


def _suffixes(row: Mapping[str, Any], source: str) -> list[str]:
    """Under which names a system's numbers are known: a mixture that is the input goes by two."""
    if row.get("role") == "floor":
        names = {f"{source} (floor)": "_input", "mixture (floor)": "_mixture"}
        known = [suffix for title, suffix in names.items() if title == row.get("system")]
        return ["_input", "_mixture"] if source == "mixture" and known else known
    if row.get("role") == "step":
        return [f"_{row.get('system')}"]
    return {"output": [""], "baseline": ["_untouched"], "ceiling": ["_ceiling"]}.get(str(row.get("role")), [])


def _token_numbers(tokens: Mapping[str, Any]) -> dict[str, float | None]:
    trained = tokens.get("trained")
    predicted = len(trained) if isinstance(trained, list) else 0
    numbers: dict[str, float | None] = {}
    for name, key in READINGS.items():
        listed = tokens.get(key)
        numbers |= _of_codebooks(name, "", listed, predicted)
    for key, listed in tokens.items():
        if re.fullmatch(STEP, key):
            numbers |= _of_codebooks("accuracy", f"_{key}", listed, predicted)
    return numbers


def _of_codebooks(name: str, suffix: str, listed: object, predicted: int) -> dict[str, float | None]:
    """Accuracies of the codebooks under all their names."""
    values = [finite(value) for value in listed] if isinstance(listed, list) else []
    numbers = {f"{name}{suffix}": _mean(values[:predicted])}
    for count, value in enumerate(values, start=1):
        numbers[f"{name}_{count}{suffix}"] = value
        numbers[f"{name}_to_{count}{suffix}"] = _mean(values[:count])
    return numbers


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None
