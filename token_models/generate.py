"""Generation: from what is heard of an input to the codes of the stem, coarse codebooks first, then the others."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from token_models.conditioning.heard import Heard
from token_models.masks.checks import check_whole
from token_models.masks.compose import behind_known
from token_models.model import TokenModel, check_fits
from token_models.sampling.choose import check_temperature
from token_models.sampling.config import SamplingConfig
from token_models.sampling.sample import sample
from token_models.windows import fill_in_windows


@dataclass(frozen=True)
class Stage:
    """A model at work.

    Attributes:
        place: 0 for the first model, 1 for the one behind it: they draw other random numbers.
        model: in `eval()`.
        sampling: how its cells are filled.
        window: frames that it sees at once.
        overlap: frames of a window that are those of the one before.
    """

    place: int
    model: TokenModel
    sampling: SamplingConfig
    window: int
    overlap: int

    def asked(self, steps: int | None = None, temperature: float | None = None) -> "Stage":
        """The same model, asked another number of times, which codebooks that have steps of their own share, or drawing
        codes at another temperature; None leaves it as it is.
        """
        changed: dict[str, int | float] = {}
        if steps is not None:
            check_whole("steps", steps, 1)
            levels = self.model.n_codebooks - self.model.known if self.sampling.method == "levels" else 1
            changed["steps"] = math.ceil(steps / levels)
        if temperature is not None:
            check_temperature("temperature", temperature)
            changed["temperature"] = temperature
        return replace(self, sampling=self.sampling.model_copy(update=changed))

    def from_nothing(self) -> "Stage":
        """The same model, for which what stands under a mask is no draft."""
        return replace(self, sampling=self.sampling.model_copy(update={"doubt": None}))


def generate(
    stages: Mapping[str, Stage],
    shape: tuple[int, int],
    heard: Heard | None,
    seeds: Sequence[int],
    *,
    given: Tensor | None = None,
    draft: Tensor | None = None,
    hop_length: int,
) -> dict[str, Tensor]:
    """The codes that each model leaves, `{stage: [B, K', T]}`; the last one's are the stem's.

    Args:
        stages: the models in their order; each goes on from what the one before has written.
        shape: B and T.
        heard: of the input; None where no stage is conditioned on it.
        seeds: one for each item.
        given: codes that are kept, `[B, K'', T]` of the first codebooks; a stage whose codebooks are all given has
            nothing to do.
        draft: codes from which sampling with `doubt` begins, `[B, K, T]` of all codebooks of the stages that have it.
        hop_length: of the codec, samples.

    Raises:
        ValueError: what is given or heard does not fit the models.
    """
    items, n_frames = shape
    for name, kept in {"given": given, "draft": draft}.items():
        if kept is not None and (kept.dim() != 3 or (len(kept), kept.shape[-1]) != shape or kept.dtype != torch.long):
            raise ValueError(f"{name} must be codes [{items}, K, {n_frames}], got {kept.dtype} {list(kept.shape)}")
    device = next(next(iter(stages.values())).model.parameters()).device
    written = torch.zeros(items, 0, n_frames, dtype=torch.long, device=device) if given is None else given
    found = {}
    for name, stage in stages.items():
        wanted = stage.model.n_codebooks
        known = written[:, :wanted]
        unknown = known.new_zeros(items, wanted - known.shape[1], n_frames)
        if draft is not None and stage.sampling.doubt is not None:
            unknown = draft[:, known.shape[1] : wanted]
        codes = torch.cat([known, unknown], dim=1)
        mask = behind_known(torch.ones_like(unknown, dtype=torch.bool), known.shape[1])
        found[name] = fill(stage, codes, mask, heard, seeds, hop_length)
        written = torch.cat([found[name], written[:, wanted:]], dim=1)
    return found


@torch.no_grad()
def fill(
    stage: Stage, codes: Tensor, mask: Tensor, heard: Heard | None, seeds: Sequence[int], hop_length: int
) -> Tensor:
    """Fill the masked cells of a grid `[B, K, T]` of any length with a model.

    Raises:
        ValueError: grid, mask or what is heard do not fit the model.
    """
    model = stage.model
    check_fits(model, codes, mask, draft=stage.sampling.doubt is not None)
    if heard is not None:
        heard.check_frames(codes.shape[-1], hop_length)
    elif model.condition is not None:
        raise ValueError("the model is conditioned on its input, but nothing is heard")

    def fill_window(part: Tensor, left: Tensor, start: int) -> Tensor:
        shown = None
        if model.condition is not None and heard is not None:
            shown = model.condition(heard.frames(start, start + part.shape[-1], hop_length))

        def predict(grid: Tensor, masked: Tensor) -> Tensor:
            return model(grid, masked, shown)

        def without(grid: Tensor, masked: Tensor) -> Tensor:
            assert model.condition is not None
            return model(grid, masked, model.condition.without(len(grid), grid.shape[-1]))

        return sample(
            predict,
            part,
            left,
            stage.sampling,
            [_seed(seed, stage.place, start) for seed in seeds],
            unconditional=without if stage.sampling.guidance.active and model.condition is not None else None,
        )

    return fill_in_windows(fill_window, codes, mask, stage.window, stage.overlap)


def _seed(*numbers: int) -> int:
    """A seed in 0 .. 2^32 - 1 for a seed, a model and a window; more of it a generator on a CPU would not use."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
