"""Residual vector quantisation: what the codecs that use it share, whatever makes a code the nearest one."""

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from codec_ft.codecs.base import Codec, outside_autocast

RANKED_FRAMES = 1024
"""Frames whose codes are ranked at once: 8 codebooks of 1024 codes one after the other, 4 MB of scores each."""


class ResidualCodec(Codec):
    """A codec whose layers each code what the layers before them left over.

    The residual of a layer is the latents minus the vectors of the codes before it, through which no gradient flows;
    so the loss of every layer reaches the latents, and each as if the codes before were constants.

    A kind of quantiser says what a layer does: `table`, `project`, `nearest`, `scores` and `vectors`.
    """

    @abstractmethod
    def table(self, k: int) -> Tensor:
        """The codes of layer `k` as vectors `[V, D']` in the space of its codebook, where `scores` compares them."""

    @abstractmethod
    def project(self, k: int, residual: Tensor) -> Tensor:
        """The residual `[B, D, T]` of layer `k` in the space `[B, D', T]` of its codebook."""

    @abstractmethod
    def nearest(self, k: int, projected: Tensor) -> Tensor:
        """Codes `[B, T]` of layer `k` for its projected residual `[B, D', T]`."""

    @abstractmethod
    def scores(self, k: int, projected: Tensor) -> Tensor:
        """How close each code of layer `k` is to its projected residual, `[B, V, T]`; highest for the nearest.

        What is the same for all codes of a frame may be left out.
        """

    @abstractmethod
    def vectors(self, k: int, codes: Tensor) -> Tensor:
        """Codes `[B, T]` of layer `k` as vectors `[B, D, T]` in the space of the latents."""

    def explained(self, k: int, projected: Tensor, codes: Tensor) -> Tensor:
        """What layer `k` takes off its residual, `[B, D, T]`: its vectors, rounded as the original rounds them."""
        del projected
        return self.vectors(k, codes)

    def quantize(self, latents: Tensor, n_codebooks: int | None = None) -> tuple[Tensor, Tensor]:
        """See `Codec.quantize`."""
        n_codebooks = self.check_codebooks(n_codebooks)
        self.check_latents(latents)
        with outside_autocast(latents), torch.no_grad():
            codes = torch.stack([codes for _, codes in self._layers(latents, n_codebooks)], dim=1)
        return codes, self.codes_to_latents(codes)

    @torch.no_grad()
    def complete_codes(self, latents: Tensor, codes: Tensor, n_codebooks: int | None = None) -> Tensor:
        """Codes `[B, K, T]` that begin with given ones, `[B, K', T]`: the others code what these leave of the latents.

        Raises:
            ValueError: latents and codes do not fit together, or more codes are given than are asked for.
        """
        given, n_codebooks = self._check_teaching(latents, codes), self.check_codebooks(n_codebooks)
        if given > n_codebooks:
            raise ValueError(f"{given} codebooks are given, {n_codebooks} were asked for")
        with outside_autocast(latents):
            residual, found = latents.float(), []
            for k in range(n_codebooks):
                projected = self.project(k, residual)
                found.append(codes[:, k].long() if k < given else self.nearest(k, projected))
                residual = residual - self.explained(k, projected, found[-1])
        return torch.stack(found, dim=1)

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """See `Codec.codes_to_latents`."""
        self.check_codes(codes)
        quantized = torch.zeros((), device=codes.device)
        with outside_autocast(codes):
            for k, layer_codes in enumerate(codes.long().unbind(dim=1)):
                quantized = quantized + self.vectors(k, layer_codes)
        return quantized

    def codebooks(self) -> Tensor:
        """See `Codec.codebooks`: the `vectors` of all codes of all layers."""
        every_code = torch.arange(self.codebook_size, device=next(self.parameters()).device)[None]
        with outside_autocast(every_code):
            return torch.cat([self.vectors(k, every_code).transpose(1, 2) for k in range(self.n_codebooks)])

    def logits(self, latents: Tensor, target_codes: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """See `Codec.logits`: the `scores` over the temperature, normalised over all codes."""
        if not temperature > 0:
            raise ValueError(f"the temperature must be above zero, got {temperature}")
        n_layers = self._check_teaching(latents, target_codes)
        with outside_autocast(latents):
            return torch.stack(
                [
                    F.log_softmax(self.scores(k, projected) / temperature, dim=1)
                    for k, (projected, _) in enumerate(self._layers(latents, n_layers, target_codes))
                ],
                dim=1,
            )

    @torch.no_grad()
    def ranks(self, latents: Tensor, codes: Tensor, target_codes: Tensor) -> Tensor:
        """See `Codec.ranks`; only some frames at a time, since all scores of a song are gigabytes."""
        self._check_teaching(latents, codes)
        self.check_codes(target_codes)
        if target_codes.shape != codes.shape:
            raise ValueError(
                f"codes and target codes differ in shape: {list(codes.shape)} and {list(target_codes.shape)}"
            )
        parts = zip(*(grid.split(RANKED_FRAMES, dim=2) for grid in (latents, codes, target_codes)), strict=True)
        with outside_autocast(latents):
            return torch.cat([self._ranks(*part) for part in parts], dim=2)

    def _ranks(self, latents: Tensor, codes: Tensor, target_codes: Tensor) -> Tensor:
        found = []
        for k, (projected, _) in enumerate(self._layers(latents, codes.shape[1], codes)):
            scores = self.scores(k, projected)
            wanted = scores.gather(1, target_codes[:, k, None].long())
            found.append((scores > wanted).sum(dim=1))
        return torch.stack(found, dim=1)

    def match_space(self, latents: Tensor, target_codes: Tensor | None = None) -> Tensor:
        """See `Codec.match_space`: the projected residuals of all layers, one below the other, `[B, K * D', T]`."""
        n_layers = self._check_teaching(latents, target_codes)
        with outside_autocast(latents):
            return torch.cat([projected for projected, _ in self._layers(latents, n_layers, target_codes)], dim=1)

    def _layers(
        self, latents: Tensor, n_layers: int, target_codes: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Projected residual `[B, D', T]` and codes `[B, T]`, its own or the target's, of each layer in turn."""
        residual = latents.float()
        for k in range(n_layers):
            projected = self.project(k, residual)
            with torch.no_grad():
                codes = self.nearest(k, projected) if target_codes is None else target_codes[:, k].long()
                explained = self.explained(k, projected, codes)
            yield projected, codes
            residual = residual - explained

    def _check_teaching(self, latents: Tensor, target_codes: Tensor | None) -> int:
        """The number of layers that `target_codes` teach, all if None; both must be well-formed and fit together."""
        self.check_latents(latents)
        if target_codes is None:
            return self.n_codebooks
        self.check_codes(target_codes)
        if (target_codes.shape[0], target_codes.shape[2]) != (latents.shape[0], latents.shape[2]):
            raise ValueError(
                f"{self.name}: latents {list(latents.shape)} and target codes {list(target_codes.shape)} "
                "differ in items or frames"
            )
        return target_codes.shape[1]
