"""Fine-tuning a codec's encoder as a task of the training loop."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.atomic import atomic_path
from codec_ft.codecs.base import Codec
from codec_ft.data.dataset import Batch, ExcerptDataset, PairDataset
from codec_ft.data.excerpts import fixed_excerpts
from codec_ft.data.tracks import MIXTURE, find_tracks
from codec_ft.errors import UserError
from codec_ft.finetune.config import FinetuneConfig
from codec_ft.finetune.losses.latents import latent_mse
from codec_ft.finetune.warm_encoder import FinetuneStep
from codec_ft.metrics.tokens import active_frames, token_accuracy
from codec_ft.metrics.waveform import usdr
from codec_ft.training.task import Task


class FinetuneTask(Task):
    """Trains `FinetuneStep` on pairs of an input and a clean stem.

    Raises:
        UserError: the codec is not mono, as the data are.
    """

    best_metric = "latent_mse"

    def __init__(self, config: FinetuneConfig, codec: Codec):
        if codec.channels != 1:
            raise UserError(
                f"codec={codec.name}: has {codec.channels} audio channels, but fine-tuning works in mono. Choose a "
                "mono codec, as encodec_24khz or dac_44khz."
            )
        self.config = config
        self.codec = codec
        self.step = FinetuneStep(codec, start=config.start, target=config.target)
        self.phases = {"encoder": self.step}

    def to(self, device: torch.device) -> None:
        """See `Task.to`."""
        self.codec.to(device)

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`."""
        data = self.config.data
        return PairDataset(
            tracks=find_tracks(data.root, "train"),
            stem=self.config.stem,
            input=self.config.input,
            sample_rate=self.codec.sample_rate,
            seconds=data.seconds,
            length=items,
            seed=self.config.train.seed,
            # What a separator would make of a remix is not known.
            remix_probability=data.remix_probability if self.config.input == MIXTURE else 0.0,
            gain_db=data.gain_db,
            cache_mb=data.cache_mb,
        )

    def valid_data(self) -> Dataset:
        """See `Task.valid_data`."""
        data = self.config.data
        return self.excerpts("valid", data.valid_seconds, data.valid_per_track, self.config.input)

    def excerpts(self, split: str, seconds: float, per_track: int, source: str) -> ExcerptDataset:
        """Fixed excerpts of a split in which the stem sounds; `source` is the input to read beside it."""
        data = self.config.data
        chosen = fixed_excerpts(
            find_tracks(data.root, split), self.config.stem, seconds, per_track, source=self.config.input
        )
        return ExcerptDataset(
            chosen, stem=self.config.stem, input=source, sample_rate=self.codec.sample_rate, cache_mb=data.cache_mb
        )

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`: the untouched encoder stands beside the warm one."""
        assert isinstance(module, FinetuneStep)
        separation = module.separate(batch.input, self.config.decode)
        reference = module.reference(batch.target)

        def match(latents: Tensor) -> Tensor:
            return self.codec.match_space(latents, reference.codes)

        wanted = match(module.target_latents(batch.target))
        active = active_frames(batch.target, self.codec.hop_length)
        metrics = {
            "latent_mse": latent_mse(match(separation.latents), wanted),
            "latent_mse_untouched": latent_mse(match(separation.input_latents), wanted),
            "usdr": usdr(separation.output, batch.target),
            "usdr_input": usdr(batch.input, batch.target),
        }
        for name, codes in {"token_accuracy": separation.codes, "copy_input_accuracy": separation.input_codes}.items():
            first = [
                token_accuracy(codes[i : i + 1, :1], reference.codes[i : i + 1, :1], active[i : i + 1])[0]
                for i in range(len(codes))
            ]
            metrics[f"{name}_1"] = torch.stack(first)
        return metrics

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: the warm encoder's weights as safetensors."""
        assert isinstance(module, FinetuneStep)
        state = {name: value.contiguous().cpu() for name, value in module.warm_encoder.state_dict().items()}
        with atomic_path(folder / "warm_encoder.safetensors") as temporary:
            save_file(state, temporary, metadata={"format": "pt"})
