"""What token models learn from: the clean stem's codes, and what is heard of the input."""

from dataclasses import dataclass

import torch
from torch import Tensor

from codec_ft.codecs.residual import ResidualCodec
from codec_ft.data.dataset import Batch
from token_models.conditioning.heard import Heard, Listener


@dataclass(frozen=True)
class Given:
    """A batch as all models of a training see it.

    Attributes:
        codes: of the clean stem, `[B, K, T]`.
        latents: of the clean stem, `[B, D, T]`; None where nothing is learnt from them.
        heard: of the input.
        indices: numbers of training items, `[B]`.
    """

    codes: Tensor
    latents: Tensor | None
    heard: Heard
    indices: Tensor | None

    def cut(self, start: int, stop: int, hop_length: int) -> "Given":
        """Frames `start` to `stop`."""
        latents = None if self.latents is None else self.latents[..., start:stop]
        return Given(self.codes[..., start:stop], latents, self.heard.frames(start, stop, hop_length), self.indices)


@torch.no_grad()
def give(batch: Batch, codec: ResidualCodec, listener: Listener, *, latents: bool) -> Given:
    """What a batch gives; what is stored is not computed again.

    Args:
        batch: clean stem and input, or their codes and latents.
        codec: the frozen codec.
        listener: what hears the input.
        latents: whether the clean stem's latents are learnt from.
    """
    found = batch.target_latents
    if found is None and (latents or batch.target_codes is None):
        found = codec.encode(batch.target)
    codes = batch.target_codes
    if codes is None:
        assert found is not None
        codes, _ = codec.quantize(found)
    heard = listener.hear(batch.input, batch.context, batch.input_latents)
    return Given(codes.long(), found if latents else None, heard, batch.indices)
