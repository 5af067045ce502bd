"""Chunks give what one piece gives: random chains, lengths and chunk sizes; and endless signals, as they come in.

In double precision, where what a chunk misses of its context stands out from rounding.
"""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecConv1d

from codec_ft.codecs.chunks import context, input_per_output, run_in_chunks


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


@st.composite
def seanets(draw: st.DrawFn) -> EncodecModel:
    torch.manual_seed(draw(st.integers(0, 99)))
    config = EncodecConfig(
        upsampling_ratios=draw(st.lists(st.sampled_from([2, 3, 4, 5]), min_size=1, max_size=3)),
        num_filters=2,
        hidden_size=3,
        codebook_dim=3,
        codebook_size=8,
        num_residual_layers=draw(st.integers(1, 2)),
        num_lstm_layers=draw(st.integers(1, 2)),
        kernel_size=draw(st.sampled_from([3, 6, 7])),
        last_kernel_size=draw(st.sampled_from([1, 4, 7])),
        use_causal_conv=draw(st.booleans()),
        pad_mode=draw(st.sampled_from(["reflect", "constant"])),
    )
    return EncodecModel(config).eval().double()


@st.composite
def dacs(draw: st.DrawFn) -> DacModel:
    torch.manual_seed(draw(st.integers(0, 99)))
    ratios = draw(st.lists(st.sampled_from([2, 3, 4, 5, 8]), min_size=1, max_size=3))
    config = DacConfig(encoder_hidden_size=2, decoder_hidden_size=16, downsampling_ratios=ratios, codebook_size=8)
    model = DacModel(config).eval()
    for layer in model.modules():  # as drawn by transformers, the weights let next to nothing through
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
            nn.init.normal_(layer.weight, std=(layer.in_channels * layer.kernel_size[0]) ** -0.5)
    return model.double()


def dac_encoder(model: DacModel) -> list[nn.Module]:
    return [model.encoder.conv1, *model.encoder.block, model.encoder.snake1, model.encoder.conv2]


def dac_decoder(model: DacModel) -> list[nn.Module]:
    decoder = model.decoder
    return [decoder.conv1, *decoder.block, decoder.snake1, decoder.conv2, decoder.tanh]


@torch.no_grad()
def in_chunks(modules: list[nn.Module], signal: Tensor, chunk: int, batch_size: int, piece: int) -> Tensor:
    return torch.cat(list(run_in_chunks(modules, signal.split(piece, -1), chunk=chunk, batch_size=batch_size)), dim=-1)


def assert_same(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10 * max(1e-3, float(expected.abs().max())))


sizes = {"chunk": st.integers(1, 300), "batch_size": st.integers(1, 4), "piece": st.integers(1, 700)}


@settings(max_examples=25, deadline=None)
@given(seanets(), st.integers(1, 1000), sizes["chunk"], sizes["batch_size"], sizes["piece"])
def test_seanet_encoder(model: EncodecModel, length: int, chunk: int, batch_size: int, piece: int) -> None:
    audio = 0.3 * noise(2, 1, length)
    with torch.no_grad():
        whole = model.encoder(audio)
    assert whole.shape[-1] == math.ceil(length / model.config.hop_length)
    assert_same(in_chunks(list(model.encoder.layers), audio, chunk, batch_size, piece), whole)


@settings(max_examples=25, deadline=None)
@given(seanets(), st.integers(1, 60), st.integers(1, 20), sizes["batch_size"], st.integers(1, 40))
def test_seanet_decoder(model: EncodecModel, frames: int, chunk: int, batch_size: int, piece: int) -> None:
    latents = noise(2, 3, frames)
    with torch.no_grad():
        whole = model.decoder(latents)
    assert_same(in_chunks(list(model.decoder.layers), latents, chunk, batch_size, piece), whole)


@settings(max_examples=25, deadline=None)
@given(dacs(), st.integers(1, 60), sizes["chunk"], sizes["batch_size"], sizes["piece"])
def test_dac_encoder(model: DacModel, frames: int, chunk: int, batch_size: int, piece: int) -> None:
    audio = 0.3 * noise(2, 1, frames * model.config.hop_length)
    with torch.no_grad():
        whole = model.encoder(audio)
    assert whole.shape[-1] == frames
    assert_same(in_chunks(dac_encoder(model), audio, chunk, batch_size, piece), whole)


@settings(max_examples=25, deadline=None)
@given(dacs(), st.integers(1, 60), st.integers(1, 20), sizes["batch_size"], st.integers(1, 40))
def test_dac_decoder_with_the_length_that_odd_strides_leave(
    model: DacModel, frames: int, chunk: int, batch_size: int, piece: int
) -> None:
    latents = noise(2, model.config.hidden_size, frames)
    with torch.no_grad():
        whole = model.decoder(latents)
    assert_same(in_chunks(dac_decoder(model), latents, chunk, batch_size, piece), whole)


def sees(modules: list[nn.Module], channels: int, length: int, output: int) -> tuple[int, int]:
    """First and last input sample on which output sample `output` depends, by its gradient."""
    signal = noise(1, channels, length).requires_grad_()
    nn.Sequential(*modules).double()(signal)[..., output].abs().sum().backward()
    assert signal.grad is not None
    touched = signal.grad[0].abs().sum(dim=0).nonzero()
    return int(touched.min()), int(touched.max())


@pytest.mark.parametrize("causal", [False, True])
def test_context_by_hand_and_by_gradient(causal: bool) -> None:
    torch.manual_seed(3)
    config = EncodecConfig(
        upsampling_ratios=[5], num_filters=2, hidden_size=3, codebook_dim=3, codebook_size=8, use_causal_conv=causal
    )
    layers = list(EncodecModel(config).eval().encoder.layers)
    convolutions = layers[:4]  # kernel 7, a residual block of kernels 3 and 1, ELU, kernel 10 with stride 5
    # Causal: 6 + 2 + 5 samples of the past. Otherwise the farther sides: 3 + 1 + 6, stride 5 leaving 5 to be padded
    # of which 3 go to the left, so that its ten samples reach 6 to the right.
    expected = 6 + 2 + 5 if causal else 3 + 1 + 6
    assert context(convolutions) == expected
    assert input_per_output(convolutions) == 5
    first, last = sees(convolutions, 1, 400, 40)
    assert max(200 - first, last - 200) == expected
    if causal:
        assert last <= 204  # the rest of the frame that begins at sample 200


def test_context_of_a_dac_by_gradient() -> None:
    torch.manual_seed(3)
    model = DacModel(DacConfig(encoder_hidden_size=2, decoder_hidden_size=16, downsampling_ratios=[3, 2])).eval()
    first, last = sees(dac_encoder(model), 1, 6 * 300, 150)
    true = max(900 - first, last - 900)
    assert true <= context(dac_encoder(model)) <= true + 6
    assert input_per_output(dac_encoder(model)) == 6
    seen = [sees(dac_decoder(model), model.config.hidden_size, 300, 600 + offset) for offset in range(6)]
    true = max(100 - min(first for first, _ in seen), max(last for _, last in seen) - 100)
    assert true <= context(dac_decoder(model)) <= true + 1
    assert input_per_output(dac_decoder(model)) == Fraction(1, 6)


def test_an_endless_signal_is_computed_as_it_comes_in() -> None:
    torch.manual_seed(3)
    config = EncodecConfig(upsampling_ratios=[4], num_filters=2, hidden_size=3, codebook_dim=3, codebook_size=8)
    model = EncodecModel(config).eval().double()
    read = 0

    def endless() -> Iterator[Tensor]:
        nonlocal read
        for number in itertools.count():
            read += 100
            yield noise(1, 1, 100, seed=number)

    with torch.no_grad():
        outputs = list(itertools.islice(run_in_chunks(list(model.encoder.layers), endless(), chunk=100), 5))
        latents = torch.cat(outputs, dim=-1)
        whole = model.encoder(torch.cat([noise(1, 1, 100, seed=number) for number in range(20)], dim=-1))
    assert read < 1000
    assert_same(latents, whole[..., : latents.shape[-1]])


def test_no_frame_is_lost_where_float32_cannot_count_samples() -> None:
    torch.manual_seed(0)
    layer = EncodecConv1d(EncodecConfig(), 1, 1, kernel_size=4, stride=2).eval().double()
    length = 2**24 + 3
    signal = torch.linspace(-1, 1, length, dtype=torch.double).expand(1, 1, -1)
    found = in_chunks([layer], signal, 2**20, 1, 2**20)
    assert found.shape[-1] == 2**23 + 2
    with torch.no_grad():
        assert layer(signal).shape[-1] == 2**23 + 1, "transformers counts right now: chunks need no special care"
        end = layer(signal[..., -1001:])  # an odd number of samples, as all of them together
    assert_same(found[..., -100:], end[..., -100:])


def test_what_needs_the_whole_signal_is_refused() -> None:
    model = EncodecModel(EncodecConfig(upsampling_ratios=[2], num_filters=2, norm_type="time_group_norm")).double()
    with pytest.raises(ValueError, match="EncodecConv1d needs the whole signal"):
        in_chunks(list(model.encoder.layers), noise(1, 1, 10), 4, 1, 4)
    with pytest.raises(ValueError, match="LSTM needs the whole signal"):
        in_chunks([nn.LSTM(1, 1)], noise(1, 1, 10), 4, 1, 4)


def test_nothing_in_nothing_out() -> None:
    assert list(run_in_chunks([nn.Conv1d(1, 1, 3)], [], chunk=4)) == []
