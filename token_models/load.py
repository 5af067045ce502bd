"""Trained token models by name or by path."""

import difflib
import logging
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from codec_ft.codecs.base import Codec
from codec_ft.codecs.load import load_codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.config import peek
from codec_ft.data.tracks import MIXTURE
from codec_ft.errors import UserError, in_words
from codec_ft.facts import CONFIG
from codec_ft.finetune.load import load_enhancer
from codec_ft.training.run_folder import RunFolder
from codec_ft.weights import load_weights
from token_models.apply import TrainedTokens
from token_models.model import TokenModel
from token_models.sampling.config import SamplingConfig
from token_models.save import EXPORTED, TokenFacts, codebook_rms, read_facts, weights_file
from token_models.vampnet.files import CODEC_FILE, VAMPNET, is_vampnet, load_vampnets

logger = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "weights"
ALIKE = 1e-3
"""Share by which codebooks may differ in size, for they are computed in another order on another machine."""


def token_model_names() -> list[str]:
    """Names of the token models that come with this package."""
    return sorted(config.parent.name for config in SHIPPED.glob(f"*/{CONFIG}"))


def load_token_models(
    name_or_path: str | Path, device: str | torch.device = "cpu", runs: Path | None = None
) -> TrainedTokens:
    """Load trained token models with their codec, and the enhancer that they hear through, if any.

    Nothing that is loaded can run code: files are JSON and safetensors, VampNet's are read with `weights_only`.

    Args:
        name_or_path: a name of `token_model_names()`; a folder that `save_token_models` wrote; the folder of a
            finished run that trained some; `vampnet` for VampNet's published models; or a folder with its files.
        device: where to compute.
        runs: folder of run folders, in which a run, and enhancers that it hears through, may be named; by default that
            in which its own folder lies.

    Raises:
        UserError: the name is unknown, the training is not finished, or files are missing, broken or do not fit.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    for folder in (SHIPPED / name, path, path / EXPORTED, *([runs / name / EXPORTED] if runs else [])):
        if (folder / CONFIG).is_file():
            place = path.absolute().parent
            return _exported(folder, name, runs or (place.parent if path.name == EXPORTED else place)).to(device)
    if is_vampnet(name):
        return _vampnet(name).to(device)
    for run in (path, *([runs / name] if runs else [])):
        if RunFolder(run).config.is_file():
            if RunFolder(run).finished:
                task = peek([RunFolder(run).config], [], "task")
                raise UserError(
                    f"{run}: holds no token models, which are those of task=masked, but a run of task={task}. If it "
                    "draws out a stem, hear it by scripts/sample.py RUN --audio FILE."
                )
            raise UserError(f"{run}: is a run that is not finished. Start it again with the same command.")
    known = [*token_model_names(), VAMPNET]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}? " if near else ". "
    raise UserError(
        f"{name}: no such token models{hint}There are {', '.join(known)}. Or give an exported folder, that of a "
        "finished run, or one with files of VampNet."
    )


def _exported(folder: Path, name: str, runs: Path) -> TrainedTokens:
    facts = read_facts(folder)
    if facts.licence:
        logger.warning("%s: began as weights under %s, and inherits this licence", folder, facts.licence)
    try:
        codec = load_codec(facts.codec)
    except UserError as error:
        raise UserError(f"{folder / CONFIG}: its codec cannot be loaded. {error}") from error
    if not isinstance(codec, ResidualCodec):
        raise UserError(f"{folder / CONFIG}: codec={facts.codec} is no residual codec, such as EnCodec and DAC.")
    _check_codec(folder, facts, codec)
    enhancer = load_enhancer(facts.enhancer, runs=runs) if facts.enhancer else None
    preferring = enhancer.preferring if enhancer is not None else 0
    models = {}
    for stage, config in facts.models.items():
        models[stage] = TokenModel(codec, config, 1 + len(facts.context), preferring)
        load_weights(models[stage], folder / weights_file(stage))
    return TrainedTokens(codec, facts, models, name, enhancer)


def _check_codec(folder: Path, facts: TokenFacts, codec: Codec) -> None:
    """Refuse a codec with other codes than those that were learnt."""
    found = codebook_rms(codec)
    if facts.codebook_rms is not None and (
        len(found) != len(facts.codebook_rms) or not np.allclose(found, facts.codebook_rms, rtol=ALIKE)
    ):
        raise UserError(
            f"{folder / CONFIG}: codec={facts.codec} has other codebooks than in the training of these models. Put "
            "back the codec that they know, or train them again."
        )


def _vampnet(name: str) -> TrainedTokens:
    """VampNet's models, at work as there: 10 s with 36 steps, then 3 s with 2, at a loudness of -24 LUFS."""
    file = Path(name).expanduser() / CODEC_FILE
    codec = load_codec(str(file) if name != VAMPNET and file.is_file() else VAMPNET)
    models = load_vampnets(name, codec)
    try:
        facts = TokenFacts(
            codec=codec.name,
            stem=MIXTURE,
            input=MIXTURE,
            **{stage: model.facts.config for stage, model in models.items()},
            sampling=SamplingConfig(steps=36),
            fine_sampling=SamplingConfig(steps=2),
            seconds=10.0,
            fine_seconds=3.0,
            loudness=-24.0,
            licence=models["coarse"].facts.licence,
        )
    except ValidationError as error:
        problem = in_words(error.errors()[0]["msg"])
        raise UserError(f"{name}: its files do not belong together ({problem}). Have you swapped them?") from error
    return TrainedTokens(codec, facts, models, name)
