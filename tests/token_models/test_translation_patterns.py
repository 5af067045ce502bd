"""In which step each code is written: by hand, there and back, and what is known when."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from token_models.translation.patterns import NOTHING, Pattern, frames_of, steps_of, to_steps

N = NOTHING
PATTERNS: list[Pattern] = ["flattened", "delay"]
sizes = st.tuples(st.integers(1, 6), st.integers(1, 20))


@pytest.mark.parametrize(
    ("pattern", "steps"),
    [
        ("delay", [[1, 2, 3, 4, N, N], [N, 5, 6, 7, 8, N], [N, N, 9, 10, 11, 12]]),
        (
            "flattened",
            [
                [1, N, N, 2, N, N, 3, N, N, 4, N, N],
                [N, 5, N, N, 6, N, N, 7, N, N, 8, N],
                [N, N, 9, N, N, 10, N, N, 11, N, N, 12],
            ],
        ),
    ],
)
def test_three_codebooks_by_hand(pattern: Pattern, steps: list[list[int]]) -> None:
    codes = torch.arange(1, 13).view(1, 3, 4)
    assert to_steps(codes, pattern)[0].tolist() == steps
    assert codes.flatten().tolist() == list(range(1, 13)), "what was given stays"


@given(sizes, st.sampled_from(PATTERNS), st.integers(0, 2**31))
def test_there_and_back(size: tuple[int, int], pattern: Pattern, seed: int) -> None:
    codes = torch.randint(1024, (2, *size), generator=torch.Generator().manual_seed(seed))
    tokens = to_steps(codes, pattern)
    n_codebooks, n_frames = size
    n_steps = {"flattened": n_codebooks * n_frames, "delay": n_frames + n_codebooks - 1}[pattern]
    assert tokens.shape == (2, n_codebooks, n_steps)
    assert torch.equal(tokens.gather(2, steps_of(pattern, *size).expand(2, -1, -1)), codes)
    written = tokens != NOTHING
    assert int(written.sum()) == codes.numel(), "each code once"
    assert bool(written.any(dim=1).all()), "a step without a code is the start alone"


@given(sizes, st.sampled_from(PATTERNS))
def test_steps_and_frames_are_each_other_s_inverse(size: tuple[int, int], pattern: Pattern) -> None:
    steps, frames = steps_of(pattern, *size), frames_of(pattern, *size)
    for k, t in torch.cartesian_prod(*map(torch.arange, size)).tolist():
        assert frames[k, steps[k, t]] == t
    assert int((frames != NOTHING).sum()) == steps.numel()


@given(sizes, st.sampled_from(PATTERNS))
def test_coarser_codes_of_a_frame_and_earlier_ones_of_a_codebook_come_first(
    size: tuple[int, int], pattern: Pattern
) -> None:
    steps = steps_of(pattern, *size)
    assert bool((steps.diff(dim=0) > 0).all()) and bool((steps.diff(dim=1) > 0).all())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_no_frames_are_refused(pattern: Pattern) -> None:
    with pytest.raises(ValueError, match="a grid of 2 codebooks and 0 frames has nothing to write"):
        to_steps(torch.zeros(1, 2, 0, dtype=torch.long), pattern)


def test_what_is_no_pattern_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no pattern 'spiral'; there are flattened and delay"):
        steps_of("spiral", 2, 3)  # type: ignore[arg-type]
