"""The one interface that every neural codec has here."""

import copy
import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

EncoderStart = Literal["pretrained", "random"]
"""Weights that a new encoder starts from: the codec's own, or random ones."""

Geometry = Literal["euclidean", "cosine"]
"""What makes a code the nearest one: the distance to it, or the angle."""


class Codec(nn.Module, ABC):
    """A frozen neural codec: audio <-> latents <-> codes.

    It is always in `eval()`, in float32 and outside autocast, without weight norm, and none of its parameters
    asks for a gradient; gradients do flow *through* `encode` and `decode` to whatever feeds them.

    Attributes:
        name: what it was loaded as.
        sample_rate: Hz.
        channels: C, audio channels of the model itself: 1, or 2 for a stereo model.
        hop_length: samples per frame.
        n_codebooks: K, codebooks of a frame, coarse to fine.
        codebook_size: V, codes of a codebook.
        latent_dim: D, size of a latent.
        geometry: what makes a code the nearest one.
    """

    name: str
    sample_rate: int
    channels: int = 1
    hop_length: int
    n_codebooks: int
    codebook_size: int
    latent_dim: int
    geometry: Geometry

    def freeze(self) -> None:
        """Fold weight norm away, stop gradients to the parameters, and stay in `eval()` from now on."""
        fold_weight_norm(self)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Codec":
        """Stay in `eval()` whatever is asked: a frozen codec has no training mode."""
        del mode
        return super().train(False)

    def n_frames(self, n_samples: int) -> int:
        """T, the frames that `encode` makes of `n_samples` samples."""
        return math.ceil(n_samples / self.hop_length)

    def n_samples(self, n_frames: int) -> int:
        """The longest audio, in samples, of which `encode` makes `n_frames` frames.

        Raises:
            ValueError: no audio gives that many frames.
        """
        return n_frames * self.hop_length

    @abstractmethod
    def encode(self, audio: Tensor) -> Tensor:
        """Audio `[B, C, N]` in -1..1 at `sample_rate` to latents `[B, D, T]`, `T = n_frames(N)`."""

    def scales(self, audio: Tensor) -> Tensor | None:
        """What `encode` divides `audio [B, C, N]` by, `[B, S]` for S segments; None if it does not normalise.

        `decode` needs it to give back the loudness, which is not in the latents.
        """
        self.check_audio(audio)
        return None

    @abstractmethod
    def quantize(self, latents: Tensor, n_codebooks: int | None = None) -> tuple[Tensor, Tensor]:
        """Latents `[B, D, T]` to `(codes [B, K, T], quantized [B, D, T])`, with the first `n_codebooks`."""

    @abstractmethod
    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """Codes `[B, K', T]`, of the first `K' <= K` codebooks, to quantized latents `[B, D, T]`."""

    @abstractmethod
    def codebooks(self) -> Tensor:
        """The vectors that the codes stand for, `[K, V, D]`: of each codebook, what its code adds to the latents.

        `codes_to_latents(codes)` is the sum of `codebooks()[k, codes[:, k]]` over the codebooks.
        """

    @abstractmethod
    def decode(self, latents: Tensor, length: int | None = None, scales: Tensor | None = None) -> Tensor:
        """Latents `[B, D, T]` to audio `[B, C, N]`.

        Args:
            latents: quantized or not.
            length: N, at most `n_samples(T)`, which is the default.
            scales: `[B, S]` of the audio that was encoded (see `scales`); None stands for ones.
        """

    def reconstruct(self, audio: Tensor, n_codebooks: int | None = None) -> Tensor:
        """Audio `[B, C, N]` as it comes out of the codec: encoded, quantized and decoded, `[B, C, N]`."""
        _, quantized = self.quantize(self.encode(audio), n_codebooks)
        return self.decode(quantized, audio.shape[-1], self.scales(audio))

    @abstractmethod
    def logits(self, latents: Tensor, target_codes: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """Log-probabilities `[B, K, V, T]` of every code, by its closeness to the residual of each layer.

        A layer's residual is what the layers before it left over: with their own nearest codes, or with
        `target_codes [B, K', T]`, whose K' then is the number of layers (teacher forcing). Without them the
        likeliest codes are those of `quantize`, at any temperature, up to ties in rounding.
        """

    @abstractmethod
    def ranks(self, latents: Tensor, codes: Tensor, target_codes: Tensor) -> Tensor:
        """How many codes of each layer are nearer to its residual than the target's code, `[B, K, T]`.

        0 where the target's code is the nearest. Residuals are what the layers before left over with `codes
        [B, K, T]`: with those of `quantize`, the code of rank 0 is the one that `quantize` takes.
        """

    @abstractmethod
    def match_space(self, latents: Tensor, target_codes: Tensor | None = None) -> Tensor:
        """Latents `[B, D, T]` in the space `[B, D', T]` in which an MSE between latents is meaningful.

        Where that space is made of the residuals of the layers, `target_codes [B, K', T]` say what the layers before
        each took away, as in `logits`. Compare two latents with the codes of one of them, or each would be measured
        against another residual.
        """

    @abstractmethod
    def new_encoder(self, start: EncoderStart) -> nn.Module:
        """A trainable copy of the encoder, audio `[B, C, N]` -> latents `[B, D, T]`, with its weights or new ones."""

    @abstractmethod
    def encoder_chain(self, copy: nn.Module | None = None) -> list[nn.Module]:
        """The encoder's modules in order; one after the other they are the encoder, for audio of whole frames.

        Args:
            copy: one that `new_encoder` has made, instead of the codec's own.
        """

    @abstractmethod
    def decoder_chain(self) -> list[nn.Module]:
        """The decoder's modules in order; one after the other they are the decoder."""

    def has_codes_of(self, other: "Codec") -> bool:
        """Whether the codes of both stand for the same vectors."""
        ours, theirs = self.codebooks(), other.codebooks()
        return ours.shape == theirs.shape and torch.equal(ours.cpu(), theirs.cpu())

    def check_sample_rate(self, rate: int) -> None:
        """Refuse audio of another sample rate than the codec's, which a tensor does not show.

        Raises:
            ValueError: names both rates.
        """
        if rate != self.sample_rate:
            raise ValueError(f"{self.name}: expected audio at {self.sample_rate} Hz, got {rate} Hz; resample it first")

    def check_audio(self, audio: Tensor) -> None:
        """Refuse what is not audio of shape `[B, C, N]`, in floating point, finite.

        Raises:
            ValueError: says what was given and what is expected.
        """
        if audio.dim() != 3 or audio.shape[1] != self.channels or audio.numel() == 0:
            raise ValueError(
                f"{self.name}: expected audio [B, {self.channels}, N] with B, N > 0, got {list(audio.shape)}"
            )
        if not audio.is_floating_point():
            raise ValueError(f"{self.name}: expected audio in floating point, -1..1, got {audio.dtype}")
        if not torch.isfinite(audio).all():
            raise ValueError(f"{self.name}: the audio has NaN or infinite samples")

    def check_latents(self, latents: Tensor) -> None:
        """Refuse what is not latents of shape `[B, D, T]`, in floating point, finite.

        Raises:
            ValueError: says what was given and what is expected.
        """
        if latents.dim() != 3 or latents.shape[1] != self.latent_dim or latents.numel() == 0:
            raise ValueError(
                f"{self.name}: expected latents [B, {self.latent_dim}, T] with B, T > 0, got {list(latents.shape)}"
            )
        if not latents.is_floating_point():
            raise ValueError(f"{self.name}: expected latents in floating point, got {latents.dtype}; are they codes?")
        if not torch.isfinite(latents).all():
            raise ValueError(f"{self.name}: the latents have NaN or infinite values")

    def check_codes(self, codes: Tensor) -> None:
        """Refuse what is not a grid of whole numbers `[B, K', T]`, `0 < K' <= K`, each in `0 .. V - 1`.

        Raises:
            ValueError: says what was given and what is expected.
        """
        if codes.dim() != 3 or not 0 < codes.shape[1] <= self.n_codebooks or codes.numel() == 0:
            raise ValueError(
                f"{self.name}: expected codes [B, K, T] with 1 <= K <= {self.n_codebooks} and B, T > 0, "
                f"got {list(codes.shape)}"
            )
        if codes.is_floating_point() or codes.is_complex() or codes.dtype == torch.bool:
            raise ValueError(f"{self.name}: expected codes as whole numbers (torch.int64), got {codes.dtype}")
        if int(codes.min()) < 0 or int(codes.max()) >= self.codebook_size:
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

    def check_length(self, n_frames: int, length: int | None) -> int:
        """The number of samples asked for of `n_frames` frames, all that they can give if `None`.

        Raises:
            ValueError: fewer than one, or more than the frames give.
        """
        longest = self.n_samples(n_frames)
        if length is None:
            return longest
        if not 0 < length <= longest:
            raise ValueError(f"{self.name}: {n_frames} frames give 1..{longest} samples, not {length}")
        return length

    def check_no_scales(self, scales: Tensor | None) -> None:
        """Refuse scales, for codecs that do not normalise.

        Raises:
            ValueError: there are some.
        """
        if scales is not None:
            raise ValueError(f"{self.name}: does not normalise its audio, expected scales=None")


def outside_autocast(tensor: Tensor) -> torch.autocast:
    """A context that computes in the tensors' own precision on the device of `tensor`, whatever is around it."""
    return torch.autocast(tensor.device.type, enabled=False)


def fold_weight_norm(module: nn.Module) -> None:
    """Replace every weight-normed weight by its present value: same function, plain parameters."""
    for layer in module.modules():
        if parametrize.is_parametrized(layer, "weight"):
            # torch takes the weight's property off the layer's class, which a deep copy of the layer shares.
            shared = type(layer)
            layer.__class__ = type(shared.__name__, shared.__bases__, dict(shared.__dict__))
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
