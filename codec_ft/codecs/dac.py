"""DAC (Kumar et al., 2023) behind the codec interface, on transformers' implementation."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DacConfig, DacModel
from transformers.models.dac.modeling_dac import DacEncoder, DacVectorQuantize

from codec_ft.codecs.base import EncoderStart, Geometry, add_weight_norm, outside_autocast, trainable_copy
from codec_ft.codecs.initial import preserve_signal
from codec_ft.codecs.lac import LacConfig, LacModel
from codec_ft.codecs.residual import ResidualCodec


class DacCodec(ResidualCodec):
    """A DAC of any rate, or the codec of VampNet.

    Each layer projects its residual to a few dimensions and takes the code of the smallest angle there; the code's
    vector, at its own length, is projected back. An MSE between latents is not meaningful, because the projections
    ignore most of their dimensions: `match_space` is that of the projected residuals.

    The cosines that make the `logits` lie in -1..1, so that a temperature well below one is needed to tell codes apart.

    Where a ratio is odd, the original's decoder gives fewer samples than the frames stand for (by less than a hop). Its
    arithmetic is kept to the bit, and the samples that it lacks at the very end are zeros.
    """

    geometry: Geometry = "cosine"

    def __init__(self, model: DacModel | LacModel, name: str):
        super().__init__()
        config = model.config
        self.name = name
        self.sample_rate = config.sampling_rate
        self.hop_length = config.hop_length
        self.n_codebooks = config.n_codebooks
        self.codebook_size = config.codebook_size
        self.latent_dim = config.hidden_size
        self.config: DacConfig | LacConfig = config
        self.encoder = model.encoder
        self.quantizer = model.quantizer
        self.decoder = model.decoder
        self.float()  # first: folding in half precision would round once more
        self.freeze()

    @property
    def layers(self) -> list[DacVectorQuantize]:
        """The layers of the quantiser, coarse to fine."""
        return list(self.quantizer.quantizers)  # type: ignore[arg-type]

    def encode(self, audio: Tensor) -> Tensor:
        """See `Codec.encode`; zeros fill up the last frame, as in the original."""
        self.check_audio(audio)
        with outside_autocast(audio):
            return self.encoder(whole_frames(audio.float(), self.hop_length))

    def decode(self, latents: Tensor, length: int | None = None, scales: Tensor | None = None) -> Tensor:
        """See `Codec.decode`."""
        self.check_latents(latents)
        self.check_no_scales(scales)
        length = self.check_length(latents.shape[-1], length)
        with outside_autocast(latents):
            audio = self.decoder(latents.float())
        return whole_frames(audio, self.hop_length)[..., :length]

    def table(self, k: int) -> Tensor:
        """See `ResidualCodec.table`; at their own lengths, which the angles do not see."""
        return self.layers[k].codebook.weight

    def project(self, k: int, residual: Tensor) -> Tensor:
        """See `ResidualCodec.project`."""
        return self.layers[k].in_proj(residual)

    def nearest(self, k: int, projected: Tensor) -> Tensor:
        """See `ResidualCodec.nearest`."""
        return nearest_codes(projected, self.table(k))

    def scores(self, k: int, projected: Tensor) -> Tensor:
        """The cosine of the angle, see `ResidualCodec.scores`."""
        return F.normalize(self.table(k)) @ F.normalize(projected, dim=1)

    def vectors(self, k: int, codes: Tensor) -> Tensor:
        """See `ResidualCodec.vectors`."""
        layer = self.layers[k]
        return layer.out_proj(F.embedding(codes, self.table(k)).transpose(1, 2))

    def explained(self, k: int, projected: Tensor, codes: Tensor) -> Tensor:
        """See `ResidualCodec.explained`: the original's straight-through estimator rounds, in evaluation too."""
        layer = self.layers[k]
        chosen = F.embedding(codes, self.table(k)).transpose(1, 2)
        return layer.out_proj(projected + (chosen - projected))

    def encoder_chain(self, copy: nn.Module | None = None) -> list[nn.Module]:
        """See `Codec.encoder_chain`."""
        encoder: Any = copy.encoder if isinstance(copy, PaddedEncoder) else self.encoder
        return [encoder.conv1, *encoder.block, encoder.snake1, encoder.conv2]

    def decoder_chain(self) -> list[nn.Module]:
        """See `Codec.decoder_chain`; without the zeros that `decode` adds where a ratio is odd."""
        decoder = self.decoder
        return [decoder.conv1, *decoder.block, decoder.snake1, decoder.conv2, decoder.tanh]

    def new_encoder(self, start: EncoderStart) -> nn.Module:
        """See `Codec.new_encoder`; weight-normed like the original, so that it trains like one."""
        if start == "pretrained":
            encoder = trainable_copy(self.encoder)
            add_weight_norm(encoder)
        else:
            encoder = DacEncoder(self.config).train()  # type: ignore[arg-type]  # LAC's config has all that is read
            preserve_signal(encoder)
        return PaddedEncoder(encoder, self.hop_length)


class PaddedEncoder(nn.Module):
    """An encoder of whole frames made one of audio `[B, 1, N]` of any length, giving latents `[B, D, T]`."""

    def __init__(self, encoder: nn.Module, hop_length: int):
        super().__init__()
        self.encoder = encoder
        self.hop_length = hop_length

    def forward(self, audio: Tensor) -> Tensor:
        """Audio `[B, 1, N]` to latents `[B, D, T]`, `T = ceil(N / hop_length)`."""
        return self.encoder(whole_frames(audio, self.hop_length))


def nearest_codes(projected: Tensor, table: Tensor) -> Tensor:
    """The codes `[B, T]` of `table [V, d]` nearest to `projected [B, d, T]` after both were brought to unit length.

    Written out in the original's order, so that even codes that are almost equally near come out the same;
    transformers adds the codes' squared length, which is 1 up to rounding, with the wrong sign.
    """
    items, dim, frames = projected.shape
    residuals = F.normalize(projected.transpose(1, 2).reshape(items * frames, dim))
    table = F.normalize(table)
    distances = residuals.pow(2).sum(1, keepdim=True) - 2 * residuals @ table.t() + table.pow(2).sum(1)
    return (-distances).max(dim=1).indices.view(items, frames)


def whole_frames(audio: Tensor, hop_length: int) -> Tensor:
    """Audio `[B, C, N]` with zeros at its end, up to the next multiple of `hop_length`."""
    return F.pad(audio, (0, -audio.shape[-1] % hop_length))
