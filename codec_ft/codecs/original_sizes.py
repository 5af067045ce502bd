"""The architecture of a codec from what the package that it was published with has saved."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PositiveInt, ValidationError, field_validator
from torch import Tensor
from transformers import DacConfig, EncodecConfig

from codec_ft.codecs.lac import LacConfig
from codec_ft.errors import UserError


def encodec_config(state: Mapping[str, Tensor], path: Path) -> EncodecConfig:
    """The architecture of an EnCodec, read off the shapes of the tensors of its encoder.

    What they do not tell is the sample rate, whether the model is causal, whether it normalises, and how it cuts audio
    into segments. Two models were published, which the kind of norm tells apart: with weight norm the model is taken to
    be causal at 24 kHz, with group norm to work at 48 kHz on normalised segments of 1 s that overlap by 1 %.

    Raises:
        UserError: the encoder is not built like any EnCodec's.
    """
    grouped = "encoder.model.0.conv.norm.weight" in state
    weight = r"\.conv\.conv\." + ("weight" if grouped else "weight_v")  # [output channels, input channels, kernel size]
    convolutions = _shapes(state, r"encoder\.model\.(\d+)" + weight)
    residual = _shapes(state, r"encoder\.model\.(\d+)\.block\.1" + weight)
    codebooks = _shapes(state, r"quantizer\.vq\.layers\.(\d+)\._codebook\.embed")
    recurrent = _shapes(state, r"encoder\.model\.\d+\.lstm\.bias_ih_l(\d+)")
    shortcuts = _shapes(state, r"encoder\.model\.(\d+)\.shortcut" + weight)
    if (
        len(convolutions) < 3
        or not (residual and codebooks)
        or any(len(shape) != 3 for shape in (*convolutions, *residual))
        or any(shape[2] < 2 for shape in convolutions[1:-1])
    ):
        raise UserError(f"{path}: its encoder or its codebooks are not an EnCodec's; fetch it again.")
    first, *strided, last = convolutions
    strides = [shape[2] // 2 for shape in strided]  # a kernel spans two strides
    sampling_rate = 48000 if grouped else 24000
    codebook_size = codebooks[0][0]
    return EncodecConfig(
        sampling_rate=sampling_rate,
        audio_channels=first[1],
        normalize=grouped,
        chunk_length_s=1.0 if grouped else None,
        overlap=0.01 if grouped else None,
        norm_type="time_group_norm" if grouped else "weight_norm",
        use_causal_conv=not grouped,
        num_filters=first[0],
        kernel_size=first[2],
        upsampling_ratios=strides[::-1],
        num_residual_layers=len(residual) // len(strides),
        residual_kernel_size=residual[0][2],
        compress=residual[0][1] // residual[0][0],
        use_conv_shortcut=bool(shortcuts),
        num_lstm_layers=len(recurrent),
        hidden_size=last[0],
        last_kernel_size=last[2],
        codebook_size=codebook_size,
        target_bandwidths=_bandwidths(len(codebooks), codebook_size, math.ceil(sampling_rate / math.prod(strides))),
    )


def _shapes(state: Mapping[str, Tensor], pattern: str) -> list[tuple[int, ...]]:
    """Shapes of the tensors whose names fit, in the order of the numbers in them."""
    found = {int(m[1]): tuple(value.shape) for name, value in state.items() if (m := re.fullmatch(pattern, name))}
    return [found[number] for number in sorted(found)]


def _bandwidths(n_codebooks: int, codebook_size: int, frame_rate: int) -> list[float]:
    """Kilobits per second of 2, 4, 8, ... and of all codebooks; transformers counts the codebooks by the last."""
    bits = frame_rate * math.ceil(math.log2(codebook_size))
    counts = [n for n in (2**i for i in range(1, n_codebooks.bit_length())) if n < n_codebooks]
    bandwidths = [n * bits / 1000 for n in (*counts, n_codebooks)]
    if 1000 * bandwidths[-1] < n_codebooks * bits:  # rounded down, it would cost the last codebook
        bandwidths[-1] = math.nextafter(bandwidths[-1], math.inf)
    return bandwidths


Rates = Annotated[list[PositiveInt], Field(min_length=1)]


class _Arguments(BaseModel):
    """What a `DAC` or a `LAC` was built with, as its file holds it; what only its training needs is left out."""

    encoder_dim: PositiveInt
    encoder_rates: Rates
    latent_dim: PositiveInt | None = None
    decoder_dim: PositiveInt
    decoder_rates: Rates
    n_codebooks: PositiveInt
    codebook_size: PositiveInt
    codebook_dim: PositiveInt
    sample_rate: PositiveInt

    @field_validator("codebook_dim", mode="before")
    @classmethod
    def _same_in_all_layers(cls, dims: Any) -> Any:
        if isinstance(dims, list):
            if len(set(dims)) != 1:
                raise ValueError(f"differs between codebooks ({dims}), which no model here can have")
            return dims[0]
        return dims


def dac_config(metadata: Any, *, is_lac: bool, path: Path) -> DacConfig | LacConfig:
    """The architecture of a DAC or LAC, whose package saves the arguments of the model beside its tensors.

    Raises:
        UserError: an argument is missing, of a wrong type or out of range.
    """
    arguments = metadata.get("kwargs") if isinstance(metadata, Mapping) else None
    try:
        given = _Arguments.model_validate(arguments)
        if math.prod(given.encoder_rates) != math.prod(given.decoder_rates):
            raise ValueError(f"encoder_rates {given.encoder_rates} and decoder_rates {given.decoder_rates} disagree")
        if is_lac:
            return LacConfig(
                sampling_rate=given.sample_rate,
                encoder_hidden_size=given.encoder_dim,
                downsampling_ratios=tuple(given.encoder_rates),
                decoder_hidden_size=given.decoder_dim,
                upsampling_ratios=tuple(given.decoder_rates),
                n_codebooks=given.n_codebooks,
                codebook_size=given.codebook_size,
                codebook_dim=given.codebook_dim,
            )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["kwargs", *(str(part) for part in first["loc"])])
        raise UserError(f"{path}: metadata.{where}: {first['msg']}; fetch it again.") from error
    except ValueError as error:
        raise UserError(f"{path}: metadata.kwargs: {error}; fetch it again.") from error
    return DacConfig(
        sampling_rate=given.sample_rate,
        encoder_hidden_size=given.encoder_dim,
        downsampling_ratios=given.encoder_rates,
        decoder_hidden_size=given.decoder_dim,
        n_codebooks=given.n_codebooks,
        codebook_size=given.codebook_size,
        codebook_dim=given.codebook_dim,
        # Not DacConfig's own fields, which follow from the others unless they are given.
        upsampling_ratios=given.decoder_rates,  # type: ignore[call-arg]
        hidden_size=given.latent_dim or given.encoder_dim * 2 ** len(given.encoder_rates),
    )
