"""Shipping token models that were trained here: weights, and the card that says how they came about."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml

from codec_ft.atomic import atomic_folder
from codec_ft.errors import UserError
from codec_ft.finetune.load import enhancer_names
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
from token_models.apply import TrainedTokens
from token_models.config import ConditionConfig, TokenModelConfig
from token_models.load import load_token_models, token_model_names
from token_models.save import read_facts, save_token_models
from token_models.training.config import TokenTrainingConfig
from token_models.training.task import TokenModels, TokenTask

RECIPE = "training.yaml"
"""The configuration: with it the training can be run again as it was."""


def ship_token_models(run: Path, folder: Path) -> Path:
    """Copy trained token models to `folder` in half precision, measure what was written, and write its card.

    Args:
        run: folder of a finished training.
        folder: is made anew, with `config.json`, the weights of each model, `card.md`, `card.json` and `training.yaml`.

    Returns:
        The card.

    Raises:
        UserError: the run is not finished or of something else, it refers to a codec, an enhancer or a start that
            others do not have, a song was learnt by heart, the weights are too large to ship, the data were not made
            by the demo composer, or `folder` holds something else.
    """
    check_free(folder, read_facts, "token models")
    config = read_finished(run, {"masked": TokenTrainingConfig}, "token models")
    check_can_ship(run, config)
    _check_names(run, config)
    composed = composed_sets(config, "token models")
    trained = load_token_models(run)
    for name, model in trained.models.items():
        check_size(f"{run}, {name}", model.parameters())
    stage = training_facts(run, config)
    with atomic_folder(folder) as temporary:
        save_token_models(trained.models, trained.facts, temporary, dtype=torch.float16)
        recipe = yaml.safe_dump(portable(stage["config"]), sort_keys=False, allow_unicode=True)
        (temporary / RECIPE).write_text(recipe, encoding="utf-8")
        shipped = load_token_models(temporary)
        facts = {
            "name": folder.name,
            **shipped.facts.model_dump(),
            "sample_rate": shipped.sample_rate,
            "parameters": {name: sum(p.numel() for p in model.parameters()) for name, model in shipped.models.items()},
            "licence": shipped.facts.licence or "MIT",
            "training_data": composed,
            "training": stage,
            "measured": measure_token_models(shipped, config),
        }
        write_card(temporary, facts, card_text(facts))
    return folder / "card.md"


def measure_token_models(trained: TrainedTokens, config: TokenTrainingConfig) -> dict[str, Any]:
    """The report that a training ends with (see `codec_ft.training.stem_results`), on the test split of its data.

    Args:
        trained: what is measured.
        config: how it was trained; says which data, and how long excerpts are.
    """
    data = config.data.model_copy(update={"report_split": "test"})
    tested = config.model_copy(update={"data": data, "start": None, "lora": None, "adapters": None})
    task = TokenTask(tested, trained.codec)
    module = task.phases["models"]
    assert isinstance(module, TokenModels)
    for name, step in module.steps():
        step.model.load_state_dict(trained.models[name].state_dict())
    with TemporaryDirectory() as samples:
        return report(task, module.eval(), Path(samples), "as shipped", torch.device("cpu"))


def card_text(facts: dict[str, Any]) -> str:
    """The card as Markdown; every number in it comes from `facts`."""
    stage = facts["training"]
    settings = stage["config"]
    models = [TokenModelConfig.model_validate(settings[name]) for name in facts["parameters"]]
    return "\n".join(
        [
            f"# Token models `{facts['name']}`",
            "",
            _what_it_is(facts),
            "",
            NOT_GOOD_FOR.format(limit=facts["sample_rate"] // 2),
            "",
            "## How they were made",
            "",
            *made_lines(
                settings,
                facts["training_data"],
                stems=settings["learn"] or [facts["stem"]],
                hears=any(model.condition.anything for model in models),
            ),
            *_began(settings),
            training_line(stage, f"FOLDER/{RECIPE} run=runs/{settings['id']}", "train_tokens.py"),
            f"- Card: `python scripts/ship_tokens.py runs/{settings['id']} FOLDER`",
            "",
            "FOLDER is where this card lies.",
            "",
            *measured_text(facts["measured"], settings["data"]["root"], "these models"),
        ]
    )


def _what_it_is(facts: dict[str, Any]) -> str:
    """What goes in, what comes out, and the models in between."""
    models = [("coarse", facts["coarse"]), *([("fine", facts["fine"])] if facts["fine"] else [])]
    sizes = " and ".join(
        f"a {name} model of {model['layers']} layers of {model['dim']} channels, {facts['parameters'][name] / 1e6:.2f} "
        "M parameters"
        for name, model in models
    )
    heard = [ConditionConfig.model_validate(model["condition"]) for _, model in models]
    through = f", through the enhancer `{facts['enhancer']}`" if facts["enhancer"] else ""
    if any(condition.anything for condition in heard):
        hears = f"Hear {heard_words(facts)}{through}, and write"
    elif facts["given"][0]:
        hears = f"Go on from the first codebooks of {heard_words(facts)}{through}, and write"
    else:
        hears = "Hear nothing, and write"
    return (
        f"{hears} codes of the {facts['stem']}, those of the codec `{facts['codec']}`: {sizes}; {facts['sample_rate']} "
        f"Hz mono. Stored in half precision, computed in float32. Licence: {facts['licence']}."
    )


def _began(settings: Mapping[str, Any]) -> list[str]:
    """What was there before the training, if anything was."""
    if settings["start"] is None:
        return []
    adapters = settings["adapters"]
    how = f"; adapters of rank {adapters['rank']} alone learnt, and conditions that were new" if adapters else ""
    return [f"- Began as `{settings['start']}`, which has a card of its own{how}."]


def _check_names(run: Path, config: TokenTrainingConfig) -> None:
    """Refuse a run that refers to what others do not have."""
    if config.enhancer is not None and config.enhancer not in enhancer_names():
        raise UserError(
            f"{run}: enhancer={config.enhancer} is one of this machine. Ship it first, with scripts/ship_enhancer.py, "
            f"and train with its name; there are {', '.join(enhancer_names())}."
        )
    if config.start is not None and config.start not in token_model_names():
        raise UserError(
            f"{run}: start={config.start} is not part of this package, and nobody else could train as you did. Ship a "
            "run with start=null."
        )
