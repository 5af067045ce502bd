"""What stays of a sound whose codes are written anew, as VampNet's users say it (Flores García et al., 2023)."""

import math
from collections.abc import Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor

from codec_ft.config import Config
from token_models.masks.compose import all_of, any_of, drop_known
from token_models.masks.onset import onset_mask, onset_times
from token_models.masks.structured import codebook_mask, inpaint_mask, periodic_mask

ROUNDING = 1e-6
"""Of a frame: by so much a time may lie above a whole number of frames and still be that."""


class Kept(Config):
    """Frames that are kept for any of several reasons, in the first codebooks; all else is to be written.

    Without a reason no frame is kept.

    Raises:
        ValueError: an option is of no use without another.
    """

    period: int | None = Field(None, ge=1, description="of so many frames one is kept")
    width: int = Field(1, ge=1, description="instead of one, so many of each period")
    prefix: float = Field(0.0, ge=0, description="the first so many seconds are kept")
    suffix: float = Field(0.0, ge=0, description="the last so many seconds are kept")
    onsets: int | None = Field(None, ge=0, description="frames in which a note begins are kept, and so many after them")
    codebooks: int | None = Field(None, ge=0, description="of kept frames, the first so many codebooks; null: all")
    forgotten: float = Field(0.0, ge=0, le=1, description="share of the kept cells, at random, that is not kept")

    @model_validator(mode="after")
    def _is_of_use(self) -> "Kept":
        if self.period is None and self.width > 1:
            raise ValueError("width is of no use without period")
        reasons = self.prefix or self.suffix or self.period is not None or self.onsets is not None
        for name, limits in (("codebooks", self.codebooks is not None), ("forgotten", self.forgotten > 0)):
            if limits and not reasons:
                raise ValueError(
                    f"{name} limits what is kept, and nothing is; give period, prefix, suffix or onsets, too"
                )
        return self

    def mask(
        self, shape: Sequence[int], audio: Tensor, sample_rate: int, hop_length: int, generator: torch.Generator
    ) -> Tensor:
        """The cells to write, `[B, K, T]` bool on the audio's device.

        Args:
            shape: B, K, T of the grid.
            audio: the sound, `[B, C, N]`, of which the grid is.
            sample_rate: of it, in Hz.
            hop_length: samples of a frame; the last one may have fewer.
            generator: on the CPU, of what is forgotten.

        Raises:
            ValueError: the grid has fewer codebooks, or begin and end are longer than all of it.
        """
        n_codebooks, n_frames = shape[1:]
        seconds = audio.shape[-1] / sample_rate
        if self.prefix + self.suffix > seconds + 0.5 / sample_rate:
            raise ValueError(
                f"prefix={self.prefix:g} and suffix={self.suffix:g} seconds are more than the {seconds:g} s that there "
                "are; keep less"
            )
        if self.codebooks is not None and self.codebooks > n_codebooks:
            raise ValueError(f"codebooks={self.codebooks}: there are {n_codebooks}; keep as many or fewer")
        frame_rate = sample_rate / hop_length
        begin = min(n_frames, math.ceil(self.prefix * frame_rate - ROUNDING))  # frames of which some part is kept
        end = min(n_frames - begin, math.ceil(self.suffix * frame_rate - ROUNDING))
        masks = [inpaint_mask(shape, begin, end)]
        if self.period is not None:
            masks.append(periodic_mask(shape, self.period, width=self.width))
        if self.onsets is not None:
            times = onset_times(audio.cpu(), sample_rate)
            masks.append(onset_mask(shape, times, frame_rate, after=self.onsets))
        mask = all_of(*masks)
        if self.codebooks is not None:
            mask = any_of(mask, codebook_mask(shape, self.codebooks))
        return drop_known(mask, self.forgotten, generator).to(audio.device)
