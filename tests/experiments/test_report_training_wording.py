"""What a page says was trained."""

from typing import Any

import pytest

from codec_ft.codec_training.config import RECIPES
from codec_ft.config import to_dict
from codec_ft.finetune.bridges.make import TRANSFORMERS
from codec_ft.finetune.config import FinetuneConfig
from experiments.report.training_wording import (
    BRIDGES,
    CODEC_TASKS,
    clip_caption,
    describe,
    input_words,
    loss_words,
    route,
    shares_heard,
    trains_codec,
    trains_decoder,
)
from token_models.training.config import TokenTrainingConfig
from token_models.translation.config import TranslationConfig


def finetuning(**settings: Any) -> dict[str, Any]:
    """A resolved configuration, as a run folder holds it."""
    return to_dict(FinetuneConfig.model_validate({"id": "x", **settings}))


ROTARY = {"kind": "rotary", "gives": "latents"}
CODES = {"bridge": {"kind": "transformer", "gives": "codes"}, "losses": {"softmax": 1.0}}


def test_the_description_names_stem_input_and_codec() -> None:
    config = {"stem": "drums", "input": "separated/spectrogram", "codec": {"name": "dac_16khz"}}
    text = describe(config)
    assert all(words in text for words in ("clean drums", "separated by “spectrogram”", "“dac_16khz”"))
    assert describe({}) == ""


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {},
            "A copy of the encoder of the codec “demo” hears the mixture and learns to answer with what the frozen "
            "encoder gives for the clean bass; the codec's own quantiser and decoder make it audible.",
        ),
        (
            {"input": "separated/rough", "context": "mixture", "bridge": ROTARY},
            "A copy of the encoder of the codec “demo” hears the stem as separated by “rough”, and beside it the "
            "mixture. With a bidirectional transformer behind it, it learns to answer with what the frozen encoder "
            "gives for the clean bass; the codec's own quantiser and decoder make it audible.",
        ),
        (
            {"context": "separated/rough", "start": "random", "codec": "dac_44khz"},
            "An encoder like that of the codec “dac_44khz”, but with random weights at the start, hears the mixture, "
            "and beside it the stem as separated by “rough”, and learns to answer with what the frozen encoder gives "
            "for the clean bass; the codec's own quantiser and decoder make it audible.",
        ),
        (
            {"encoder": "frozen", "bridge": {"kind": "transformer", "gives": "latents"}, "decode": "latents"},
            "The encoder of the codec “demo”, as it is, hears the mixture. A causal transformer behind it learns to "
            "answer with what the frozen encoder gives for the clean bass; the codec's own decoder makes it audible, "
            "unquantised.",
        ),
        (
            {"bridge": {"kind": "dense"}, "losses": {"softmax": 1.0}, "stem": "drums"},
            "A copy of the encoder of the codec “demo” hears the mixture. A dense layer behind it learns to name the "
            "tokens of the clean drums; the codec's own decoder makes them audible.",
        ),
        (
            {"bridge": {"kind": "dense", "codebooks": 4}, "losses": {"softmax": 1.0}, "decode": "latents"},
            "A copy of the encoder of the codec “demo” hears the mixture. A dense layer behind it learns to name the "
            "tokens of the clean bass in the first 4 codebooks; the codec's own decoder makes the encoder's answer "
            "audible, unquantised.",
        ),
        (
            {"target": "quantized", "target_codebooks": 4},
            "A copy of the encoder of the codec “demo” hears the mixture and learns to answer with what the frozen "
            "encoder gives for the clean bass, quantised with its first 4 codebooks; the codec's own quantiser and "
            "decoder make it audible.",
        ),
    ],
)
def test_descriptions(settings: dict[str, Any], text: str) -> None:
    assert describe(finetuning(**settings)) == text


@pytest.mark.parametrize(
    ("scope", "what"), [("song", "one song of the training set"), ("segment", "one excerpt of one training song")]
)
def test_what_is_learnt_by_heart_is_called_so(scope: str, what: str) -> None:
    text = describe(finetuning(data={"scope": scope}))
    assert text.endswith(
        f"make it audible. All that it hears is {what}, and the samples are of just that: they show what it has learnt "
        "by heart, not what it makes of other music."
    )
    assert "by heart" not in describe(finetuning())


def test_noise_is_told_with_its_level() -> None:
    config = finetuning(input="noisy", data={"noise_db": 17.5})
    assert "hears the clean bass in white noise, 17.5 dB below it and learns" in describe(config)
    assert input_words("noise", config) == "white noise" and input_words("target", config) == "the clean bass"
    assert input_words("noisy", {}) == "the clean stem in white noise"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "mixture → bass"),
        ({"input": "separated/rough", "context": "mixture"}, "separated/rough + mixture → bass"),
        ({"input": "target", "context": ["separated/a", "mixture"]}, "bass + separated/a + mixture → bass"),
        ({"input": "noise", "stem": "drums"}, "noise → drums"),
        ({"input": "noisy"}, "bass + noise → bass"),
        ({"input": "target"}, "bass → bass"),
    ],
)
def test_routes(settings: dict[str, Any], expected: str) -> None:
    assert route(finetuning(**settings)) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "latent MSE"),
        (CODES, "latent MSE + softmax cross-entropy"),
        ({**CODES, "losses": {"latent_mse": 100.0, "softmax": 1.0}}, "100 × latent MSE + softmax cross-entropy"),
        (
            {"losses": {"latent_l1": 1.0, "residual": 0.1, "adversarial": 0.01}, "residual": {"codebooks": 4}},
            "latent MSE + latent L1 + 0.1 × residual loss of 4 codebooks + 0.01 × adversarial",
        ),
        (
            {"losses": {"latent_mse": 3.0, "residual": 1.0}, "balance": True},
            "75\u00a0% latent MSE, 25\u00a0% residual loss of the gradient",
        ),
    ],
)
def test_losses_by_weight(settings: dict[str, Any], expected: str) -> None:
    assert loss_words(finetuning(**settings)) == expected


def test_shares_of_what_is_heard() -> None:
    shares = {"separated/a": 2.0, "mixture": 1.0, "target": 1.0}
    assert (
        shares_heard(finetuning(train_inputs=shares)).replace("\u00a0", " ")
        == "50 % separated/a, 25 % mixture, 25 % target"
    )
    assert shares_heard(finetuning()) == loss_words({}) == shares_heard({"train_inputs": 3}) == ""


def test_captions_of_what_is_heard_together() -> None:
    config = finetuning(input="separated/a", context="mixture")
    assert clip_caption("input", config) == "the stem as separated by “a”, as the model hears it"
    assert clip_caption("mixture", config) == "heard beside the input"
    assert clip_caption("mixture", finetuning(input="separated/a")) == ""
    other = finetuning(context="separated/a")
    assert clip_caption("context", other) == "the stem as separated by “a”, heard beside the input"
    several = finetuning(input="target", context=["separated/a", "mixture", "separated/b"])
    assert clip_caption("context_2", several) == "the stem as separated by “b”, heard beside the input"
    assert clip_caption("mixture", several) == "heard beside the input"
    assert "the stem as separated by “a”, the mixture and the stem as separated by “b”, and learns" in describe(several)
    for older in (None, "mixture"):  # as runs of an earlier version have it
        assert route({**finetuning(), "context": older}) == "mixture" + (f" + {older}" if older else "") + " → bass"


def test_every_codec_trainer_and_every_bridge_is_known() -> None:
    assert set(CODEC_TASKS) == set(RECIPES)
    assert set(BRIDGES) == {"dense", *TRANSFORMERS}


@pytest.mark.parametrize(
    ("task", "expected"),
    [("encodec", "audio → tokens → audio"), ("dac", "audio → tokens → audio"), ("separator", "mixture → stems")],
)
def test_trainings_from_scratch_have_a_route_and_a_sentence_of_their_own(task: str, expected: str) -> None:
    config = {"task": task, "stem": "all"}
    assert route(config) == expected
    assert describe(config)


def test_a_decoder_s_second_stage_is_no_training_of_a_codec() -> None:
    config = {
        "task": "encodec",
        "start": "demo",
        "parts": "decoder",
        "enhancer": "/runs/X7.bass-1a2b3c4d",
        "stem": "all",
    }
    assert trains_decoder(config) and not trains_codec(config)
    assert route(config) == "tokens of X7.bass-1a2b3c4d → audio"
    assert "the enhancer X7.bass-1a2b3c4d predicts" in describe(config)
    assert clip_caption("untouched_decoder", config) != ""
    assert trains_codec({"task": "encodec", "enhancer": None})


def test_a_bridge_that_gives_both_is_said_to_prefer_codes() -> None:
    bridge = {"kind": "rotary", "gives": "both", "codebooks": 2}
    text = describe(finetuning(bridge=bridge, losses={"latent_mse": 1.0, "softmax": 1.0}))
    assert "and to prefer some codes near them" in text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {
                "coarse": {"codebooks": 4},
                "fine": {"known": 4},
                "fine_seconds": 1,
                "input": "separated/rough",
                "given": [1, 4],
            },
            "A masked transformer learns to write the tokens of the clean bass, the first 4 codebooks of them, and a "
            "second one those behind. It is shown nothing else, and keeps the first codebook of its input; the codec's "
            "own decoder makes its tokens audible.",
        ),
        (
            {
                "stem": "drums",
                "input": "separated/rough",
                "context": "mixture",
                "coarse": {"condition": {"tokens": True, "latents": True}},
            },
            "A masked transformer learns to write the tokens of the clean drums, all codebooks of them. It is shown "
            "the tokens of the stem as separated by “rough” and the latents of the stem as separated by “rough” and "
            "the mixture before quantisation, and begins with nothing; the codec's own decoder makes its tokens "
            "audible.",
        ),
        (
            {
                "coarse": {"codebooks": 4},
                "fine": {"known": 4, "near": 4, "condition": {"latents": True}},
                "fine_seconds": 1,
                "settle": 1,
            },
            "A masked transformer learns to write the tokens of the clean bass, the first 4 codebooks of them, and a "
            "second one guesses the latents behind them, to which all other tokens are the nearest. It is shown the "
            "latents of the mixture before quantisation, and begins with nothing; the codec's own decoder makes its "
            "tokens audible.",
        ),
        (
            {
                "enhancer": "/runs/X9.bass-1a",
                "sampling": {"doubt": 0.3},
                "coarse": {"condition": {"spectrogram": True, "enhanced": True}},
            },
            "A masked transformer learns to write the tokens of the clean bass, all codebooks of them. It is shown a "
            "spectrogram of the mixture and what the enhancer X9.bass-1a makes of it, and begins with the tokens of "
            "the enhancer X9.bass-1a and writes anew the 30 % that it doubts most; the codec's own decoder makes its "
            "tokens audible.",
        ),
    ],
)
def test_token_models_are_described(settings: dict[str, Any], text: str) -> None:
    assert describe(to_dict(TokenTrainingConfig.model_validate({"id": "x", **settings}))) == text


def test_translations_are_described() -> None:
    config = TranslationConfig.model_validate({"id": "x", "input": "separated/rough", "model": {"codebooks": 2}})
    assert describe(to_dict(config)) == (
        "An encoder-decoder reads the tokens of the stem as separated by “rough” and learns to write those of the "
        "clean bass, the first 2 codebooks of them, one of each codebook at a time; the codec's own decoder makes them "
        "audible."
    )


def test_captions_of_what_token_models_make_on_the_way() -> None:
    config = to_dict(TokenTrainingConfig.model_validate({"id": "x"}))
    assert clip_caption("given_1", config) == "the first codebook kept as heard"
    assert clip_caption("given_4", config) == "the first 4 codebooks kept as heard"
    assert clip_caption("steps_12", config) == "in 12 steps"
    assert clip_caption("coarse", config) and clip_caption("c2f", config)
