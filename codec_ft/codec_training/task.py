"""Training a codec: an EnCodec-shaped autoencoder with a residual vector quantiser."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset
from transformers import EncodecConfig, EncodecModel

from codec_ft.codec_training.config import CodecTrainingConfig, EncodecShape
from codec_ft.codec_training.losses import log_noise_to_signal
from codec_ft.codec_training.quantizer import CodebookLearner, Quantized
from codec_ft.codec_training.rescale import rescale_latents
from codec_ft.codecs.initial import preserve_signal
from codec_ft.codecs.save import save_encodec
from codec_ft.data.dataset import Batch, ExcerptDataset, Item, PairDataset
from codec_ft.data.excerpts import fixed_excerpts
from codec_ft.data.tracks import MIXTURE, find_tracks
from codec_ft.errors import UserError
from codec_ft.metrics.spectral import log_mel_distance
from codec_ft.metrics.waveform import si_sdr
from codec_ft.training.task import Task


def make_encodec(shape: EncodecShape) -> EncodecModel:
    """An untrained EnCodec of the given size, whose layers neither damp nor amplify what passes through."""
    hop_length = math.prod(shape.strides)
    bits_per_second = math.ceil(shape.sample_rate / hop_length) * math.log2(shape.codebook_size) * shape.n_codebooks
    bandwidth = bits_per_second / 1000
    if 1000 * bandwidth < bits_per_second:  # rounded down, it would cost the last codebook
        bandwidth = math.nextafter(bandwidth, math.inf)
    model = EncodecModel(
        EncodecConfig(
            sampling_rate=shape.sample_rate,
            upsampling_ratios=tuple(reversed(shape.strides)),
            num_filters=shape.n_filters,
            hidden_size=shape.latent_dim,
            num_lstm_layers=shape.lstm_layers,
            use_causal_conv=shape.causal,
            codebook_size=shape.codebook_size,
            target_bandwidths=[bandwidth],
        )
    )
    preserve_signal(model)
    rescale_latents(model, 10.0)  # music at -20 dBFS then has latents of about unit variance
    return model


class CodecStep(nn.Module):
    """Audio through encoder, quantiser and decoder, and what is wrong with what comes out."""

    def __init__(self, config: CodecTrainingConfig):
        super().__init__()
        self.model = make_encodec(config.model)
        self.learner = CodebookLearner(self.model.quantizer, config.model.latent_dim, config.quantizer)
        self.weights = config.losses
        self.sample_rate = config.model.sample_rate

    def reconstruct(self, audio: Tensor) -> tuple[Tensor, Quantized]:
        """Audio `[B, 1, N]` to its reconstruction `[B, 1, N]`, and what the quantiser did."""
        latents = self.model.encoder(audio)
        with torch.autocast(audio.device.type, enabled=False):  # half precision would choose other codes
            quantized = self.learner(latents.float())
        return self.model.decoder(quantized.latents)[..., : audio.shape[-1]], quantized

    def terms(self, estimate: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """The terms that compare audio, per item `[B]`, and their weighted sum `"reconstruction"`."""
        terms = {
            "mel": log_mel_distance(estimate, audio, self.sample_rate),
            "waveform": log_noise_to_signal(estimate, audio),
        }
        terms["reconstruction"] = sum(getattr(self.weights, name) * value for name, value in terms.items())
        return terms

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch, and the health of the codebooks."""
        estimate, quantized = self.reconstruct(batch.target)
        losses = {name: value.mean() for name, value in self.terms(estimate, batch.target).items()}
        losses["commitment"] = quantized.commitment
        losses["latent_scale"] = quantized.log_variance.square()
        losses["loss"] = losses["reconstruction"] + sum(
            getattr(self.weights, name) * losses[name] for name in ("commitment", "latent_scale")
        )
        losses["latent_std"] = (0.5 * quantized.log_variance.detach()).exp()
        losses["codes_replaced"] = torch.tensor(float(quantized.replaced))
        for k in (0, quantized.perplexity.numel() - 1):
            losses[f"perplexity_{k + 1}"] = quantized.perplexity[k]
        return losses


class CodecTask(Task):
    """Trains `CodecStep` on single stems and mixtures in turn."""

    best_metric = "reconstruction"

    def __init__(self, config: CodecTrainingConfig):
        if config.train.validate_every <= config.quantizer.start_step:
            raise UserError(
                f"train.validate_every={config.train.validate_every}: must be above quantizer.start_step="
                f"{config.quantizer.start_step}; a codec that does not quantise yet would look best."
            )
        self.config = config
        self.step = CodecStep(config)
        self.phases = {"codec": self.step}
        self.stems = [config.stem]
        if config.stem == "all":
            tracks = find_tracks(config.data.root, "train")
            self.stems = [*sorted(set.intersection(*(set(track.stems) for track in tracks))), MIXTURE]

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`: item i is of stem i modulo their number."""
        config = self.config
        tracks = find_tracks(config.data.root, "train")
        parts = [
            PairDataset(
                tracks=tracks,
                stem=stem,
                input="target",
                sample_rate=config.model.sample_rate,
                seconds=config.data.seconds,
                length=-(-items // len(self.stems)),
                seed=config.train.seed,
                gain_db=config.data.gain_db,
                cache_mb=config.data.cache_mb // len(self.stems),
            )
            for stem in self.stems
        ]
        return Interleaved(parts)

    def valid_data(self) -> Dataset:
        """See `Task.valid_data`."""
        return self.held_out("valid", self.config.data.valid_seconds, self.config.data.valid_per_track)

    def held_out(self, split: str, seconds: float, per_track: int) -> Dataset:
        """Fixed excerpts of every stem of a split."""
        tracks = find_tracks(self.config.data.root, split)
        return ConcatDataset(
            [
                ExcerptDataset(
                    fixed_excerpts(tracks, stem, seconds, per_track),
                    stem=stem,
                    input="target",
                    sample_rate=self.config.model.sample_rate,
                )
                for stem in self.stems
            ]
        )

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`."""
        assert isinstance(module, CodecStep)
        estimate, _ = module.reconstruct(batch.target)
        return {**module.terms(estimate, batch.target), "si_sdr": si_sdr(estimate, batch.target)}

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: `codec/` in transformers' format, with latents of unit variance."""
        assert isinstance(module, CodecStep)
        rescale_latents(module.model, 1 / self.latent_std(module))
        save_encodec(module.model, folder / "codec")

    @torch.no_grad()
    def latent_std(self, module: CodecStep) -> float:
        """Standard deviation of the latents of the validation excerpts."""
        device = next(module.parameters()).device
        data = self.valid_data()
        latents = [module.model.encoder(data[i]["target"][None].to(device)) for i in range(len(data))]  # type: ignore
        return float(torch.cat(latents, dim=2).std())


class Interleaved(Dataset[Item]):
    """Data sets dealt out in turn: item i is item `i // n` of data set `i % n`."""

    def __init__(self, parts: list[PairDataset]):
        self.parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Item:
        return self.parts[index % len(self.parts)][index // len(self.parts)]
