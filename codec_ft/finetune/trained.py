"""What is trained to draw out a stem, at work on audio of any rate, channels and length."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from codec_ft.audio.resample import resample
from codec_ft.codecs.base import Codec
from codec_ft.data.separators.chunks import separate_in_chunks
from codec_ft.errors import UserError

CHUNK_SECONDS = 20.0
"""What is enhanced at once; a few times as much as recurrent layers look back."""
OVERLAP = 0.1
"""Share of a chunk over which it fades into the next."""


class TrainedModel(ABC):
    """Hears a stem in its input, and in what was beside it in training.

    Args:
        codec: the frozen codec whose codes it writes.
        name: what it was loaded as.
        stem: what it draws out, as "bass".
        input: what it is to hear, as "mixture" or "separated/open_unmix_demo".
        context: what it is to hear beside that, in this order.

    Attributes:
        sample_rate: of the codec, in Hz.
    """

    def __init__(self, codec: Codec, name: str, stem: str, input: str, context: Sequence[str]) -> None:
        self.codec, self.name, self.stem, self.input, self.context = codec, name, stem, input, list(context)
        self.sample_rate = codec.sample_rate

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.codec.parameters()).device

    @abstractmethod
    def decoded(self, audio: Tensor, context: Tensor | None = None) -> Tensor:
        """The stem `[B, 1, N]`, for audio `[B, 1, N]` and context `[B, n, N]` at `sample_rate`, all at once."""

    def enhance(
        self,
        audio: np.ndarray,
        sample_rate: int,
        context: Sequence[np.ndarray] = (),
        *,
        chunk_seconds: float = CHUNK_SECONDS,
    ) -> np.ndarray:
        """The stem in audio of any rate, length and number of channels, each of which is heard by itself.

        It is resampled to the codec's rate and back, so nothing is heard above half of that. What is longer than a
        chunk is heard in chunks that overlap and fade into each other.

        Args:
            audio: the input, float `[C, N]` in -1..1.
            sample_rate: of audio and context, in Hz.
            context: what it hears beside the input, each `[C, N]`, in the order of the attribute `context`.
            chunk_seconds: what is heard at once; memory grows with it, not with the length.

        Returns:
            float32 `[C, N]`.

        Raises:
            UserError: some of the context is missing, or given for nothing.
            ValueError: audio or context are not `[C, N]` with finite samples, or differ in shape, the rate is no whole
                number, or a chunk has no length.
        """
        self._check_context(len(context))
        check_chunk(chunk_seconds)
        channels = self._channels(audio, context, sample_rate)
        if not channels[0].shape[1]:  # a sample or two of a higher rate
            return np.zeros_like(audio, dtype=np.float32)
        stem = torch.stack([self._in_chunks(channel, chunk_seconds) for channel in channels])
        return self._at_rate(stem, sample_rate, audio.shape[1])

    def _channels(self, audio: np.ndarray, context: Sequence[np.ndarray], sample_rate: int) -> list[Tensor]:
        """Audio and what is beside it, each `[C, N]`, as `[1 + n, N']` for each channel, at the codec's rate.

        Raises:
            ValueError: they are not `[C, N]` with finite samples, or differ in shape, or the rate is no whole number.
        """
        sources = [audio, *context]
        for i, source in enumerate(sources):
            what = "context" if i else "audio"
            if source.ndim != 2 or 0 in source.shape:
                raise ValueError(f"{what} must be [C, N] with C, N > 0, not of shape {list(source.shape)}")
            if source.shape != audio.shape:
                raise ValueError(f"audio {list(audio.shape)} and context {list(source.shape)} differ in shape")
            if not np.isfinite(source).all():
                raise ValueError(f"{what} holds NaN or infinite samples")
        if not isinstance(sample_rate, Integral):
            raise ValueError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}")
        resampled = [torch.from_numpy(resample(source, sample_rate, self.sample_rate)) for source in sources]
        return [torch.stack(channel).to(self.device) for channel in zip(*resampled, strict=True)]

    def _at_rate(self, channels: Tensor, sample_rate: int, length: int) -> np.ndarray:
        """Channels `[C, N']` at the codec's rate to `[C, length]` at another one."""
        output = resample(channels.cpu().numpy(), self.sample_rate, sample_rate)[:, :length]
        # Resampling there and back may cost a few samples.
        return np.ascontiguousarray(np.pad(output, ((0, 0), (0, length - output.shape[1]))))

    def _in_chunks(self, sources: Tensor, chunk_seconds: float) -> Tensor:
        """Input and context `[1 + n, N]` of one channel to the stem `[N]`."""
        hop, length = self.codec.hop_length, sources.shape[1]
        # In whole frames, so that where two chunks overlap their frames coincide, and with them most of the codes.
        overlap = max(1, round(OVERLAP * chunk_seconds * self.sample_rate / hop)) * hop
        chunk = max(2 * overlap, round(chunk_seconds * self.sample_rate / hop) * hop)
        sources = F.pad(sources, (0, -length % hop))

        def separate(part: Tensor) -> Tensor:
            return self.decoded(part[:, :1], part[:, 1:] if len(sources) > 1 else None)[:, None]

        with torch.no_grad():
            return separate_in_chunks(separate, sources, chunk=chunk, overlap=overlap)[0, 0, :length]

    def check(self, audio: Tensor, context: Tensor | None) -> None:
        """Refuse what it was not trained to hear.

        Raises:
            UserError: some of the context is missing, or given for nothing.
            ValueError: audio and context are not what the codec takes, or differ in shape.
        """
        self._check_context(0 if context is None else context.shape[1])
        self.codec.check_audio(audio)
        if context is not None:
            for source in context.split(1, dim=1):
                self.codec.check_audio(source)
                if source.shape != audio.shape:
                    raise ValueError(f"audio {list(audio.shape)} and context {list(context.shape)} differ in shape")

    def _check_context(self, given: int) -> None:
        """Refuse another number of inputs beside the first than it was trained with."""
        if given and not self.context:
            raise UserError(f"{self.name}: was trained without a context; leave it out.")
        if given != len(self.context):
            them = "it" if len(self.context) == 1 else "them, in this order,"
            raise UserError(f"{self.name}: hears {', '.join(self.context)} beside its input; give {them} as context.")


def check_chunk(chunk_seconds: float) -> None:
    """Refuse a chunk without length, before any work."""
    if not 0 < chunk_seconds < math.inf:
        raise ValueError(f"chunk_seconds must be above 0 and finite, got {chunk_seconds}")
