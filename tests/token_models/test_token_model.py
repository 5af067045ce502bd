"""The transformer over the code grid: what it looks at, what it gives, and what it refuses."""

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from small_enhancer import write_enhancer
from torch import Tensor

from codec_ft.codecs import long
from codec_ft.codecs.encodec import EncodecCodec
from codec_ft.codecs.long import encode_each
from codec_ft.errors import UserError
from codec_ft.finetune.enhancer import side_by_side
from codec_ft.finetune.load import load_enhancer
from token_models.conditioning.heard import Heard, Listener
from token_models.config import ConditionConfig, TokenModelConfig
from token_models.embedding import CodeEmbedding, LearnedEmbedding, codec_tables
from token_models.generate import Stage, fill
from token_models.model import TokenModel, check_fits
from token_models.sampling.config import SamplingConfig

SMALL = {"dim": 16, "heads": 2, "layers": 2, "dropout": 0.0}
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]


def make_model(codec: EncodecCodec, inputs: int = 1, **options: object) -> TokenModel:
    torch.manual_seed(0)
    return TokenModel(codec, TokenModelConfig.model_validate(SMALL | options), inputs).eval()


def random_codes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(16, shape, generator=torch.Generator().manual_seed(seed))


def random_mask(*shape: int, known: int = 0) -> Tensor:
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) < 0.5
    mask[:, :known] = False
    return mask


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The embedding


def test_an_embedding_is_its_codes_vectors_side_by_side_projected() -> None:
    tables = torch.arange(2 * 3 * 2, dtype=torch.float32).view(2, 3, 2)
    embedding = CodeEmbedding(5, tables)
    codes = torch.tensor([[[0, 2], [1, 1]]])
    mask = torch.tensor([[[False, False], [False, True]]])
    by_hand = torch.stack(
        [
            torch.cat([tables[0, 0], tables[1, 1]]),
            torch.cat([tables[0, 2], embedding.masked[1]]),
        ]
    )
    torch.testing.assert_close(embedding(codes, mask)[0], embedding.project(by_hand))
    assert "tables" not in embedding.state_dict()


def test_learnt_vectors_are_trained_and_saved() -> None:
    embedding = LearnedEmbedding(5, 2, 3, 4)
    embedding(torch.zeros(1, 2, 6, dtype=torch.long), torch.zeros(1, 2, 6, dtype=torch.bool)).sum().backward()
    assert embedding.tables.grad is not None and embedding.tables.grad[:, 0].abs().sum() > 0
    assert embedding.state_dict()["tables"].shape == (2, 3, 4)


def test_tables_of_unit_size_differ_from_the_codec_s_by_one_factor_each(tiny_codec: EncodecCodec) -> None:
    plain, unit = codec_tables(tiny_codec, 3, unit=False), codec_tables(tiny_codec, 3, unit=True)
    assert torch.equal(plain[1], tiny_codec.table(1))
    torch.testing.assert_close(unit.square().mean(dim=(1, 2)), torch.ones(3))
    ratio = (plain / unit).flatten(1)
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-4, atol=0)


# The model


@pytest.mark.parametrize("positions", ["rotary", "t5"])
@torch.no_grad()
def test_logits_of_masked_cells_in_their_order(tiny_codec: EncodecCodec, positions: str) -> None:
    model = make_model(tiny_codec, positions=positions, known=1)
    codes, mask = random_codes(2, 3, 7), random_mask(2, 3, 7, known=1)
    logits = model(codes, mask)
    assert logits.shape == (int(mask.sum()), 16) and logits.dtype == torch.float32
    features = model.features(codes, mask)
    for row, (b, k, t) in enumerate(mask.nonzero().tolist()):
        by_hand = features[b, t] @ model.classifier[k - 1].t() + model.bias[k - 1]
        torch.testing.assert_close(logits[row], by_hand, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", ["rotary", "t5"])
@torch.no_grad()
def test_it_sees_what_is_known_on_both_sides_and_nothing_under_the_mask(tiny_codec, positions: str) -> None:
    model = make_model(tiny_codec, positions=positions)
    codes, mask = random_codes(1, 3, 9), torch.zeros(1, 3, 9, dtype=torch.bool)
    mask[0, :, 4] = True
    logits = model(codes, mask)
    assert torch.equal(model(codes.masked_fill(mask, 3), mask), logits)
    assert torch.equal(model(codes.masked_fill(mask, -1), mask), logits), "not even a code that there is not"
    for place in (0, 8):
        other = codes.clone()
        other[0, 0, place] = (other[0, 0, place] + 1) % 16
        assert not torch.allclose(model(other, mask), logits, atol=1e-5)


@torch.no_grad()
def test_items_do_not_see_each_other(tiny_codec: EncodecCodec) -> None:
    model = make_model(tiny_codec)
    codes, mask = random_codes(3, 3, 5), random_mask(3, 3, 5)
    together = model(codes, mask).split(mask.flatten(1).sum(dim=1).tolist())
    for i, logits in enumerate(together):
        torch.testing.assert_close(model(codes[i : i + 1], mask[i : i + 1]), logits, rtol=1e-4, atol=1e-5)


def test_every_weight_learns(tiny_codec: EncodecCodec) -> None:
    condition = {"tokens": True, "latents": True, "spectrogram": True, "fft_size": 64}
    for join in ("add", "cross"):
        model = make_model(tiny_codec, inputs=2, known=1, condition={**condition, "join": join, "drop": 0.5}).train()
        listener = Listener(tiny_codec, [ConditionConfig.model_validate(condition)])
        heard = listener.hear(noise(4, 1, 400), noise(4, 1, 400, seed=1))
        mask = random_mask(4, 3, 20, known=1)
        model(random_codes(4, 3, 20), mask, heard).logsumexp(dim=-1).sum().backward()
        idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
        # Dropped and masked cells are there; the mask vector of a codebook that is always known is not.
        assert idle == []


def test_every_weight_has_a_gradient_whatever_is_masked(tiny_codec: EncodecCodec) -> None:
    """Several processes wait for those of all weights, and one of them may mask nothing that a weight serves."""
    condition = {"tokens": True, "enhanced": True, "drop": 0.0}
    config = TokenModelConfig.model_validate({**SMALL, "near": 1, "condition": condition})
    model = TokenModel(tiny_codec, config, preferring=1).train()
    heard = Heard(
        codes=random_codes(1, 3, 5), enhanced=noise(1, tiny_codec.latent_dim, 5), preferred=noise(1, 1, 16, 5)
    )
    mask = torch.zeros(1, 3, 5, dtype=torch.bool)
    mask[0, 2, 3] = True
    model(random_codes(1, 3, 5), mask, heard).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=ON_GPU)])
@pytest.mark.parametrize("join", ["add", "cross"])
def test_a_model_in_half_precision_learns_and_writes(tiny_codec: EncodecCodec, device: str, join: str) -> None:
    """As under mixed precision on a GPU: logits and loss are single, all weights have gradients, codes are codes."""
    condition = {"tokens": True, "latents": True, "join": join, "drop": 0.0}
    codec = copy.deepcopy(tiny_codec).to(device)
    model = make_model(codec, known=1, near=2, condition=condition).train().to(device)
    config = ConditionConfig.model_validate(condition)
    codes, mask = random_codes(2, 3, 20).to(device), random_mask(2, 3, 20, known=1).to(device)
    with torch.autocast(device, torch.bfloat16):
        heard = Listener(codec, [config]).hear(noise(2, 1, 400).to(device))
        logits = model(codes, mask, heard)
        loss = torch.nn.functional.cross_entropy(logits, codes[mask])
    assert logits.dtype == loss.dtype == torch.float32 and bool(torch.isfinite(loss))
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    found = fill(Stage(0, model.eval(), SamplingConfig(steps=3), 8, 2), codes, mask, heard, [0, 1], 20)
    assert found.device == codes.device and torch.equal(found[~mask], codes[~mask])
    assert int(found.min()) >= 0 and int(found.max()) < 16


def test_a_known_codebook_s_mask_vector_is_never_used(tiny_codec: EncodecCodec) -> None:
    model = make_model(tiny_codec, known=2)
    model(random_codes(1, 3, 6), random_mask(1, 3, 6, known=2)).sum().backward()
    assert model.embedding.masked.grad is not None and not model.embedding.masked.grad[:2].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda codes, mask: (codes[:, :2], mask[:, :2]), r"expected codes \[B, 3, T\] with B, T > 0, got \[2, 2, 5\]"),
        (lambda codes, mask: (codes[..., :0], mask[..., :0]), "with B, T > 0"),
        (lambda codes, mask: (codes, mask[..., :3]), r"expected a mask of booleans \[2, 3, 5\], got .* \[2, 3, 3\]"),
        (lambda codes, mask: (codes, mask.long()), "got torch.int64"),
        (
            lambda codes, mask: (codes.float(), mask),
            r"expected codes as whole numbers \(torch.int64\), got torch.float32",
        ),
        (lambda codes, mask: (codes + 16, mask), r"known codes must lie in 0\.\.15, got 16"),
        (lambda codes, mask: (codes - 16, mask), r"known codes must lie in 0\.\.15, got -16"),
        (lambda codes, mask: (codes, ~mask), "the first 1 codebooks are always known to this model"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(tiny_codec: EncodecCodec, change, message: str) -> None:
    model = make_model(tiny_codec, known=1)
    mask = torch.zeros(2, 3, 5, dtype=torch.bool)
    mask[:, 1:, ::2] = True
    with pytest.raises(ValueError, match=message):
        check_fits(model, *change(torch.zeros(2, 3, 5, dtype=torch.long), mask))


def test_a_model_that_does_not_fit_the_codec_is_refused(tiny_codec: EncodecCodec) -> None:
    with pytest.raises(UserError, match=r"codebooks=4: .* has 3\. Take as many or fewer"):
        make_model(tiny_codec, codebooks=4)
    with pytest.raises(UserError, match=r"known=3: .* has 3 codebooks, so nothing would be left"):
        make_model(tiny_codec, known=3)
    with pytest.raises(ValueError, match="dim=10 must be a multiple of heads=4"):
        TokenModelConfig(dim=10, heads=4)
    with pytest.raises(ValueError, match="known=2 of codebooks=2 leaves nothing to predict"):
        TokenModelConfig(codebooks=2, known=2)


# What is heard


@pytest.mark.parametrize("form", ["tokens", "latents", "spectrogram"])
@pytest.mark.parametrize("join", ["add", "cross"])
@torch.no_grad()
def test_what_is_heard_counts_in_each_form(tiny_codec: EncodecCodec, form: str, join: str) -> None:
    config = ConditionConfig.model_validate({form: True, "join": join, "fft_size": 64})
    model, listener = make_model(tiny_codec, condition=config.model_dump()), Listener(tiny_codec, [config])
    codes, mask = random_codes(1, 3, 20), random_mask(1, 3, 20)
    first, second = (model(codes, mask, listener.hear(noise(1, 1, 400, seed=seed))) for seed in (1, 2))
    assert not torch.allclose(first, second, atol=1e-4)
    with pytest.raises(ValueError, match="what the model hears is missing"):
        model(codes, mask)
    with pytest.raises(ValueError, match="of its input, which are not given"):
        model(codes, mask, Heard())
    with pytest.raises(ValueError, match="the model hears nothing"):
        make_model(tiny_codec)(codes, mask, Heard())


@torch.no_grad()
def test_of_all_that_is_heard_a_model_reads_its_own_part(tiny_codec: EncodecCodec) -> None:
    """One listener hears for several models."""
    forms = [ConditionConfig.model_validate({form: True, "fft_size": 64}) for form in ("tokens", "latents")]
    listener, audio = Listener(tiny_codec, [*forms, ConditionConfig()]), noise(1, 1, 400)
    heard = listener.hear(audio)
    assert heard.codes is not None and heard.latents is not None and heard.audio is None
    for config in forms:
        model, alone = make_model(tiny_codec, condition=config.model_dump()), Listener(tiny_codec, [config]).hear(audio)
        assert model.condition is not None
        together, by_itself = model.condition(heard), model.condition(alone)
        assert torch.equal(together.features, by_itself.features) and torch.equal(together.start, by_itself.start)


@torch.no_grad()
def test_guidance_s_nothing_is_what_dropped_items_get(tiny_codec: EncodecCodec) -> None:
    config = ConditionConfig(latents=True, drop=0.5)
    model = make_model(tiny_codec, condition=config.model_dump())
    assert model.condition is not None
    assert model.condition.nothing is not None
    model.condition.nothing.add_(1.0)
    heard = Listener(tiny_codec, [config]).hear(noise(64, 1, 40))
    kept = model.condition(heard).features
    torch.manual_seed(3)
    features = model.condition.train()(heard).features
    nothing = model.condition.without(64, 2).features
    gone = (features == nothing).flatten(1).all(dim=1)
    assert 16 <= int(gone.sum()) <= 48
    torch.testing.assert_close(features[~gone], kept[~gone])


@torch.no_grad()
def test_frames_of_what_is_heard_are_those_of_its_forms(tiny_codec: EncodecCodec) -> None:
    heard = Heard(random_codes(1, 3, 20), noise(1, 8, 20), noise(1, 1, 400))
    part = heard.frames(5, 9, 20)
    assert part.codes is not None and part.latents is not None and part.audio is not None and part.enhanced is None
    assert torch.equal(part.codes, heard.codes[..., 5:9]) and torch.equal(part.latents, heard.latents[..., 5:9])  # type: ignore[index]
    assert torch.equal(part.audio, heard.audio[..., 100:180])  # type: ignore[index]


@pytest.mark.parametrize("context", [[], ["mixture"]])
def test_an_enhancer_goes_on_from_the_frozen_encoder(
    tiny_codec: EncodecCodec, tiny_codec_folder: Path, tmp_path: Path, context: list[str]
) -> None:
    """What it gives is the same from audio and from latents; one with an encoder of its own needs the audio."""
    bridge = {"kind": "rotary", "gives": "latents", "dim": 16, "heads": 2, "layers": 1}
    write_enhancer(tmp_path / "frozen", tiny_codec_folder, encoder="frozen", bridge=bridge, context=context)
    enhancer = load_enhancer(tmp_path / "frozen")
    listener = Listener(tiny_codec, [ConditionConfig(enhanced=True)], enhancer)
    assert listener.reads_latents and listener.reads_context and not listener.reads_audio
    audio, beside = noise(2, 1, 400), noise(2, 1, 400, seed=1) if context else None
    heard = listener.hear(audio, beside)
    assert heard.enhanced is not None and heard.latents is None
    torch.testing.assert_close(heard.enhanced, enhancer.latents(audio, beside))
    latents = encode_each(tiny_codec, side_by_side(audio, beside))
    stored = listener.hear(audio[..., :0], None, latents).enhanced
    torch.testing.assert_close(stored, heard.enhanced)
    with pytest.raises(ValueError, match="cannot go on from latents"):
        enhancer.latents(audio, beside, torch.cat([latents, latents], dim=1))

    write_enhancer(tmp_path / "warm", tiny_codec_folder)
    warm = Listener(tiny_codec, [ConditionConfig(enhanced=True)], load_enhancer(tmp_path / "warm"))
    assert warm.reads_audio and not warm.reads_latents
    torch.testing.assert_close(warm.hear(audio).enhanced, load_enhancer(tmp_path / "warm").latents(audio))


@pytest.mark.parametrize("context", [[], ["mixture"]])
@torch.no_grad()
def test_an_enhancer_hears_long_audio_in_chunks(
    tiny_codec_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, context: list[str]
) -> None:
    """With an encoder of its own, of one input or several, as in one piece."""
    write_enhancer(tmp_path / "warm", tiny_codec_folder, context=context)
    enhancer = load_enhancer(tmp_path / "warm")
    audio, beside = noise(1, 1, 12010), noise(1, 1, 12010, seed=1) if context else None
    wanted = enhancer.latents(audio, beside)
    whole = enhancer.enhancer.warm_encoder
    monkeypatch.setattr(whole, "forward", lambda _: pytest.fail("heard in one piece"))
    monkeypatch.setattr(long, "LONG_SECONDS", 1.0)
    torch.testing.assert_close(enhancer.latents(audio, beside), wanted, rtol=1e-4, atol=1e-5)


# Configuration


def test_whatever_is_switched_on_is_a_form_in_which_the_input_is_shown() -> None:
    class Wider(ConditionConfig):
        envelope: bool = False

    assert not Wider().anything and Wider().forms == []
    assert Wider(envelope=True).anything and Wider(tokens=True, envelope=True).forms == ["tokens", "envelope"]


def test_heads_are_wide_enough_for_rotary_positions() -> None:
    with pytest.raises(ValidationError, match="heads=8 leaves 2 of dim=16 channels to a head, and rotary positions ne"):
        TokenModelConfig(dim=16, heads=8)
    assert TokenModelConfig(dim=16, heads=8, positions="t5").heads == 8
    assert TokenModelConfig(dim=16, heads=4).heads == 4


def test_a_spectrogram_hears_every_sample(tiny_codec: EncodecCodec) -> None:
    make_model(tiny_codec, condition={"spectrogram": True, "fft_size": 20})
    with pytest.raises(UserError, match=r"condition\.fft_size=19: a frame of the codec has 20 samples"):
        make_model(tiny_codec, condition={"spectrogram": True, "fft_size": 19})
