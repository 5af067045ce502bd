"""Writing with a translation model: step by step, and in windows what is longer than its training."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, EncoderDecoderCache

from token_models.sampling.choose import draw
from token_models.sampling.noise import item_generators
from token_models.sampling.predict import check_grid
from token_models.translation.config import WritingConfig
from token_models.translation.model import TranslationModel
from token_models.translation.patterns import NOTHING, frames_of, steps_of, to_steps
from token_models.windows import fill_in_windows


@torch.no_grad()
def translate(
    model: TranslationModel, heard: Tensor, seeds: Sequence[int], writing: WritingConfig, window: int, overlap: int
) -> Tensor:
    """The codes of the stem `[B, K, T]` for what is heard, `[B, K', T]`.

    What is longer than a window is written window after window. Each hears its own frames alone, and begins with what
    the window before has written (see `fill_in_windows`): it is forced, so that it goes on from there.

    Args:
        model: in `eval()`.
        heard: codes of the inputs, one below the other.
        seeds: one for each item, on which alone its draws depend.
        writing: how codes are chosen.
        window: frames that are heard at once.
        overlap: frames that two windows share.

    Raises:
        ValueError: the inputs, the seeds or the windows do not fit.
    """
    generators = item_generators(seeds, heard.device)
    codes = heard.new_zeros(len(heard), model.n_codebooks, heard.shape[-1])

    def fill(part: Tensor, left: Tensor, start: int) -> Tensor:
        return write(model, heard[..., start : start + part.shape[-1]], part, left, generators, writing)

    model.check(heard, codes)
    return fill_in_windows(fill, codes, torch.ones_like(codes, dtype=torch.bool), window, overlap)


@torch.no_grad()
def write(
    model: TranslationModel,
    heard: Tensor,
    codes: Tensor,
    mask: Tensor,
    generators: Sequence[torch.Generator],
    writing: WritingConfig,
) -> Tensor:
    """The grid `[B, K, T]` with its masked cells written, each knowing what the pattern writes before it.

    Cells that are not masked are forced: they stay, and what comes after them goes on from them.

    Args:
        model: in `eval()`.
        heard: codes of the inputs, `[B, K', T]`.
        codes: not changed; what stands under the mask is not looked at.
        mask: True where a code is to be written.
        generators: one for each item.
        writing: how codes are chosen.

    Raises:
        ValueError: grids, mask and generators do not fit, or codes are out of range.
    """
    check_grid(codes, mask)
    model.check(heard, codes)
    for name, given in (("heard", heard), ("known", codes[~mask])):
        if given.numel() and not 0 <= int(given.min()) <= int(given.max()) < model.codebook_size:
            raise ValueError(
                f"{name} codes must lie in 0..{model.codebook_size - 1}, got {int(given.min())}..{int(given.max())}"
            )
    if len(generators) != len(codes):
        raise ValueError(f"{len(codes)} items need a generator each, got {len(generators)}")
    if not mask.any():
        return codes
    shape = codes.shape[1:]
    steps = steps_of(model.pattern, *shape).to(codes.device)
    frames = frames_of(model.pattern, *shape).to(codes.device)
    books = torch.arange(len(frames), device=codes.device)
    open_steps = steps[mask.any(dim=0)]
    begin, end = int(open_steps.min()), int(open_steps.max())
    codes = codes.masked_fill(mask, 0)
    states = model.encode(heard)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    # All that is known before the first masked cell is read in one go.
    before = F.pad(to_steps(codes, model.pattern)[..., :begin], (1, 0), value=NOTHING)
    for step in range(begin, end + 1):
        features = model.decode(before, states, step + 1 - before.shape[-1], cache)[:, -1]
        cells = mask & (steps == step)
        items, of_book, _ = cells.nonzero(as_tuple=True)
        if len(items):
            logits = model.classify(features[items], of_book)
            found, _ = draw(logits, cells, generators, temperature=writing.temperature, filters=writing.filters)
            codes = codes.masked_scatter(cells, found)
        written = codes[:, books, frames[:, step].clamp(min=0)]
        before = written.masked_fill(frames[:, step] == NOTHING, NOTHING)[..., None]
    return codes
