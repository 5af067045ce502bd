"""Counts of a track's tokens against the target's, which add up over tracks, and the metrics that they give.

Shares of all frames of a set are not means over its tracks: counts keep every frame's weight the same, whatever process
measured it, and are small enough to keep for every track.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codec_ft.metrics.tokens import check_same_shape, code_histogram, select_active, usage_of

CHUNK_FRAMES = 1024
"""Frames of which the codes' vectors are held at once."""


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """What there is to count of a track's tokens against the target's; `+` is the counts of both tracks.

    All of it is about active frames; `readings` turns it into metrics.

    Attributes:
        frames: active frames.
        hits: `[K]`, frames with the target's code.
        cumulative_hits: `[K]`, frames in which the codes of this and all coarser codebooks are the target's.
        top5_frames: frames in which the codes were ranked: all, or none where no ranks were given.
        top5_hits: `[K]`, frames with the target's code among the five likeliest.
        histogram: `[K, V]`, how often each code occurs.
        target_histogram: `[K, V]`, the same for the target.
        squared_distance: `[K]`, sum over frames of the squared distance between the vectors of the two codes.
        target_vectors: `[K, d]`, sum over frames of the vector of the target's code.
        target_energy: `[K]`, sum over frames of its squared length.
    """

    frames: int
    hits: Tensor
    cumulative_hits: Tensor
    top5_frames: int
    top5_hits: Tensor
    histogram: Tensor
    target_histogram: Tensor
    squared_distance: Tensor
    target_vectors: Tensor
    target_energy: Tensor

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        """The counts of both.

        Raises:
            ValueError: they are of different codecs, as the numbers of codebooks, codes or dimensions show.
        """
        if (self.histogram.shape, self.target_vectors.shape) != (other.histogram.shape, other.target_vectors.shape):
            raise ValueError(
                "only counts of one codec add up: the histograms are "
                f"{list(self.histogram.shape)} and {list(other.histogram.shape)}"
            )
        return TokenCounts(**{name: value + getattr(other, name) for name, value in self._values().items()})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as arrays: torch hands tensors to other processes as open files, too many for many tracks."""
        arrays = {name: np.asarray(value) for name, value in self._values().items()}
        return _counts_from_arrays, (arrays,)

    def _values(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def majority(self) -> Tensor:
        """The target's most frequent code of each codebook, `[K]`; the smallest of several."""
        return self.target_histogram.argmax(dim=1)

    def readings(self) -> dict[str, Tensor]:
        """The metrics by their names in `METRICS`, each `[K]` in float64; NaN where there is nothing to divide by."""
        frames = torch.tensor(float(self.frames), dtype=torch.float64)
        output, target = usage_of(self.histogram), usage_of(self.target_histogram)
        # Two independent draws are twice the variance apart. Rounding makes that of a single code a little more than 0.
        mean_energy = self.target_energy / frames
        spread = 2.0 * (mean_energy - (self.target_vectors / frames).square().sum(dim=1))
        spread = spread.where(spread > 1e-12 * mean_energy, torch.nan)
        return {
            "token_accuracy": self.hits / frames,
            "cumulative_accuracy": self.cumulative_hits / frames,
            "top5_accuracy": self.top5_hits / torch.tensor(float(self.top5_frames), dtype=torch.float64),
            "majority_token_accuracy": self.target_histogram.amax(dim=1) / frames,
            "codebook_distance": (self.squared_distance / frames / spread).sqrt(),
            "codebook_used": output.used.double(),
            "codebook_perplexity": output.perplexity,
            "code_entropy_gap": target.entropy_bits - output.entropy_bits,
        }


def _counts_from_arrays(arrays: dict[str, np.ndarray]) -> TokenCounts:
    """The counts that were pickled; whole numbers come as arrays without dimensions."""
    return TokenCounts(**{name: torch.from_numpy(a) if a.ndim else int(a) for name, a in arrays.items()})  # type: ignore[arg-type]


def count_tokens(
    codes: Tensor,
    target_codes: Tensor,
    active: Tensor,
    codebooks: Tensor,
    *,
    ranks: Tensor | None = None,
) -> TokenCounts:
    """Count a track's tokens against the target's.

    Args:
        codes: of the output, `[B, K, T]`.
        target_codes: `[B, K, T]`.
        active: the frames that count, `[B, T]`.
        codebooks: the codes' vectors `[K, V, d]`, as `codec.codebooks()` gives them; all on one device.
        ranks: of the target's codes, `[B, K, T]`, as `codec.ranks(latents, codes, target_codes)` gives them with the
            latents of the output; 0 is the likeliest code. For the top-5 accuracy.

    Returns:
        The counts, on the CPU. Without ranks there are none for the top-5 accuracy.

    Raises:
        ValueError: the shapes do not fit, or a code is not in `0 .. V - 1`.
    """
    check_same_shape(codes, target_codes)
    if codebooks.ndim != 3 or codebooks.shape[:1] != codes.shape[1:2]:
        raise ValueError(
            f"codebooks must be [K, V, d]: codebooks is {list(codebooks.shape)}, codes is {list(codes.shape)}"
        )
    if ranks is not None and ranks.shape != codes.shape:
        raise ValueError(f"ranks must be [B, K, T]: ranks is {list(ranks.shape)}, codes is {list(codes.shape)}")
    n_codebooks, size, _ = codebooks.shape
    histogram, target_histogram = (code_histogram(grid, active, size) for grid in (codes, target_codes))
    # From here on frames stand alone: the active ones of all items side by side.
    chosen, wanted = select_active(codes, active), select_active(target_codes, active)  # [K, frames]
    squared_distance = codebooks.new_zeros(n_codebooks, dtype=torch.float64)
    for first in range(0, chosen.shape[1], CHUNK_FRAMES):
        part = slice(first, first + CHUNK_FRAMES)
        for k, table in enumerate(codebooks):
            squared_distance[k] += (table[chosen[k, part]] - table[wanted[k, part]]).double().square().sum()
    right = chosen == wanted
    occurrences = target_histogram.double()
    frames = chosen.shape[1]
    top5 = torch.zeros_like(right) if ranks is None else select_active(ranks, active) < 5
    return TokenCounts(
        frames=frames,
        hits=right.sum(dim=1).cpu(),
        cumulative_hits=right.cumprod(dim=0).sum(dim=1).cpu(),
        top5_frames=0 if ranks is None else frames,
        top5_hits=top5.sum(dim=1).cpu(),
        histogram=histogram.cpu(),
        target_histogram=target_histogram.cpu(),
        squared_distance=squared_distance.cpu(),
        target_vectors=torch.einsum("kv,kvd->kd", occurrences, codebooks.double()).cpu(),
        target_energy=torch.einsum("kv,kv->k", occurrences, codebooks.double().square().sum(dim=2)).cpu(),
    )


def codebook_distance(codes: Tensor, target_codes: Tensor, active: Tensor, codebooks: Tensor) -> Tensor:
    """How far the vectors of the codes are from those of the target's, per codebook, relative to chance.

    The root mean square of the distance over the active frames, divided by that between two frames of the target
    drawn at random. A constant answer scores at least `1 / sqrt(2)`, which is that of the target's mean vector.

    Args:
        codes: `[B, K, T]`.
        target_codes: `[B, K, T]`.
        active: `[B, T]`.
        codebooks: the codes' vectors `[K, V, d]`, as `codec.codebooks()` gives them.

    Returns:
        `[K]` in float64: 0 where all codes are right. NaN where the target has but one code, or no frame is active.

    Raises:
        ValueError: the shapes do not fit, or a code is not in `0 .. V - 1`.
    """
    return count_tokens(codes, target_codes, active, codebooks).readings()["codebook_distance"]
