"""EnCodec (Défossez et al., 2022) behind the codec interface, on transformers' implementation."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EncodecConfig, EncodecModel
from transformers.models.encodec.modeling_encodec import EncodecVectorQuantization

from codec_ft.codecs.base import Codec, EncoderStart, add_weight_norm, trainable_copy
from codec_ft.codecs.initial import preserve_signal
from codec_ft.errors import UserError


class EncodecCodec(Codec):
    """A mono EnCodec without segments or normalisation: the 24 kHz model and those trained here.

    Latents live in the space that is quantised (Euclidean residual vector quantisation without projections),
    so an MSE between latents is meaningful as it is.

    Raises:
        UserError: the model is of another kind (the 48 kHz one is).
    """

    def __init__(self, model: EncodecModel, name: str):
        super().__init__()
        config = model.config
        if config.audio_channels != 1 or config.normalize or config.chunk_length_s is not None:
            raise UserError(
                f"{name}: only mono EnCodec models without normalisation and segments are supported; this one has "
                f"audio_channels={config.audio_channels}, normalize={config.normalize}, "
                f"chunk_length_s={config.chunk_length_s}. Choose another codec."
            )
        self.name = name
        self.sample_rate = config.sampling_rate
        self.hop_length = config.hop_length
        self.n_codebooks = config.num_quantizers
        self.codebook_size = config.codebook_size
        self.latent_dim = config.hidden_size
        self.config: EncodecConfig = config
        self.encoder = model.encoder
        self.quantizer = model.quantizer
        self.decoder = model.decoder
        self.float()  # first: folding in half precision would round once more
        self.freeze()

    @property
    def layers(self) -> list[EncodecVectorQuantization]:
        """The layers of the quantiser, coarse to fine."""
        return list(self.quantizer.layers)  # type: ignore[arg-type]

    def encode(self, audio: Tensor) -> Tensor:
        """See `Codec.encode`."""
        self.check_audio(audio)
        with torch.autocast(audio.device.type, enabled=False):
            return self.encoder(audio.float())

    def quantize(self, latents: Tensor, n_codebooks: int | None = None) -> tuple[Tensor, Tensor]:
        """See `Codec.quantize`."""
        n_codebooks = self.check_codebooks(n_codebooks)
        self.check_latents(latents)
        codes = []
        residual = latents.float()
        with torch.autocast(latents.device.type, enabled=False), torch.no_grad():
            for layer in self.layers[:n_codebooks]:
                codes.append(layer.encode(residual))
                residual = residual - layer.decode(codes[-1])
        stacked = torch.stack(codes, dim=1)
        return stacked, self.codes_to_latents(stacked)

    def codes_to_latents(self, codes: Tensor) -> Tensor:
        """See `Codec.codes_to_latents`."""
        self.check_codes(codes)
        return self.quantizer.decode(codes.transpose(0, 1))

    def decode(self, latents: Tensor, length: int | None = None) -> Tensor:
        """See `Codec.decode`."""
        self.check_latents(latents)
        longest = latents.shape[-1] * self.hop_length
        if length is not None and not 0 < length <= longest:
            raise ValueError(f"{self.name}: {latents.shape[-1]} frames give 1..{longest} samples, not {length}")
        with torch.autocast(latents.device.type, enabled=False):
            return self.decoder(latents.float())[..., : length or longest]

    def logits(self, latents: Tensor, target_codes: Tensor | None = None, temperature: float = 1.0) -> Tensor:
        """See `Codec.logits`: minus the squared Euclidean distance over the temperature, normalised."""
        if temperature <= 0:
            raise ValueError(f"the temperature must be above zero, got {temperature}")
        self.check_latents(latents)
        if target_codes is not None:
            self.check_codes(target_codes)
            if (target_codes.shape[0], target_codes.shape[2]) != (latents.shape[0], latents.shape[2]):
                raise ValueError(
                    f"{self.name}: latents {list(latents.shape)} and target codes {list(target_codes.shape)} "
                    "differ in items or frames"
                )
        n_layers = self.n_codebooks if target_codes is None else target_codes.shape[1]
        residual = latents.float()
        log_probabilities = []
        with torch.autocast(latents.device.type, enabled=False):
            for k, layer in enumerate(self.layers[:n_layers]):
                table = layer.codebook.embed  # [V, D]
                # |r - c|^2 without |r|^2, which is the same for every code and cancels in the softmax.
                distance = table.pow(2).sum(dim=1)[None, :, None] - 2 * torch.einsum("vd,bdt->bvt", table, residual)
                log_probabilities.append(F.log_softmax(-distance / temperature, dim=1))
                codes = layer.encode(residual) if target_codes is None else target_codes[:, k]
                residual = residual - layer.decode(codes)
        return torch.stack(log_probabilities, dim=1)

    def match_space(self, latents: Tensor) -> Tensor:
        """The latents themselves."""
        return latents

    def new_encoder(self, start: EncoderStart) -> nn.Module:
        """See `Codec.new_encoder`; weight-normed like the original, so that it trains like one."""
        if start == "pretrained":
            encoder = trainable_copy(self.encoder)
            add_weight_norm(encoder)
            return encoder
        encoder = EncodecModel(self.config).encoder.train()
        preserve_signal(encoder)
        return encoder
