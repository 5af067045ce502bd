"""Beginning a training with the weights of other models: those of another training, or VampNet's."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from codec_ft.codecs.base import Codec
from codec_ft.errors import UserError
from token_models.conditioning.heard import check_same_codes
from token_models.config import TokenModelConfig
from token_models.load import load_token_models
from token_models.model import TokenModel
from token_models.vampnet.files import is_vampnet, load_vampnets

SHAPE = ("embedding", "learned_dim", "dim", "layers", "heads", "feedforward", "positions", "activation", "near")
"""What decides which weights a model has, beside its codebooks and what it hears."""


@dataclass(frozen=True)
class Begun:
    """What a training begins with.

    Attributes:
        licence: that the weights are under and that what is made of them inherits, if they have one.
        silent: models whose condition is new to them.
    """

    licence: str | None
    silent: frozenset[str]


def begin_from(
    start: str,
    models: Mapping[str, TokenModel],
    configs: Mapping[str, TokenModelConfig],
    codec: Codec,
    *,
    runs: Path,
    lora: str | None = None,
) -> Begun:
    """Give models the weights of others, in place.

    What a model hears may be new to it: its condition is then silent at first, so that the model begins as it was.

    Args:
        start: token models by name or folder; `vampnet` for the published ones; or a folder with files of VampNet.
        models: by name.
        configs: theirs.
        codec: whose codes they write.
        runs: folder of run folders, of which the start may name one.
        lora: folder of adapters for files of VampNet.

    Raises:
        UserError: there is nothing of that name, a model is missing in it, of another size, or hears something else.
    """
    found, their_configs, licence = _load(start, list(models), codec, runs, lora)
    silent = set()
    for name, model in models.items():
        if name not in found:
            raise UserError(f"start={start}: has no {name} model. Set {name} to null, or start from another one.")
        _check(start, name, model, configs[name], found[name], their_configs[name])
        try:
            left = model.load_state_dict(found[name].state_dict(), strict=False)
        except RuntimeError as error:
            raise UserError(
                f"start={start}: its {name} model hears another number of inputs, or through another enhancer. Set "
                "input, context and enhancer as they were."
            ) from error
        kept = {key for key in (*left.missing_keys, *left.unexpected_keys) if not key.startswith("condition.")}
        if kept:
            raise UserError(
                f"start={start}: its {name} model has another enhancer ({', '.join(sorted(kept))}). Set enhancer as it "
                "was there."
            )
        if left.missing_keys and model.condition is not None:
            nn.init.zeros_(model.condition.norm.weight)
            silent.add(name)
    return Begun(licence, frozenset(silent))


def _load(
    start: str, names: list[str], codec: Codec, runs: Path, lora: str | None
) -> tuple[dict[str, TokenModel], dict[str, TokenModelConfig], str | None]:
    if is_vampnet(start):
        loaded = load_vampnets(start, codec, names, lora)
        licences = {model.facts.licence for model in loaded.values()}
        return dict(loaded), {name: model.facts.config for name, model in loaded.items()}, ", ".join(sorted(licences))
    if lora is not None:
        raise UserError(f"lora={lora}: is for VampNet's files, and start={start} is none. Leave it out.")
    trained = load_token_models(start, runs=runs)
    check_same_codes(codec, trained, "start")
    return trained.models, trained.facts.models, trained.facts.licence


def _check(
    start: str, name: str, model: TokenModel, config: TokenModelConfig, other: TokenModel, theirs: TokenModelConfig
) -> None:
    """Refuse weights that do not fit."""
    pairs = {"codebooks": (other.n_codebooks, model.n_codebooks), "known": (other.known, model.known)}
    pairs |= {key: (getattr(theirs, key), getattr(config, key)) for key in SHAPE}
    for key, (has, asked) in pairs.items():
        if has != asked and not (key == "learned_dim" and config.embedding == theirs.embedding == "codec"):
            raise UserError(f"start={start}: its {name} model has {key}={has}, not {asked}. Set {name}.{key}={has}.")
    heard = theirs.condition.anything
    if heard and config.condition != theirs.condition:
        raise UserError(
            f"start={start}: its {name} model is shown something else. Set {name}.condition as it was there, or start "
            "from a model that is shown nothing."
        )
    begins = config.condition.tokens or config.condition.latents or config.condition.enhanced
    if not heard and config.near and begins:
        raise UserError(
            f"start={start}: its {name} model guesses latents without an input; shown one, it would begin elsewhere. "
            f"Leave {name}.condition out, or start from a model that was trained with it or with near=0."
        )
    if not heard and model.cross:
        raise UserError(
            f"{name}.condition.join=cross: start={start} has no layers that attend to what is heard. Set it to add."
        )
