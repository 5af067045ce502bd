"""One excerpt through a trained module: what is measured of it, and its sample on disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from codec_ft.data.dataset import Batch
from codec_ft.data.excerpts import Excerpt
from codec_ft.data.tracks import MIXTURE, context_names
from codec_ft.metrics.latents import latent_mse
from codec_ft.metrics.registry import waveform_metrics
from codec_ft.metrics.tokens import active_frames, token_accuracy
from codec_ft.training.samples import write_sample
from codec_ft.training.separation import Reference, Separation, reference_of
from codec_ft.training.stem_config import StemConfig
from codec_ft.training.stem_task import StemTask

Metrics = dict[str, float]


@dataclass
class Sample:
    """One item `[1, 1, N]` separated, with all that is known about it."""

    batch: Batch
    floors: dict[str, Tensor]  # other audio that was measured, by name
    systems: dict[str, Tensor]  # all audio that was measured
    separation: Separation
    reference: Reference
    active: Tensor  # bool [1, T]: frames in which the target is not silent
    metrics: dict[str, dict[str, Metrics]]  # system -> target or quantized_target -> metric
    latent_mse: dict[str, float]  # of the output and of the untouched encoder
    token_accuracy: dict[str, Tensor]  # reading -> [K]


def other_floors(config: StemConfig) -> dict[str, str]:
    """What there is to stand on beside the input, as `{name of its wav: source}`: the mixture, and the context."""
    floors = {MIXTURE: MIXTURE, **context_names(config.context)}
    return {name: source for name, source in floors.items() if source != config.input}


def separate_sample(task: StemTask, module: nn.Module, batch: Batch, floors: dict[str, Tensor] | None = None) -> Sample:
    """Separate a batch of one item, and measure everything.

    Args:
        task: knows codec and configuration.
        module: the trained module, in `eval()`.
        batch: one item, on the device.
        floors: other audio `[1, 1, N]` to measure beside the input, by name (see `other_floors`).
    """
    codec = task.codec
    separation = task.separate(module, batch.input, batch.context)
    reference = reference_of(codec, batch.target)
    active = active_frames(batch.target, codec.hop_length)
    readings = {
        "trained": separation.codes,
        "copy_input": separation.input_codes,
        "idempotence": reference.recoded,
        **{name: step.codes for name, step in separation.steps.items()},
    }
    codes = reference.codes
    wanted = codec.match_space(task.wanted_latents(reference), codes)
    latents = {"untouched encoder": separation.input_latents, "output": separation.latents}
    systems = {
        "input": batch.input,
        **(floors or {}),
        "quantized_input": separation.quantized_input,
        **{name: step.audio for name, step in separation.steps.items()},
        "output": separation.output,
        "quantized_target": reference.quantized_target,
    }
    against = {"target": batch.target, "quantized_target": reference.quantized_target}
    return Sample(
        batch=batch,
        floors=floors or {},
        systems=systems,
        separation=separation,
        reference=reference,
        active=active,
        metrics={
            system: {
                name: {key: float(value) for key, value in waveform_metrics(audio, other, codec.sample_rate).items()}
                for name, other in against.items()
                if name != system
            }
            for system, audio in systems.items()
        },
        latent_mse={name: float(latent_mse(codec.match_space(x, codes), wanted)) for name, x in latents.items()},
        token_accuracy={
            name: token_accuracy(read, reference.codes[:, : read.shape[1]], active) for name, read in readings.items()
        },
    )


def save_sample(folder: Path, sample: Sample, task: StemTask, excerpt: Excerpt, checkpoint: str) -> None:
    """Write the thesis' five wavs, those of other floors (mixture, context) and of steps on the way, and the side-car.

    Args:
        folder: of this sample.
        sample: what to write.
        task: knows codec and configuration.
        excerpt: where it comes from.
        checkpoint: what the weights are, in words.
    """
    side_car: dict[str, Any] = {
        "track": excerpt.track.name,
        "split": excerpt.track.split,
        "start": excerpt.start_seconds,
        "seconds": excerpt.seconds,
        "stem": task.config.stem,
        "input": task.config.input,
        "context": task.config.context,
        **task.told(),
        "checkpoint": checkpoint,
        "latent_mse": sample.latent_mse,
        "metrics": sample.metrics,
        "token_accuracy": sample.token_accuracy,
    }
    audio = {
        "input": sample.batch.input[0],
        "output": sample.separation.output[0],
        "quantized_input": sample.separation.quantized_input[0],
        "quantized_target": sample.reference.quantized_target[0],
        "target": sample.batch.target[0],
        **{name: floor[0] for name, floor in sample.floors.items()},
        **{name: step.audio[0] for name, step in sample.separation.steps.items()},
    }
    write_sample(folder, audio, task.codec.sample_rate, side_car)


def excerpt_folder(samples: Path, excerpt: Excerpt) -> Path:
    """The folder of an excerpt's sample."""
    return samples / excerpt.name
