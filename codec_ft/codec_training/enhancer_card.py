"""Shipping an enhancer that was trained here: weights, and the card that says how they came about and what they do."""

import copy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from codec_ft.atomic import atomic_folder
from codec_ft.codec_training.config import RECIPES
from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import codec_names
from codec_ft.config import Schema
from codec_ft.data.separators.stand_ins.kinds import STAND_INS
from codec_ft.data.tracks import SEPARATED
from codec_ft.encoded.layout import encode_command
from codec_ft.errors import UserError
from codec_ft.finetune.apply import TrainedEnhancer
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.enhancer import Enhancer
from codec_ft.finetune.load import load_enhancer
from codec_ft.finetune.results import report
from codec_ft.finetune.save import read_facts, save_enhancer
from codec_ft.finetune.task import FinetuneTask
from codec_ft.training.cards import METRICS_HEAD, data_line, metric_cells, training_line, write_card
from codec_ft.training.provenance import composed_data, training_facts
from codec_ft.training.run_folder import read_finished

LARGEST_MB = 8
"""What lies in a repository is fetched by everybody who clones it."""
RECIPE_FILES = ("training.yaml", "decoder_training.yaml")
"""The configurations of the stages, in order: with them the trainings can be run again as they were."""
READINGS = {
    "trained": "this enhancer",
    "copy_input": "copying the input's codes",
    "majority": "always the commonest code",
    "idempotence": "the codec, coding its own output",
}
"""Rows of the table of codes: what they are called in results, and in words."""


def ship_enhancer(run: Path, folder: Path, decoder: Path | None = None) -> Path:
    """Copy a trained enhancer to `folder` in half precision, measure exactly what was written, and write its card.

    Args:
        run: folder of a finished fine-tuning.
        folder: is made anew, with `config.json`, `model.safetensors`, `card.md`, `card.json` and `training.yaml`; with
            a decoder also `decoder.safetensors` and `decoder_training.yaml`.
        decoder: folder of a finished training of a decoder on what this enhancer predicts.

    Returns:
        The card.

    Raises:
        UserError: a run is not finished or of something else, the two do not belong together, the codec has no name
            that others know, a song was learnt by heart, the weights are too large to ship, the data were not made by
            the demo composer, or `folder` holds something else.
    """
    _check_folder(folder)
    config = read_finished(run, {"finetune": FinetuneConfig}, "an enhancer")
    if config.codec not in codec_names():
        raise UserError(
            f"{run}: its codec {config.codec} lies in a folder of this machine. What is shipped needs a codec that "
            f"everybody has: {', '.join(codec_names())}."
        )
    if config.data.scope != "set":
        raise UserError(f"{run}: has learnt one {config.data.scope} by heart. Ship a run with data.scope=set.")
    composed = [_composed(config, root) for root in (config.data.root, *config.data.extra)]
    trained = load_enhancer(run)
    stages = [training_facts(run, config)]
    if decoder is not None:
        stages.append(training_facts(decoder, read_finished(decoder, RECIPES, "a decoder")))
        stages[-1]["config"]["enhancer"] = folder.name  # it may have been a folder of this machine
        trained = _with_decoder(trained, decoder)
    _check_size(trained)
    with atomic_folder(folder) as temporary:
        decoder_weights = None if trained.player is trained.codec else trained.player.get_submodule("decoder")
        save_enhancer(trained.enhancer, trained.facts, temporary, decoder=decoder_weights, dtype=torch.float16)
        for name, stage in _with_recipes(stages):
            recipe = yaml.safe_dump(_recipe(stage["config"]), sort_keys=False, allow_unicode=True)
            (temporary / name).write_text(recipe, encoding="utf-8")
        shipped = load_enhancer(temporary)
        facts = {
            "name": folder.name,
            **shipped.facts.model_dump(),
            "own_decoder": decoder_weights is not None,
            "sample_rate": shipped.sample_rate,
            "parameters": sum(p.numel() for p in shipped.enhancer.parameters()),
            "licence": "MIT",
            "training_data": composed,
            "stages": stages,
            "measured": measure_enhancer(shipped, config),
        }
        write_card(temporary, facts, card_text(facts))
    return folder / "card.md"


def measure_enhancer(trained: TrainedEnhancer, config: FinetuneConfig) -> dict[str, Any]:
    """The report that a fine-tuning ends with (see `codec_ft.finetune.results`), on the test split of its data.

    Of an enhancer with a decoder of its own, the codec's decoder is measured on the same codes beside it.

    Args:
        trained: what is measured.
        config: how it was trained; says which data, and how long excerpts are.
    """
    tested = _changed(config, decode=trained.facts.decode, data=_changed(config.data, report_split="test"))
    found = _report(trained.enhancer, trained.codec, tested)
    if trained.player is not trained.codec:
        output = next(row for row in found["rows"] if row["role"] == "output")
        own = next(row for row in _report(trained.enhancer, trained.player, tested)["rows"] if row["role"] == "output")
        after = found["rows"].index(output) + 1
        found["rows"].insert(after, own | {"against": {"target": own["against"]["target"]}})
        output |= {"system": "output, by the codec's decoder", "role": "baseline"}
    return found


def card_text(facts: dict[str, Any]) -> str:
    """The card as Markdown; every number in it comes from `facts`."""
    data_settings = facts["stages"][0]["config"]["data"]
    names = [data_settings["root"], *data_settings["extra"]]
    sources = [*(facts["train_inputs"] or [facts["input"]]), facts["input"], *facts["context"]]
    separators = sorted({source.partition("/")[2] for source in sources if source.startswith(f"{SEPARATED}/")})
    options = "" if set(separators) & set(STAND_INS) else " --no-separators"
    own_decoder = " --decoder DECODER_RUN" * facts["own_decoder"]
    return "\n".join(
        [
            f"# Enhancer `{facts['name']}`",
            "",
            _what_it_is(facts),
            "",
            "Not good for music that was not made by the demo composer: its songs are all it knows, and of real "
            f"recordings it keeps little. Nothing above {facts['sample_rate'] // 2} Hz is heard, stereo is two times "
            "mono, and however well it hears, what comes out sounds as the codec does. It is there to try things "
            "out, and to start from.",
            "",
            "## How it was made",
            "",
            *(data_line(data, name, options) for name, data in zip(names, facts["training_data"], strict=True)),
            *(
                f"- Separated stems: `python scripts/prepare_data.py separate --with {separator} --root data/{name}`"
                for name, data in zip(names, facts["training_data"], strict=True)
                for separator in separators
                if separator not in STAND_INS or data["generator"] != "demo"  # which come with their stems
            ),
            *_encoded_lines(facts, names),
            *(
                training_line(stage, f"FOLDER/{recipe} run=runs/{stage['config']['id']}")
                for recipe, stage in _with_recipes(facts["stages"])
            ),
            f"- Card: `python scripts/ship_enhancer.py runs/{facts['stages'][0]['config']['id']} FOLDER{own_decoder}`",
            "",
            "FOLDER is where this card lies.",
            "",
            *_measured_text(facts["measured"], names[0]),
        ]
    )


def _with_recipes(stages: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each stage of a training with the file of its configuration; there may be fewer than there are names."""
    return list(zip(RECIPE_FILES[: len(stages)], stages, strict=True))


def _encoded_lines(facts: dict[str, Any], names: list[str]) -> list[str]:
    """The commands that store what training reads, where it does."""
    data = facts["stages"][0]["config"]["data"]
    if not data["encoded"]:
        return []
    inputs = list(dict.fromkeys([*(facts["train_inputs"] or [facts["input"]]), *facts["context"]]))
    cut = {key: None if data["whole"] else data[key] for key in ("seconds", "grid_seconds")}
    commands = [
        encode_command(Path("data", name), facts["codec"], [facts["stem"]], inputs, ["train"], **cut) for name in names
    ]
    return [f"- Latents: `{command}`" for command in commands]


def _what_it_is(facts: dict[str, Any]) -> str:
    """What goes in, what comes out, and the network in between."""
    _, _, separator = facts["input"].partition("/")
    heard = f"the {facts['stem']} as `{separator}` separates it" if separator else f"`{facts['input']}`"
    if facts["context"]:
        heard += f", with {' and '.join(f'`{source}`' for source in facts['context'])} beside it"
    bridge = facts["bridge"]
    encoder = {"warm": "a trained copy of the codec's encoder", "frozen": "the codec's encoder as it is"}
    network = encoder[facts["encoder"]]
    if bridge["kind"] != "none":
        network += f" and a {bridge['kind']} bridge to {bridge['gives']}"
    voice = "a decoder of its own, trained on what it predicts" if facts["own_decoder"] else "the codec's decoder"
    return (
        f"Hears {heard} and gives the {facts['stem']}, as codes of the codec `{facts['codec']}`: {network}, "
        f"{facts['parameters'] / 1e6:.2f} M parameters; {facts['sample_rate']} Hz mono. {voice.capitalize()} makes "
        f"sound of its {facts['decode']}. Stored in half precision, computed in float32. Licence: {facts['licence']}."
    )


def _measured_text(found: dict[str, Any], root: str) -> list[str]:
    tokens = found["tokens"]
    width = len(tokens["copy_input"])
    lines = [
        f"## Measured on the {found['report_split']} split of `{root}`",
        "",
        f"{found['excerpts']} excerpts of {found['excerpt_seconds']:g} s from songs that were not trained on, against "
        "the clean stem.",
        "",
        f"| | {METRICS_HEAD} |",
        "|---|---|---|---|---|",
        *(f"| {row['system']} | {metric_cells(row['against']['target'])} |" for row in found["rows"]),
        "",
        f"Share of the clean stem's codes that are found, in {tokens['frames']} non-silent frames:",
        "",
        f"| codebook | {' | '.join(str(k + 1) for k in range(width))} |",
        f"|---|{'---|' * width}",
    ]
    for reading, words in READINGS.items():
        cells = [f"{share:.3f}" for share in tokens[reading]] + ["-"] * (width - len(tokens[reading]))
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return [*lines, ""]


def _composed(config: FinetuneConfig, root: Path) -> dict[str, Any]:
    """How one of its data sets was made."""
    return composed_data(_changed(config, data=_changed(config.data, root=root)), "enhancers")


def _with_decoder(trained: TrainedEnhancer, decoder: Path) -> TrainedEnhancer:
    """The same enhancer with the decoder that a run trained for it."""
    found = load_enhancer(decoder)
    ours, theirs = trained.enhancer.state_dict(), found.enhancer.state_dict()
    # In half precision, as the decoder may have learnt from what had been shipped already.
    same = ours.keys() == theirs.keys() and all(torch.equal(ours[n].half(), theirs[n].half()) for n in ours)
    if found.player is found.codec or not same:
        raise UserError(
            f"{decoder}: trained no decoder for {trained.name}, but for another enhancer. Train one: accelerate launch "
            f"scripts/run_experiment.py run X11.bass enhancer={trained.name}"
        )
    return found


def _check_folder(folder: Path) -> None:
    """Refuse to replace what is not an enhancer."""
    if folder.is_dir() and any(folder.iterdir()):
        try:
            read_facts(folder)
        except UserError as error:
            raise UserError(f"{folder}: is not empty and holds no enhancer. Choose another folder.") from error


def _check_size(trained: TrainedEnhancer) -> None:
    """Refuse weights that are too large, those of a decoder of its own included."""
    decoder = () if trained.player is trained.codec else trained.player.get_submodule("decoder").parameters()
    megabytes = 2 * sum(weight.numel() for weight in [*trained.enhancer.parameters(), *decoder]) / 1e6
    if megabytes > LARGEST_MB:
        raise UserError(
            f"{trained.name}: has {megabytes:.1f} MB of weights in half precision, more than the {LARGEST_MB} MB that "
            "are shipped. Use it from its run folder, or train a smaller one."
        )


def _recipe(settings: dict[str, Any]) -> dict[str, Any]:
    """A configuration that works in any clone, where data sets lie in `data/`."""
    data = dict(settings["data"])
    data["root"] = f"data/{data['root']}"
    if "extra" in data:
        data["extra"] = [f"data/{name}" for name in data["extra"]]
    return copy.deepcopy(settings | {"data": data})


def _report(enhancer: Enhancer, codec: Codec, config: FinetuneConfig) -> dict[str, Any]:
    task = FinetuneTask(config, codec)
    task.step.enhancer.load_state_dict(enhancer.state_dict())
    with TemporaryDirectory() as samples:
        return report(task, task.step.eval(), Path(samples), "as shipped", torch.device("cpu"))


def _changed(config: Schema, **changes: Any) -> Schema:
    """A configuration, or a part of one, with some values changed."""
    return config.model_copy(update=changes)
