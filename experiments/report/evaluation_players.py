"""The tracks of an evaluation on which systems do best and worst, to be heard and seen side by side."""

import re
from collections.abc import Mapping
from typing import Any

from experiments.report.evaluation_results import Evaluation, System
from experiments.report.evaluation_tables import classes
from experiments.report.players import draw_spectrograms, players_view
from experiments.report.run_folder import Run, Sample, finite, mapping
from experiments.report.tables import SHORT_LABELS, Column, Row, Table
from experiments.report.wording import metric_label, metric_unit, show

REFERENCE = "reference"
"""Name of the wav that holds the clean stem of a sample."""

TABLE_METRICS = 4
OPEN_SAMPLES = 2
"""So many samples are unfolded when the page opens: the best and the worst of the first stem."""

WHY = {"best": "the best", "worst": "the worst", "only": "the only track"}
"""Why a sample was chosen -> in words, before whose it is; one that was asked for needs none."""


def listening_view(evaluation: Evaluation) -> dict[str, Any]:
    """What `base.html.j2` and `listen.html.j2` need: the samples by stem, each one's best before its worst.

    Pictures that are newer than their wav are kept; a wav that cannot be decoded is named in the notes.
    """
    stems = {stem: number for number, stem in enumerate(evaluation.views)}

    def place(sample: Sample) -> tuple[int, int]:
        why = str(sample.facts.get("why"))
        return stems.get(str(sample.facts.get("stem")), len(stems)), list(WHY).index(why) if why in WHY else len(WHY)

    samples = sorted(evaluation.samples, key=place)
    for sample in samples:
        _set_order(evaluation, sample)
    run = Run(evaluation.path, "", {}, {}, None, evaluation.results, samples, evaluation.notes)
    view = players_view(run, draw_spectrograms(run))
    for number, (sample, shown) in enumerate(zip(samples, view["samples"], strict=True)):
        _tell(evaluation, sample, shown)
        # The first view is all stems together, where there are several: a sample of no stem is in none but that.
        shown["view"] = stems.get(str(sample.facts.get("stem")), 0)
        shown["open"] = number < OPEN_SAMPLES
    return {"run": run, **view}


def clip_systems(evaluation: Evaluation, sample: Sample) -> dict[str, System]:
    """Name of each clip -> the system that it is of; without the reference, and without what is of no system.

    File names cannot hold all that a system's name can, so letters and digits decide where the name itself does not.
    """
    by_name = {system.name: system for system in evaluation.systems}
    bare: dict[str, list[System]] = {}
    for system in evaluation.systems:
        bare.setdefault(_bare(system.name), []).append(system)
    found = {}
    for name in [clip.name for clip in sample.clips if clip.name != REFERENCE]:
        alike = bare.get(_bare(name), [])
        if name in by_name:
            found[name] = by_name[name]
        elif len(alike) == 1:
            found[name] = alike[0]
    return found


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _set_order(evaluation: Evaluation, sample: Sample) -> None:
    """Say by the sample's captions in which order the players stand, and which ones should be there."""
    systems = clip_systems(evaluation, sample)
    heard = {system.number for system in systems.values()}
    measured = evaluation.systems_in(mapping(sample.facts.get("metrics")))
    names = [REFERENCE, *sorted(systems, key=lambda name: systems[name].number)]
    names += [system.name for system in measured if system.number not in heard]
    sample.facts["captions"] = dict.fromkeys(names, "")


def _tell(evaluation: Evaluation, sample: Sample, shown: dict[str, Any]) -> None:
    """Name the sample, its players and its table by stems, systems and metrics."""
    facts, systems = sample.facts, clip_systems(evaluation, sample)
    metric, stem = str(facts.get("metric") or ""), str(facts.get("stem") or "")
    scores = mapping(facts.get("metrics"))
    shown["name"] = ", ".join(filter(None, (str(facts.get("track") or sample.name), stem)))
    if (why := str(facts.get("why"))) in WHY:
        of = f" of “{facts['system']}”" if facts.get("system") else ""
        by = f" by {metric_label(metric)}" if metric else ""
        shown["where"] = f"{WHY[why]}{of}{by} · {shown['where']}"
    for clip in shown["clips"]:
        system = systems.get(clip["name"])
        if system:
            value, unit = mapping(scores.get(system.name)).get(metric), metric_unit(metric)
            known = finite(value) is not None
            clip["caption"] = f"{metric_label(metric)} {show(value, unit)} {unit}".strip() if known else ""
            clip["label"] = system.name
        elif clip["name"] == REFERENCE:
            clip["caption"] = f"the clean {stem or 'stem'}"
            clip["label"] = "Reference"
        clip["name"] = classes(system) if system else REFERENCE
    shown["table"] = _table(evaluation, scores, metric, str(facts.get("system") or ""))


def _table(evaluation: Evaluation, scores: Mapping[str, Any], first: str, chosen: str) -> Table | None:
    """All systems by a few metrics: first the one by which the sample was chosen; None without numbers."""

    def known(metric: str) -> bool:
        return any(finite(mapping(values).get(metric)) is not None for values in scores.values())

    systems = evaluation.systems_in(scores)
    metrics = [name for name in dict.fromkeys([first, *evaluation.metrics]) if known(name)][:TABLE_METRICS]
    if not systems or not metrics:
        return None
    columns = [Column(SHORT_LABELS.get(name, metric_label(name)), "", "", "") for name in metrics]
    rows = [
        Row(
            system.name,
            f"{classes(system)} output" if system.name == chosen else classes(system),
            [show(mapping(scores[system.name]).get(name), metric_unit(name)) for name in metrics],
        )
        for system in systems
    ]
    return Table([("against the reference", len(metrics))], columns, rows)
