"""A code for each cell from its logits: filters, temperature, and the draw.

Filters are pure functions of logits `[..., V]` that make unwanted codes impossible (minus infinity). Codes exactly as
likely as the last that is kept are kept too, so that no code is preferred for its number. At least one is always kept.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from token_models.sampling.noise import gumbel
from token_models.sampling.predict import counts_by_item

Filter = Callable[[Tensor], Tensor]
"""From logits `[..., V]` to the same with some of them minus infinity."""


def top_k(logits: Tensor, k: int) -> Tensor:
    """Keep the `k` likeliest codes (all, where there are fewer).

    Raises:
        ValueError: `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"top_k must be at least 1, got {k}")
    likeliest = logits.topk(min(k, logits.shape[-1]), dim=-1).values
    return logits.masked_fill(logits < likeliest[..., -1:], -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Keep the fewest likeliest codes with a probability of `p` or more together ("nucleus", Holtzman et al., 2020).

    Raises:
        ValueError: `p` is not in (0, 1].
    """
    _check_mass("top_p", p)
    return _fewest_first(logits, logits.softmax(dim=-1), -logits, p)


def typical(logits: Tensor, mass: float) -> Tensor:
    """Keep the fewest codes of typical surprise with a probability of `mass` or more together (Meister et al., 2022).

    The most typical are those whose surprise, `-log p`, is nearest to its mean, the entropy. So the likeliest code may
    be left out, where most of the probability is spread over many others.

    Raises:
        ValueError: `mass` is not in (0, 1].
    """
    _check_mass("typical", mass)
    log_probabilities = logits.log_softmax(dim=-1)
    probabilities = log_probabilities.exp()
    entropy = torch.special.entr(probabilities).sum(dim=-1, keepdim=True)
    return _fewest_first(logits, probabilities, (log_probabilities + entropy).abs(), mass)


def choose(
    logits: Tensor, noise: Tensor | None, *, temperature: float, filters: Sequence[Filter] = ()
) -> tuple[Tensor, Tensor]:
    """A code for each cell, and how sure the model is of it: `[M]` int64 and `[M]` log-probabilities.

    With Gumbel noise `G`, `argmax(log p + temperature * G)` is a draw from the softmax of `log p / temperature`
    (Gumbel-max trick). The filters look at the model's own distribution, at temperature 1, one after the other, so that
    what they keep does not depend on the temperature.

    The confidence is that of the model's own distribution too, before filters and temperature. Of what is drawn from,
    it would be the same for all cells once the filters leave one code, or the temperature is low.

    Args:
        logits: `[M, V]`, float32; minus infinity where a code is impossible.
        noise: Gumbel noise `[M, V]`; None at temperature 0, which takes the likeliest code that the filters keep.
        temperature: 0 or above.
        filters: see above.

    Raises:
        ValueError: the temperature is below zero, noise is missing or too much, or the logits of a cell are no
            distribution: NaN, infinite, or all codes impossible.
    """
    check_temperature("temperature", temperature)
    if (noise is None) != (temperature == 0):
        raise ValueError(f"noise is for temperatures above 0, and needed there; the temperature is {temperature:g}")
    log_probabilities = logits.log_softmax(dim=-1)
    scores = log_probabilities
    for keep in filters:
        scores = keep(scores)
    if noise is not None:
        scores = torch.add(scores, noise, alpha=temperature)
    codes = scores.argmax(dim=-1)
    confidence = log_probabilities.gather(-1, codes[:, None])[:, 0]
    if not confidence.isfinite().all():
        bad = int((~confidence.isfinite()).sum())
        raise ValueError(f"the logits of {bad} of {len(codes)} cells are no distribution (NaN, or nothing is possible)")
    return codes, confidence


def draw(
    logits: Tensor,
    mask: Tensor,
    generators: Sequence[torch.Generator],
    *,
    temperature: float,
    filters: Sequence[Filter] = (),
) -> tuple[Tensor, Tensor]:
    """`choose` for the cells `[B, K, T]` of a mask, each with noise of its own item; greedy draws use none."""
    noise = gumbel(counts_by_item(mask), generators, logits.shape[1]) if temperature else None
    return choose(logits, noise, temperature=temperature, filters=filters)


def check_temperature(name: str, temperature: float) -> None:
    """Raises ValueError for a temperature that is below zero or not finite."""
    if not 0 <= temperature < torch.inf:
        raise ValueError(f"{name} must be zero or above, and finite; got {temperature}")


def _check_mass(name: str, mass: float) -> None:
    if not 0 < mass <= 1:
        raise ValueError(f"{name} must be above 0 and at most 1, got {mass}")


def _fewest_first(logits: Tensor, probabilities: Tensor, rank: Tensor, mass: float) -> Tensor:
    """Keep codes in ascending order of `rank [..., V]` until they have `mass` together."""
    if mass == 1:  # rounding must not leave out the rarest
        return logits
    ranked, order = rank.sort(dim=-1)
    together = probabilities.gather(-1, order).cumsum(dim=-1)
    last = (together < mass).sum(dim=-1, keepdim=True).clamp(max=logits.shape[-1] - 1)
    return logits.masked_fill(rank > ranked.gather(-1, last), -torch.inf)
