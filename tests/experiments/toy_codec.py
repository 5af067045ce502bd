"""A codec that can be worked out by hand: a latent is the mean of a frame, decoding repeats it."""

import torch
from torch import Tensor, nn

from codec_ft.codecs.base import Codec, EncoderStart

STEPS = (0.125, 0.0075)


class ToyCodec(Codec):
    """Two codebooks of 16 codes: multiples of 0.125, then of 0.0075; code 8 of each is zero.

    The finer one spans less than a step of the coarser one, so what was decoded gives its own codes again.
    """

    name = "toy"
    sample_rate = 8000
    hop_length = 20
    n_codebooks = 2
    codebook_size = 16
    latent_dim = 1
    geometry = "euclidean"

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.Parameter(torch.arange(-8.0, 8.0) * torch.tensor(STEPS)[:, None])  # [K, V]
        self.freeze()

    def encode(self, audio: Tensor) -> Tensor:
        return nn.functional.avg_pool1d(audio, self.hop_length, ceil_mode=True)

    def quantize(self, latents: Tensor, n_codebooks: int | None = None) -> tuple[Tensor, Tensor]:
        codes, residual = [], latents[:, 0]
        for table in self.tables[: self.check_codebooks(n_codebooks)]:
            codes.append((residual[..., None] - table).abs().argmin(dim=-1))
            residual = residual - table[codes[-1]]
        grid = torch.stack(codes, dim=1)
        return grid, self.codes_to_latents(grid)

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        self.check_codes(codes)
        return torch.stack([table[grid] for table, grid in zip(self.tables, codes.unbind(1), strict=False)]).sum(0)[
            :, None
        ]

    def codebooks(self) -> Tensor:
        return self.tables[..., None]

    def decode(self, latents: Tensor, length: int | None = None, scales: Tensor | None = None) -> Tensor:
        return latents.repeat_interleave(self.hop_length, dim=2)[..., : length or None]

    def logits(self, latents: Tensor, target_codes: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        raise NotImplementedError

    def ranks(self, latents: Tensor, codes: Tensor, target_codes: Tensor) -> Tensor:
        raise NotImplementedError

    def match_space(self, latents: Tensor, target_codes: Tensor | None = None) -> Tensor:
        return latents

    def new_encoder(self, start: EncoderStart) -> nn.Module:
        raise NotImplementedError

    def encoder_chain(self, copy: nn.Module | None = None) -> list[nn.Module]:
        raise NotImplementedError

    def decoder_chain(self) -> list[nn.Module]:
        raise NotImplementedError
