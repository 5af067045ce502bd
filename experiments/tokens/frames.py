"""Single frames of the sources, whole or layer by layer: their place in the plane, and how well they are told apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.errors import UserError
from experiments.tokens.gather import Material
from experiments.tokens.projection import (
    Principal,
    Scaled,
    multidimensional_scaling,
    neighbour_accuracy,
    principal_components,
)

COMPARED = 800
"""Frames of each source by which the sources are told apart; the pictures show fewer."""
READINGS = ("latents", "direction", "length")
"""What is compared of the latents: all of them, scaled to length one, or their length alone."""


@dataclass(frozen=True)
class Frames:
    """Random sounding frames of one source: codes `[K, n]` and group `[n]`, in random order, on the CPU."""

    codes: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Cloud:
    """Frames of several sources in the plane, by PCA and by MDS.

    `labels [n]` are the numbers of their sources; `told_by_pca` and `told_by_mds` say how often they are told apart
    by their neighbours in the plane.
    """

    labels: Tensor
    principal: Principal
    scaled: Scaled
    told_by_pca: float
    told_by_mds: float


@dataclass(frozen=True)
class Told:
    """How often two sources are told apart, `[K]`: by the codebooks up to each one, and by those from each one on."""

    first: list[float]
    last: list[float]


def choose_frames(material: Material, points: int, seed: int) -> dict[str, Frames]:
    """Random sounding frames of every source, equally many, as many of each piece as it has to give.

    Raises:
        UserError: a source has fewer sounding frames than `points`.
    """
    rng = np.random.default_rng(seed)
    parts: dict[str, list[Frames]] = {source: [] for source in material.sources}
    for piece in material.pieces():
        each = -(-max(points, COMPARED) // len(material.excerpts[piece.source]))
        sounding = piece.active[0].nonzero()[:, 0].cpu()
        chosen = sounding[torch.from_numpy(rng.permutation(len(sounding))[:each])]
        groups = torch.full((len(chosen),), piece.group)
        parts[piece.source].append(Frames(piece.codes[0].cpu()[:, chosen], groups))
    found = {}
    for source, drawn in parts.items():
        codes, groups = torch.cat([f.codes for f in drawn], dim=1), torch.cat([f.groups for f in drawn])
        order = torch.from_numpy(rng.permutation(len(groups)))
        found[source] = Frames(codes[:, order], groups[order])
    fewest = min(found, key=lambda source: len(found[source].groups))
    count = len(found[fewest].groups)
    if count == 0:
        raise UserError(f"sources: {fewest} is silent throughout. Leave it out.")
    if count < points:
        raise UserError(f"points={points}: {fewest} has only {count} sounding frames to draw from. Ask for fewer.")
    return {source: Frames(f.codes[:, :count], f.groups[:count]) for source, f in found.items()}


def layer_parts(n_codebooks: int) -> dict[str, slice]:
    """The layers that figure 13 of the thesis looks at: the first, the first two, all, and the last half."""
    parts = {"codebook 1": slice(0, 1)}
    if n_codebooks > 2:
        parts["codebooks 1–2"] = slice(0, 2)
    if n_codebooks > 1:
        parts[f"all {n_codebooks} codebooks"] = slice(0, n_codebooks)
        half = n_codebooks - n_codebooks // 2
        words = f"codebooks {half + 1}–{n_codebooks}" if half + 1 < n_codebooks else f"codebook {n_codebooks}"
        parts[words] = slice(half, n_codebooks)
    return parts


@torch.no_grad()
def partial_latents(codec: Codec, codes: Tensor, part: slice) -> Tensor:
    """What the layers of `part` add to the quantised latents: codes `[K, n]` of single frames to `[n, D]`.

    Every codec here looks each frame's codes up by itself and sums its layers, so the frames need not be neighbours,
    and it is the latents with these layers less those without.
    """
    first, last, _ = part.indices(codes.shape[0])
    grid = codes.long()[None].to(next(codec.parameters()).device)  # [1, K, n]
    latents = codec.codes_to_latents(grid[:, :last])
    if first:
        latents = latents - codec.codes_to_latents(grid[:, :first])
    return latents[0].T.cpu()


def project(codec: Codec, frames: Sequence[Frames], part: slice) -> Cloud:
    """Bring what the layers of `part` add to the latents of some frames into the plane."""
    points, labels, groups = _latents(codec, frames, part), _labels(frames), torch.cat([f.groups for f in frames])
    principal = principal_components(points)
    scaled = multidimensional_scaling(torch.cdist(points.double(), points.double()), principal.points)
    told = [neighbour_accuracy(plane, labels, groups) for plane in (principal.points, scaled.points)]
    return Cloud(labels, principal, scaled, *told)


def tell_apart(codec: Codec, frames: Sequence[Frames]) -> dict[str, Told]:
    """How well sources are told apart by their first and by their last codebooks, for each of `READINGS`."""
    labels, groups = _labels(frames), torch.cat([f.groups for f in frames])
    found = {reading: Told([], []) for reading in READINGS}
    for k in range(codec.n_codebooks):
        for end, part in (("first", slice(0, k + 1)), ("last", slice(k, None))):
            latents = _latents(codec, frames, part)
            for reading, told in found.items():
                getattr(told, end).append(neighbour_accuracy(read_latents(latents, reading), labels, groups))
    return found


def read_latents(latents: Tensor, reading: str) -> Tensor:
    """One of `READINGS` of latents `[n, D]`: themselves, their directions `[n, D]` or their lengths `[n, 1]`."""
    if reading == "latents":
        return latents
    lengths = latents.norm(dim=1, keepdim=True)
    return lengths if reading == "length" else latents / lengths.clamp(min=1e-12)


def tell_each_two_apart(codec: Codec, frames: Sequence[Frames]) -> Tensor:
    """How often each two sources are told apart by all codebooks, `[S, S]` with NaN on the diagonal."""
    result = torch.full((len(frames), len(frames)), torch.nan)
    for i, a in enumerate(frames):
        for j, b in enumerate(frames[:i]):
            groups = torch.cat([b.groups, a.groups])
            found = neighbour_accuracy(_latents(codec, [b, a], slice(None)), _labels([b, a]), groups)
            result[i, j] = result[j, i] = found
    return result


def _labels(frames: Sequence[Frames]) -> Tensor:
    """The number of its source for each frame."""
    return torch.cat([torch.full((len(f.groups),), i) for i, f in enumerate(frames)])


def _latents(codec: Codec, frames: Sequence[Frames], part: slice) -> Tensor:
    return partial_latents(codec, torch.cat([f.codes for f in frames], dim=1), part)
