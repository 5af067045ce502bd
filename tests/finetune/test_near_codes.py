"""Codes by nearness and preference: the nearest ones at first, and the right ones once something speaks for them."""

import math

import pytest
import torch
from torch import Tensor

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.finetune.bridges.make import make_bridge
from codec_ft.finetune.bridges.preferring import PreferringBridge
from codec_ft.finetune.enhancer import Enhancer
from codec_ft.finetune.losses.soft_labels import code_spacing
from codec_ft.finetune.near_codes import START_TAU, NearCodes

BOTH = BridgeConfig(kind="rotary", gives="both", codebooks=2, dim=16, heads=2, layers=1, dropout=0.0)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_without_preferences_the_nearest_codes_are_likeliest(tiny_codec: EncodecCodec) -> None:
    latents = 0.3 * noise(2, 8, 50)
    found = NearCodes(tiny_codec, 3)(latents, torch.zeros(2, 3, 16, 50))
    assert torch.equal(found.argmax(dim=2), tiny_codec.quantize(latents)[0])
    torch.testing.assert_close(found.exp().sum(dim=2), torch.ones(2, 3, 50))


def test_a_probability_by_hand(tiny_codec: EncodecCodec) -> None:
    latents, preferences = 0.3 * noise(1, 8, 1), noise(1, 1, 16, 1, seed=1)
    found = NearCodes(tiny_codec, 1)(latents, preferences)
    table = tiny_codec.layers[0].codebook.embed
    tau = START_TAU * code_spacing(tiny_codec, 0)
    weights = [
        math.exp(-float((table[i] - latents[0, :, 0]).square().sum()) / tau + float(preferences[0, 0, i, 0]))
        for i in range(16)
    ]
    wanted = [math.log(weight / sum(weights)) for weight in weights]
    assert found[0, 0, :, 0].tolist() == pytest.approx(wanted, rel=1e-3, abs=1e-3)


def test_a_preference_overrules_nearness_and_the_next_layer_codes_what_it_leaves(tiny_codec: EncodecCodec) -> None:
    latents = 0.3 * noise(1, 8, 20)
    preferences = torch.zeros(1, 2, 16, 20)
    preferences[:, 0, 5] = 1e4
    near = NearCodes(tiny_codec, 2)
    found = near(latents, preferences)
    assert (found[:, 0].argmax(dim=1) == 5).all()
    left = latents - tiny_codec.layers[0].codebook.embed[5][None, :, None]
    second = tiny_codec.layers[1].codebook.embed
    nearest = torch.cdist(left[0].T, second).argmin(dim=1)
    assert torch.equal(found[0, 1].argmax(dim=0), nearest)
    # With target codes, it is these that are taken away.
    taught = near(latents, torch.zeros_like(preferences), torch.full((1, 3, 20), 5))
    assert torch.equal(taught[0, 1].argmax(dim=0), nearest)


def test_gradients_reach_preferences_and_sharpness_and_not_the_latents(tiny_codec: EncodecCodec) -> None:
    near = NearCodes(tiny_codec, 2)
    latents, preferences = (0.1 * noise(1, 8, 4)).requires_grad_(), torch.zeros(1, 2, 16, 4, requires_grad=True)
    (-near(latents, preferences, torch.zeros(1, 3, 4, dtype=torch.long))[:, :, 0].sum()).backward()
    assert latents.grad is None
    assert preferences.grad is not None and (preferences.grad[:, :, 0] != 0).all()
    assert near.log_sharpness.grad is not None and (near.log_sharpness.grad != 0).all()


def test_an_untrained_enhancer_takes_the_input_s_own_codes(tiny_codec: EncodecCodec) -> None:
    torch.manual_seed(0)
    enhancer = Enhancer(tiny_codec, encoder="frozen", bridge=BOTH).eval()
    assert isinstance(enhancer.bridge, PreferringBridge) and enhancer.bridge.n_codebooks == 2
    audio = 0.3 * noise(2, 1, 407)
    prediction = enhancer(audio)
    assert prediction.logits is not None and prediction.logits.shape == (2, 2, 16, 21)
    torch.testing.assert_close(prediction.latents, prediction.encoded)
    codes, _ = tiny_codec.quantize(tiny_codec.encode(audio))
    assert torch.equal(enhancer.codes(prediction), codes)
    assert torch.equal(enhancer.codes(prediction, 2), codes[:, :2])


def test_what_is_preferred_is_completed_by_the_layers_behind(tiny_codec: EncodecCodec) -> None:
    torch.manual_seed(0)
    enhancer = Enhancer(tiny_codec, encoder="frozen", bridge=BOTH).eval()
    assert isinstance(enhancer.bridge, PreferringBridge)
    with torch.no_grad():
        enhancer.bridge.preference.linear.bias[3] = 1e4  # code 3 of the first codebook
    prediction = enhancer(0.3 * noise(1, 1, 400))
    codes = enhancer.codes(prediction)
    assert codes.shape == (1, 3, 20) and (codes[:, 0] == 3).all()
    latents = tiny_codec.codes_to_latents(codes)
    others = tiny_codec.codes_to_latents(torch.where(torch.arange(3)[None, :, None] == 2, (codes + 1) % 16, codes))
    distance, of_others = ((each - prediction.latents).square().sum() for each in (latents, others))
    assert distance < of_others, "the third codebook's are the nearest to what is left"


@pytest.mark.parametrize("n_given", [1, 2, 3])
def test_completing_a_codec_s_own_codes_gives_them_all(tiny_codec: ResidualCodec, n_given: int) -> None:
    latents = 0.3 * noise(2, 8, 30)
    codes, _ = tiny_codec.quantize(latents)
    assert torch.equal(tiny_codec.complete_codes(latents, codes[:, :n_given]), codes)
    with pytest.raises(ValueError, match="codebooks are given"):
        tiny_codec.complete_codes(latents, codes, 2)


def test_it_learns_codes_that_are_not_the_nearest(tiny_codec: EncodecCodec) -> None:
    """A rule that nearness cannot know: the target's first code is the next but one to the input's."""
    torch.manual_seed(0)
    latents = 0.3 * noise(4, 8, 40)
    wanted = (tiny_codec.quantize(latents)[0] + 2) % 16
    bridge, near = make_bridge(BOTH, tiny_codec), NearCodes(tiny_codec, 2)
    assert isinstance(bridge, PreferringBridge)
    optimizer = torch.optim.Adam([*bridge.parameters(), *near.parameters()], lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        log_probabilities = near(*bridge.both(latents), wanted)
        loss = -log_probabilities[:, 0].gather(1, wanted[:, :1]).mean()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        found = near(*bridge.both(latents)).argmax(dim=2)
    assert float((found[:, 0] == wanted[:, 0]).float().mean()) > 0.7


def test_what_cannot_give_both_is_refused(tiny_codec: EncodecCodec) -> None:
    for kind in ("dense", "transformer"):
        with pytest.raises(ValueError, match=r"latents or codes|gives codes"):
            BridgeConfig(kind=kind, gives="both")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="3 codebooks"):
        make_bridge(BOTH.model_copy(update={"codebooks": 4}), tiny_codec)
