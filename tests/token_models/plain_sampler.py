"""Sampling as its papers tell it, one item and one cell at a time, with nothing kept from one step to the next."""

import math
from fractions import Fraction

import torch
from torch import Generator, Tensor

from token_models.sampling.config import SamplingConfig
from token_models.sampling.predict import Predict

Cell = tuple[int, int]
SHARES = {
    "cosine": lambda r: math.cos(math.pi * r / 2),
    "linear": lambda r: 1 - r,
    "square": lambda r: 1 - r * r,
}


def plain_sample(predict: Predict, codes: Tensor, mask: Tensor, config: SamplingConfig, seeds: list[int]) -> Tensor:
    """What `sample` should give (without guidance)."""
    return torch.cat(
        [_sample_item(predict, codes[b : b + 1], mask[b : b + 1], config, seed) for b, seed in enumerate(seeds)]
    )


def _sample_item(predict: Predict, codes: Tensor, mask: Tensor, config: SamplingConfig, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    cells = [(k, t) for _, k, t in mask.nonzero().tolist()]
    codes = _fill(predict, codes, cells, config, config.steps, generator)
    for _ in range(config.corrector.passes if cells else 0):
        doubted = _doubted(predict, codes, cells, config, generator)
        codes = _fill(predict, codes, doubted, config, config.corrector.steps or config.steps, generator)
    return codes


def _fill(
    predict: Predict,
    codes: Tensor,
    cells: list[Cell],
    config: SamplingConfig,
    steps: int | list[int],
    generator: Generator,
) -> Tensor:
    n_codebooks, n_frames = codes.shape[1:]
    if config.method != "levels":
        order = plain_halton(n_codebooks, n_frames) if config.method == "halton" else None
        return _fill_level(predict, codes, cells, [], config, steps, generator, order)
    for k in range(n_codebooks):
        level = [cell for cell in cells if cell[0] == k]
        later = [cell for cell in cells if cell[0] > k]
        of_level = steps[k] if isinstance(steps, list) else steps
        codes = _fill_level(predict, codes, level, later, config, of_level, generator, None)
    return codes


def _fill_level(
    predict: Predict,
    codes: Tensor,
    cells: list[Cell],
    others: list[Cell],
    config: SamplingConfig,
    steps: int,
    generator: Generator,
    order: list[Cell] | None,
) -> Tensor:
    codes, still, at_start = codes.clone(), list(cells), len(cells)
    for step in range(steps):
        if not still:
            break
        progress = (step + 1) / steps
        stays = max(1, math.floor(SHARES[config.schedule](progress) * at_start + 1e-6))
        stays = 0 if step == steps - 1 else max(0, min(stays, len(still) - 1))
        logits = _ask(predict, codes, still + others)
        if order is not None:
            now = sorted(still, key=order.index)[: len(still) - stays]
            for cell, (code, _) in _draw_all(logits, sorted(now), config, generator).items():
                codes[0][cell] = code
            still = [cell for cell in still if cell not in now]
            continue
        drawn = _draw_all(logits, still, config, generator)
        weight = config.mask_temperature * (1 - progress)
        noise = (
            [gumbel(u) for u in torch.rand(len(still), generator=generator).tolist()] if weight else [0] * len(still)
        )
        sureness = {cell: drawn[cell][1] + weight * extra for cell, extra in zip(still, noise, strict=True)}
        open_again = sorted(still, key=lambda cell: (sureness[cell], cell))[:stays]
        for cell in still:
            if cell not in open_again:
                codes[0][cell] = drawn[cell][0]
        still = sorted(open_again)
    return codes


def _doubted(
    predict: Predict, codes: Tensor, cells: list[Cell], config: SamplingConfig, generator: Generator
) -> list[Cell]:
    numbers = torch.rand(len(cells), generator=generator).tolist()
    shuffled = [cell for _, cell in sorted(zip(numbers, cells, strict=True))]
    likely = {}
    for group in range(config.corrector.groups):
        part = sorted(shuffled[group :: config.corrector.groups])
        for cell, logits in _ask(predict, codes, part).items() if part else ():
            likely[cell] = log_softmax(logits)[int(codes[0][cell])]
    n_doubted = max(1, round(config.corrector.share * len(cells)))
    return sorted(sorted(cells, key=lambda cell: (likely[cell], cell))[:n_doubted])


def _ask(predict: Predict, codes: Tensor, cells: list[Cell]) -> dict[Cell, list[float]]:
    mask = torch.zeros(codes.shape, dtype=torch.bool)
    for cell in cells:
        mask[0][cell] = True
    return dict(zip(sorted(cells), predict(codes, mask).tolist(), strict=True))


def _draw_all(
    logits: dict[Cell, list[float]], cells: list[Cell], config: SamplingConfig, generator: Generator
) -> dict[Cell, tuple[int, float]]:
    n_codes = len(next(iter(logits.values())))
    noise = torch.rand(len(cells), n_codes, generator=generator).tolist() if config.temperature else None
    drawn = {}
    for row, cell in enumerate(cells):
        likely = log_softmax(logits[cell])
        scores = plain_filters(likely, config.top_k, config.top_p, config.typical)
        if noise:
            scores = [s + config.temperature * gumbel(u) for s, u in zip(scores, noise[row], strict=True)]
        code = max(range(n_codes), key=lambda v: scores[v])
        drawn[cell] = (code, likely[code])
    return drawn


def gumbel(u: float) -> float:
    return -math.log(-math.log(u))


def log_softmax(logits: list[float]) -> list[float]:
    finite = [x for x in logits if x > -math.inf]
    total = max(finite) + math.log(sum(math.exp(x - max(finite)) for x in finite))
    return [x - total for x in logits]


def plain_filters(logits: list[float], k: int | None, p: float | None, mass: float | None) -> list[float]:
    """Top-k, top-p and typical filters one after the other, code by code."""
    if k is not None:
        logits = [x if sum(y > x for y in logits) < k else -math.inf for x in logits]
    if p is not None:
        logits = _until(logits, [-x for x in logits], p)
    if mass is not None:
        likely = log_softmax(logits)
        entropy = -sum(math.exp(x) * x for x in likely if x > -math.inf)
        logits = _until(logits, [abs(-x - entropy) for x in likely], mass)
    return logits


def _until(logits: list[float], rank: list[float], mass: float) -> list[float]:
    """Keep the codes before which there is less than `mass`."""
    if mass == 1:
        return logits
    likely, together, last = log_softmax(logits), 0.0, -math.inf
    for v in sorted(range(len(logits)), key=lambda v: rank[v]):
        if together >= mass:
            break
        together, last = together + math.exp(likely[v]), rank[v]
    return [x if rank[v] <= last else -math.inf for v, x in enumerate(logits)]


def plain_halton(n_codebooks: int, n_frames: int) -> list[Cell]:
    """Cells in the order in which Halton points fall into them, in exact fractions."""
    order: list[Cell] = []
    index = 0
    while len(order) < n_codebooks * n_frames:
        cell = (math.floor(mirrored(index, 2) * n_codebooks), math.floor(mirrored(index, 3) * n_frames))
        if cell not in order:
            order.append(cell)
        index += 1
    return order


def mirrored(number: int, base: int) -> Fraction:
    """The digits of a number behind the point, in reverse: its radical inverse."""
    value, place = Fraction(0), Fraction(1, base)
    while number:
        number, digit = divmod(number, base)
        value, place = value + digit * place, place / base
    return value
