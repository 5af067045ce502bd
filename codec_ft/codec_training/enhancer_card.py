"""Shipping an enhancer that was trained here: weights, and the card that says how they came about and what they do."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from codec_ft.atomic import atomic_folder
from codec_ft.codec_training.config import RECIPES
from codec_ft.codecs.base import Codec
from codec_ft.config import Schema
from codec_ft.errors import UserError
from codec_ft.finetune.apply import TrainedEnhancer
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.enhancer import Enhancer
from codec_ft.finetune.load import load_enhancer
from codec_ft.finetune.save import read_facts, save_enhancer
from codec_ft.finetune.task import FinetuneTask
from codec_ft.training.cards import training_line, write_card
from codec_ft.training.provenance import training_facts
from codec_ft.training.run_folder import read_finished
from codec_ft.training.stem_cards import (
    NOT_GOOD_FOR,
    check_can_ship,
    check_free,
    check_size,
    composed_sets,
    heard_words,
    made_lines,
    measured_text,
    portable,
)
from codec_ft.training.stem_results import report

RECIPE_FILES = ("training.yaml", "decoder_training.yaml")
"""The configurations of the stages, in order: with them the trainings can be run again as they were."""


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
    check_free(folder, read_facts, "enhancer")
    config = read_finished(run, {"finetune": FinetuneConfig}, "an enhancer")
    check_can_ship(run, config)
    composed = composed_sets(config, "enhancers")
    trained = load_enhancer(run)
    stages = [training_facts(run, config)]
    if decoder is not None:
        stages.append(training_facts(decoder, read_finished(decoder, RECIPES, "a decoder")))
        stages[-1]["config"]["enhancer"] = folder.name  # it may have been a folder of this machine
        trained = _with_decoder(trained, decoder)
    decoder_weights = None if trained.player is trained.codec else trained.player.get_submodule("decoder")
    own = () if decoder_weights is None else decoder_weights.parameters()
    check_size(trained.name, [*trained.enhancer.parameters(), *own])
    with atomic_folder(folder) as temporary:
        save_enhancer(trained.enhancer, trained.facts, temporary, decoder=decoder_weights, dtype=torch.float16)
        for name, stage in _with_recipes(stages):
            recipe = yaml.safe_dump(portable(stage["config"]), sort_keys=False, allow_unicode=True)
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
    """The report that a fine-tuning ends with (see `codec_ft.training.stem_results`), on the test split of its data.

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
    settings = facts["stages"][0]["config"]
    own_decoder = " --decoder DECODER_RUN" * facts["own_decoder"]
    return "\n".join(
        [
            f"# Enhancer `{facts['name']}`",
            "",
            _what_it_is(facts),
            "",
            NOT_GOOD_FOR.format(limit=facts["sample_rate"] // 2),
            "",
            "## How it was made",
            "",
            *made_lines(settings, facts["training_data"], stems=[facts["stem"]]),
            *(
                training_line(stage, f"FOLDER/{recipe} run=runs/{stage['config']['id']}")
                for recipe, stage in _with_recipes(facts["stages"])
            ),
            f"- Card: `python scripts/ship_enhancer.py runs/{settings['id']} FOLDER{own_decoder}`",
            "",
            "FOLDER is where this card lies.",
            "",
            *measured_text(facts["measured"], settings["data"]["root"], "this enhancer"),
        ]
    )


def _with_recipes(stages: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Each stage of a training with the file of its configuration; there may be fewer than there are names."""
    return list(zip(RECIPE_FILES[: len(stages)], stages, strict=True))


def _what_it_is(facts: dict[str, Any]) -> str:
    """What goes in, what comes out, and the network in between."""
    bridge = facts["bridge"]
    encoder = {"warm": "a trained copy of the codec's encoder", "frozen": "the codec's encoder as it is"}
    network = encoder[facts["encoder"]]
    if bridge["kind"] != "none":
        network += f" and a {bridge['kind']} bridge to {bridge['gives']}"
    voice = "a decoder of its own, trained on what it predicts" if facts["own_decoder"] else "the codec's decoder"
    return (
        f"Hears {heard_words(facts)} and gives the {facts['stem']}, as codes of the codec `{facts['codec']}`: "
        f"{network}, {facts['parameters'] / 1e6:.2f} M parameters; {facts['sample_rate']} Hz mono. "
        f"{voice.capitalize()} makes sound of its {facts['decode']}. Stored in half precision, computed in float32. "
        f"Licence: {facts['licence']}."
    )


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


def _report(enhancer: Enhancer, codec: Codec, config: FinetuneConfig) -> dict[str, Any]:
    task = FinetuneTask(config, codec)
    task.step.enhancer.load_state_dict(enhancer.state_dict())
    with TemporaryDirectory() as samples:
        return report(task, task.step.eval(), Path(samples), "as shipped", torch.device("cpu"))


def _changed(config: Schema, **changes: Any) -> Schema:
    """A configuration, or a part of one, with some values changed."""
    return config.model_copy(update=changes)
