"""The encoder-decoder over codes: what a logit depends on, what learns, and what is refused."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.errors import UserError
from token_models.translation.config import TranslationModelConfig
from token_models.translation.model import TranslationModel
from token_models.translation.patterns import NOTHING, steps_of

SMALL = {"dim": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0}


def make_model(codec: EncodecCodec, inputs: int = 1, **options: object) -> TranslationModel:
    torch.manual_seed(0)
    return TranslationModel(codec, TranslationModelConfig.model_validate(SMALL | options), inputs).eval()


def random_codes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(16, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("pattern", ["flattened", "delay"])
@pytest.mark.parametrize("aligned", [False, True])
@torch.no_grad()
def test_a_code_depends_on_those_before_it_and_on_no_other(tiny_codec, pattern: str, aligned: bool) -> None:
    model = make_model(tiny_codec, pattern=pattern, aligned=aligned)
    heard, codes = random_codes(1, 3, 6), random_codes(1, 3, 6, seed=1)
    steps, logits = steps_of(model.pattern, 3, 6), model(heard, codes)
    assert logits.shape == (1, 3, 6, 16) and logits.dtype == torch.float32
    for k, t in [(0, 0), (2, 1), (1, 3), (0, 5)]:
        other = codes.clone()
        other[0, k, t] = (other[0, k, t] + 1) % 16
        changed = (model(heard, other) - logits).abs().amax(dim=-1)[0] > 1e-6
        assert torch.equal(changed, steps > steps[k, t])


@pytest.mark.parametrize("aligned", [False, True])
@torch.no_grad()
def test_every_code_depends_on_all_that_is_heard(tiny_codec: EncodecCodec, aligned: bool) -> None:
    model = make_model(tiny_codec, inputs=2, input_codebooks=2, codebooks=1, aligned=aligned)
    heard, codes = random_codes(1, 4, 6), random_codes(1, 1, 6, seed=1)
    logits = model(heard, codes)
    for k, t in [(0, 0), (3, 0), (1, 5), (2, 3)]:
        other = heard.clone()
        other[0, k, t] = (other[0, k, t] + 1) % 16
        assert ((model(other, codes) - logits).abs().amax(dim=-1) > 1e-6).all()


@torch.no_grad()
def test_logits_are_the_classifiers_of_the_codebooks_in_their_steps(tiny_codec: EncodecCodec) -> None:
    """A delayed grid of three frames in five steps: what the decoder reads, and which step each code comes from."""
    model = make_model(tiny_codec)
    heard, codes = random_codes(1, 3, 3), random_codes(1, 3, 3, seed=1)
    (a, b, c), (d, e, f), (g, h, _) = codes[0].tolist()
    n = NOTHING
    # What the last step writes, the last code of the last codebook, is read by none.
    before = torch.tensor([[[n, a, b, c, n], [n, n, d, e, f], [n, n, n, g, h]]])
    features = model.decode(before, model.encode(heard))
    logits = model(heard, codes)
    for k in range(3):
        for t in range(3):
            by_hand = model.classifier[k] @ features[0, t + k] + model.bias[k]
            torch.testing.assert_close(logits[0, k, t], by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("pattern", "frames"), [("delay", [0, 1, 2, 2]), ("flattened", [0, 0, 1, 1, 2, 2])])
@torch.no_grad()
def test_aligned_steps_read_the_state_of_their_frame(tiny_codec: EncodecCodec, pattern: str, frames: list[int]) -> None:
    model = make_model(tiny_codec, pattern=pattern, aligned=True, codebooks=2)
    shown: list[Tensor] = []
    model.t5.decoder.register_forward_pre_hook(
        lambda _, __, words: shown.append(words["inputs_embeds"]), with_kwargs=True
    )
    before = random_codes(1, 2, len(frames))
    states = model.encode(random_codes(1, 3, 3))
    model.decode(before, states)
    model.decode(before[..., 1:3], states, first=1)
    plain = model.written(before, torch.zeros_like(before, dtype=torch.bool))
    torch.testing.assert_close(shown[0], plain + states[:, frames])
    torch.testing.assert_close(shown[1], (plain + states[:, frames])[:, 1:3])


def test_shown_its_frame_a_model_learns_to_copy_in_a_moment(tiny_codec: EncodecCodec) -> None:
    sizes = {"codebooks": 1, "input_codebooks": 1, "dim": 32, "decoder_layers": 1, "aligned": True}
    model = make_model(tiny_codec, **sizes).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(50):
        codes = random_codes(16, 1, 6, seed=step)
        loss = F.cross_entropy(model(codes, codes).flatten(0, 2), codes.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    unseen = random_codes(16, 1, 6, seed=1000)
    assert (model(unseen, unseen).argmax(dim=-1) == unseen).float().mean() > 0.95


@torch.no_grad()
def test_items_do_not_see_each_other(tiny_codec: EncodecCodec) -> None:
    model = make_model(tiny_codec)
    heard, codes = random_codes(3, 3, 5), random_codes(3, 3, 5, seed=1)
    together = model(heard, codes)
    for i in range(3):
        torch.testing.assert_close(model(heard[i : i + 1], codes[i : i + 1]), together[i : i + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("embedding", ["codec", "learned"])
@pytest.mark.parametrize("pattern", ["flattened", "delay"])
def test_every_weight_learns(tiny_codec: EncodecCodec, embedding: str, pattern: str) -> None:
    model = make_model(tiny_codec, inputs=2, embedding=embedding, pattern=pattern).train()
    model(random_codes(4, 6, 8), random_codes(4, 3, 8, seed=1)).logsumexp(dim=-1).sum().backward()
    # Distributed training wants a gradient in all of them.
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
    # What is heard is always known, so no vector for what is unknown is used.
    idle = [name for name, weight in model.named_parameters() if not weight.grad.abs().sum()]  # type: ignore[union-attr]
    assert idle == (["heard.masked"] if embedding == "learned" else [])


def test_the_codec_s_vectors_are_not_saved(tiny_codec: EncodecCodec) -> None:
    assert not [name for name in make_model(tiny_codec).state_dict() if "tables" in name]
    assert "written.tables" in make_model(tiny_codec, embedding="learned").state_dict()


@pytest.mark.parametrize(
    ("heard", "codes"), [((2, 3, 5), (2, 3, 5)), ((2, 2, 5), (2, 2, 5)), ((1, 3, 5), (2, 2, 5)), ((2, 3, 4), (2, 2, 5))]
)
def test_grids_of_other_shapes_are_refused(tiny_codec, heard: tuple[int, ...], codes: tuple[int, ...]) -> None:
    model = make_model(tiny_codec, codebooks=2)
    with pytest.raises(ValueError) as refusal:
        model(random_codes(*heard), random_codes(*codes))
    assert str(refusal.value) == (
        f"expected what is heard [B, 3, T] and codes [B, 2, T] with B, T > 0, got {list(heard)} and {list(codes)}"
    )


def test_no_frames_are_refused(tiny_codec: EncodecCodec) -> None:
    with pytest.raises(ValueError, match=r"with B, T > 0, got \[1, 3, 0\]"):
        make_model(tiny_codec)(random_codes(1, 3, 0), random_codes(1, 3, 0))


def test_a_model_that_does_not_fit_is_refused(tiny_codec: EncodecCodec) -> None:
    with pytest.raises(UserError, match=r"model\.codebooks=4: .* has 3\. Take as many or fewer"):
        make_model(tiny_codec, codebooks=4)
    with pytest.raises(UserError, match=r"model\.input_codebooks=9: .* has 3"):
        make_model(tiny_codec, input_codebooks=9)
    with pytest.raises(ValidationError, match="Input should be 'flattened' or 'delay'"):
        TranslationModelConfig.model_validate({"pattern": "spiral"})
    with pytest.raises(ValidationError, match="dim=10 must be a multiple of heads=4"):
        TranslationModelConfig(dim=10, heads=4)
