"""Long grids in windows, and generation by one model after another."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from codec_ft.codecs.encodec import EncodecCodec
from token_models.conditioning.heard import Listener
from token_models.config import ConditionConfig, TokenModelConfig
from token_models.generate import Stage, fill, generate
from token_models.model import TokenModel
from token_models.sampling.config import SamplingConfig
from token_models.windows import fill_in_windows, window_starts

SMALL = {"dim": 16, "heads": 2, "layers": 1, "dropout": 0.0}


def stage(codec: EncodecCodec, window: int = 400, overlap: int = 0, inputs: int = 1, **options: object) -> Stage:
    torch.manual_seed(0)
    model = TokenModel(codec, TokenModelConfig.model_validate(SMALL | options), inputs).eval()
    return Stage(0, model, SamplingConfig(steps=3), window, overlap)


# Windows


@given(n_frames=st.integers(1, 200), window=st.integers(1, 50), overlap=st.integers(0, 49))
@settings(max_examples=60, deadline=None)
def test_windows_cover_everything_and_share_what_they_should(n_frames: int, window: int, overlap: int) -> None:
    if overlap >= window:
        with pytest.raises(ValueError, match=f"windows of {window} frames cannot overlap by {overlap}"):
            window_starts(n_frames, window, overlap)
        return
    starts = window_starts(n_frames, window, overlap)
    assert starts[0] == 0 and starts[-1] == max(0, n_frames - window) and starts == sorted(set(starts))
    assert all(after - before <= window - overlap for before, after in pairwise(starts))


def test_a_window_goes_on_from_what_the_one_before_has_written() -> None:
    """Each cell is one more than the one before it, which only works out if no window begins anew."""
    told: list[tuple[int, int]] = []

    def count_on(codes: Tensor, mask: Tensor, start: int) -> Tensor:
        told.append((start, int(mask.sum())))
        filled = codes.clone()
        for t in range(codes.shape[-1]):
            if mask[0, 0, t]:
                filled[0, 0, t] = filled[0, 0, t - 1] + 1 if t else 100
        return filled

    codes, mask = torch.zeros(1, 1, 23, dtype=torch.long), torch.ones(1, 1, 23, dtype=torch.bool)
    filled = fill_in_windows(count_on, codes, mask, window=10, overlap=4)
    assert filled[0, 0].tolist() == list(range(100, 123))
    # Of four shared frames two are known, and two are written anew by a window that sees what comes after them.
    assert told == [(0, 10), (6, 8), (12, 8), (13, 3)]
    assert not codes.any(), "the grid that was given stays"


def test_what_is_known_stays_and_windows_without_gaps_are_left_out() -> None:
    codes = torch.arange(40).view(1, 1, 40)
    mask = torch.zeros(1, 1, 40, dtype=torch.bool)
    mask[..., 20] = True
    seen = []

    def fill_all(part: Tensor, left: Tensor, start: int) -> Tensor:
        seen.append(start)
        return torch.full_like(part, -7)

    filled = fill_in_windows(fill_all, codes, mask, window=10, overlap=2)
    assert seen == [16]
    assert torch.equal(filled, codes.masked_fill(mask, -7))
    assert torch.equal(fill_in_windows(fill_all, codes, torch.zeros_like(mask), 10, 2), codes)


# Generation


def test_coarse_then_fine(tiny_codec: EncodecCodec) -> None:
    stages = {"coarse": stage(tiny_codec, codebooks=2), "fine": stage(tiny_codec, window=16, overlap=4, known=2)}
    found = generate(stages, (2, 50), None, [0, 1], hop_length=20)
    assert found["coarse"].shape == (2, 2, 50) and found["fine"].shape == (2, 3, 50)
    assert torch.equal(found["fine"][:, :2], found["coarse"]), "coarse codes are kept"
    assert int(found["fine"].min()) >= 0 and int(found["fine"].max()) < 16
    again = generate(stages, (2, 50), None, [0, 1], hop_length=20)
    assert torch.equal(found["fine"], again["fine"])
    alone = generate(stages, (1, 50), None, [1], hop_length=20)
    assert torch.equal(found["fine"][1:], alone["fine"]), "an item does not depend on the others"
    other = generate(stages, (1, 50), None, [2], hop_length=20)
    assert not torch.equal(other["fine"], alone["fine"])


@pytest.mark.parametrize("n_given", [1, 2])
def test_given_codebooks_are_kept(tiny_codec: EncodecCodec, n_given: int) -> None:
    stages = {"coarse": stage(tiny_codec, codebooks=2), "fine": stage(tiny_codec, known=2)}
    codes = torch.randint(16, (1, n_given, 30), generator=torch.Generator().manual_seed(0))
    found = generate(stages, (1, 30), None, [0], given=codes, hop_length=20)
    assert torch.equal(found["fine"][:, :n_given], codes)
    if n_given == 2:
        assert torch.equal(found["coarse"], codes), "nothing is left for the coarse model"


def test_each_window_hears_its_own_part(tiny_codec: EncodecCodec) -> None:
    condition = ConditionConfig(latents=True)
    one = stage(tiny_codec, window=10, overlap=0, condition=condition.model_dump())
    listener = Listener(tiny_codec, [condition])
    codes, mask = torch.zeros(1, 3, 20, dtype=torch.long), torch.ones(1, 3, 20, dtype=torch.bool)
    audio = 0.3 * torch.randn(1, 1, 400, generator=torch.Generator().manual_seed(0))
    latents = tiny_codec.encode(audio)
    other = torch.cat([latents[..., :10], -latents[..., 10:]], dim=-1)
    first, second = (fill(one, codes, mask, listener.hear(audio, latents=each), [0], 20) for each in (latents, other))
    assert torch.equal(first[..., :10], second[..., :10]) and not torch.equal(first[..., 10:], second[..., 10:])
    with pytest.raises(ValueError, match="conditioned on its input, but nothing is heard"):
        fill(one, codes, mask, None, [0], 20)
    for n_samples, form in ((380, "latents"), (500, "latents")):
        short = listener.hear(0.3 * torch.randn(1, 1, n_samples))
        with pytest.raises(
            ValueError, match=rf"the grid has 20 frames, but what is heard as {form} has {n_samples // 20}"
        ):
            fill(one, codes, mask, short, [0], 20)


@pytest.mark.parametrize("name", ["given", "draft"])
def test_codes_that_are_not_of_the_grid_are_refused(tiny_codec: EncodecCodec, name: str) -> None:
    stages = {"coarse": stage(tiny_codec, codebooks=2)}
    for wrong in (torch.zeros(1, 1, 29).long(), torch.zeros(2, 1, 30).long(), torch.zeros(1, 1, 30)):
        with pytest.raises(ValueError, match=rf"{name} must be codes \[1, K, 30\], got "):
            generate(stages, (1, 30), None, [0], hop_length=20, **{name: wrong})  # type: ignore[arg-type]


def test_steps_are_shared_by_codebooks_that_have_their_own(tiny_codec: EncodecCodec) -> None:
    """Two codebooks asked 1, 2 and 7 times in all, each as often as the other."""
    by_levels = replace(stage(tiny_codec, codebooks=3, known=1), sampling=SamplingConfig(method="levels"))
    assert [by_levels.asked(steps).sampling.steps for steps in (1, 2, 7)] == [1, 1, 4]
    assert stage(tiny_codec).asked(7).sampling.steps == 7


def test_a_stage_is_asked_as_it_was_set_unless_told_otherwise(tiny_codec: EncodecCodec) -> None:
    set_up = stage(tiny_codec)
    assert set_up.asked() == set_up
    assert set_up.asked(temperature=0.25).sampling == set_up.sampling.model_copy(update={"temperature": 0.25})
    with pytest.raises(ValueError, match="temperature must be zero or above, and finite; got -1"):
        set_up.asked(temperature=-1)
