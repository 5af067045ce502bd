"""What is heard of an input: in the forms that conditions read, and as codes to begin with."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from codec_ft.codecs.base import Codec, outside_autocast
from codec_ft.codecs.long import encode_each
from codec_ft.errors import UserError
from codec_ft.finetune.apply import TrainedEnhancer
from codec_ft.finetune.enhancer import side_by_side
from codec_ft.finetune.trained import TrainedModel
from token_models.config import ConditionConfig


@dataclass(frozen=True)
class Heard:
    """An input and what is beside it, for `B` items; None where nobody reads it.

    Attributes:
        codes: of the input, `[B, K, T]`.
        latents: of the input and, below them, of its context, `[B, (1 + n) * D, T]`.
        audio: input and context, `[B, 1 + n, N]`.
        enhanced: latents that an enhancer makes of them, `[B, D, T]`.
        preferred: what it says for codes near them, in nats, `[B, K', V, T]`; None of one that says nothing.
        draft: codes that may be kept as the stem's, or begun with: the enhancer's, `[B, K', T]`, or the input's.
    """

    codes: Tensor | None = None
    latents: Tensor | None = None
    audio: Tensor | None = None
    enhanced: Tensor | None = None
    preferred: Tensor | None = None
    draft: Tensor | None = None

    def frames(self, start: int, stop: int, hop_length: int) -> "Heard":
        """The part from frame `start` to frame `stop`."""

        def cut(name: str, value: Tensor | None) -> Tensor | None:
            scale = hop_length if name == "audio" else 1
            return None if value is None else value[..., start * scale : stop * scale]

        return Heard(**{field.name: cut(field.name, getattr(self, field.name)) for field in fields(self)})

    def check_frames(self, n_frames: int, hop_length: int) -> None:
        """Refuse what is not of a grid of so many frames.

        Raises:
            ValueError: names what differs.
        """
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                found = -(-value.shape[-1] // hop_length) if field.name == "audio" else value.shape[-1]
                if found != n_frames:
                    raise ValueError(f"the grid has {n_frames} frames, but what is heard as {field.name} has {found}")


class Listener:
    """Hears audio as conditions want it: by the frozen codec, and an enhancer where one is needed.

    Args:
        codec: the frozen codec.
        conditions: what is read; what only one of several wants is heard, too.
        enhancer: is heard through where a condition says so, and for a draft.
        drafts: whether a draft is wanted.

    Raises:
        UserError: the enhancer is missing, or of another codec.
    """

    def __init__(
        self,
        codec: Codec,
        conditions: Sequence[ConditionConfig],
        enhancer: TrainedEnhancer | None = None,
        drafts: bool = False,
    ) -> None:
        self.codec, self.drafts = codec, drafts
        self.codes, self.latents, self.spectrogram, self.enhanced = (
            any(getattr(condition, name) for condition in conditions)
            for name in ("tokens", "latents", "spectrogram", "enhanced")
        )
        self.enhancer = enhancer if self.enhanced or drafts else None
        if self.enhanced and enhancer is None:
            raise UserError("condition.enhanced: there is no enhancer; set enhancer to a name or a run folder.")
        if enhancer is not None:
            check_same_codes(codec, enhancer, "enhancer")

    @property
    def reads_latents(self) -> bool:
        """Whether the frozen encoder's latents are needed."""
        return self.codes or self.reads_context or (self.drafts and self.enhancer is None)

    @property
    def reads_context(self) -> bool:
        """Whether the latents of what is beside the input are needed, too."""
        return self.latents or self._goes_on

    @property
    def reads_audio(self) -> bool:
        """Whether latents of the frozen encoder are not all that is needed."""
        return self.spectrogram or (self.enhancer is not None and not self._goes_on)

    @property
    def _goes_on(self) -> bool:
        """Whether an enhancer goes on from the frozen encoder's latents."""
        return self.enhancer is not None and self.enhancer.frozen

    @torch.no_grad()
    def hear(self, audio: Tensor, context: Tensor | None = None, latents: Tensor | None = None) -> Heard:
        """What is heard of audio `[B, 1, N]` and context `[B, n, N]`.

        Args:
            audio: the input; may be empty where `latents` are all that is read.
            context: what is beside it.
            latents: of both, one below the other, if they are known.
        """
        both = side_by_side(audio, context)
        codes = draft = prediction = None
        with outside_autocast(audio):  # as in generation
            if latents is None and self.reads_latents:
                latents = encode_each(self.codec, both if self.reads_context else audio)
            if self.codes or (self.drafts and self.enhancer is None):
                assert latents is not None
                codes, _ = self.codec.quantize(latents[:, : self.codec.latent_dim])
            if self.enhancer is not None:
                prediction = self.enhancer.predict(audio, context, latents if self._goes_on else None)
            if self.drafts:
                draft = codes if self.enhancer is None or prediction is None else self.enhancer.codes_of(prediction)
        shown = prediction if self.enhanced else None
        return Heard(
            codes=codes if self.codes else None,
            latents=latents if self.latents else None,
            audio=both if self.spectrogram else None,
            enhanced=shown.latents if shown else None,
            preferred=shown.preferences if shown else None,
            draft=draft,
        )


def check_same_codes(codec: Codec, other: TrainedModel, key: str) -> None:
    """Refuse a trained model that is for other codes.

    Raises:
        UserError: names the key of the configuration that asks for it.
    """
    if not codec.has_codes_of(other.codec):
        raise UserError(
            f"{key}={other.name}: was trained for {other.codec.name}, whose codes are not those of codec={codec.name}. "
            f"Set codec={other.codec.name}, or take another one."
        )
