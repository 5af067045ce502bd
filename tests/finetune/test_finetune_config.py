"""Configurations that cannot be: each refused in one line that names the keys and where they come from."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from codec_ft.config import config_hash, load_config, to_dict
from codec_ft.errors import UserError
from codec_ft.finetune.bridges.config import BridgeConfig
from codec_ft.finetune.config import FinetuneConfig, LossWeights
from experiments.tasks import PROJECT, read_config

TRANSFORMER = "bridge: {kind: transformer, gives: codes}"


def refusal(text: str, tmp_path: Path) -> str:
    """What is said of a configuration file."""
    layer = tmp_path / "mine.yaml"
    layer.write_text(f"id: x\ntask: finetune\n{text}\n")
    with pytest.raises(UserError) as caught:
        read_config([str(layer)], default="demo")
    message = str(caught.value)
    assert "\n" not in message and "{" not in message and len(message) < 320, message
    assert "mine.yaml" in message
    return message.replace(str(layer), "mine.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # What does not fit together.
        ("losses: {softmax: 1}", "mine.yaml: losses.softmax needs a bridge that gives codes: set bridge.kind to dense"),
        ("losses: {softmax: 1}\nbridge: {kind: rotary, gives: latents}", "losses.softmax needs a bridge that gives"),
        ("bridge: {kind: dense}", "bridge.kind=dense gives codes, which only losses.softmax trains"),
        (TRANSFORMER, "bridge.kind=transformer gives codes, which only losses.softmax trains; set it above zero"),
        ("encoder: frozen", "encoder=frozen without a bridge leaves nothing to train; choose a bridge.kind"),
        (f"encoder: frozen\n{TRANSFORMER}\nlosses: {{softmax: 1}}", "losses.latent_mse acts on the latents, but encod"),
        (
            f"encoder: frozen\n{TRANSFORMER}\nlosses: {{softmax: 1, latent_mse: 0, residual: 1}}",
            "losses.residual acts on the latents, but encoder=frozen",
        ),
        (
            f"encoder: frozen\nbalance: true\n{TRANSFORMER}\nlosses: {{softmax: 1, latent_mse: 0}}",
            "balance is about gradients at the latents, but encoder=frozen",
        ),
        ("encoder: frozen\nbridge: {kind: rotary, gives: latents}\nstart: random", "start=random is for a warm encod"),
        ("input: mixture\ncontext: mixture", "context=mixture is the input already"),
        ("input: mixture\ncontext: [separated/a, mixture]", "context=mixture is the input already"),
        (
            "context: [separated/a, separated/b, separated/a]",
            "context=separated/a, separated/b, separated/a has one in",
        ),
        ("target_codebooks: 2", "target_codebooks is for target=quantized"),
        # Sections.
        ("bridge: {kind: dense, gives: latents}", "mine.yaml: bridge: the dense bridge gives codes; set gives"),
        ("bridge: {kind: rotary, gives: latents, codebooks: 2}", "mine.yaml: bridge: codebooks is for bridges that gi"),
        ("bridge: {kind: dense, kernel: 3}", "mine.yaml: bridge: kernel=3 is for kind=rotary; leave it out"),
        ("bridge: {kind: rotary, kernel: 4}", "mine.yaml: bridge: kernel=4 has no middle; make it odd"),
        ("bridge: {kind: rotary, dim: 30}", "mine.yaml: bridge: dim=30 must be a multiple of heads=4"),
        ("losses: {latent_mse: 0}", "mine.yaml: losses: one of the weights must be above zero"),
        ("losses: {latent_mse: 0, adversarial: 1}", "mine.yaml: losses: adversarial alone does not say which stem"),
        (
            "data: {speed: [0.8, 1.2], grid_seconds: 0.5}",
            "mine.yaml: data: speed=(0.8, 1.2) changes what is heard, but w",
        ),
        (
            "data: {speed: [0.8, 1.2], encoded: true}",
            "but with encoded excerpts are heard as they are; set it to (1, 1)",
        ),
        ("data: {speed: [1.1, 1.1], scope: segment}", "but with scope=segment excerpts are heard as they are"),
        ("data: {song: Rain}", "mine.yaml: data: song=Rain is for overfitting it: set scope to song or segment"),
        ("data: {scope: song, extra: [more]}", "mine.yaml: data: extra is for scope=set; with scope=song"),
        # Single values.
        ("train_inputs: [mixture]", "train_inputs: input should be a valid dictionary, but mine.yaml gives"),
        ("residual: {tau: 0}", "residual.tau: input should be greater than 0, but mine.yaml gives 0"),
        ("residual: {tau: -1.5}", "residual.tau: input should be greater than 0, but mine.yaml gives -1.5"),
        ("residual: {tau: .inf}", "residual.tau: input should be a finite number, but mine.yaml gives inf"),
        ("residual: {tau: .nan}", "residual.tau: input should be"),
        ("residual: {codebooks: 0}", "residual.codebooks: input should be greater than or equal to 1"),
        ("soft_labels: -1", "soft_labels: input should be greater than or equal to 0"),
        ("losses: {latent_l1: -1}", "losses.latent_l1: input should be greater than or equal to 0"),
        ("losses: {latent_l2: 1}", "losses.latent_l2: unknown key in mine.yaml; did you mean losses.latent_l1?"),
        ("bridge: {kind: lstm}", "bridge.kind: input should be 'none', 'dense', 'transformer' or 'rotary', but"),
        ("bridge: {codebook: 2}", "bridge.codebook: unknown key in mine.yaml; did you mean bridge.codebooks?"),
        ("target: codes", "target: input should be 'latents' or 'quantized', but mine.yaml gives 'codes'"),
        ("data: {scope: album}", "data.scope: input should be 'set', 'song' or 'segment', but mine.yaml gives 'album'"),
        ("data: {grid_seconds: 0}", "data.grid_seconds: input should be greater than 0, but mine.yaml gives 0"),
        ("discriminator: {update_every: 0}", "discriminator.update_every: input should be greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(text, tmp_path)


def test_shares_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train_inputs: shares must be above zero; .* the command line gives"):
        read_config(["train_inputs={mixture: 1, separated/a: 0}"], default="demo")


def test_the_places_of_the_keys_that_are_named(tmp_path: Path) -> None:
    """One of them from the file, one from the command line; where none was given, the message stands alone."""
    (tmp_path / "a.yaml").write_text("id: x\nbridge: {kind: dense}\ntrain: {steps: 3}\n")
    (tmp_path / "b.yaml").write_text("encoder: frozen\n")
    layers = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    with pytest.raises(UserError) as caught:
        load_config(FinetuneConfig, layers, ["losses.softmax=1"], root=PROJECT)
    assert str(caught.value).startswith(f"{layers[1]}: losses.latent_mse acts on the latents, but encoder=frozen")
    with pytest.raises(UserError) as caught:
        load_config(FinetuneConfig, layers, ["losses={softmax: 1, latent_l1: 1}"], root=PROJECT)
    assert str(caught.value).startswith(f"{layers[1]}: losses.latent_mse acts on the latents")  # by default
    with pytest.raises(UserError) as caught:
        load_config(FinetuneConfig, layers, ["losses={softmax: 1, latent_mse: 2}"], root=PROJECT)
    assert str(caught.value).startswith(f"{layers[1]} and the command line: losses.latent_mse acts on the latents")


def test_what_fits_together_is_taken() -> None:
    for settings in (
        {"bridge": {"kind": "dense"}, "losses": {"softmax": 1.0}},
        {"bridge": {"kind": "dense"}, "losses": {"softmax": 1.0, "latent_mse": 100.0, "adversarial": 0.1}},
        {"bridge": {"kind": "dense"}, "losses": {"softmax": 1.0, "latent_mse": 0.0}, "encoder": "frozen"},
        {"bridge": {"kind": "rotary", "gives": "latents"}, "encoder": "frozen", "balance": True},
        {"bridge": {"kind": "rotary", "gives": "latents"}, "context": "separated/a", "start": "random"},
        {"context": ["separated/a", "separated/b"], "data": {"speed": [0.8, 1.25], "scope": "song"}},
        {"target": "quantized", "target_codebooks": 4},
        {"train_inputs": {"separated/a": 2.0, "mixture": 1.0}, "input": "separated/a"},
        {"data": {"scope": "segment", "song": "Rain"}},
    ):
        FinetuneConfig.model_validate({"id": "x", **settings})


def test_one_context_needs_no_brackets() -> None:
    for given, found in ((None, []), ("separated/a", ["separated/a"]), (["noise", "target"], ["noise", "target"])):
        config = FinetuneConfig.model_validate({"id": "x", "context": given})
        assert config.context == found == to_dict(config)["context"]


def test_the_numbers_of_the_thesis() -> None:
    """Figure 14 and section 6.2.1 without further options: a warm copy, MSE of latents; 256, 3 layers, 4 heads, 64."""
    config, bridge = FinetuneConfig(id="x"), BridgeConfig()
    assert (config.encoder, config.start, config.bridge.kind, config.decode) == ("warm", "pretrained", "none", "codes")
    assert config.losses == LossWeights(latent_mse=1.0) and not config.balance and not config.soft_labels
    assert (bridge.hidden, bridge.layers, bridge.heads, bridge.dim) == (256, 3, 4, None)
    assert config.discriminator.hidden == 64
    assert (config.train.optimizer.name, config.train.optimizer.learning_rate) == ("adam", 1e-3)


def test_a_configuration_does_not_change() -> None:
    config = FinetuneConfig(id="x")
    with pytest.raises(ValidationError, match="frozen"):
        config.losses.residual = 1.0  # type: ignore[misc]


def test_where_targets_are_read_from_does_not_name_another_run() -> None:
    plain, cached, other = (
        FinetuneConfig.model_validate({"id": "x", "data": data})
        for data in ({}, {"encoded": True}, {"grid_seconds": 0.5})
    )
    assert config_hash(plain) == config_hash(cached) != config_hash(other)
