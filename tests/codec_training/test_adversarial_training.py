"""Codecs against discriminators: who gets which gradient, in which steps, and that a stop changes nothing."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from codec_ft.codec_training.adversarial import hinge_generator, least_squares_discriminator
from codec_ft.codec_training.config import CodecTrainingConfig, DacTrainingConfig, EncodecTrainingConfig
from codec_ft.codec_training.critic import Critic, CriticStep
from codec_ft.codec_training.step import CodecStep
from codec_ft.codec_training.task import CodecTask
from codec_ft.codecs.load import load_codec
from codec_ft.data.dataset import Batch
from codec_ft.errors import UserError
from codec_ft.training.device import make_accelerator
from codec_ft.training.loop import train
from codec_ft.training.run_folder import RunFolder, open_run


@pytest.fixture(params=["encodec", "dac"])
def any_config(
    request: pytest.FixtureRequest, adversarial_config: EncodecTrainingConfig, dac_config: DacTrainingConfig
) -> CodecTrainingConfig:
    """Both recipes in turn."""
    return adversarial_config if request.param == "encodec" else dac_config


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make_task(config: CodecTrainingConfig) -> CodecTask:
    torch.manual_seed(0)
    return CodecTask(config)


def changed(config: CodecTrainingConfig, **changes: object) -> CodecTrainingConfig:
    return type(config).model_validate({**config.model_dump(exclude_unset=True), **changes})


def batch() -> Batch:
    audio = 0.1 * noise(2, 1, 2000)
    return Batch(audio, audio, ["a", "b"])


# The critic


def test_a_critic_needs_discriminators(adversarial_config: EncodecTrainingConfig) -> None:
    with pytest.raises(UserError, match=r"discriminators names none: set discriminators\.stft_windows"):
        make_task(changed(adversarial_config, discriminators={}))


def test_a_critic_has_all_families_and_the_losses_that_were_asked_for(
    adversarial_config: EncodecTrainingConfig, dac_config: DacTrainingConfig
) -> None:
    stft, others = Critic(adversarial_config.discriminators), Critic(dac_config.discriminators)
    audio = batch().target
    assert (len(stft(audio)), len(others(audio))) == (2, 2 + 1)
    fake = stft(audio)
    assert stft.generator_loss(fake) == hinge_generator([maps[-1] for maps in fake])
    real, fake = others(audio), others(-audio)
    expected = least_squares_discriminator([maps[-1] for maps in real], [maps[-1] for maps in fake])
    assert others.discriminator_loss(real, fake) == expected


def test_a_critic_learns_from_what_the_codec_left(adversarial_config: EncodecTrainingConfig) -> None:
    step = CriticStep(Critic(adversarial_config.discriminators))
    assert not step.critic.has_learnt
    given = batch()
    given.output = 0.5 * noise(2, 1, 2000, seed=1)
    losses = step(given)
    with torch.no_grad():
        real, fake = step.critic(given.target), step.critic(given.output)
        assert losses["loss"] == step.critic.discriminator_loss(real, fake)
    mean = sum(float(maps[-1].mean()) for maps in fake) / 2
    assert float(losses["fake_score"]) == pytest.approx(mean, abs=1e-6)
    assert step.critic.has_learnt
    assert CriticStep(Critic(adversarial_config.discriminators)).state_dict()["critic.updates"] == 0


# The codec


def test_the_critic_is_heard_once_it_has_learnt(any_config: CodecTrainingConfig) -> None:
    task = make_task(any_config)
    given = batch()
    first = task.step(given)
    assert "adversarial" not in first and "feature" not in first
    assert given.output is not None and given.output.shape == given.target.shape and not given.output.requires_grad
    task.phases["discriminator"](given)
    second = task.step(given)
    assert second["adversarial"] > 0 and second["feature"] > 0
    second["loss"].backward()
    assert all(parameter.grad is None for parameter in task.phases["discriminator"].parameters())
    assert all(parameter.grad is not None for parameter in task.step.parameters())
    assert not any(name.startswith("_critic") for name, _ in task.step.named_parameters())


def test_the_loss_without_a_balancer_is_the_weighted_sum(dac_config: DacTrainingConfig) -> None:
    task = make_task(dac_config)
    task.phases["discriminator"](batch_with_output())
    losses = task.step(batch())
    weights = {"mel_l1": 15.0, "adversarial": 1.0, "feature": 2.0, "commitment": 0.25, "codebook": 1.0}
    torch.testing.assert_close(losses["loss"], sum(weight * losses[name] for name, weight in weights.items()))
    assert {"perplexity_3", "dead_1", "dead_3"} <= losses.keys()


def test_the_balancer_sets_the_gradient_and_the_sum_is_shown(adversarial_config: EncodecTrainingConfig) -> None:
    step = make_task(adversarial_config).step
    estimate, target = (0.1 * noise(2, 1, 2000, seed=3)).requires_grad_(), 0.1 * noise(2, 1, 2000, seed=9)
    terms = terms_of(step, estimate, target)
    commitment = torch.tensor(3.0, requires_grad=True)
    loss = step.weighted({**terms, "commitment": commitment}, estimate)
    plain = 2.0 * terms["log_mel"] + 1.0 * terms["waveform_l1"] + 0.2 * 3.0
    torch.testing.assert_close(loss, plain)
    loss.backward()
    assert estimate.grad is not None and commitment.grad == pytest.approx(0.2)
    # On the first call the averages are the norms themselves: shares of 2 : 1, each item of length 1 in all.
    gradients = [
        torch.autograd.grad(terms_of(step, estimate, target)[n], estimate)[0] for n in ("log_mel", "waveform_l1")
    ]
    expected = sum(
        share * gradient / gradient.flatten(1).norm(dim=1).mean()
        for share, gradient in zip((2 / 3, 1 / 3), gradients, strict=True)
    )
    torch.testing.assert_close(estimate.grad, expected, rtol=1e-4, atol=1e-7)


def terms_of(step: CodecStep, estimate: Tensor, target: Tensor) -> dict[str, Tensor]:
    return {name: value.mean() for name, value in step.reconstruction(estimate, target).items()}


def batch_with_output() -> Batch:
    given = batch()
    given.output = 0.5 * given.target
    return given


# The order of things


def test_discriminators_learn_in_their_share_of_the_steps(adversarial_config: EncodecTrainingConfig) -> None:
    late = {**adversarial_config.discriminators.model_dump(exclude_unset=True), "start_step": 100}
    task, again = make_task(changed(adversarial_config, discriminators=late)), make_task(adversarial_config)
    assert all(task.order(step) == ("codec",) for step in range(100))
    learnt = [task.order(step) == ("codec", "discriminator") for step in range(100, 3100)]
    assert sum(learnt) / 3000 == pytest.approx(2 / 3, abs=0.03)
    assert [again.order(step) for step in range(100, 200)] == [task.order(step) for step in range(100, 200)]
    assert task.optimizer_config("discriminator", adversarial_config.train).learning_rate == 2e-3
    assert task.optimizer_config("codec", adversarial_config.train).learning_rate == 1e-3


class PowerCut(CodecTask):
    """Fails at an item."""

    def __init__(self, config: CodecTrainingConfig, item: int):
        super().__init__(config)
        self.item = item

    def train_data(self, items: int) -> Dataset:
        data, fatal = super().train_data(items), self.item

        class Cut(Dataset):
            def __len__(self) -> int:
                return len(data)  # type: ignore[arg-type]

            def __getitem__(self, index: int) -> object:
                if index == fatal:
                    raise RuntimeError("the power is cut")
                return data[index]

        return Cut()


def test_a_stopped_training_goes_on_to_the_same_numbers(any_config: CodecTrainingConfig, tmp_path: Path) -> None:
    """Codec, codebooks, balancer, discriminators and both optimisers, bit by bit."""
    runs = {}
    for name in ("whole", "cut"):
        config = changed(any_config, run=tmp_path / name)
        run = runs[name] = open_run(config)
        if name == "cut":
            torch.manual_seed(0)
            with pytest.raises(RuntimeError, match="the power is cut"):
                train(PowerCut(config, 8), run, config.train, make_accelerator(config.train))
            assert torch.load(run.checkpoints / "last.pt", weights_only=True)["step"] == 4
        train(make_task(config), run, config.train, make_accelerator(config.train))
    states = [torch.load(run.checkpoints / "last.pt", weights_only=True) for run in runs.values()]
    for state in states:
        del state["seconds"]
    assert set(states[0]["modules"]) == {"codec", "discriminator"} and states[0]["step"] == 6
    assert states[0]["modules"]["discriminator"]["critic.updates"] > 0
    torch.testing.assert_close(*states, rtol=0, atol=0)
    whole, cut = (lines(run) for run in runs.values())
    assert whole == cut and {"discriminator_loss", "discriminator_real_score", "adversarial"} <= whole[-2].keys()


def lines(run: RunFolder) -> list[dict]:
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "steps_per_second"} for record in records]


# Starting from a codec


def test_training_goes_on_from_a_codec(adversarial_config: EncodecTrainingConfig, tiny_codec_folder: Path) -> None:
    start = {"start": str(tiny_codec_folder), "quantizer": {}}
    settings = adversarial_config.model_dump(exclude_unset=True, exclude={"model"})
    step = make_task(EncodecTrainingConfig.model_validate({**settings, **start})).step
    frozen, audio = load_codec(str(tiny_codec_folder)), 0.1 * noise(1, 1, 2000)
    latents = frozen.encode(audio)
    codes, quantized = frozen.quantize(latents)
    step.eval()
    estimate, found = step.reconstruct(audio)
    assert found.codes is not None, "no steps without quantisation"
    assert float((found.codes == codes).float().mean()) > 0.99  # folded or not, a weight rounds differently
    torch.testing.assert_close(estimate, frozen.decode(quantized, 2000), rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="brings its own shape"):
        make_task(changed(adversarial_config, **start))
    with pytest.raises(UserError, match="is no DAC"):
        make_task(DacTrainingConfig.model_validate({**settings, **start, "quantizer": {}, "balancer": False}))


def test_a_dac_goes_on_from_a_dac(dac_config: DacTrainingConfig, tmp_path: Path) -> None:
    task = make_task(dac_config)
    task.export(task.step, tmp_path)
    settings = dac_config.model_dump(exclude_unset=True, exclude={"model"})
    quantizer = {"start_step": 2, "kmeans_vectors": 64}
    again = make_task(DacTrainingConfig.model_validate({**settings, "start": str(tmp_path), "quantizer": quantizer}))
    assert again.step.reconstruct(batch().target)[1].codes is not None, "no steps without quantisation"
    audio = 0.1 * noise(2, 1, 2001)
    for step in (task.step.eval(), again.step.eval()):
        assert step.reconstruct(audio)[0].shape == audio.shape
    torch.testing.assert_close(task.step.reconstruct(audio)[0], again.step.reconstruct(audio)[0], rtol=0, atol=1e-4)
    codec = load_codec(str(tmp_path))
    torch.testing.assert_close(codec.reconstruct(audio), again.step.reconstruct(audio)[0], rtol=0, atol=1e-4)


def test_only_the_decoder_learns(codec_config: EncodecTrainingConfig, tiny_codec_folder: Path, tmp_path: Path) -> None:
    settings = codec_config.model_dump(exclude_unset=True, exclude={"model", "quantizer"})
    train_options = {"steps": 20, "batch_size": 2, "validate_every": 20, "optimizer": {"learning_rate": 3e-3}}
    config = EncodecTrainingConfig.model_validate(
        {**settings, "start": str(tiny_codec_folder), "parts": "decoder", "train": train_options, "stem": "bass"}
        | {"run": tmp_path / "run"}
    )
    task = make_task(config)
    before, after = load_codec(str(tiny_codec_folder)), tmp_path / "export"
    run = open_run(config)
    train(task, run, config.train, make_accelerator(config.train))
    task.export(task.step.eval(), after)
    trained = load_codec(str(after))
    held_out = torch.cat([task.valid_data()[i]["target"][None] for i in range(2)])
    codes = before.quantize(before.encode(held_out))[0]
    assert torch.equal(trained.quantize(trained.encode(held_out))[0], codes)
    distances = [
        float(
            task.step.reconstruction(codec.decode(codec.codes_to_latents(codes), held_out.shape[-1]), held_out)[
                "reconstruction"
            ].mean()
        )
        for codec in (before, trained)
    ]
    assert distances[1] < distances[0] - 0.2
    losses = lines(run)[0]
    assert "commitment" in losses and losses["loss"] == pytest.approx(losses["reconstruction"])
