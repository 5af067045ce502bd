"""Each term of the loss against what its parts say, worked out another way; what they add up to; who gets gradients."""

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codec_ft.codec_training.encodec_model import EncodecShape, make_encodec
from codec_ft.codecs.base import Codec
from codec_ft.codecs.dac import DacCodec
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.data.dataset import Batch
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.discriminator import DiscriminatorStep, EmbeddingDiscriminator
from codec_ft.finetune.enhancer import Prediction
from codec_ft.finetune.losses.residual import residual_loss
from codec_ft.finetune.losses.soft_labels import soft_labels
from codec_ft.finetune.losses.softmax import softmax_cross_entropy
from codec_ft.finetune.objective import Objective, Wanted
from codec_ft.finetune.step import FinetuneStep

DENSE = {"kind": "dense", "gives": "codes", "hidden": 6}
ROTARY = {"kind": "rotary", "gives": "latents", "heads": 2, "layers": 1, "dropout": 0.0}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def settings(losses: dict[str, float], **more: Any) -> FinetuneConfig:
    """A configuration with these terms alone, and a bridge where one of them needs it."""
    bridge = DENSE if "softmax" in losses else {"kind": "none"}
    return FinetuneConfig.model_validate({"id": "x", "bridge": bridge, "losses": {"latent_mse": 0.0, **losses}} | more)


def make_objective(
    codec: Codec, losses: dict[str, float], discriminator: EmbeddingDiscriminator | None = None, **more: Any
) -> Objective:
    return Objective(settings(losses, **more), codec, discriminator)


def make_wanted(codec: Codec, seed: int = 1) -> Wanted:
    """Latents about as large as the codes, so that the codes are not all the same."""
    latents = 0.3 * noise(2, codec.latent_dim, 9, seed=seed)
    codes, _ = codec.quantize(latents)
    assert codes[:, 0].unique().numel() > 3
    return Wanted(latents, codes)


def make_prediction(codec: Codec, logits: Tensor | None = None, *, leaf: bool = False) -> Prediction:
    latents = 0.3 * noise(2, codec.latent_dim, 9, seed=2)
    latents.requires_grad_(leaf)
    return Prediction(latents, latents, logits)


def numbers(losses: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in losses.items()}


# The terms


def test_terms_between_latents(tiny_codec: EncodecCodec) -> None:
    objective = make_objective(tiny_codec, {"latent_mse": 1.0, "latent_l1": 1.0, "latent_cosine": 1.0})
    prediction, wanted = make_prediction(tiny_codec), make_wanted(tiny_codec)
    found = numbers(objective(prediction, dataclasses.replace(wanted, codes=None)))
    a, b = prediction.latents.double().numpy(), wanted.latents.double().numpy()
    cosines = [
        a[i, :, t] @ b[i, :, t] / np.linalg.norm(a[i, :, t]) / np.linalg.norm(b[i, :, t])
        for i in range(2)
        for t in range(9)
    ]
    assert found["latent_mse"] == pytest.approx(((a - b) ** 2).mean(), rel=1e-5)
    assert found["latent_l1"] == pytest.approx(np.abs(a - b).mean(), rel=1e-5)
    assert found["latent_cosine"] == pytest.approx(1 - np.mean(cosines), rel=1e-5)
    assert found.keys() == {"loss", "latent_mse", "latent_l1", "latent_cosine"}


def test_terms_between_latents_of_dac_are_measured_layer_by_layer(dac: DacCodec) -> None:
    """With the target's codes taken away from both, in the two dimensions in which codes are compared."""
    wanted, prediction = make_wanted(dac), make_prediction(dac)
    assert wanted.codes is not None
    errors = []
    for k, layer in enumerate(dac.layers):
        before = 0 if k == 0 else dac.codes_to_latents(wanted.codes[:, :k])
        errors.append(layer.in_proj(prediction.latents - before) - layer.in_proj(wanted.latents - before))
    differences = torch.cat(errors, dim=1).double()
    found = numbers(make_objective(dac, {"latent_mse": 1.0, "latent_l1": 1.0})(prediction, wanted))
    assert found["latent_mse"] == pytest.approx(differences.square().mean().item(), rel=1e-4)
    assert found["latent_l1"] == pytest.approx(differences.abs().mean().item(), rel=1e-4)


@pytest.mark.parametrize("predicted", [1, 3])
def test_softmax_of_known_probabilities(tiny_codec: EncodecCodec, predicted: int) -> None:
    """The target's code has probability 1/2, 1/4 and 1/32 in the three codebooks, the others share the rest."""
    wanted = make_wanted(tiny_codec)
    assert wanted.codes is not None
    shares = [1 / 2, 1 / 4, 1 / 32][:predicted]
    logits = torch.empty(2, predicted, 16, 9)
    for k, share in enumerate(shares):
        logits[:, k] = math.log((1 - share) / 15)
        logits[:, k].scatter_(1, wanted.codes[:, k, None], math.log(share))
    objective = make_objective(tiny_codec, {"softmax": 1.0}, bridge={**DENSE, "codebooks": predicted})
    found = numbers(objective(make_prediction(tiny_codec, logits), wanted))
    assert found["softmax"] == pytest.approx(-np.mean(np.log(shares)), rel=1e-5)
    # 1/32 is below 31/480, which each other code has.
    right = [1.0, 1.0, 0.0][:predicted]
    assert [found[f"softmax_accuracy_{k}"] for k in range(1, predicted + 1)] == right
    assert found["softmax_accuracy"] == pytest.approx(np.mean(right))


@pytest.mark.parametrize("form", ["soft", "teacher"])
@pytest.mark.parametrize("layers", [None, 2])
def test_residual_by_the_equations(tiny_codec: EncodecCodec, form: str, layers: int | None) -> None:
    """Equations 6 to 10, frame by frame, in double precision."""
    tau, wanted, prediction = 0.4, make_wanted(tiny_codec), make_prediction(tiny_codec)
    assert wanted.codes is not None
    tables = [layer.codebook.embed.double().numpy() for layer in tiny_codec.layers][:layers]
    entropies, hits = np.zeros(len(tables)), np.zeros(len(tables))
    for item in range(2):
        for frame in range(9):
            residual = prediction.latents[item, :, frame].double().numpy()
            for k, table in enumerate(tables):
                code = int(wanted.codes[item, k, frame])
                scores = -((table - residual) ** 2).sum(axis=1) / tau
                likely = np.exp(scores) / np.exp(scores).sum()
                entropies[k] -= np.log(likely[code]) / 18
                hits[k] += (likely.argmax() == code) / 18
                residual = residual - (likely @ table if form == "soft" else table[code])
    options = {"form": form, "codebooks": layers, "tau": tau, "tau_unit": "absolute"}
    found = numbers(make_objective(tiny_codec, {"residual": 1.0}, residual=options)(prediction, wanted))
    assert found["residual"] == pytest.approx(entropies.sum(), rel=1e-4), "the sum over layers"
    for k, share in enumerate(hits, start=1):
        assert found[f"residual_accuracy_{k}"] == pytest.approx(share)
    assert found["residual_accuracy"] == pytest.approx(hits.mean())
    assert f"residual_accuracy_{len(tables) + 1}" not in found


def test_temperatures_in_units_of_the_codes_spacing(tiny_codec: EncodecCodec) -> None:
    """With everything three times as large the loss is the same; an absolute tau has to be nine times as large."""
    options = {name: {"tau": tau, "tau_unit": unit} for name, tau, unit in
               (("spacing", 1.0, "spacing"), ("absolute", 0.1, "absolute"), ("scaled", 0.9, "absolute"))}  # fmt: skip
    wanted, prediction = make_wanted(tiny_codec), make_prediction(tiny_codec)

    def found(codec: EncodecCodec, scale: float, option: str) -> float:
        latents = scale * prediction.latents
        objective = make_objective(codec, {"residual": 1.0}, residual=options[option])
        return numbers(objective(Prediction(latents, latents, None), wanted))["residual"]

    larger = copy.deepcopy(tiny_codec)
    for layer in larger.layers:
        layer.codebook.embed *= 3
    assert found(larger, 3.0, "spacing") == pytest.approx(found(tiny_codec, 1.0, "spacing"), rel=1e-4)
    assert found(larger, 3.0, "scaled") == pytest.approx(found(tiny_codec, 1.0, "absolute"), rel=1e-4)
    assert found(larger, 3.0, "absolute") != pytest.approx(found(tiny_codec, 1.0, "absolute"), rel=0.1)


@pytest.mark.parametrize("term", ["softmax", "residual"])
def test_soft_labels_are_passed_on(tiny_codec: EncodecCodec, term: str) -> None:
    wanted, logits = make_wanted(tiny_codec), noise(2, 3, 16, 9, seed=3).log_softmax(dim=2)
    assert wanted.codes is not None
    prediction = make_prediction(tiny_codec, logits if term == "softmax" else None)
    plain, soft = (numbers(make_objective(tiny_codec, {term: 1.0}, soft_labels=t)(prediction, wanted)) for t in (0, 2))
    if term == "softmax":
        expected = softmax_cross_entropy(logits, wanted.codes, soft_labels(tiny_codec, wanted.codes, 2.0)).mean()
    else:
        taus = make_objective(tiny_codec, {term: 1.0}).temperatures
        found = residual_loss(tiny_codec, prediction.latents, wanted.codes, tau=taus, form="teacher", label_tau=2.0)
        expected = found.cross_entropy.sum(dim=1).mean()
    assert soft[term] == pytest.approx(float(expected)) and soft[term] != pytest.approx(plain[term], rel=1e-3)
    assert soft[f"{term}_accuracy"] == plain[f"{term}_accuracy"], "one code stays the right one"


def test_of_many_codebooks_the_first_four_are_logged_one_by_one() -> None:
    torch.manual_seed(0)
    shape = EncodecShape(
        sample_rate=8000, strides=(4, 5), n_filters=4, latent_dim=8, lstm_layers=1, causal=False, n_codebooks=6,
        codebook_size=16,
    )  # fmt: skip
    model = make_encodec(shape)
    for k, layer in enumerate(model.quantizer.layers):
        layer.codebook.embed.normal_(std=0.2 * 0.5**k)
    codec = EncodecCodec(model, "six")
    wanted = make_wanted(codec)
    found = numbers(make_objective(codec, {"residual": 1.0})(Prediction(wanted.latents, wanted.latents, None), wanted))
    names = {f"residual_accuracy_{k}" for k in (1, 2, 3, 4)} | {"residual_accuracy"}
    assert found.keys() == {"loss", "residual", *names}
    assert {found[name] for name in names} == {1.0}, "the latents themselves have the target's codes"


# Their sum


def test_the_loss_is_the_weighted_sum(tiny_codec: EncodecCodec) -> None:
    weights = {"latent_mse": 100.0, "latent_l1": 0.5, "latent_cosine": 2.0, "softmax": 1.0, "residual": 0.03}
    logits = noise(2, 3, 16, 9, seed=3).log_softmax(dim=2)
    prediction, wanted = make_prediction(tiny_codec, logits), make_wanted(tiny_codec)
    found = numbers(make_objective(tiny_codec, weights)(prediction, wanted))
    assert found["loss"] == pytest.approx(sum(weight * found[name] for name, weight in weights.items()), rel=1e-6)
    for name in weights:
        alone = numbers(make_objective(tiny_codec, {name: 7.0}, bridge=DENSE if name == "softmax" else {})(
            prediction, wanted
        ))  # fmt: skip
        assert alone[name] == pytest.approx(found[name]) and alone["loss"] == pytest.approx(7 * found[name])
        assert {other for other in alone if other in weights} == {name}, "terms of weight zero are not computed"


@pytest.mark.parametrize(
    ("losses", "euclidean"),
    [
        ({"latent_mse": 1.0}, False),
        ({"latent_l1": 1.0, "latent_cosine": 1.0, "adversarial": 1.0}, False),
        ({"softmax": 1.0}, True),
        ({"latent_mse": 1.0, "residual": 0.1}, True),
    ],
)
def test_codes_are_made_where_they_are_needed(
    tiny_codec: EncodecCodec, dac: DacCodec, monkeypatch: pytest.MonkeyPatch, losses: dict[str, float], euclidean: bool
) -> None:
    assert make_objective(tiny_codec, losses).needs_codes is euclidean
    assert make_objective(dac, losses).needs_codes, "the space of its latents is made of residuals"
    step, audio = FinetuneStep(tiny_codec, settings(losses)), 0.3 * noise(2, 1, 407)
    wanted = step.wanted(Batch(audio, audio, ["a", "b"]))
    assert (wanted.codes is not None) is euclidean
    if not euclidean:
        monkeypatch.setattr(tiny_codec, "quantize", None)  # calling it would fail
        step(Batch(audio, audio, ["a", "b"]))["loss"].backward()


# The discriminator


def learnt(discriminator: EmbeddingDiscriminator, latents: Tensor) -> None:
    """One phase of its own."""
    audio = torch.zeros(1, 1, 1)
    DiscriminatorStep(discriminator)(Batch(audio, audio, ["a"], target_latents=-latents, output=latents))


def test_the_discriminator_is_heard_once_it_has_learnt(tiny_codec: EncodecCodec) -> None:
    torch.manual_seed(0)
    judge = EmbeddingDiscriminator(8)
    objective = make_objective(tiny_codec, {"latent_mse": 1.0, "adversarial": 0.25}, judge)
    prediction, wanted = make_prediction(tiny_codec, leaf=True), make_wanted(tiny_codec)
    before = numbers(objective(prediction, wanted))
    assert before.keys() == {"loss", "latent_mse"} and before["loss"] == before["latent_mse"]
    learnt(judge, prediction.latents.detach())
    losses = objective(prediction, wanted)
    genuine = torch.sigmoid(judge(prediction.latents)).double()
    assert losses["adversarial"].item() == pytest.approx(-genuine.log().mean().item(), rel=1e-5)
    assert losses["loss"].item() == pytest.approx(before["latent_mse"] + 0.25 * losses["adversarial"].item())
    losses["adversarial"].backward()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in judge.parameters())
    # The gradient leads towards what passes for genuine.
    assert prediction.latents.grad is not None
    with torch.no_grad():
        nearer = judge(prediction.latents - 0.1 * prediction.latents.grad)
        assert nearer.mean() > judge(prediction.latents).mean()


def test_the_discriminator_is_no_part_of_the_step(tiny_codec: EncodecCodec) -> None:
    torch.manual_seed(0)
    judge = EmbeddingDiscriminator(8)
    step = FinetuneStep(tiny_codec, settings({"latent_mse": 1.0, "adversarial": 1.0}), judge)
    assert {name.split(".")[0] for name in step.state_dict()} == {"enhancer"}
    mine = {value.data_ptr() for value in [*step.parameters(), *step.buffers()]}
    assert mine.isdisjoint(value.data_ptr() for value in [*judge.parameters(), *judge.buffers()])
    audio = 0.3 * noise(2, 1, 407)
    batch = Batch(audio, -audio, ["a", "b"])
    step(batch)
    assert batch.output is not None and not batch.output.requires_grad and batch.target_latents is not None
    torch.testing.assert_close(batch.output, step.enhancer(audio).latents.detach(), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(batch.target_latents, tiny_codec.encode(-audio)), "what it is to tell from the learnt ones"
    found = DiscriminatorStep(judge)(batch)
    assert found.keys() == {"loss", "real_score", "fake_score"} and judge.has_learnt
    step(batch)["loss"].backward()
    assert all(parameter.grad is None for parameter in judge.parameters())


# Balance


def test_shares_of_the_gradient_are_as_the_weights_say(tiny_codec: EncodecCodec) -> None:
    """MSE and L1, whose gradients at the latents are 2 (x - y) / n and sign(x - y) / n."""
    objective = make_objective(tiny_codec, {"latent_mse": 3.0, "latent_l1": 1.0}, balance=True).train()
    prediction, wanted = make_prediction(tiny_codec, leaf=True), make_wanted(tiny_codec)
    losses = objective(prediction, wanted)
    losses["loss"].backward()
    difference = prediction.latents.detach() - wanted.latents

    def unit(gradient: Tensor) -> Tensor:
        return gradient / gradient.flatten(1).norm(dim=1).mean()

    expected = 0.75 * unit(2 * difference) + 0.25 * unit(difference.sign())
    assert prediction.latents.grad is not None
    torch.testing.assert_close(prediction.latents.grad, expected, rtol=1e-4, atol=1e-6)
    assert losses["latent_mse_share"].item() == pytest.approx(0.75)
    assert losses["latent_l1_share"].item() == pytest.approx(0.25)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_balanced_weights_mean_the_same_whatever_the_losses_size(tiny_codec: EncodecCodec, scale: float) -> None:
    """Softmax with a hundred times the MSE's number, or a hundredth: its share is its weight's."""
    weight, bias = noise(3 * 16, 8, seed=5), torch.zeros(3 * 16)
    prediction, wanted = make_prediction(tiny_codec, leaf=True), make_wanted(tiny_codec)
    scores = nn.functional.linear(scale * prediction.latents.transpose(1, 2), weight, bias)
    logits = scores.unflatten(-1, (3, 16)).permute(0, 2, 3, 1).log_softmax(dim=2)
    objective = make_objective(tiny_codec, {"latent_mse": 1.0, "softmax": 1.0}, balance=True).train()
    losses = objective(Prediction(prediction.latents, prediction.latents, logits), wanted)
    assert losses["softmax_share"].item() == pytest.approx(0.5)
    gradients = [torch.autograd.grad(losses[name], prediction.latents, retain_graph=True)[0] for name in
                 ("latent_mse", "softmax")]  # fmt: skip
    expected = sum(0.5 * gradient / gradient.flatten(1).norm(dim=1).mean() for gradient in gradients)
    (found,) = torch.autograd.grad(losses["loss"], prediction.latents)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("balance", [False, True])
def test_a_bridge_behind_the_latents_keeps_its_gradients(tiny_codec: EncodecCodec, balance: bool) -> None:
    """The encoder gets those of both terms, the bridge those of its own: each times what its term is multiplied by."""
    torch.manual_seed(0)
    step = FinetuneStep(tiny_codec, settings({"latent_mse": 5.0, "softmax": 1.0}, balance=balance)).train()
    batch = Batch(0.3 * noise(2, 1, 407), 0.3 * noise(2, 1, 407, seed=1), ["a", "b"])
    prediction, wanted = step.enhancer(batch.input), step.wanted(batch)
    losses = step.objective(prediction, wanted)
    factors = {"latent_mse": 5.0, "softmax": 1.0}
    if balance:
        for name, share in (("latent_mse", 5 / 6), ("softmax", 1 / 6)):
            (gradient,) = torch.autograd.grad(losses[name], prediction.latents, retain_graph=True)
            factors[name] = share / gradient.flatten(1).norm(dim=1).mean().item()
    assert step.enhancer.bridge is not None and step.enhancer.warm_encoder is not None
    bridge, encoder = list(step.enhancer.bridge.parameters()), list(step.enhancer.warm_encoder.parameters())
    expected_bridge = torch.autograd.grad(factors["softmax"] * losses["softmax"], bridge, retain_graph=True)
    weighted = sum(factor * losses[name] for name, factor in factors.items())
    expected_encoder = torch.autograd.grad(weighted, encoder, retain_graph=True)
    found = torch.autograd.grad(losses["loss"], bridge + encoder)
    for one, other in zip(found, [*expected_bridge, *expected_encoder], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
    assert losses["loss"].item() == pytest.approx(weighted.item(), rel=1e-4)


def test_balance_after_a_bridge_to_latents(tiny_codec: EncodecCodec) -> None:
    """The latents are the bridge's, and the gradient is shared out there."""
    torch.manual_seed(0)
    config = settings({"latent_mse": 1.0, "residual": 1.0, "adversarial": 2.0}, bridge=ROTARY, balance=True)
    judge = EmbeddingDiscriminator(8)
    step = FinetuneStep(tiny_codec, config, judge).train()
    batch = Batch(0.3 * noise(2, 1, 407), 0.3 * noise(2, 1, 407, seed=1), ["a", "b"])
    first = numbers(step(batch))
    assert first["latent_mse_share"] == pytest.approx(0.5), "what is not there leaves its share to the others"
    assert batch.output is not None
    learnt(judge, batch.output)
    found = step(batch)
    shares = {name.removesuffix("_share"): v.item() for name, v in found.items() if name.endswith("_share")}
    assert shares.keys() == {"latent_mse", "residual", "adversarial"} and sum(shares.values()) == pytest.approx(1.0)
    assert shares["adversarial"] == pytest.approx(0.5, abs=0.02) and shares["residual"] == pytest.approx(0.25, abs=0.02)
    found["loss"].backward()
    assert all(parameter.grad is not None for parameter in step.enhancer.parameters())
    assert all(parameter.grad is None for parameter in judge.parameters())


def test_averages_of_the_balance_are_saved(tiny_codec: EncodecCodec) -> None:
    torch.manual_seed(0)
    config = settings({"latent_mse": 1.0, "residual": 1.0}, balance=True)
    step, other = FinetuneStep(tiny_codec, config).train(), FinetuneStep(tiny_codec, config).train()
    for seed in range(3):
        step(Batch(0.3 * noise(2, 1, 407, seed=seed), 0.3 * noise(2, 1, 407, seed=9), ["a", "b"]))
    other.load_state_dict(step.state_dict())
    batch = Batch(0.3 * noise(2, 1, 407, seed=5), 0.3 * noise(2, 1, 407, seed=6), ["a", "b"])
    assert numbers(step(batch)) == numbers(other(batch))
