"""The entry point: all methods against a plain sampler, one by one, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_sampler import plain_sample
from pydantic import ValidationError
from torch import Tensor
from toy_predictors import Recorder, by_neighbours, by_table, oracle, random_grid

from codec_ft.config import config_hash, load_config
from codec_ft.errors import UserError
from token_models.sampling.config import SamplingConfig
from token_models.sampling.sample import sample

METHODS = ("maskgit", "halton", "levels")
N_CODES = 9
FILTERED = {"temperature": 1.3, "top_k": 7, "top_p": 0.9, "typical": 0.8}


def configured(**options: Any) -> SamplingConfig:
    return SamplingConfig.model_validate(options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options",
    [
        {"steps": 1},
        {"steps": 6},
        {"steps": 40, "schedule": "linear", "mask_temperature": 1.0},
        {"steps": 5, "schedule": "square", "temperature": 0, "mask_temperature": 0},
        {"steps": 4, **FILTERED},
        {"steps": 4, "corrector": {"passes": 2, "share": 0.3, "groups": 3, "steps": 2}},
    ],
    ids=["one", "few", "many", "greedy", "filtered", "corrected"],
)
def test_the_same_codes_as_of_a_plain_sampler(method: str, options: dict) -> None:
    config = configured(method=method, **options)
    for seed in range(3):
        codes, mask = random_grid(4, 3, 9, n_codes=N_CODES, share=0.7, seed=seed)
        mask[1] = False
        codes[1] = 5
        predict, seeds = by_neighbours(N_CODES, seed), [seed, 1, 2, 3]
        found = sample(predict, codes, mask, config, seeds)
        assert torch.equal(found, plain_sample(predict, codes, mask, config, seeds))


def test_steps_for_each_level_as_of_a_plain_sampler() -> None:
    config = configured(method="levels", steps=[5, 2, 1])
    codes, mask = random_grid(2, 3, 9, n_codes=N_CODES, share=0.9)
    predict = Recorder(by_neighbours(N_CODES))
    found = sample(predict, codes, mask, config, [4, 5])
    assert predict.n_calls == 8
    assert torch.equal(found, plain_sample(predict.predict, codes, mask, config, [4, 5]))


@settings(max_examples=60, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 7)),
    share=st.floats(0, 1),
    steps=st.integers(1, 12),
    temperature=st.sampled_from([0.0, 0.7, 1.0]),
    passes=st.integers(0, 2),
    scale=st.sampled_from([1.0, 2.5]),
    seed=st.integers(0, 10**6),
)
def test_everything_masked_is_filled_nothing_else_touched_and_items_are_as_they_are_alone(
    method: str,
    shape: tuple[int, int, int],
    share: float,
    steps: int,
    temperature: float,
    passes: int,
    scale: float,
    seed: int,
) -> None:
    config = configured(
        method=method,
        steps=steps,
        temperature=temperature,
        top_p=0.95,
        corrector={"passes": passes},
        guidance={"scale": scale, "final_scale": 1.0},
    )
    codes, mask = random_grid(*shape, n_codes=N_CODES, share=share, seed=seed)
    codes_before, mask_before = codes.clone(), mask.clone()
    predict, unconditional = by_neighbours(N_CODES, seed), by_neighbours(N_CODES, seed + 1)
    seeds = [seed + b for b in range(shape[0])]
    filled = sample(predict, codes, mask, config, seeds, unconditional=unconditional)
    assert torch.equal(codes, codes_before)
    assert torch.equal(mask, mask_before)
    assert torch.equal(filled[~mask], codes[~mask])
    assert ((filled >= 0) & (filled < N_CODES)).all()
    for b in range(shape[0]):
        own = slice(b, b + 1)
        alone = sample(predict, codes[own], mask[own], config, seeds[own], unconditional=unconditional)
        assert torch.equal(filled[own], alone)


@pytest.mark.parametrize("method", METHODS)
def test_seeds_decide_and_what_stands_under_the_mask_does_not(method: str) -> None:
    config = configured(method=method, steps=4)
    codes, mask = random_grid(1, 3, 30, n_codes=N_CODES, share=0.8)
    predict = by_neighbours(N_CODES)
    first = sample(predict, codes, mask, config, [1])
    assert torch.equal(first, sample(predict, codes.masked_fill(mask, 1234), mask, config, [1]))
    other = sample(predict, codes, mask, config, [2])
    assert (first != other)[mask].float().mean() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_greedy_sampling_does_not_depend_on_the_seed(method: str) -> None:
    config = configured(method=method, steps=4, temperature=0, mask_temperature=0)
    codes, mask = random_grid(2, 3, 30, n_codes=N_CODES, share=0.8)
    predict = by_neighbours(N_CODES)
    assert torch.equal(sample(predict, codes, mask, config, [1, 2]), sample(predict, codes, mask, config, [3, 4]))


@pytest.mark.parametrize("method", METHODS)
def test_codes_of_a_table_have_its_probabilities(method: str) -> None:
    """Cells that do not depend on each other come out as their table says, whatever the order they are filled in.

    By confidence, with little noise, likely codes would be kept, and the others drawn again.
    """
    probabilities = torch.tensor([0.6, 0.3, 0.1])
    codes, mask = random_grid(1, 2, 4000, n_codes=3, share=1.0)
    config = configured(method=method, steps=4, mask_temperature=1e6)
    found = sample(by_table(probabilities.log()), codes, mask, config, [0])
    assert (found.flatten().bincount(minlength=3) / 8000 - probabilities).abs().max() < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_nothing_masked_gives_the_grid_back_without_asking_the_model(method: str) -> None:
    codes = torch.randint(N_CODES, (2, 3, 4))
    config = configured(method=method, corrector={"passes": 2})
    predict = Recorder(by_neighbours(N_CODES))
    assert sample(predict, codes, torch.zeros(2, 3, 4, dtype=torch.bool), config, [0, 1]) is codes
    empty = torch.zeros(0, 3, 4).long()
    assert sample(predict, empty, empty.bool(), config, []) is empty
    no_frames = torch.zeros(2, 3, 0).long()
    assert sample(predict, no_frames, no_frames.bool(), config, [0, 1]) is no_frames
    assert predict.n_calls == 0


def test_guidance_decides() -> None:
    """At scale 2 the likeliest of 1/2, 1/2 against 4/5, 1/5 is the second code; alone it is a tie, then the first."""
    conditional, unconditional = (by_table(torch.tensor(p).log()) for p in ([0.5, 0.5], [0.8, 0.2]))
    codes, mask = random_grid(1, 2, 5, n_codes=2, share=1.0)
    options = {"temperature": 0, "steps": 3}
    plain = sample(conditional, codes, mask, configured(**options), [0], unconditional=unconditional)
    assert (plain == 0).all()
    config = configured(**options, guidance={"scale": 2})
    assert (sample(conditional, codes, mask, config, [0], unconditional=unconditional) == 1).all()


def test_no_gradients_are_kept() -> None:
    table = torch.zeros(1, 1, 4, requires_grad=True)
    graphs: list[bool] = []

    def predict(codes: Tensor, mask: Tensor) -> Tensor:
        logits = by_table(2 * table)(codes, mask)
        graphs.append(logits.requires_grad)
        return logits

    sample(predict, *random_grid(1, 2, 5, n_codes=4, share=1.0), configured(steps=2), [0])
    assert graphs == [False, False]


def test_half_precision_logits_are_taken() -> None:
    answer = torch.randint(N_CODES, (1, 3, 8))
    predict = oracle(answer, N_CODES)
    filled = sample(
        lambda codes, mask: predict(codes, mask).bfloat16(),
        torch.zeros_like(answer),
        torch.ones_like(answer, dtype=torch.bool),
        configured(steps=3),
        [0],
    )
    assert torch.equal(filled, answer)


GRID, OPEN = random_grid(2, 3, 4, n_codes=N_CODES, share=1.0)


@pytest.mark.parametrize(
    ("codes", "mask", "seeds", "options", "message"),
    [
        (GRID[0], OPEN[0], [0], {}, r"expected codes \[B, K, T\], got \[3, 4\]"),
        (GRID.float(), OPEN, [0, 1], {}, "whole numbers .*torch.float32"),
        (OPEN, OPEN, [0, 1], {}, "whole numbers .*torch.bool"),
        (GRID, OPEN[:, :2], [0, 1], {}, r"\[2, 3, 4\].* got torch.bool \[2, 2, 4\]"),
        (GRID, OPEN.long(), [0, 1], {}, "got torch.int64"),
        (GRID, OPEN, [0], {}, "2 items need a seed each, got 1"),
        (GRID, OPEN, [0, 1], {"method": "levels", "steps": [1, 2]}, "steps has 2 numbers, but the grid 3 codebooks"),
        (GRID, OPEN, [0, 1], {"guidance": {"scale": 3}}, "guidance.scale=3 needs a model without its condition"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_model_is_asked(
    codes: Tensor, mask: Tensor, seeds: list[int], options: dict, message: str
) -> None:
    predict = Recorder(by_neighbours(N_CODES))
    with pytest.raises(ValueError, match=message):
        sample(predict, codes, mask, configured(**options), seeds)
    assert predict.n_calls == 0


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": [3, 0]}, "steps"),
        ({"steps": [3, 1]}, "steps as a list is for method=levels"),
        ({"temperature": -1}, "temperature"),
        ({"mask_temperature": float("nan")}, "mask_temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"typical": 1.01}, "typical"),
        ({"schedule": "cosy"}, "there are cosine, linear, square"),
        ({"method": "gibbs"}, "maskgit"),
        ({"guidance": {"scale": -1}}, "guidance.scale"),
        ({"corrector": {"share": 0}}, "corrector.share"),
        ({"corrector": {"passes": -1}}, "corrector.passes"),
        ({"corrector": {"groups": 0}}, "corrector.groups"),
        ({"step": 3}, "step"),
    ],
)
def test_senseless_configurations_are_refused(options: dict, key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        configured(**options)


def test_a_configuration_from_the_command_line(tmp_path: Path) -> None:
    words = ["method=levels", "steps=[8, 2, 1]", "guidance.scale=3", "corrector.passes=1"]
    config = load_config(SamplingConfig, [], words, root=tmp_path)
    assert config.steps == [8, 2, 1]
    assert config.guidance.active
    assert config_hash(config) != config_hash(SamplingConfig())
    with pytest.raises(UserError, match="temprature: unknown key in the command line; did you mean temperature"):
        load_config(SamplingConfig, [], ["temprature=1"], root=tmp_path)
    with pytest.raises(UserError, match=r"steps.*greater than 0"):
        load_config(SamplingConfig, [], ["steps=0"], root=tmp_path)


def test_of_a_draft_only_what_is_doubted_is_sampled_anew() -> None:
    answer = torch.randint(N_CODES, (2, 3, 10), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(answer, dtype=torch.bool)
    draft = answer.clone()
    for item, book, frame in ((0, 0, 3), (0, 2, 9), (1, 1, 0)):
        draft[item, book, frame] = (answer[item, book, frame] + 1) % N_CODES
    seen = Recorder(oracle(answer, N_CODES))
    found = sample(seen, draft, mask, configured(steps=2, doubt=0.1, temperature=0), [0, 1])
    assert torch.equal(found, answer)
    assert seen.n_calls == 4 + 2, "four groups are judged, then two steps fill what is doubted"
    kept = sample(oracle(draft, N_CODES), draft, mask, configured(steps=1, doubt=0.5, temperature=0), [0, 1])
    assert torch.equal(kept, draft)
    with pytest.raises(ValueError, match="codes to judge must lie in"):
        sample(oracle(answer, N_CODES), draft + N_CODES, mask, configured(doubt=0.5), [0, 1])
