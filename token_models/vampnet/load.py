"""VampNet's models by name or by path."""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from codec_ft.codecs.base import Codec
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.lac import LacConfig
from codec_ft.errors import UserError
from token_models.adapters import add_adapters, require_peft
from token_models.config import TokenModelConfig
from token_models.model import TokenModel
from token_models.vampnet.adapters import ALPHA, fill_adapters, merge
from token_models.vampnet.checkpoint import Checkpoint, read_checkpoint
from token_models.vampnet.convert import convert
from token_models.vampnet.releases import LICENCE, PUBLISHED, fetch_published, trust_published
from token_models.vampnet.sizes import LORA_RANK, VampnetSizes, check_tensors, is_adapter, read_sizes

logger = logging.getLogger(__name__)

SET_CODEC = "Set codec=vampnet."


@dataclass(frozen=True)
class VampnetFacts:
    """Where a model comes from.

    Attributes:
        path: the file of its weights.
        lora: that of its adapters, if they are not in the same one.
        licence: of the weights; a model that is fine-tuned from them inherits it.
        config: with which a `TokenModel` of the same codec is built that such weights fit.
    """

    path: Path
    lora: Path | None
    licence: str
    config: TokenModelConfig


class VampnetModel(TokenModel):
    """A `TokenModel` with the weights of a VampNet.

    Attributes:
        facts: where they come from, and their licence.
    """

    def __init__(self, codec: DacCodec, facts: VampnetFacts) -> None:
        super().__init__(codec, facts.config)
        self.facts = facts


def load_vampnet(
    kind_or_path: str | Path, codec: Codec, lora: str | Path | None = None, merge_lora: bool = True
) -> VampnetModel:
    """Load a model of VampNet, which then computes what VampNet computes (Flores García et al., 2023).

    Nothing that is loaded can run code. The licence of the weights is logged as a warning.

    Args:
        kind_or_path: "coarse" or "c2f" for the published models, which are fetched once; or a file of theirs or of a
            training with VampNet's own code.
        codec: VampNet's, `load_codec("vampnet")`.
        lora: a file of adapters for this model, as VampNet's fine-tuning writes them, in place of its own ones.
        merge_lora: add the adapters to the weights. If not, they are kept as adapters of peft, and are all that learns;
            where no file has any, they are new ones.

    Returns:
        The model, in `eval()`, on the codec's device.

    Raises:
        UserError: a file is missing, broken, not a VampNet's or of another size than it says; the adapters are of
            another model; the codec is not VampNet's; or adapters are to be kept and peft is not installed.
    """
    kind = str(kind_or_path) if str(kind_or_path) in PUBLISHED else None
    codec = _check_is_vampnets(codec, str(kind_or_path), published=kind is not None)
    if not merge_lora:
        require_peft()
    checkpoint = read_checkpoint(fetch_published(kind) if kind else Path(kind_or_path).expanduser())
    sizes = _sizes(checkpoint)
    _check_codes(codec, sizes, checkpoint.path)
    if kind:
        trust_published(kind, sizes, checkpoint.path)
    tensors, adapters = checkpoint.tensors, None
    if lora is not None:
        adapters = read_checkpoint(Path(lora).expanduser())
        check_tensors(adapters.tensors, sizes, adapters.path, adapters_alone=True)
        # A file of a whole fine-tuned model replaces all.
        tensors = {name: value for name, value in tensors.items() if not is_adapter(name)} | adapters.tensors
    facts = VampnetFacts(checkpoint.path, adapters.path if adapters else None, LICENCE, sizes.config())
    _show_licence(facts)
    with torch.device("meta"):  # weights would only be drawn to be thrown away
        model = VampnetModel(codec, facts)
    model.load_state_dict(convert(merge(tensors, sizes) if merge_lora else tensors, sizes, codec), assign=True)
    if not merge_lora:
        add_adapters(model, LORA_RANK, ALPHA)
        if any(is_adapter(name) for name in tensors):
            fill_adapters(model, tensors, sizes)
    return model.to(next(codec.parameters()).device).eval()


def _show_licence(facts: VampnetFacts) -> None:
    for path in filter(None, (facts.path, facts.lora)):
        logger.warning(
            "%s: VampNet's weights are under %s: name its authors, no commercial use; whatever is fine-tuned from them "
            "inherits this licence",
            path,
            facts.licence,
        )


def _sizes(checkpoint: Checkpoint) -> VampnetSizes:
    """The size of the model in a file that holds all of it."""
    if checkpoint.arguments is None:
        raise UserError(
            f"{checkpoint.path}: holds tensors without the size of their model. If they are adapters, give the file as "
            "lora, beside the model that they belong to."
        )
    sizes = read_sizes(checkpoint.arguments, checkpoint.tensors, checkpoint.path)
    check_tensors(checkpoint.tensors, sizes, checkpoint.path, adapters_alone=False)
    return sizes


def _check_is_vampnets(codec: Codec, what: str, *, published: bool) -> DacCodec:
    """Refuse a codec of another kind, and beside a published model one of another number of codebooks."""
    is_lac = isinstance(codec, DacCodec) and isinstance(codec.config, LacConfig)
    if not is_lac or (published and codec.n_codebooks != LacConfig().n_codebooks):
        raise UserError(
            f"{what}: VampNet's models know the codes of its own codec only, and codec={codec.name} is another one. "
            + SET_CODEC
        )
    assert isinstance(codec, DacCodec)
    return codec


def _check_codes(codec: DacCodec, sizes: VampnetSizes, path: Path) -> None:
    """Refuse a codec whose codes cannot be those that a model was trained on."""
    has = f"{path}: does not fit codec={codec.name}, which has"
    if codec.config.codebook_dim != sizes.latent_dim:
        raise UserError(f"{has} codes of {codec.config.codebook_dim} numbers, not {sizes.latent_dim}. {SET_CODEC}")
    if codec.codebook_size != sizes.vocab_size:
        raise UserError(f"{has} {codec.codebook_size} codes in a codebook, not {sizes.vocab_size}. {SET_CODEC}")
    if codec.n_codebooks < sizes.n_codebooks:
        raise UserError(f"{has} {codec.n_codebooks} codebooks, fewer than {sizes.n_codebooks}. {SET_CODEC}")
