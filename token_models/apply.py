"""Trained token models at work: codes and sound of a stem."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.codecs.long import decode_long, encode_long
from codec_ft.errors import UserError
from codec_ft.finetune.apply import TrainedEnhancer
from codec_ft.finetune.trained import CHUNK_SECONDS, TrainedModel, check_chunk
from token_models.loudness import gain_to
from token_models.masks.checks import check_whole
from token_models.masks.kept import Kept
from token_models.model import TokenModel
from token_models.sampling.choose import check_temperature
from token_models.save import TokenFacts
from token_models.writer import TokenWriter


class TrainedTokens(TrainedModel):
    """Writes the codes of a stem that it hears in its input, and in what was beside it in training.

    All of an input is heard before its codes are written, so memory grows with the length: by some megabytes a second.

    Args:
        codec: the frozen codec.
        facts: what the models are.
        models: with trained weights, by name.
        name: what they were loaded as.
        enhancer: that of the facts.

    Attributes:
        facts: what they are.
        models: in `eval()`, by name.
        seed: of the random numbers that sampling draws.
        steps: of sampling; None for those of the facts.
        temperature: of the codes that are drawn; None for those of the facts.
    """

    def __init__(
        self,
        codec: Codec,
        facts: TokenFacts,
        models: Mapping[str, TokenModel],
        name: str,
        enhancer: TrainedEnhancer | None = None,
    ) -> None:
        super().__init__(codec, name, facts.stem, facts.input, facts.context)
        self.facts = facts
        self.models = {name: model.requires_grad_(False).eval() for name, model in models.items()}
        self.seed = 0
        self.steps: int | None = None
        self.temperature: float | None = None
        self._writer = TokenWriter(codec, facts, self.models, enhancer)

    def to(self, device: torch.device | str) -> "TrainedTokens":
        """Move it."""
        self.codec.to(device)
        for model in self.models.values():
            model.to(device)
        if self._writer.enhancer is not None:
            self._writer.enhancer.to(device)
        return self

    @torch.no_grad()
    def codes(self, audio: Tensor, context: Tensor | None = None) -> Tensor:
        """The stem's codes `[B, K', T]`; arguments as of `decoded`. Every item is drawn with the same seed."""
        self.check(audio, context)
        self._check_settings()
        listened = self._writer.listen(audio, context)
        seeds = [self.seed] * len(audio)
        written = self._writer.write(listened, seeds, self.facts.given[0], self.steps, self.temperature)
        return list(written.values())[-1]

    def _in_chunks(self, sources: Tensor, chunk_seconds: float) -> Tensor:
        """All codes are written in windows that go on from each other, and only the codec works in chunks: two draws of
        the same moment are no two versions of one sound, which could fade into each other.
        """
        audio, context = sources[None, :1], sources[None, 1:] if len(sources) > 1 else None
        codes = self.codes(audio, context)
        return decode_long(self.codec, codes, sources.shape[1], chunk_seconds=chunk_seconds)[0, 0]

    @torch.no_grad()
    def decoded(self, audio: Tensor, context: Tensor | None = None) -> Tensor:
        """See `TrainedModel.decoded`."""
        return self.codec.decode(self.codec.codes_to_latents(self.codes(audio, context)), audio.shape[-1])

    @property
    def hears(self) -> list[str]:
        """What it is shown while it writes, the input first; nothing where no model is conditioned on it."""
        conditioned = any(model.condition is not None for model in self.models.values())
        return [self.input, *self.context] if conditioned else []

    @property
    def listens(self) -> bool:
        """Whether what it writes has anything to do with its input."""
        doubts = [self.facts.sampling.doubt, self.facts.fine_sampling.doubt]
        return bool(self.hears) or bool(self.facts.given[0]) or any(doubts)

    def regenerate(
        self,
        audio: np.ndarray,
        sample_rate: int,
        kept: Kept,
        heard: Sequence[np.ndarray] = (),
        *,
        chunk_seconds: float = CHUNK_SECONDS,
    ) -> np.ndarray:
        """Another version of a sound: some of its codes are kept, all else is written anew.

        Args:
            audio: the sound, float `[C, N]` in -1..1; each channel is written by itself, with the same mask.
            sample_rate: of all audio, in Hz.
            kept: what is kept. If that is everything, the sound comes back as it was.
            heard: what the attribute `hears` names, each `[C, N]`, in this order.
            chunk_seconds: what the codec works on at once.

        Returns:
            float32 `[C, N]`.

        Raises:
            UserError: something that is heard is missing, or given for nothing, or more is to be kept than there is.
            ValueError: audio is not `[C, N]` with finite samples, what is heard differs from it in shape, or a chunk
                has no length.
        """
        self._check_heard(len(heard))
        self._check_settings()
        check_chunk(chunk_seconds)
        channels = self._channels(audio, heard, sample_rate)
        if not channels[0].shape[1]:  # a sample or two of a higher rate
            return np.array(audio, dtype=np.float32)
        sound = torch.stack([sources[0] for sources in channels])
        gain = 1.0 if self.facts.loudness is None else gain_to(self.facts.loudness, sound, self.sample_rate)
        n_codebooks = max(model.n_codebooks for model in self.models.values())
        length = channels[0].shape[-1]
        shape, generator = (1, n_codebooks, self.codec.n_frames(length)), torch.Generator().manual_seed(self.seed)
        try:
            mask = kept.mask(shape, sound.mean(dim=0)[None, None], self.sample_rate, self.codec.hop_length, generator)
        except ValueError as error:
            raise UserError(f"{error}.") from error
        if not mask.any():
            return np.array(audio, dtype=np.float32)
        written = []
        for sources in channels:
            beside = gain * sources[None, 1:]
            codes = encode_long(self.codec, gain * sources[None, :1], n_codebooks, chunk_seconds=chunk_seconds)
            shown = (
                self._writer.listener.hear(beside[:, :1], beside[:, 1:] if self.context else None) if heard else None
            )
            codes = self._writer.rewrite(codes, mask, shown, [self.seed], self.steps, self.temperature)
            written.append(decode_long(self.codec, codes, length, chunk_seconds=chunk_seconds)[0, 0])
        return self._at_rate(torch.stack(written) / gain, sample_rate, audio.shape[1])

    def _check_settings(self) -> None:
        """Refuse attributes that sampling cannot do with, before any work.

        Raises:
            ValueError: names it.
        """
        check_whole("seed", self.seed, 0)
        if self.steps is not None:
            check_whole("steps", self.steps, 1)
        if self.temperature is not None:
            check_temperature("temperature", self.temperature)

    def _check_heard(self, given: int) -> None:
        if given == len(self.hears):
            return
        if not self.hears:
            raise UserError(f"{self.name}: hears nothing while it writes; leave out what it is to hear.")
        raise UserError(
            f"{self.name}: hears {', '.join(self.hears)} while it writes; give that of the same music as what is heard "
            "(--heard)."
        )
