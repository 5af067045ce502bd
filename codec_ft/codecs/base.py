"""The one interface that every neural codec has here."""

import copy
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

EncoderStart = Literal["pretrained", "random"]
"""Weights that a new encoder starts from: the codec's own, or random ones."""


class Codec(nn.Module, ABC):
    """A frozen neural codec: audio <-> latents <-> codes.

    It is always in `eval()`, in float32 and outside autocast, without weight norm, and none of its parameters
    asks for a gradient; gradients do flow *through* `encode` and `decode` to whatever feeds them.

    Attributes:
        name: what it was loaded as.
        sample_rate: Hz.
        hop_length: samples per frame.
        n_codebooks: K, codebooks of a frame, coarse to fine.
        codebook_size: V, codes of a codebook.
        latent_dim: D, size of a latent.
    """

    name: str
    sample_rate: int
    hop_length: int
    n_codebooks: int
    codebook_size: int
    latent_dim: int

    def freeze(self) -> None:
        """Fold weight norm away, stop gradients to the parameters, and stay in `eval()` from now on."""
        fold_weight_norm(self)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Codec":
        """Stay in `eval()` whatever is asked: a frozen codec has no training mode."""
        del mode
        return super().train(False)

    @abstractmethod
    def encode(self, audio: Tensor) -> Tensor:
        """Audio `[B, 1, N]` in -1..1 at `sample_rate` to latents `[B, D, T]`, `T = ceil(N / hop_length)`."""

    @abstractmethod
    def quantize(self, latents: Tensor, n_codebooks: int | None = None) -> tuple[Tensor, Tensor]:
        """Latents `[B, D, T]` to `(codes [B, K, T], quantized [B, D, T])`, with the first `n_codebooks`."""

    @abstractmethod
    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Codes `[B, K', T]`, of the first `K' <= K` codebooks, to quantized latents `[B, D, T]`."""

    @abstractmethod
    def decode(self, latents: Tensor, length: int | None = None) -> Tensor:
        """Latents `[B, D, T]` to audio `[B, 1, N]`, `N = length` or all `T * hop_length` samples."""

    @abstractmethod
    def logits(self, latents: Tensor, target_codes: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Log-probabilities `[B, K, V, T]` of every code, by its closeness to the residual of each layer.

        A layer's residual is what the layers before it left over: with their own nearest codes, or with
        `target_codes [B, K', T]`, whose K' then is the number of layers (teacher forcing). Without them the
        likeliest codes are those of `quantize`, at any temperature, up to ties in rounding.
        """

    @abstractmethod
    def match_space(self, latents: Tensor) -> Tensor:
        """Latents `[B, D, T]` in the space `[B, D', T]` in which an MSE between latents is meaningful."""

    @abstractmethod
    def new_encoder(self, start: EncoderStart) -> nn.Module:
        """A trainable copy of the encoder, audio `[B, 1, N]` -> latents `[B, D, T]`, with its weights or new ones."""

    def check_audio(self, audio: Tensor) -> None:
        """Refuse what is not audio of shape `[B, 1, N]`, `N > 0`, finite.

        Raises:
            ValueError: says what was given and what is expected.
        """
        if audio.dim() != 3 or audio.shape[1] != 1 or audio.shape[2] == 0:
            raise ValueError(f"{self.name}: expected audio [B, 1, N] with N > 0, got {list(audio.shape)}")
        if not torch.isfinite(audio).all():
            raise ValueError(f"{self.name}: the audio has NaN or infinite samples")

    def check_latents(self, latents: Tensor) -> None:
        """Refuse what is not latents of shape `[B, D, T]`, `T > 0`, finite.

        Raises:
            ValueError: says what was given and what is expected.
        """
        if latents.dim() != 3 or latents.shape[1] != self.latent_dim or latents.shape[2] == 0:
            raise ValueError(
                f"{self.name}: expected latents [B, {self.latent_dim}, T] with T > 0, got {list(latents.shape)}"
            )
        if not torch.isfinite(latents).all():
            raise ValueError(f"{self.name}: the latents have NaN or infinite values")

    def check_codes(self, codes: Tensor) -> None:
        """Refuse what is not a grid of codes `[B, K', T]`, `0 < K' <= K`, each in `0 .. V - 1`.

        Raises:
            ValueError: says what was given and what is expected.
        """
        if codes.dim() != 3 or not 0 < codes.shape[1] <= self.n_codebooks:
            raise ValueError(
                f"{self.name}: expected codes [B, K, T] with 1 <= K <= {self.n_codebooks}, got {list(codes.shape)}"
            )
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= self.codebook_size):
            raise ValueError(
                f"{self.name}: codes must lie in 0..{self.codebook_size - 1}, "
                f"got {int(codes.min())}..{int(codes.max())}"
            )

    def check_codebooks(self, n_codebooks: int | None) -> int:
        """The number of codebooks asked for, all of them if `None`.

        Raises:
            ValueError: fewer than one, or more than the codec has.
        """
        if n_codebooks is None:
            return self.n_codebooks
        if not 1 <= n_codebooks <= self.n_codebooks:
            raise ValueError(f"{self.name}: has {self.n_codebooks} codebooks, {n_codebooks} were asked for")
        return n_codebooks


def fold_weight_norm(module: nn.Module) -> None:
    """Replace every weight-normed weight by its present value: same function, plain parameters."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            # Without gradients torch would leave a buffer, which no optimiser and no copy of the encoder trains.
            with torch.enable_grad():
                layer.parametrizations.requires_grad_(True)
                parametrize.remove_parametrizations(layer, "weight")


def add_weight_norm(module: nn.Module) -> None:
    """Weight-norm every convolution: the same function, but trained by direction and length."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d) and not parametrize.is_parametrized(layer, "weight"):
            nn.utils.parametrizations.weight_norm(layer)


def trainable_copy(module: nn.Module) -> nn.Module:
    """A deep copy that shares nothing with `module`, in training mode, with gradients."""
    return copy.deepcopy(module).requires_grad_(True).train()
