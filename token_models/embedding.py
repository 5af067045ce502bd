"""The code grid as one vector per frame, with a learnt vector wherever nothing is known."""

import torch
from torch import Tensor, nn

from codec_ft.codecs.residual import ResidualCodec


class CodeEmbedding(nn.Module):
    """Codes `[B, K, T]`, some of them masked, to `[B, T, W]`.

    Each code becomes its vector, each masked cell the mask vector of its codebook; the vectors of a frame stand side by
    side and are projected (VampNet, section 3.2). All codebooks of a frame are one position.

    Args:
        width: W.
        tables: vectors of the codes, `[K, V, D']`; frozen, and not saved with the rest.
        maskable: have mask vectors; a grid that is always known needs none.
    """

    tables: Tensor

    def __init__(self, width: int, tables: Tensor, *, maskable: bool = True) -> None:
        super().__init__()
        self.register_buffer("tables", tables.detach().clone().float(), persistent=False)
        self._make(width, *tables.shape, maskable=maskable)

    def _make(self, width: int, n_codebooks: int, codebook_size: int, dim: int, *, maskable: bool) -> None:
        self.n_codebooks, self.codebook_size = n_codebooks, codebook_size
        self.masked = nn.Parameter(torch.randn(n_codebooks, dim)) if maskable else None
        self.project = nn.Linear(n_codebooks * dim, width)

    def forward(self, codes: Tensor, mask: Tensor | None = None) -> Tensor:
        """Codes `[B, K, T]` and mask (True: unknown) to `[B, T, W]`; codes under the mask are not looked at."""
        books = torch.arange(self.n_codebooks, device=codes.device)[:, None]
        if mask is None:
            vectors = self.tables[books, codes.long()]  # [B, K, T, D']
        else:
            assert self.masked is not None, "this embedding is for known grids"
            known = self.tables[books, codes.masked_fill(mask, 0).long()]
            vectors = torch.where(mask[..., None], self.masked[:, None], known)
        return self.project(vectors.transpose(1, 2).flatten(2))


class LearnedEmbedding(CodeEmbedding):
    """The same with vectors that are learnt.

    Args:
        width: W.
        n_codebooks: K.
        codebook_size: V.
        dim: of a vector.
    """

    def __init__(self, width: int, n_codebooks: int, codebook_size: int, dim: int) -> None:
        nn.Module.__init__(self)
        self.tables = nn.Parameter(torch.randn(n_codebooks, codebook_size, dim))
        self._make(width, n_codebooks, codebook_size, dim, maskable=True)


def codec_tables(codec: ResidualCodec, n_codebooks: int, *, unit: bool) -> Tensor:
    """The vectors of the first codebooks of a codec, `[K, V, D']`, in the spaces of the codebooks.

    Args:
        codec: whose.
        n_codebooks: K.
        unit: divide those of each codebook by their root mean square: what a layer codes is smaller than what the one
            before it does, by an order of magnitude from first to last.
    """
    tables = torch.stack([codec.table(k).detach().float() for k in range(n_codebooks)])
    return tables / tables.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-8) if unit else tables
