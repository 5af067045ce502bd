"""Writing codes: with and without the cache, alone and in a batch, from known codes on, and in windows."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from codec_ft.codecs.encodec import EncodecCodec
from token_models.sampling.noise import item_generators
from token_models.translation.config import TranslationModelConfig, WritingConfig
from token_models.translation.generate import translate, write
from token_models.translation.model import TranslationModel
from token_models.translation.patterns import steps_of

SMALL = {"dim": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0}
GREEDY, DRAWN = WritingConfig(), WritingConfig(temperature=1.0)


def make_model(codec: EncodecCodec, **options: object) -> TranslationModel:
    torch.manual_seed(0)
    return TranslationModel(codec, TranslationModelConfig.model_validate(SMALL | options)).eval()


def random_codes(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(16, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def without_cache(model: TranslationModel, heard: Tensor, codes: Tensor, mask: Tensor) -> Tensor:
    """The likeliest codes, the whole model being asked again in each step."""
    codes = torch.where(mask, torch.zeros_like(codes), codes)
    steps = steps_of(model.pattern, *codes.shape[1:])
    for step in range(int(steps.max()) + 1):
        codes = torch.where(mask & (steps == step), model(heard, codes).argmax(dim=-1), codes)
    return codes


@pytest.mark.parametrize("pattern", ["flattened", "delay"])
@pytest.mark.parametrize("aligned", [False, True])
def test_the_cache_changes_nothing(tiny_codec: EncodecCodec, pattern: str, aligned: bool) -> None:
    model = make_model(tiny_codec, pattern=pattern, aligned=aligned)
    heard, codes = random_codes(2, 3, 7), random_codes(2, 3, 7, seed=1)
    everything = torch.ones_like(codes, dtype=torch.bool)
    behind = everything.clone()
    behind[..., :3] = False
    scattered = torch.rand(codes.shape, generator=torch.Generator().manual_seed(2)) < 0.5
    for mask in (everything, behind, scattered):
        before = codes.clone()
        written = write(model, heard, codes, mask, item_generators([0, 1]), GREEDY)
        assert torch.equal(written, without_cache(model, heard, codes, mask))
        assert torch.equal(written[~mask], codes[~mask]) and torch.equal(codes, before)
    assert len(written.unique()) > 3, "or it would prove little"


@pytest.mark.parametrize("pattern", ["flattened", "delay"])
@pytest.mark.parametrize("writing", [GREEDY, DRAWN, WritingConfig(temperature=0.7, top_k=4)])
def test_an_item_of_a_batch_is_as_alone(tiny_codec: EncodecCodec, pattern: str, writing: WritingConfig) -> None:
    model = make_model(tiny_codec, pattern=pattern, codebooks=2)
    heard = random_codes(3, 3, 13)
    together = translate(model, heard, [5, 6, 7], writing, window=6, overlap=2)
    assert together.shape == (3, 2, 13) and 0 <= int(together.min()) <= int(together.max()) < 16
    for i in range(3):
        alone = translate(model, heard[i : i + 1], [5 + i], writing, window=6, overlap=2)
        assert torch.equal(alone, together[i : i + 1])
    assert torch.equal(translate(model, heard, [5, 6, 8], writing, 6, 2)[2], together[2]) == (writing == GREEDY)


def test_one_code_to_draw_from_is_the_likeliest(tiny_codec: EncodecCodec) -> None:
    model, heard = make_model(tiny_codec), random_codes(2, 3, 8)
    greedy = translate(model, heard, [0, 1], GREEDY, 8, 0)
    assert torch.equal(translate(model, heard, [3, 4], WritingConfig(temperature=2.0, top_k=1), 8, 0), greedy)


def test_codes_are_drawn_as_often_as_they_are_likely(tiny_codec: EncodecCodec) -> None:
    model, heard = make_model(tiny_codec), random_codes(1, 3, 1)
    with torch.no_grad():
        likely = model(heard, random_codes(1, 3, 1))[0, 0, 0].softmax(dim=-1)
    draws = translate(model, heard.expand(4000, -1, -1), range(4000), DRAWN, 1, 0)[:, 0, 0]
    counts = Counter(draws.tolist())
    for code, share in enumerate(likely.tolist()):
        assert abs(counts[code] / 4000 - share) < 4 * (share * (1 - share) / 4000) ** 0.5


@pytest.mark.parametrize("pattern", ["flattened", "delay"])
def test_windows_go_on_from_what_is_written_and_hear_their_own_frames(tiny_codec, pattern: str) -> None:
    model, heard = make_model(tiny_codec, pattern=pattern, codebooks=2), random_codes(1, 3, 13)
    found = translate(model, heard, [0], GREEDY, window=6, overlap=2)
    # Windows begin at 0 and 4, and the last one ends with the grid.
    by_hand, done = torch.zeros(1, 2, 13, dtype=torch.long), 0
    for start in (0, 4, 7):
        part = slice(start, start + 6)
        mask = torch.ones(1, 2, 6, dtype=torch.bool)
        mask[..., : done - start] = False
        by_hand[..., part] = without_cache(model, heard[..., part], by_hand[..., part], mask)
        done = start + 5  # of the two frames that are shared, the next window writes the second one anew
    assert torch.equal(found, by_hand)
    in_one = translate(model, heard, [0], GREEDY, window=13, overlap=2)
    assert torch.equal(in_one, without_cache(model, heard, by_hand, torch.ones_like(by_hand, dtype=torch.bool)))


def test_with_nothing_to_write_the_grid_comes_back(tiny_codec: EncodecCodec) -> None:
    model, codes = make_model(tiny_codec), random_codes(1, 3, 5)
    model.encode = model.decode = None  # type: ignore[method-assign,assignment]
    nothing = torch.zeros_like(codes, dtype=torch.bool)
    assert torch.equal(write(model, codes, codes, nothing, item_generators([0]), GREEDY), codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": random_codes(1, 3, 5).float()}, "codes must be whole numbers"),
        ({"codes": random_codes(1, 3, 5) + 16}, r"known codes must lie in 0\.\.15"),
        ({"heard": random_codes(1, 3, 5) - 16}, r"heard codes must lie in 0\.\.15"),
        ({"heard": random_codes(1, 3, 4)}, r"got \[1, 3, 4\] and \[1, 3, 5\]"),
        ({"mask": torch.ones(1, 3, 4, dtype=torch.bool)}, "the mask of codes"),
        ({"generators": []}, "1 items need a generator each, got 0"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_codec, changes: dict[str, object], message: str) -> None:
    mask = torch.zeros(1, 3, 5, dtype=torch.bool)
    mask[..., 2:] = True
    right: dict[str, object] = {"heard": random_codes(1, 3, 5), "codes": random_codes(1, 3, 5), "mask": mask}
    words = {**right, "generators": item_generators([0]), "writing": GREEDY, **changes}
    with pytest.raises(ValueError, match=message):
        write(make_model(tiny_codec), **words)  # type: ignore[arg-type]


def test_no_frames_and_windows_that_do_not_fit_are_refused(tiny_codec: EncodecCodec) -> None:
    model = make_model(tiny_codec)
    with pytest.raises(ValueError, match="with B, T > 0"):
        translate(model, random_codes(1, 3, 0), [0], GREEDY, 8, 2)
    with pytest.raises(ValueError, match="windows of 8 frames cannot overlap by 8"):
        translate(model, random_codes(1, 3, 20), [0], GREEDY, 8, 8)
    with pytest.raises(ValueError, match="2 items need a generator each, got 1"):
        translate(model, random_codes(2, 3, 5), [0], GREEDY, 8, 2)
