"""What the terminal tells about experiments: all of them in a list, or one of them in full."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from codec_ft.config import Config, Layer, flatten, to_dict
from experiments.registry.card import ScaleName, overlays, read_scale, substituted
from experiments.registry.catalogue import Experiment, Group


def list_catalogue(groups: Mapping[str, Group]) -> str:
    """A line for each card and single experiment, and one for each variant."""
    lines = []
    width = 4 + max(len(experiment.id) for group in groups.values() for experiment in group.experiments)
    for group in groups.values():
        if group.card is None:
            lines.append(f"{group.name:<{width}}{group.title}")
            continue
        lines.append(f"\n{group.name:<{width}}{group.title}")
        if group.card.left_out:
            lines.append(f"{'':<{width}}left out: {group.card.left_out}")
        lines += [f"  {experiment.id:<{width - 2}}{experiment.what}" for experiment in group.experiments]
    return "\n".join(lines)


def describe_group(group: Group, experiments: Sequence[Experiment], scale: ScaleName) -> str:
    """Title, source, what each of some experiments of the group changes, and the findings with their claims."""
    card = group.card
    if card is None:
        return f"{group.name}: {group.title}\n"
    lines = [f"{group.name}: {card.title}", f"  {card.source}"]
    stand_ins = read_scale(scale).stand_ins
    if card.left_out:
        lines.append(f"  left out: {card.left_out}")
    if card.before and scale == "demo":
        lines.append(f"  needs before it: {card.before}")
    for experiment in experiments:
        assert experiment.variant is not None
        changed: Layer = {}
        for layer in overlays(card, experiment.variant, scale):
            changed |= flatten(substituted(layer, stand_ins))
        lines += ["", f"{experiment.id}: {experiment.what}"]
        lines += [f"  {key}={_word(value)}" for key, value in changed.items()]
    for finding in card.findings:
        lines += ["", f"{finding.by_whom.capitalize()}: {finding.said}"]
        lines += [f"  Here: {finding.here}"] if finding.here else []
        lines += [f"  Shown if: {' '.join(finding.shows.split())}"]
    return "\n".join(lines)


def describe_config(config: Config) -> str:
    """The whole configuration as YAML."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True).rstrip()


def _word(value: Any) -> str:
    """A value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value)
