"""An encoder that is given a second input: it starts as it was, and learns to use what it hears."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from codec_ft.codecs.base import Codec, EncoderStart
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.finetune.widen import widen_encoder

KINDS = [(name, start) for name in ("encodec", "dac") for start in ("pretrained", "random")]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=KINDS, ids=[" ".join(kind) for kind in KINDS])
def codec_and_start(
    request: pytest.FixtureRequest, tiny_codec: EncodecCodec, dac: DacCodec
) -> tuple[Codec, EncoderStart]:
    """Both kinds of codec, whose first layers differ, and both starts, whose weight norms differ."""
    name, start = request.param
    return (tiny_codec if name == "encodec" else dac), start


def make_encoder(codec: Codec, start: EncoderStart, channels: int) -> nn.Module:
    torch.manual_seed(4)
    encoder = codec.new_encoder(start)
    if channels > 1:
        widen_encoder(encoder, channels)
    return encoder


@pytest.mark.parametrize("channels", [2, 3])
@torch.no_grad()
def test_until_it_has_learnt_it_does_what_it_did(codec_and_start: tuple[Codec, EncoderStart], channels: int) -> None:
    codec, start = codec_and_start
    plain, wide = make_encoder(codec, start, 1), make_encoder(codec, start, channels)
    audio, beside = noise(2, 1, 407), noise(2, channels - 1, 407, seed=1)
    latents = plain(audio)
    rounding = 1e-5 * float(latents.abs().max())
    for loudness in (1, 100):
        heard = torch.cat([audio, loudness * beside], dim=1)
        torch.testing.assert_close(wide(heard), latents, rtol=0, atol=rounding)
    if start == "pretrained":
        torch.testing.assert_close(latents, codec.encode(audio), rtol=1e-4, atol=1e-5)


def test_the_new_weights_are_all_that_is_new(codec_and_start: tuple[Codec, EncoderStart]) -> None:
    codec, start = codec_and_start
    plain, wide = (dict(make_encoder(codec, start, channels).named_parameters()) for channels in (1, 2))
    assert plain.keys() == wide.keys()
    (changed,) = (name for name in plain if plain[name].shape != wide[name].shape)
    out, _, width = plain[changed].shape
    assert wide[changed].shape == (out, 2, width)
    assert torch.equal(wide[changed][:, :1], plain[changed]) and not wide[changed][:, 1:].any()
    assert wide[changed].requires_grad
    assert all(torch.equal(plain[name], wide[name]) for name in plain if name != changed)


def test_both_inputs_get_gradients_from_the_first_step(codec_and_start: tuple[Codec, EncoderStart]) -> None:
    encoder = make_encoder(*codec_and_start, 2)
    first = next(module for module in encoder.modules() if isinstance(module, nn.Conv1d))
    assert first.in_channels == 2
    encoder(noise(2, 2, 407)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    weight = first.parametrizations.weight.original1 if parametrize.is_parametrized(first) else first.weight
    assert (weight.grad[:, 0] != 0).any() and (weight.grad[:, 1] != 0).any()


def test_it_learns_from_the_context_alone(tiny_codec: EncodecCodec) -> None:
    """The input is silent; what is wanted is in the context."""
    encoder = make_encoder(tiny_codec, "pretrained", 2)
    wanted_audio = 0.3 * noise(4, 1, 400)
    heard = torch.cat([torch.zeros_like(wanted_audio), wanted_audio], dim=1)
    wanted = tiny_codec.encode(wanted_audio)
    deaf = float((tiny_codec.encode(torch.zeros_like(wanted_audio)) - wanted).square().mean())
    best_constant = float((wanted - wanted.mean(dim=(0, 2), keepdim=True)).square().mean())
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (encoder(heard) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(deaf, rel=1e-3)
    assert losses[-1] < 0.4 * best_constant, "no answer that does not hear the context comes so near"


def test_what_cannot_be_widened_is_refused(tiny_codec: EncodecCodec) -> None:
    with pytest.raises(ValueError, match="expected an encoder of one channel, got one with no convolution"):
        widen_encoder(nn.Linear(3, 3), 2)
    encoder = make_encoder(tiny_codec, "pretrained", 2)
    with pytest.raises(ValueError, match="got one with 2 channels in its first convolution"):
        widen_encoder(encoder, 3)
