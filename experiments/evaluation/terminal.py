"""The short form of an evaluation, for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from codec_ft.metrics.registry import METRICS

SHOWN = ("usdr", "sdr_med", "log_mel_distance", "onset_f1", "token_accuracy")
"""The metrics that fit beside each other; the page has all."""


def short_tables(results: Mapping[str, Any]) -> list[Table]:
    """A table per stem with the most telling metrics."""
    tables = []
    shown = [name for name in SHOWN if name in results["metrics"]]
    roles = {system["name"]: system["role"] for system in results["systems"]}
    for stem, systems in results["summary"].items():
        counted = results["coverage"].get(stem, {}).get("tracks")
        tracks = f", {counted} track{'s' * (counted > 1)}" if counted else ""
        table = Table(title=f"{stem}{tracks}")
        table.add_column("system", no_wrap=True)
        for name in shown:
            metric = METRICS[name]
            unit = f" {metric.unit}" if metric.unit else ""
            table.add_column(f"{metric.name}{unit} {metric.arrow}", justify="right")
        for system, cells in systems.items():
            role = roles.get(system, "system")
            label = system if role == "system" else f"{system} ({role})"
            table.add_row(label, *(_text(cells.get(name, {}).get("value")) for name in shown))
        tables.append(table)
    return tables


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f}" if abs(value) >= 100 else f"{value:.2f}"
