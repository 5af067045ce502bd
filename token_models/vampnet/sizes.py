"""What a checkpoint of VampNet says of its model, and the tensors that such a model has."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator
from torch import Tensor

from codec_ft.errors import UserError, in_words
from token_models.config import TokenModelConfig
from token_models.model import T5_BUCKETS
from token_models.vampnet.names import FEEDFORWARD, linear_layers

LORA_RANK = 8
"""Of every adapter, in all of VampNet's models."""

Shapes = dict[str, tuple[int, ...]]


class VampnetSizes(BaseModel):
    """The arguments of a VampNet, with the names that they have in its files.

    The published ones: coarse has 4 codebooks and 20 layers, c2f has 14 codebooks, of which 4 are known, and 16 layers;
    both 20 heads and a width of 1280. What a file does not say is as VampNet's own code takes it.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    n_heads: PositiveInt = 20
    n_layers: PositiveInt
    n_codebooks: PositiveInt
    n_conditioning_codebooks: NonNegativeInt
    latent_dim: PositiveInt = 8
    embedding_dim: Annotated[int, Field(ge=8)] = 1280
    vocab_size: PositiveInt = 1024
    r_cond_dim: Literal[0] = 0  # the share of masked cells as a condition, which was given up
    noise_mode: Literal["mask"] = "mask"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    seq_len: int | None = None  # of excerpts in training; positions are relative, so that nothing depends on it

    @model_validator(mode="after")
    def _fits_together(self) -> "VampnetSizes":
        if self.embedding_dim % self.n_heads:
            raise ValueError(f"embedding_dim {self.embedding_dim} is no multiple of n_heads {self.n_heads}")
        if self.n_conditioning_codebooks >= self.n_codebooks:
            raise ValueError(
                f"n_conditioning_codebooks {self.n_conditioning_codebooks} of n_codebooks {self.n_codebooks} leave "
                "nothing to predict"
            )
        # An option of another version that is off changes nothing; one that is on may change everything.
        if on := next((name for name, value in (self.model_extra or {}).items() if value), None):
            raise ValueError(f"{on} is no option of a model that can be computed here")
        return self

    @property
    def n_predicted(self) -> int:
        """Codebooks that the classifier predicts."""
        return self.n_codebooks - self.n_conditioning_codebooks

    def __str__(self) -> str:
        return f"{self.n_codebooks} codebooks, {self.n_conditioning_codebooks} of them known"

    def config(self) -> TokenModelConfig:
        """The same model here."""
        return TokenModelConfig(
            codebooks=self.n_codebooks,
            known=self.n_conditioning_codebooks,
            embedding="codec",
            dim=self.embedding_dim,
            layers=self.n_layers,
            heads=self.n_heads,
            feedforward=FEEDFORWARD // 2,
            positions="t5",
            activation="gelu_tanh",
            dropout=self.dropout,
        )


def read_sizes(arguments: Mapping[Any, Any], names: Iterable[str], path: Path) -> VampnetSizes:
    """The size of a model.

    Args:
        arguments: `metadata.kwargs` of its file.
        names: of its tensors.
        path: of the file, for what is said of it.

    Raises:
        UserError: an argument is missing, of a wrong type or out of range, or belongs to a model that cannot be
            computed here.
    """
    given = {str(name): value for name, value in arguments.items()}
    if given.pop("flash_attn", False) or any(".Wqkv." in name for name in names):
        raise UserError(
            f"{path}: is an older VampNet with flash_attn, whose attention has other tensors and no bias by distance; "
            "it cannot be computed here. Take the coarse.pth and c2f.pth that were published with flash_attn off."
        )
    try:
        return VampnetSizes.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["metadata.kwargs", *(str(part) for part in first["loc"])])
        problem = in_words(first["msg"])
        raise UserError(f"{path}: {where}: {problem}. Give a file of VampNet's coarse or c2f model.") from error


def tensor_shapes(sizes: VampnetSizes) -> Shapes:
    """All tensors of a model but its adapters."""
    width, channels = sizes.embedding_dim, sizes.vocab_size * sizes.n_predicted
    norms = [f"transformer.layers.{i}.norm_{n}.weight" for i in range(sizes.n_layers) for n in (1, 3)]
    return {
        "embedding.special.MASK": (sizes.n_codebooks, sizes.latent_dim),
        "embedding.out_proj.weight": (width, sizes.n_codebooks * sizes.latent_dim, 1),
        "embedding.out_proj.bias": (width,),
        "transformer.layers.0.self_attn.relative_attention_bias.weight": (T5_BUCKETS, sizes.n_heads),
        **{f"{layer.theirs}.weight": (layer.n_out, layer.n_in) for layer in linear_layers(sizes.n_layers, width)},
        **{norm: (width,) for norm in [*norms, "transformer.norm.weight"]},
        "classifier.layers.0.weight_g": (channels, 1, 1),
        "classifier.layers.0.weight_v": (channels, width, 1),
        "classifier.layers.0.bias": (channels,),
    }


def adapter_shapes(sizes: VampnetSizes) -> Shapes:
    """The adapters of a model."""
    shapes: Shapes = {}
    for layer in linear_layers(sizes.n_layers, sizes.embedding_dim):
        if layer.adapted:
            shapes[f"{layer.theirs}.lora_A"] = (LORA_RANK, layer.n_in)
            shapes[f"{layer.theirs}.lora_B"] = (layer.n_out, LORA_RANK)
    return shapes


def is_adapter(name: str) -> bool:
    """Whether a tensor is a part of an adapter."""
    return name.endswith((".lora_A", ".lora_B"))


def check_tensors(tensors: Mapping[str, Tensor], sizes: VampnetSizes, path: Path, *, adapters_alone: bool) -> None:
    """Refuse a file that does not hold all tensors of a model and no others.

    Adapters are there for all layers that have them, or for none.

    Args:
        tensors: of the file.
        sizes: of the model.
        path: of the file, for what is said of it.
        adapters_alone: whether it may be a file of adapters and nothing else.

    Raises:
        UserError: a tensor is missing, too many, or has another shape; the first one is named.
    """
    adapted = [is_adapter(name) for name in tensors]
    expected = {} if adapters_alone and all(adapted) else tensor_shapes(sizes)
    expected |= adapter_shapes(sizes) if any(adapted) else {}
    wrong = [
        *(f"{name} is missing" for name in expected if name not in tensors),
        *(f"{name} is not part of the model" for name in tensors if name not in expected),
        *(
            f"{name} has shape {list(tensors[name].shape)}, expected {list(shape)}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ),
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(
            f"{path}: its tensors do not make up {'the adapters of ' * adapters_alone}a VampNet of {sizes}, "
            f"{sizes.n_layers} layers: {wrong[0]}{more}. Give the file of that model, or fetch it again."
        )
