"""The samples of training runs as a comparison: inputs are floors, outputs judged, quantised targets the ceiling."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from codec_ft.data.tracks import MIXTURE, SEPARATED
from codec_ft.errors import UserError
from experiments.evaluation.layout import Item
from experiments.evaluation.systems import Comparison, Role, System, is_run, select
from experiments.registry.catalogue import experiments
from experiments.tasks import PROJECT

CEILING = "quantized_target"
UNTOUCHED = "untouched encoder"


def find_runs(words: Sequence[str]) -> list[Path]:
    """The run folders that words mean: folders, or IDs of experiments, whose finished runs are in `runs/`.

    Raises:
        UserError: a word is neither, or an experiment has not been run.
    """
    folders: list[Path] = []
    for word in words:
        if is_run(Path(word)):
            folders.append(Path(word))
            continue
        finished = [path.parent for path in sorted((PROJECT / "runs").glob("*/results.json"))]
        of_id = [folder for folder in finished if is_run(folder) and _config(folder).get("id") == word]
        if not of_id:
            known = word in experiments()
            what = "has not been run" if known else "no such run folder or experiment"
            advice = f"python scripts/run_experiment.py {f'run {word}' if known else 'list'}"
            raise UserError(f"{word}: {what}. See: {advice}")
        folders += of_id
    return list(dict.fromkeys(folders))


def compare_runs(
    runs: Sequence[Path], *, stems: Sequence[str] = (), tracks: Sequence[str] = ()
) -> tuple[Comparison, str | None]:
    """Compare what runs made of the excerpts that they have in common.

    Returns:
        The comparison, and the codec that all runs use (None: several, or none).

    Raises:
        UserError: a run has no samples with a target, or the runs have no excerpt in common.
    """
    configs = [_config(run) for run in runs]
    codecs = {str(config["codec"]) for config in configs if config.get("codec")}
    references: dict[Item, tuple[Path, ...]] = {}
    floors: dict[tuple[str, Role], dict[Item, tuple[Path, ...]]] = {}
    outputs: list[System] = []
    for run, config, name in zip(runs, configs, _names(runs, configs), strict=True):
        made: dict[Item, tuple[Path, ...]] = {}
        of_codec = f" ({config.get('codec')})" if len(codecs) > 1 else ""
        for folder, facts in _samples(run):
            item = (f"{facts['track']} at {float(facts['start']):g} s", str(facts["stem"]))
            source = str(facts.get("input", MIXTURE))
            roles: dict[str, tuple[str, Role]] = {
                "input": (source.removeprefix(f"{SEPARATED}/"), "floor" if source == MIXTURE else "input"),
                "mixture": (MIXTURE, "floor"),
                "quantized_input": (UNTOUCHED + of_codec, "floor"),
                "quantized_target": (CEILING + of_codec, "ceiling"),
            }
            references.setdefault(item, (folder / "target.wav",))
            made[item] = (folder / "output.wav",)
            for wav, key in roles.items():
                if (folder / f"{wav}.wav").is_file():
                    floors.setdefault(key, {}).setdefault(item, (folder / f"{wav}.wav",))
        if not made:
            raise UserError(f"{run}: has no samples with output and target. Make them: python scripts/sample.py {run}")
        outputs.append(System(name, "system", str(run), made))
    common = set.intersection(*(set(output.files) for output in outputs))
    around = [
        System(name, role, "samples of the runs", {item: paths for item, paths in files.items() if item in common})
        for (name, role), files in floors.items()
    ]
    # A floor that only some of the excerpts have would take the others out of the comparison.
    around = [system for system in around if _complete(system, common)]
    below = [system for system in around if system.role != "ceiling"]
    ceilings = [system for system in around if system.role == "ceiling"]
    true = System("reference", "ceiling", "targets of the runs", references)
    codec = codecs.pop() if len(codecs) == 1 else None
    return select(true, (*below, *outputs, *ceilings), stems=stems, tracks=tracks), codec


def _complete(system: System, items: set[Item]) -> bool:
    """Whether it has all excerpts of every stem of which it has any."""
    stems = {stem for _, stem in system.files}
    return bool(system.files) and all(item in system.files for item in items if item[1] in stems)


def _config(run: Path) -> dict[str, Any]:
    """A run's configuration.

    Raises:
        UserError: it is damaged.
    """
    try:
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{run / 'config.yaml'}: cannot be parsed. Give another run folder.") from error
    return config if isinstance(config, dict) else {}


def _names(runs: Sequence[Path], configs: Sequence[dict[str, Any]]) -> list[str]:
    """The runs' IDs, or the names of their folders where IDs are not enough."""
    ids = [str(config.get("id", run.name)) for run, config in zip(runs, configs, strict=True)]
    return ids if len(set(ids)) == len(ids) else [run.resolve().name for run in runs]


def _samples(run: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The samples that have an output, a target, and a side-car that says what they are."""
    found = []
    for side_car in sorted((run / "samples").glob("*/sample.json")):
        try:
            facts = json.loads(side_car.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(
                f"{side_car}: cannot be parsed. Make the samples again: python scripts/sample.py {run}"
            ) from error
        there = all((side_car.parent / f"{name}.wav").is_file() for name in ("output", "target"))
        if there and all(name in facts for name in ("track", "start", "stem")):
            found.append((side_car.parent, facts))
    return found
