"""The warm encoder learns; the codec beside it does not change by a bit."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.data.dataset import Batch, collate
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.step import FinetuneStep
from codec_ft.finetune.task import FinetuneTask
from codec_ft.training.separation import reference_of


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def batch() -> Batch:
    return Batch(0.3 * noise(2, 1, 407), 0.3 * noise(2, 1, 407, seed=1), ["a", "b"])


def make_step(codec: EncodecCodec, start: str = "pretrained", target: str = "latents", **more: object) -> FinetuneStep:
    torch.manual_seed(0)
    return FinetuneStep(codec, FinetuneConfig.model_validate({"id": "x", "start": start, "target": target, **more}))


def warm_encoder(step: FinetuneStep) -> torch.nn.Module:
    assert step.enhancer.warm_encoder is not None
    return step.enhancer.warm_encoder


def bits(module: torch.nn.Module) -> dict[str, bytes]:
    """Every parameter and buffer, those that are not saved as well, byte by byte."""
    values = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: value.detach().numpy().tobytes() for name, value in values.items()}


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("target", ["latents", "quantized"])
def test_not_one_bit_of_the_codec_changes(
    tiny_codec: EncodecCodec, batch: Batch, optimizer: type[torch.optim.Adam], target: str
) -> None:
    step = make_step(tiny_codec, target=target)
    codec_before, warm_before = bits(tiny_codec), bits(warm_encoder(step))
    assert any("codebook.embed" in name for name in codec_before)
    # Even an optimiser that was given everything, with weight decay, finds nothing to move in the codec.
    everything = [*step.parameters(), *tiny_codec.parameters()]
    optimize = optimizer(everything, lr=1e-2, weight_decay=0.1)
    step.train()
    for _ in range(4):
        optimize.zero_grad()
        step(batch)["loss"].backward()
        optimize.step()
        step.separate(batch.input)
        reference_of(step.codec, batch.target)
    assert bits(tiny_codec) == codec_before
    warm_after = bits(warm_encoder(step))
    trained = {name for name, _ in warm_encoder(step).named_parameters()}
    assert {name for name in warm_before if warm_after[name] != warm_before[name]} == trained
    assert step.training and warm_encoder(step).training
    assert not any(module.training for module in tiny_codec.modules())
    assert all(parameter.grad is None for parameter in tiny_codec.parameters())


def test_the_codec_is_no_part_of_the_step(tiny_codec: EncodecCodec) -> None:
    step = make_step(tiny_codec)
    assert step.codec is tiny_codec
    assert all(name.startswith("enhancer.warm_encoder.") for name in step.state_dict())
    theirs = {value.data_ptr() for value in [*tiny_codec.parameters(), *tiny_codec.buffers()]}
    mine = {value.data_ptr() for value in [*step.parameters(), *step.buffers()]}
    assert theirs.isdisjoint(mine)
    assert len(theirs) > 10 and len(mine) > 10


@torch.no_grad()
def test_a_pretrained_start_gives_the_codec_s_latents_and_a_random_one_does_not(
    tiny_codec: EncodecCodec, batch: Batch
) -> None:
    latents = tiny_codec.encode(batch.input)
    torch.testing.assert_close(warm_encoder(make_step(tiny_codec))(batch.input), latents, rtol=1e-4, atol=1e-5)
    random = make_step(tiny_codec, "random")
    found = warm_encoder(random)(batch.input)
    assert found.shape == latents.shape
    assert float((found - latents).pow(2).mean()) > 0.1 * float(latents.var())
    assert {n: p.shape for n, p in random.named_parameters()} == {
        n: p.shape for n, p in make_step(tiny_codec).named_parameters()
    }


@torch.no_grad()
def test_both_kinds_of_target(tiny_codec: EncodecCodec, batch: Batch) -> None:
    latents = tiny_codec.encode(batch.target)
    codes, quantized = tiny_codec.quantize(latents)
    assert not torch.allclose(latents, quantized, atol=1e-2)
    assert torch.equal(make_step(tiny_codec).wanted(batch).latents, latents)
    found = make_step(tiny_codec, target="quantized").wanted(batch).latents
    tables = [layer.codebook.embed for layer in tiny_codec.layers]
    by_hand = sum(table[codes[:, k]].transpose(1, 2) for k, table in enumerate(tables))
    assert torch.equal(found, quantized)
    torch.testing.assert_close(found, by_hand)


@pytest.mark.parametrize("target", ["latents", "quantized"])
def test_the_loss_is_the_mean_squared_error(tiny_codec: EncodecCodec, batch: Batch, target: str) -> None:
    step = make_step(tiny_codec, "random", target)
    losses = step(batch)
    found = warm_encoder(step)(batch.input).detach().double().numpy()
    wanted = tiny_codec.encode(batch.target)
    if target == "quantized":
        wanted = tiny_codec.quantize(wanted)[1]
    by_hand = ((found - wanted.double().numpy()) ** 2).mean()
    assert losses["loss"].item() == pytest.approx(by_hand, rel=1e-5)
    assert losses["latent_mse"].item() == pytest.approx(by_hand, rel=1e-5)
    losses["loss"].backward()
    assert all(p.grad is not None and (p.grad != 0).any() for p in step.parameters())


def test_a_start_from_the_target_itself_has_no_loss(tiny_codec: EncodecCodec, batch: Batch) -> None:
    clean = Batch(batch.target, batch.target, batch.names)
    assert make_step(tiny_codec)(clean)["loss"].item() < 1e-8


def test_targets_stay_exact_under_autocast(tiny_codec: EncodecCodec, batch: Batch) -> None:
    step = make_step(tiny_codec)
    target, reference = step.wanted(batch).latents, reference_of(step.codec, batch.target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(step.wanted(batch).latents, target)
        assert torch.equal(reference_of(step.codec, batch.target).quantized_target, reference.quantized_target)
        losses, separation = step(batch), step.separate(batch.input)
    assert losses["loss"].dtype == separation.latents.dtype == separation.output.dtype == torch.float32
    losses["loss"].backward()
    assert all(parameter.grad is not None for parameter in step.parameters())


def test_overfitting_one_batch(make_task: Callable[..., FinetuneTask]) -> None:
    task = make_task()
    data = task.train_data(4)
    batch = collate([data[i] for i in range(4)])
    with torch.no_grad():
        wanted = task.codec.encode(batch.target)
        untouched = float((task.codec.encode(batch.input) - wanted).pow(2).mean())
    optimizer = torch.optim.Adam(task.step.parameters(), lr=1e-2)
    first = None
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.step(batch)["loss"]
        loss.backward()
        optimizer.step()
        first = loss.item() if first is None else first
    assert first == pytest.approx(untouched, rel=1e-3), "it starts as the untouched encoder"
    assert loss.item() < 0.25 * untouched


@torch.no_grad()
def test_separating_with_an_untouched_copy_copies_the_input(tiny_codec: EncodecCodec, batch: Batch) -> None:
    step = make_step(tiny_codec).eval()
    found = step.separate(batch.input)
    codes, quantized = tiny_codec.quantize(tiny_codec.encode(batch.input))
    assert torch.equal(found.input_codes, codes) and torch.equal(found.codes, codes)
    assert torch.equal(found.quantized_input, tiny_codec.decode(quantized, 407))
    torch.testing.assert_close(found.output, found.quantized_input)
    torch.testing.assert_close(found.latents, found.input_latents, rtol=1e-4, atol=1e-5)
    assert found.output.shape == batch.input.shape


def test_what_the_output_is_decoded_from(tiny_codec: EncodecCodec, batch: Batch) -> None:
    step = make_step(tiny_codec, "random").eval()
    codes, latents = (step.separate(batch.input, decode=decode) for decode in ("codes", "latents"))
    assert not codes.output.requires_grad and not codes.latents.requires_grad
    with torch.no_grad():  # with gradients, torch takes other kernels, which round otherwise
        warm = warm_encoder(step)(batch.input)
        from_codes = tiny_codec.decode(tiny_codec.codes_to_latents(codes.codes), 407)
        from_latents = tiny_codec.decode(warm, 407)
    assert torch.equal(codes.latents, warm) and torch.equal(latents.latents, warm)
    assert torch.equal(codes.codes, tiny_codec.quantize(warm)[0])
    assert torch.equal(codes.output, from_codes)
    assert torch.equal(latents.output, from_latents)
    assert not torch.allclose(codes.output, latents.output, atol=1e-4)


@torch.no_grad()
def test_the_reference_is_the_codec_s_own(tiny_codec: EncodecCodec, batch: Batch) -> None:
    found = reference_of(tiny_codec, batch.target)
    codes, quantized = tiny_codec.quantize(tiny_codec.encode(batch.target))
    assert torch.equal(found.codes, codes)
    assert torch.equal(found.quantized_target, tiny_codec.decode(quantized, 407))
    again = tiny_codec.quantize(tiny_codec.encode(found.quantized_target))[0]
    assert torch.equal(found.recoded, again)
    assert torch.equal(found.latents, tiny_codec.encode(batch.target))
