"""Convolutional encoders and decoders applied piece by piece, with the result of one piece.

Everything here is a chain of generators: pieces of a signal come in one after the other, pieces of the output go out,
and only a few chunks are in memory, however long the signal is. What a convolution needs from beside its chunk is
read along and its output cut off again; what an LSTM needs from before is carried on. So the result is that of the
whole signal at once, up to rounding: for another length, torch may add the same products up in another order.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn
from transformers.models.encodec.modeling_encodec import EncodecConv1d, EncodecConvTranspose1d, EncodecLSTM


def run_in_chunks(
    modules: Sequence[nn.Module], pieces: Iterable[Tensor], *, chunk: int, batch_size: int = 1
) -> Iterator[Tensor]:
    """Apply a chain of modules to a signal that comes in pieces.

    Args:
        modules: convolutions (strided, transposed, in residual blocks), what acts on each sample by itself, and
            `EncodecLSTM`, one applied after the other.
        pieces: consecutive parts `[B, C, n]` of the signal, of any lengths; `batch_size` chunks each is best.
        chunk: input samples that are computed at once, rounded up to whole output samples.
        batch_size: chunks that are stacked along the batch axis. Only as many are as have come in.

    Yields:
        Consecutive parts `[B, C', m]` of the output of the chain.

    Raises:
        ValueError: a module mixes what is far apart, so that its output for a chunk needs the whole signal.
    """
    stages = _split_at_lstms(modules)
    for stage in stages:
        if isinstance(stage, EncodecLSTM):
            pieces = _recur(stage, pieces)
        else:
            pieces = _convolve(stage, pieces, chunk, batch_size)
            chunk = max(1, int(chunk / input_per_output(stage)))
    yield from pieces


def input_per_output(modules: Sequence[nn.Module]) -> Fraction:
    """Input samples per output sample: the hop length of an encoder, one over it for a decoder."""
    ratio = Fraction(1)
    for layer in _convolutions(modules):
        ratio *= _geometry(layer).ratio
    return ratio


def context(modules: Sequence[nn.Module]) -> int:
    """An upper bound of how far from its own place, in input samples and to either side, an output sample sees.

    One bound for both sides, as reflect padding makes the first outputs of causal convolutions look ahead.
    """
    reach, ratio = Fraction(0), Fraction(1)
    for layer in _convolutions(modules):
        geometry = _geometry(layer)
        reach += geometry.reach * ratio
        ratio *= geometry.ratio
    return math.ceil(reach)


def _convolve(modules: Sequence[nn.Module], pieces: Iterable[Tensor], chunk: int, batch_size: int) -> Iterator[Tensor]:
    """A stage of convolutions: each chunk with its context, of whose output the exact middle is kept."""
    ratio = input_per_output(modules)
    whole = ratio.numerator  # chunks begin where an input and an output sample coincide
    width = math.ceil(chunk / whole) * whole
    margin = math.ceil(context(modules) / whole) * whole
    chain = nn.Sequential(*modules)

    held: Tensor | None = None
    left = 0  # samples of `held` that have been computed and are context now: `margin`, less near the beginning
    for piece in pieces:
        held = piece if held is None else torch.cat([held, piece], dim=-1)
        # The end of the signal is computed below, with the padding of the modules themselves: one sample must remain.
        while (ready := (held.shape[-1] - left - margin - 1) // width) > 0:
            count = min(batch_size, ready) if left == margin else 1
            window = held[..., : left + count * width + margin]
            yield _batched(chain, window, left, width, margin, count, ratio)
            done, left = left + count * width, min(margin, left + count * width)
            held = held[..., done - left :]
    if held is not None:
        yield chain(held)[..., int(left / ratio) :]


def _batched(
    chain: nn.Module, window: Tensor, left: int, width: int, margin: int, count: int, ratio: Fraction
) -> Tensor:
    """Apply `chain` to `count` chunks of `width` samples and their context, all at once; their output in a row."""
    chunks = window.unfold(-1, left + width + margin, width)  # [B, C, count, L]
    outputs = chain(chunks.permute(2, 0, 1, 3).flatten(0, 1))  # [count * B, C', L / ratio]
    first, kept = int(left / ratio), int(width / ratio)
    outputs = outputs[..., first : first + kept].unflatten(0, (count, -1))
    return outputs.permute(1, 2, 0, 3).flatten(2)


def _recur(module: EncodecLSTM, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """An LSTM with its skip connection, whose state is carried from piece to piece."""
    state: tuple[Tensor, Tensor] | None = None
    for piece in pieces:
        frames = piece.permute(2, 0, 1)
        output, state = module.lstm(frames, state)
        yield (output + frames).permute(1, 2, 0)


def _split_at_lstms(modules: Sequence[nn.Module]) -> list[list[nn.Module] | EncodecLSTM]:
    stages: list[list[nn.Module] | EncodecLSTM] = []
    for module in modules:
        if isinstance(module, EncodecLSTM):
            stages.append(module)
        elif stages and isinstance(stages[-1], list):
            stages[-1].append(module)
        else:
            stages.append([module])
    return stages


@dataclass(frozen=True)
class _Geometry:
    """Of a convolution: how far it sees to the farther side, and input per output samples."""

    reach: Fraction
    ratio: Fraction


def _geometry(layer: nn.Module) -> _Geometry:
    """Where the padding lies tells which of the inputs that a kernel covers is at its output's own place."""
    if isinstance(layer, EncodecConv1d | EncodecConvTranspose1d):
        conv = layer.conv
        stride = conv.stride[0]
        padding = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1 - stride
        if isinstance(layer, EncodecConvTranspose1d) and layer.causal:
            left = padding - math.ceil(padding * layer.trim_right_ratio)
        else:
            left = padding if layer.causal else padding - padding // 2
    else:
        assert isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
        conv, stride, left = layer, layer.stride[0], int(layer.padding[0])
    span = (conv.kernel_size[0] - 1) * conv.dilation[0]
    reach = max(left, span - left)
    if isinstance(layer, EncodecConvTranspose1d | nn.ConvTranspose1d):
        return _Geometry(Fraction(reach, stride), Fraction(1, stride))
    return _Geometry(Fraction(reach), Fraction(stride))


def _convolutions(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """The convolutions of a chain in the order in which they are applied; those of both branches of residual blocks."""
    for module in modules:
        if isinstance(module, nn.GroupNorm | nn.RNNBase) or getattr(module, "norm_type", None) == "time_group_norm":
            raise ValueError(f"{type(module).__name__} needs the whole signal: this codec cannot be cut into chunks")
        if isinstance(module, EncodecConv1d | EncodecConvTranspose1d | nn.Conv1d | nn.ConvTranspose1d):
            yield module
        else:
            yield from _convolutions(module.children())
