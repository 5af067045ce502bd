"""Bridges: what they compute, what they look at, how they start, and that they learn."""

import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.errors import UserError
from codec_ft.finetune.bridges.base import Bridge
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.finetune.bridges.dense import DenseBridge
from codec_ft.finetune.bridges.make import make_bridge
from codec_ft.finetune.bridges.positions import sinusoids
from codec_ft.finetune.bridges.rotary import RotaryBridge
from codec_ft.finetune.bridges.transformer import CausalLayer, TransformerBridge
from codec_ft.finetune.bridges.windows import in_windows

D, K, V = 8, 2, 16

KINDS = ["dense to codes", "transformer to codes", "transformer to latents", "rotary to codes", "rotary to latents"]


def make(kind: str, window: int | None = None, dropout: float = 0.0) -> Bridge:
    """A small bridge, the same at every call; what starts at zero no longer does."""
    torch.manual_seed(5)
    codes = (K, V) if kind.endswith("codes") else None
    if kind.startswith("dense"):
        assert codes is not None
        return DenseBridge(D, codes, hidden=12).eval()
    cls = TransformerBridge if kind.startswith("transformer") else RotaryBridge
    bridge = cls(D, codes, width=16, layers=2, heads=2, feedforward=2, dropout=dropout, window=window).eval()
    if isinstance(bridge.head, nn.Linear):
        nn.init.normal_(bridge.head.weight, std=0.2)
    return bridge


def latents(n_frames: int = 12, items: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(items, D, n_frames, generator=torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def reach(bridge: Bridge, n_frames: int) -> Tensor:
    """Which frames of the output change with which of the input: bool `[T output, T input]`."""
    audio = latents(n_frames, items=1).repeat(n_frames, 1, 1)
    changed = audio.clone()
    changed[torch.arange(n_frames), :, torch.arange(n_frames)] += 1.0
    with torch.no_grad():
        difference = (bridge(changed) - bridge(audio)).abs()
    return difference.amax(dim=tuple(range(1, difference.dim() - 1))).T > 1e-5


# --- positions


def test_positions_by_hand() -> None:
    table = sinusoids(4, 6)
    assert table.shape == (4, 6) and table.dtype == torch.float32
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1]
    assert table[1, :2].tolist() == pytest.approx([math.sin(1), math.cos(1)])
    # The second pair turns 10000^(1/3) times as slowly, the third 10000^(2/3) times.
    assert table[3, 2:4].tolist() == pytest.approx([math.sin(3 / 21.5443469), math.cos(3 / 21.5443469)])
    assert table[3, 4:].tolist() == pytest.approx([math.sin(3 / 464.158883), math.cos(3 / 464.158883)])


def test_positions_of_odd_widths() -> None:
    assert sinusoids(5, 1).squeeze().tolist() == pytest.approx([math.sin(t) for t in range(5)])
    three = sinusoids(3, 3)
    assert three.shape == (3, 3)
    assert three[2].tolist() == pytest.approx([math.sin(2), math.cos(2), math.sin(2 / 10000 ** (2 / 3))])


def test_positions_far_out_are_exact_enough() -> None:
    frame, width = 100_000, 8
    angles = [frame / 10000 ** (i / width) for i in range(0, width, 2)]
    wanted = [value for angle in angles for value in (math.sin(angle), math.cos(angle))]
    assert sinusoids(frame + 1, width)[frame].tolist() == pytest.approx(wanted, abs=2e-3)


@pytest.mark.parametrize(("n_frames", "width"), [(0, 4), (4, 0)])
def test_positions_of_nothing_are_refused(n_frames: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"got \[{n_frames}, {width}\]"):
        sinusoids(n_frames, width)


# --- windows


@given(n_frames=st.integers(1, 60), window=st.integers(1, 70), causal=st.booleans(), items=st.integers(1, 3))
@settings(deadline=None, max_examples=150)
def test_windows_give_every_frame_once_in_order(n_frames: int, window: int, causal: bool, items: int) -> None:
    frames = torch.arange(items * n_frames * 2.0).reshape(items, n_frames, 2)
    assert torch.equal(in_windows(lambda part: part, frames, window, causal=causal), frames)


@given(n_frames=st.integers(2, 80), window=st.integers(1, 60))
@settings(deadline=None, max_examples=150)
def test_windows_leave_enough_context(n_frames: int, window: int) -> None:
    frames = torch.zeros(1, n_frames, 1)

    def places(part: Tensor) -> Tensor:
        """How many frames of its window are before and after each frame."""
        before = torch.arange(part.shape[1]).expand(part.shape[0], -1)
        return torch.stack([before, part.shape[1] - 1 - before], dim=-1)

    place = torch.arange(n_frames)
    before, after = in_windows(places, frames, window, causal=True)[0].unbind(-1)
    assert (before >= torch.minimum(place, torch.tensor(window // 2))).all()
    assert (before + after < window).all()
    before, after = in_windows(places, frames, window, causal=False)[0].unbind(-1)
    assert (before >= torch.minimum(place, torch.tensor(window // 4))).all()
    assert (after >= torch.minimum(n_frames - 1 - place, torch.tensor((window - 1) // 4))).all()


def test_windows_by_hand() -> None:
    """Ten frames in windows of four, at 0, 2, 4 and 6: where does each frame's window begin?"""
    frames = torch.arange(10.0)[None, :, None]

    def first(part: Tensor) -> Tensor:
        return part[:, :1].expand(-1, part.shape[1], -1)

    assert in_windows(first, frames, 4, causal=True).flatten().tolist() == [0, 0, 0, 0, 2, 2, 4, 4, 6, 6]
    assert in_windows(first, frames, 4, causal=False).flatten().tolist() == [0, 0, 0, 2, 2, 4, 4, 6, 6, 6]
    assert in_windows(first, frames, None, causal=True).flatten().tolist() == [0] * 10
    # Eleven frames: the last window begins where it ends with them.
    eleven = torch.arange(11.0)[None, :, None]
    assert in_windows(first, eleven, 4, causal=True).flatten().tolist() == [0, 0, 0, 0, 2, 2, 4, 4, 6, 6, 7]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "dense" not in kind])
def test_a_window_that_is_long_enough_changes_nothing(kind: str) -> None:
    audio = latents(12)
    with torch.no_grad():
        assert torch.equal(make(kind, window=12)(audio), make(kind)(audio))
        assert make(kind, window=5)(audio).shape == make(kind)(audio).shape
        assert not torch.allclose(make(kind, window=5)(audio), make(kind)(audio), atol=1e-4)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="not 0"):
        make("rotary to codes", window=0)


# --- what all of them do


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_frames", [1, 7])
def test_shapes(kind: str, n_frames: int) -> None:
    bridge = make(kind)
    with torch.no_grad():
        given = bridge(latents(n_frames))
    assert given.dtype == torch.float32
    if kind.endswith("codes"):
        assert (bridge.gives, bridge.n_codebooks) == ("codes", K)
        assert given.shape == (2, K, V, n_frames)
        assert torch.allclose(given.exp().sum(dim=2), torch.ones(2, K, n_frames), atol=1e-5)
    else:
        assert (bridge.gives, bridge.n_codebooks) == ("latents", None)
        assert given.shape == (2, D, n_frames)


@pytest.mark.parametrize("kind", KINDS)
def test_they_stay_in_single_precision_under_autocast(kind: str) -> None:
    bridge, audio = make(kind), latents()
    with torch.no_grad():
        exact = bridge(audio)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = bridge(audio)
    assert rounded.dtype == torch.float32
    assert torch.allclose(rounded, exact, atol=0.1)
    if kind.endswith("codes"):
        assert torch.allclose(rounded.exp().sum(dim=2), torch.ones(2, K, 12), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, D + 1, 5), (D, 5), (2, 5, D), (2, D, 0)])
def test_other_shapes_are_refused(kind: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected latents \[B, 8, T\]"):
        make(kind)(torch.zeros(shape))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter_and_the_input(kind: str) -> None:
    bridge, audio = make(kind).train(), latents().requires_grad_()
    (bridge(audio) * torch.randn(bridge(audio).shape)).sum().backward()
    assert audio.grad is not None and audio.grad.abs().amax(dim=1).min() > 0  # in every frame
    for name, parameter in bridge.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_round_trip(kind: str) -> None:
    audio, bridge, other = latents(), make(kind), make(kind)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(bridge.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(other(audio), bridge(audio))


@pytest.mark.parametrize("kind", KINDS)
def test_they_learn_one_batch_by_heart(kind: str) -> None:
    bridge, audio = make(kind).train(), latents()
    optimizer = torch.optim.Adam(bridge.parameters(), lr=1e-2)
    codes = torch.randint(V, (2, K, 12), generator=torch.Generator().manual_seed(2))
    target = latents(seed=3)
    losses = []
    for _ in range(150):
        given = bridge(audio)
        if bridge.gives == "codes":
            loss = -given.gather(2, codes[:, :, None]).mean()
        else:
            loss = (given - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # At first it knows nothing: log V for codes, the variance of the target (and of the input) for latents.
    assert losses[0] > (0.8 * math.log(V) if bridge.gives == "codes" else 0.8)
    assert losses[-1] < 0.05 * losses[0]


# --- dense


def test_dense_by_explicit_products() -> None:
    bridge, audio = make("dense to codes"), latents()
    state = {name: value.double() for name, value in bridge.state_dict().items()}
    hidden = torch.einsum("hd,bdt->bht", state["linear.weight"], audio.double()) + state["linear.bias"][:, None]
    weight, bias = state["head.linear.weight"].reshape(K, V, 12), state["head.linear.bias"].reshape(K, V)
    scores = torch.einsum("kvh,bht->bkvt", weight, hidden.clamp(min=0)) + bias[:, :, None]
    wanted = scores - scores.exp().sum(dim=2, keepdim=True).log()
    with torch.no_grad():
        assert torch.allclose(bridge(audio).double(), wanted, atol=1e-5)


def test_dense_has_the_thesis_size() -> None:
    assert count(DenseBridge(128, (32, 1024))) == (128 + 1) * 256 + (256 + 1) * 32 * 1024


def test_dense_hears_single_frames() -> None:
    assert torch.equal(reach(make("dense to codes"), 6), torch.eye(6, dtype=torch.bool))


# --- transformer


@pytest.mark.parametrize("gradients", [True, False])
def test_layers_are_those_of_torch(gradients: bool) -> None:
    """The same weights in torch's own encoder with a mask, on its quick path without gradients and on the plain one."""
    torch.manual_seed(0)
    layers = nn.Sequential(*(CausalLayer(16, 4, 32, 0.1) for _ in range(3))).eval()
    original = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 3).eval()
    original.load_state_dict({f"layers.{name}": value for name, value in layers.state_dict().items()}, strict=True)
    frames = torch.randn(2, 11, 16)
    with torch.set_grad_enabled(gradients):
        wanted = original(frames, mask=nn.Transformer.generate_square_subsequent_mask(11))
        assert torch.allclose(layers(frames), wanted, atol=1e-5)


def test_transformer_adds_positions_before_its_layers() -> None:
    bridge = TransformerBridge(6, None, width=6, heads=3).eval()
    audio = torch.randn(1, 6, 9)
    with torch.no_grad():
        features = bridge.layers(audio.transpose(1, 2) + sinusoids(9, 6))
        wanted = (features @ bridge.head.weight.T + bridge.head.bias).transpose(1, 2)
        assert torch.allclose(bridge(audio), wanted, atol=1e-6)


def test_transformer_has_the_thesis_size() -> None:
    width = 128
    # Per layer: attention (four square matrices with biases), feed-forward (there and back), two norms.
    layer = 4 * (width**2 + width) + (width + 1) * 4 * width + (4 * width + 1) * width + 4 * width
    assert count(TransformerBridge(128, None, width=128)) == 3 * layer + (width + 1) * 128
    assert count(TransformerBridge(128, (4, 1024), width=128)) == 3 * layer + (width + 1) * 4 * 1024
    assert count(TransformerBridge(64, None, width=128)) == (64 + 1) * 128 + 3 * layer + (width + 1) * 64


@pytest.mark.parametrize("kind", ["transformer to codes", "transformer to latents"])
@pytest.mark.parametrize("window", [None, 4])
def test_transformer_looks_back_only(kind: str, window: int | None) -> None:
    heard = reach(make(kind, window), 9)
    assert not heard.triu(1).any()
    assert heard.diagonal().all()
    if window is None:
        assert torch.equal(heard, torch.ones(9, 9, dtype=torch.bool).tril())
    else:  # two frames back at the least, three at the most
        assert heard.diagonal(-1).all() and heard.diagonal(-2).all() and not heard.diagonal(-4).any()


def test_transformer_knows_frames_by_their_place() -> None:
    alike = torch.ones(1, D, 5)
    with torch.no_grad():
        given = make("transformer to latents")(alike)
    assert (given[..., 1:] - given[..., :1]).abs().amax(dim=1).min() > 1e-3


def test_dropout_is_for_training() -> None:
    bridge, audio = make("transformer to latents", dropout=0.5), latents()
    with torch.no_grad():
        assert torch.equal(bridge(audio), bridge(audio))
        bridge.train()
        assert not torch.equal(bridge(audio), bridge(audio))
        torch.manual_seed(0)
        once = bridge(audio)
        torch.manual_seed(0)
        assert torch.equal(bridge(audio), once)  # torch's own generator is the only source of chance


# --- rotary


def test_rotary_to_latents_starts_as_if_it_were_not_there() -> None:
    bridge, audio = RotaryBridge(D, None, width=16, heads=4), latents()
    assert torch.equal(bridge(audio), audio)  # with dropout
    assert torch.equal(bridge.eval()(audio), audio)
    # The first step moves the last layer, the second all others.
    bridge(audio).square().sum().backward()
    assert isinstance(bridge.head, nn.Linear) and bridge.head.weight.grad is not None
    assert bridge.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["rotary to codes", "rotary to latents"])
def test_rotary_looks_both_ways(kind: str) -> None:
    assert reach(make(kind), 7).all()


def test_rotary_in_windows_looks_both_ways_at_every_seam() -> None:
    heard = reach(make("rotary to latents", window=4), 11)
    assert heard.diagonal(1).all() and heard.diagonal(-1).all()
    assert not heard.diagonal(4).any() and not heard.diagonal(-4).any()


def test_rotary_tells_order_but_not_where_a_sequence_begins() -> None:
    bridge, frames = make("rotary to latents"), latents(6).transpose(1, 2)
    with torch.no_grad():
        lead_in = bridge.lead_in(frames)
        here = bridge.layers(lead_in, pos=torch.arange(6))
        later = bridge.layers(lead_in, pos=torch.arange(6) + 1000)
        order = bridge.layers(lead_in.flip(1)).flip(1)
    assert torch.allclose(here, bridge.features(frames), atol=1e-6)
    assert torch.allclose(here, later, atol=1e-3)
    assert not torch.allclose(here, order, atol=1e-2)


def test_the_first_layer_of_a_rotary_bridge_may_look_at_several_frames(tiny_codec: EncodecCodec) -> None:
    config = BridgeConfig(kind="rotary", gives="latents", heads=2, layers=1, dropout=0, kernel=3)
    torch.manual_seed(0)
    bridge = make_bridge(config, tiny_codec)
    assert isinstance(bridge, RotaryBridge) and isinstance(bridge.lead_in, nn.Conv1d)
    frames = latents(n_frames=4).transpose(1, 2)
    seen: list[Tensor] = []
    bridge.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    bridge.features(frames)
    weight, bias = bridge.lead_in.weight, bridge.lead_in.bias
    assert bias is not None
    padded = torch.cat([torch.zeros(2, 1, D), frames, torch.zeros(2, 1, D)], dim=1)
    by_hand = sum(padded[:, k : k + 4] @ weight[:, :, k].t() for k in range(3)) + bias
    torch.testing.assert_close(seen[0], by_hand)
    assert bridge(latents()).shape == (2, D, 12)


def test_rotary_size() -> None:
    width = 64
    # Per layer: four square matrices, a gated feed-forward layer (two ways there, one back), two norms. A last norm.
    layer = 4 * width**2 + 2 * (width + 1) * 4 * width + (4 * width + 1) * width + 2 * width
    assert count(RotaryBridge(64, None, width=width)) == 2 * (64 + 1) * width + 3 * layer + width


def test_rotary_turns_odd_heads_but_for_one_channel() -> None:
    bridge = RotaryBridge(D, (K, V), width=10, heads=2).eval()  # five channels each
    with torch.no_grad():
        assert bridge(latents()).shape == (2, K, V, 12)


def test_its_library_is_loaded_for_it_alone() -> None:
    """Importing takes seconds, which every script and every worker would pay."""
    check = "import sys, codec_ft.finetune.bridges.make; assert 'x_transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)


# --- from a configuration


def config(**options: object) -> BridgeConfig:
    return BridgeConfig.model_validate(options)


def test_bridges_fit_their_codec(tiny_codec: EncodecCodec) -> None:
    assert make_bridge(config(), tiny_codec) is None
    dense = make_bridge(config(kind="dense", hidden=5), tiny_codec)
    assert isinstance(dense, DenseBridge)
    assert (dense.latent_dim, dense.n_codebooks, dense.linear.out_features) == (8, 3, 5)
    coarse = make_bridge(config(kind="transformer", codebooks=1, heads=2, layers=1), tiny_codec, window=50)
    assert isinstance(coarse, TransformerBridge)
    assert (coarse.n_codebooks, coarse.width, len(coarse.layers), coarse.window) == (1, 8, 1, 50)
    rotary = make_bridge(config(kind="rotary", gives="latents", dim=24, heads=3), tiny_codec)
    assert isinstance(rotary, RotaryBridge) and rotary.gives == "latents"
    audio = torch.randn(2, 1, 400)
    latents = tiny_codec.encode(audio)
    codes, _ = tiny_codec.quantize(latents)
    assert dense(latents).shape == (2, 3, 16, codes.shape[-1]) == tiny_codec.logits(latents).shape
    assert torch.equal(rotary(latents), latents)


def test_options_reach_the_layers(tiny_codec: EncodecCodec) -> None:
    bridge = make_bridge(config(kind="transformer", dim=12, heads=3, layers=2, feedforward=3, dropout=0.3), tiny_codec)
    assert isinstance(bridge, TransformerBridge)
    layer = bridge.layers[0]
    assert isinstance(layer, CausalLayer)
    assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.dropout.p) == (3, 36, 0.3)
    rotary = make_bridge(config(kind="rotary", dim=12, heads=3, layers=2, feedforward=3, dropout=0.3), tiny_codec)
    assert isinstance(rotary, RotaryBridge)
    assert {module.p for module in rotary.modules() if isinstance(module, nn.Dropout) and module.p} == {0.3}
    assert rotary.layers.layers[1][1].ff[-2].in_features == 36


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "dense", "codebooks": 12}, "bridge.codebooks=12: .* has 3 codebooks. Take as many or fewer"),
        ({"kind": "rotary", "codebooks": 4, "heads": 2}, "bridge.codebooks=4: .* has 3 codebooks"),
        ({"kind": "transformer", "heads": 3}, "bridge.heads=3: does not divide the 8 channels of .* latents. Take a"),
        ({"kind": "rotary", "heads": 4}, "bridge.heads=4: leaves 2 of 8 channels to a head, .* bridge.dim to 16 or"),
    ],
)
def test_what_does_not_fit_is_one_line(tiny_codec: EncodecCodec, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_bridge(config(**options), tiny_codec)
    assert "\n" not in str(caught.value)
