"""Encoder and bridge: what each variant gives, what is trained of it, and that the codec stays as it is."""

import pytest
import torch
from torch import Tensor, nn

from codec_ft.codecs.base import Codec
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.data.dataset import Batch
from codec_ft.errors import UserError
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.enhancer import Enhancer, side_by_side
from codec_ft.finetune.step import FinetuneStep

TO_LATENTS = BridgeConfig(kind="transformer", gives="latents", heads=2, layers=1, dropout=0.0)
TO_CODES = BridgeConfig(kind="dense", codebooks=2, hidden=12)
VARIANTS: dict[str, dict[str, object]] = {
    "frozen, bridge to latents": {"encoder": "frozen", "bridge": TO_LATENTS},
    "frozen, two inputs": {"encoder": "frozen", "bridge": TO_LATENTS, "context": "separated/rough"},
    "frozen, bridge to codes": {"encoder": "frozen", "bridge": TO_CODES, "losses": {"softmax": 1, "latent_mse": 0}},
    "warm, bridge to latents": {"bridge": TO_LATENTS, "losses": {"latent_l1": 1, "residual": 0.1}},
    "warm, bridge to codes": {"bridge": TO_CODES, "losses": {"softmax": 1}},
    "warm, two inputs": {"context": "separated/rough"},
    "warm, everything": {
        "bridge": {**TO_LATENTS.model_dump(), "kind": "rotary", "dim": 16, "dropout": 0.5},
        "context": "separated/rough",
        "target": "quantized",
        "target_codebooks": 2,
        "losses": {"latent_l1": 1, "latent_cosine": 1, "residual": 0.1},
        "balance": True,
    },
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_batch(context: bool) -> Batch:
    beside = 0.3 * noise(2, 1, 407, seed=2) if context else None
    return Batch(0.3 * noise(2, 1, 407), 0.3 * noise(2, 1, 407, seed=1), ["a", "b"], context=beside)


def make_step(codec: Codec, **settings: object) -> FinetuneStep:
    torch.manual_seed(0)
    return FinetuneStep(codec, FinetuneConfig.model_validate({"id": "x", **settings}))


def make_enhancer(codec: Codec, **options: object) -> Enhancer:
    torch.manual_seed(0)
    return Enhancer(codec, **options)  # type: ignore[arg-type]


def bits(module: nn.Module) -> dict[str, bytes]:
    values = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value.detach().numpy().tobytes() for name, value in values.items()}


def randomised(enhancer: Enhancer) -> Enhancer:
    """With no weight left at a start that does nothing."""
    with torch.no_grad():
        for parameter in enhancer.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return enhancer.eval()


# What it gives


@torch.no_grad()
def test_an_encoder_alone(tiny_codec: EncodecCodec) -> None:
    enhancer = make_enhancer(tiny_codec)
    assert enhancer.warm_encoder is not None and enhancer.bridge is None
    found = enhancer(noise(2, 1, 407))
    assert found.latents is found.encoded and found.logits is None and found.latents.shape == (2, 8, 21)
    assert torch.equal(found.latents, enhancer.warm_encoder(noise(2, 1, 407)))


@pytest.mark.parametrize("encoder", ["warm", "frozen"])
@torch.no_grad()
def test_a_bridge_to_latents_replaces_them(tiny_codec: EncodecCodec, encoder: str) -> None:
    enhancer = randomised(make_enhancer(tiny_codec, encoder=encoder, bridge=TO_LATENTS))
    found = enhancer(noise(2, 1, 407))
    assert enhancer.bridge is not None and (enhancer.warm_encoder is None) == (encoder == "frozen")
    encode = enhancer.warm_encoder or tiny_codec.encode
    assert torch.equal(found.encoded, encode(noise(2, 1, 407)))
    assert torch.equal(found.latents, enhancer.bridge(found.encoded)) and found.logits is None
    assert not torch.allclose(found.latents, found.encoded, atol=0.1)


@torch.no_grad()
def test_a_bridge_to_codes_leaves_the_latents(tiny_codec: EncodecCodec) -> None:
    enhancer = randomised(make_enhancer(tiny_codec, bridge=TO_CODES))
    found = enhancer(noise(2, 1, 407))
    assert enhancer.bridge is not None and found.logits is not None
    assert found.logits.shape == (2, 2, 16, 21) and found.latents is found.encoded
    assert torch.equal(found.logits, enhancer.bridge(found.encoded))
    torch.testing.assert_close(found.logits.exp().sum(dim=2), torch.ones(2, 2, 21))


@torch.no_grad()
def test_what_the_frozen_encoder_is_known_to_make_spares_it_the_work(
    tiny_codec: EncodecCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = make_enhancer(tiny_codec, encoder="frozen", bridge=TO_LATENTS).eval()
    audio, known = noise(2, 1, 407), noise(2, 8, 21, seed=3)
    itself, warm = tiny_codec.encode(audio), make_enhancer(tiny_codec)
    plain = frozen(audio)
    monkeypatch.setattr(tiny_codec, "encode", None)  # calling it would fail
    assert torch.equal(frozen(audio, itself).latents, plain.latents)
    assert torch.equal(frozen(audio, known).encoded, known)
    assert torch.equal(warm(audio, known).latents, warm(audio).latents), "a warm encoder hears for itself"


def test_latents_from_a_cache_are_what_is_compared(tiny_codec: EncodecCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"encoder": "frozen", "bridge": TO_LATENTS, "losses": {"residual": 1}}
    step = make_step(tiny_codec, **settings).eval()
    plain, cached = make_batch(context=False), make_batch(context=False)
    losses = step(plain)
    cached.target_latents, cached.input_latents = tiny_codec.encode(plain.target), tiny_codec.encode(plain.input)
    cached.target_codes = tiny_codec.quantize(cached.target_latents)[0].to(torch.int16)
    for name in ("encode", "quantize"):
        monkeypatch.setattr(tiny_codec, name, None)
    again = step(cached)
    assert losses.keys() == again.keys()
    for name, value in again.items():
        assert value.item() == pytest.approx(losses[name].item(), rel=1e-6), name


@pytest.mark.parametrize("gives", ["latents", "codes"])
@torch.no_grad()
def test_context_is_heard_beside_the_input(tiny_codec: EncodecCodec, gives: str) -> None:
    bridge = TO_LATENTS if gives == "latents" else TO_CODES
    losses = {"softmax": 1} if gives == "codes" else {"latent_mse": 1}
    step = make_step(tiny_codec, bridge=bridge, losses=losses, context="separated/rough").eval()
    audio, other = make_batch(context=True), noise(2, 1, 407, seed=9)
    assert audio.context is not None
    untouched = step.separate(audio.input, audio.context)
    torch.testing.assert_close(step.separate(audio.input, other).output, untouched.output, rtol=0, atol=1e-5)
    randomised(step.enhancer)
    first, second = step.separate(audio.input, audio.context), step.separate(audio.input, other)
    assert not torch.allclose(first.latents, second.latents, atol=1e-2)
    for name in ("input_latents", "input_codes", "quantized_input"):
        assert torch.equal(getattr(first, name), getattr(second, name)), "the untouched codec hears the input alone"
    assert torch.equal(side_by_side(audio.input, None), audio.input)
    assert torch.equal(side_by_side(audio.input, other)[:, 1:], other)


@pytest.mark.parametrize("kind", ["dense", "transformer", "rotary"])
@torch.no_grad()
def test_a_frozen_encoder_hears_inputs_one_by_one_and_the_bridge_all(tiny_codec: EncodecCodec, kind: str) -> None:
    gives = {"dense": "codes", "transformer": "latents", "rotary": "both"}[kind]
    bridge = BridgeConfig.model_validate({"kind": kind, "gives": gives, "heads": 2, "layers": 1, "dropout": 0})
    enhancer = randomised(make_enhancer(tiny_codec, encoder="frozen", bridge=bridge, inputs=2))
    audio, other = (
        side_by_side(noise(2, 1, 407), noise(2, 1, 407, seed=1)),
        side_by_side(noise(2, 1, 407), noise(2, 1, 407, seed=2)),
    )
    found = enhancer(audio)
    torch.testing.assert_close(found.encoded, tiny_codec.encode(audio[:, :1]))
    changed = enhancer(other)
    said, said_now = (found.latents, changed.latents) if gives == "latents" else (found.logits, changed.logits)
    assert not torch.allclose(said, said_now, atol=1e-2), "the second input counts"
    both = torch.cat([tiny_codec.encode(sound) for sound in audio.split(1, dim=1)], dim=1)
    torch.testing.assert_close(enhancer(audio, both).latents, found.latents)
    with pytest.raises(ValueError, match=r"expected latents \[B, 16, T\]"):
        enhancer(audio, both[:, :8])


# What is trained


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("kind", ["encodec", "dac"])
def test_the_codec_stays_and_the_rest_learns(tiny_codec: EncodecCodec, dac: DacCodec, name: str, kind: str) -> None:
    codec, settings = (tiny_codec if kind == "encodec" else dac), dict(VARIANTS[name])
    step = make_step(codec, **settings).train()
    codec_before, before = bits(codec), bits(step.enhancer)
    batch = make_batch(context="context" in settings)
    optimizer = torch.optim.Adam([*step.parameters(), *codec.parameters()], lr=1e-2, weight_decay=0.1)
    first = None
    for _ in range(8):
        optimizer.zero_grad()
        losses = step(Batch(batch.input, batch.target, batch.names, context=batch.context))
        losses["loss"].backward()
        optimizer.step()
        first = first or losses
    assert bits(codec) == codec_before and not any(module.training for module in codec.modules())
    assert all(parameter.grad is None for parameter in codec.parameters())
    after, trained = bits(step.enhancer), {name for name, _ in step.enhancer.named_parameters()}
    assert {name for name in after if after[name] != before[name]} >= trained
    assert first is not None
    terms = [name for name in first if name in FinetuneConfig(id="x").losses.model_dump()]
    weights = step.objective.weights
    summed = [sum(weights[term] * float(found[term].detach()) for term in terms) for found in (first, losses)]
    assert summed[1] < summed[0]


@pytest.mark.parametrize("name", VARIANTS)
def test_only_encoder_and_bridge_are_saved(tiny_codec: EncodecCodec, name: str) -> None:
    step = make_step(tiny_codec, **VARIANTS[name])
    parts = {name.split(".")[0] for name in step.enhancer.state_dict()}
    assert parts == {part for part in ("warm_encoder", "bridge") if getattr(step.enhancer, part) is not None}
    theirs = {value.data_ptr() for value in [*tiny_codec.parameters(), *tiny_codec.buffers()]}
    assert theirs.isdisjoint(value.data_ptr() for value in [*step.parameters(), *step.buffers()])
    assert step.codec is step.enhancer.codec is tiny_codec


@torch.no_grad()
def test_a_random_start_is_another_encoder(tiny_codec: EncodecCodec) -> None:
    audio = noise(1, 1, 407)
    for inputs in (1, 2):
        sound = audio.expand(-1, inputs, -1)
        pretrained = make_enhancer(tiny_codec, inputs=inputs)(sound).latents
        random = make_enhancer(tiny_codec, start="random", inputs=inputs)(sound).latents
        torch.testing.assert_close(pretrained, tiny_codec.encode(audio), rtol=1e-4, atol=1e-5)
        assert float((random - pretrained).square().mean()) > 0.1 * float(pretrained.var())


# What the codes are, and what is decoded


@torch.no_grad()
def test_codes_of_a_bridge_are_its_likeliest(tiny_codec: EncodecCodec) -> None:
    step = make_step(tiny_codec, bridge=TO_CODES, losses={"softmax": 1}, decode="codes")
    randomised(step.enhancer)
    audio = noise(2, 1, 407)
    found, from_latents = step.separate(audio), step.separate(audio, decode="latents")
    prediction = step.enhancer(audio)
    assert prediction.logits is not None
    best = prediction.logits.max(dim=2).values
    assert found.codes.shape == (2, 2, 21) and torch.equal(found.codes, from_latents.codes)
    assert torch.equal(prediction.logits.gather(2, found.codes[:, :, None])[:, :, 0], best)
    tables = [layer.codebook.embed for layer in tiny_codec.layers[:2]]
    quantized = sum(table[found.codes[:, k]].transpose(1, 2) for k, table in enumerate(tables))
    assert torch.equal(found.output, tiny_codec.decode(quantized, 407))
    assert torch.equal(from_latents.output, tiny_codec.decode(prediction.encoded, 407))
    assert not torch.allclose(found.output, from_latents.output, atol=1e-3)
    assert found.input_codes.shape == (2, 3, 21), "copying the input copies all codebooks"


@torch.no_grad()
def test_a_target_of_the_first_codebooks(tiny_codec: EncodecCodec) -> None:
    step = make_step(tiny_codec, target="quantized", target_codebooks=2).eval()
    batch = make_batch(context=False)
    codes, _ = tiny_codec.quantize(tiny_codec.encode(batch.target))
    wanted = step.wanted(batch)
    torch.testing.assert_close(wanted.latents, tiny_codec.codes_to_latents(codes[:, :2]), rtol=0, atol=0)
    assert wanted.codes is not None and torch.equal(wanted.codes, codes), "all of them, for what else needs them"
    assert not torch.allclose(wanted.latents, tiny_codec.codes_to_latents(codes), atol=1e-3)
    clean = step.separate(batch.target)
    assert torch.equal(clean.codes, codes[:, :2])
    assert torch.equal(clean.output, tiny_codec.decode(wanted.latents, 407)), "what the codes say, no more"


def test_a_batch_that_is_learnt_from_twice_wants_the_same_twice(tiny_codec: EncodecCodec) -> None:
    """A step leaves its targets in the batch; quantised once more, they would be others."""
    step = make_step(tiny_codec, target="quantized", target_codebooks=2, losses={"residual": 1}).eval()
    batch = make_batch(context=False)
    losses = [{name: float(value.detach()) for name, value in step(batch).items()} for _ in range(2)]
    assert losses[0] == losses[1]


# What does not fit


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "quantized", "target_codebooks": 4}, "target_codebooks=4: .*tiny has 3 codebooks. Take as many or"),
        ({"residual": {"codebooks": 4}, "losses": {"residual": 1}}, "residual.codebooks=4: .*tiny has 3 codebooks"),
        (
            {"bridge": {"kind": "dense", "codebooks": 4}, "losses": {"softmax": 1}},
            "bridge.codebooks=4: .*tiny has 3 codebooks. Take as many or fewer",
        ),
        ({"bridge": {"kind": "rotary", "gives": "latents", "heads": 3}}, "bridge.heads=3: does not divide the 8"),
        ({"bridge": {"kind": "rotary", "gives": "latents", "heads": 4}}, "bridge.heads=4: leaves 2 of 8 channels"),
    ],
)
def test_what_does_not_fit_the_codec_is_refused_in_one_line(
    tiny_codec: EncodecCodec, settings: dict, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        make_step(tiny_codec, **settings)
    assert "\n" not in str(caught.value)
