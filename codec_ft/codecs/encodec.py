"""EnCodec (Défossez et al., 2022) behind the codec interface, on transformers' implementation."""

import torch
from torch import Tensor, nn
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecLSTM, EncodecVectorQuantization

from codec_ft.codecs.base import EncoderStart, Geometry, add_weight_norm, outside_autocast, trainable_copy
from codec_ft.codecs.initial import preserve_signal
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError


class FrozenLSTM(EncodecLSTM):
    """EnCodec's LSTM with its skip connection, which passes gradients on in `eval()` too, wherever it runs."""

    def __init__(self, lstm: nn.LSTM):
        nn.Module.__init__(self)
        self.lstm = lstm

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Hidden states `[B, D, T]` to `[B, D, T]`."""
        # cuDNN's LSTM has a backward in training mode only, so torch's own one takes over where a gradient is wanted.
        if hidden_states.is_cuda and hidden_states.requires_grad and torch.is_grad_enabled() and not self.training:
            with torch.backends.cudnn.flags(enabled=False):
                return super().forward(hidden_states)
        return super().forward(hidden_states)


class EuclideanCodec(ResidualCodec):
    """What all EnCodec models share: layers that choose the code at the smallest distance.

    Latents live in the space that is quantised, without projections, so an MSE between latents is meaningful as it is.
    """

    geometry: Geometry = "euclidean"

    def __init__(self, model: EncodecModel, name: str):
        super().__init__()
        config = model.config
        self.name = name
        self.sample_rate = config.sampling_rate
        self.channels = config.audio_channels
        self.hop_length = config.hop_length
        self.n_codebooks = config.num_quantizers
        self.codebook_size = config.codebook_size
        self.latent_dim = config.hidden_size
        self.config: EncodecConfig = config
        self.encoder = model.encoder
        self.quantizer = model.quantizer
        self.decoder = model.decoder
        for half in (self.encoder, self.decoder):
            half.layers = nn.ModuleList(
                FrozenLSTM(layer.lstm) if isinstance(layer, EncodecLSTM) else layer for layer in half.layers
            )
        self.float()  # first: folding in half precision would round once more
        self.freeze()

    @property
    def layers(self) -> list[EncodecVectorQuantization]:
        """The layers of the quantiser, coarse to fine."""
        return list(self.quantizer.layers)  # type: ignore[arg-type]

    def table(self, k: int) -> Tensor:
        """See `ResidualCodec.table`."""
        return self.layers[k].codebook.embed

    def project(self, k: int, residual: Tensor) -> Tensor:
        """The residual itself: codebooks are in the space of the latents."""
        del k
        return residual

    def nearest(self, k: int, projected: Tensor) -> Tensor:
        """See `ResidualCodec.nearest`."""
        return self.layers[k].encode(projected)

    def scores(self, k: int, projected: Tensor) -> Tensor:
        """Minus the squared distance, see `ResidualCodec.scores`."""
        table = self.table(k)
        # |r - c|^2 without |r|^2, which is the same for every code and cancels in the softmax.
        return 2 * torch.einsum("vd,bdt->bvt", table, projected) - table.pow(2).sum(dim=1)[None, :, None]

    def vectors(self, k: int, codes: Tensor) -> Tensor:
        """See `ResidualCodec.vectors`."""
        return self.layers[k].decode(codes)

    def match_space(self, latents: Tensor, target_codes: Tensor | None = None) -> Tensor:
        """The latents themselves."""
        del target_codes
        return latents

    def encoder_chain(self, copy: nn.Module | None = None) -> list[nn.Module]:
        """See `Codec.encoder_chain`."""
        return list((copy or self.encoder).layers)  # type: ignore[arg-type]  # a copy is of the same class

    def decoder_chain(self) -> list[nn.Module]:
        """See `Codec.decoder_chain`."""
        return list(self.decoder.layers)


class EncodecCodec(EuclideanCodec):
    """A mono EnCodec without segments or normalisation: the 24 kHz model and those trained here.

    Raises:
        UserError: the model is of another kind (the 48 kHz one is, see `SegmentedEncodecCodec`).
    """

    def __init__(self, model: EncodecModel, name: str):
        config = model.config
        if config.audio_channels != 1 or config.normalize or config.chunk_length_s is not None:
            raise UserError(
                f"{name}: only mono EnCodec models without normalisation and segments are supported; this one has "
                f"audio_channels={config.audio_channels}, normalize={config.normalize}, "
                f"chunk_length_s={config.chunk_length_s}. Choose another codec."
            )
        super().__init__(model, name)

    def encode(self, audio: Tensor) -> Tensor:
        """See `Codec.encode`."""
        self.check_audio(audio)
        with outside_autocast(audio):
            return self.encoder(audio.float())

    def decode(self, latents: Tensor, length: int | None = None, scales: Tensor | None = None) -> Tensor:
        """See `Codec.decode`."""
        self.check_latents(latents)
        self.check_no_scales(scales)
        length = self.check_length(latents.shape[-1], length)
        with outside_autocast(latents):
            return self.decoder(latents.float())[..., :length]

    def new_encoder(self, start: EncoderStart) -> nn.Module:
        """See `Codec.new_encoder`; weight-normed like the original, so that it trains like one."""
        if start == "pretrained":
            encoder = trainable_copy(self.encoder)
            add_weight_norm(encoder)
            return encoder
        encoder = EncodecModel(self.config).encoder.train()
        preserve_signal(encoder)
        return encoder
