"""Training token models as a task of the training loop: coarse and fine side by side."""

import copy
import logging
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from codec_ft.codecs.base import Codec
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.data.dataset import Batch, Item
from codec_ft.data.interleaved import Interleaved
from codec_ft.encoded.pairs import EncodedPairs
from codec_ft.errors import UserError
from codec_ft.finetune.load import load_enhancer
from codec_ft.metrics.tokens import active_frames, token_accuracy
from codec_ft.training.separation import Separation, Step
from codec_ft.training.stem_task import StemTask
from token_models.adapters import add_adapters, merge_adapters
from token_models.conditioning.heard import Listener
from token_models.masks.compose import behind_known
from token_models.masks.random_mask import random_mask
from token_models.model import TokenModel
from token_models.save import EXPORTED, TokenFacts, codebook_rms, save_token_models
from token_models.training.config import TokenTrainingConfig
from token_models.training.given import Given, give
from token_models.training.loss import masked_cross_entropy
from token_models.training.start import begin_from
from token_models.training.step import TokenStep
from token_models.windows import window_starts
from token_models.writer import TokenWriter

logger = logging.getLogger(__name__)

VALIDATION_RATIOS = (0.25, 0.5, 0.75, 1.0)
"""Masked shares at which a model is validated; the last one knows nothing but what it hears."""
TOLD_CODEBOOKS = 4
"""So many codebooks that a model predicts are told one by one."""


class TokenTask(StemTask):
    """Trains a coarse model, and a fine one beside it, on pairs of an input and a clean stem.

    They learn from the same batches and share nothing else. The best checkpoint is that in which their cross-entropies
    add up to least.

    Raises:
        UserError: the configuration does not fit the codec.
    """

    config: TokenTrainingConfig

    def __init__(self, config: TokenTrainingConfig, codec: Codec):
        if not isinstance(codec, ResidualCodec):
            raise UserError(f"codec={codec.name}: token models are for residual codecs, such as EnCodec and DAC.")
        self.config, self.codec = config, codec
        self.enhancer = load_enhancer(config.enhancer, runs=config.runs) if config.enhancer else None
        sung = [config.stem, *config.learn]
        if self.enhancer is not None and self.enhancer.stem not in sung:
            raise UserError(
                f"enhancer={config.enhancer}: draws out {self.enhancer.stem}, but the models are to write "
                f"{', '.join(dict.fromkeys(sung))}. Set enhancer to one that draws out {config.stem}."
            )
        if self.enhancer is not None and config.input != self.enhancer.input:
            logger.warning(
                "enhancer=%s: was trained to hear %s, and input=%s is something else",
                config.enhancer,
                self.enhancer.input,
                config.input,
            )
        conditions = [stage.condition for stage in config.stages.values()]
        self.listener = Listener(codec, conditions, self.enhancer, drafts=config.continues_draft)
        preferring = self.enhancer.preferring if self.enhancer is not None else 0
        steps = {name: TokenStep(codec, config, name, preferring) for name in config.stages}
        self.licence = self._begin({name: step.model for name, step in steps.items()})
        self.phases = {"models": TokenModels(steps, self.listener)}
        self.best_metric = "cross_entropy"
        self._writer()  # what cannot be generated is told before it is learnt

    def _begin(self, models: dict[str, TokenModel]) -> str | None:
        """Give models the weights of the start, and adapters; returns the licence that comes with them."""
        config, adapters = self.config, self.config.adapters
        if config.start is None:
            return None
        begun = begin_from(config.start, models, config.stages, self.codec, runs=config.runs, lora=config.lora)
        if adapters is not None:
            for name, model in models.items():
                add_adapters(model, adapters.rank, adapters.alpha)
                if name in begun.silent and model.condition is not None:  # nobody has taught it anything yet
                    model.condition.requires_grad_(True)
        return begun.licence

    def _writer(self) -> TokenWriter:
        """The models as they are now, at work."""
        module = self.phases["models"]
        assert isinstance(module, TokenModels)
        models = {name: step.model for name, step in module.steps()}
        return TokenWriter(self.codec, facts_of(self.config), models, self.enhancer)

    def to(self, device: torch.device) -> None:
        """See `Task.to`."""
        super().to(device)
        if self.enhancer is not None:
            self.enhancer.to(device)

    @property
    def reads_audio(self) -> bool:
        """Whether some model hears more of its input than stored latents."""
        return self.listener.reads_audio

    def train_data(self, items: int) -> Dataset:
        """See `Task.train_data`; where all is stored, no audio is read."""
        stems = self.config.learn or [self.config.stem]
        parts = [self._pairs_of(stem, -(-items // len(stems))) for stem in stems]
        return parts[0] if len(parts) == 1 else Interleaved(parts)

    def _pairs_of(self, stem: str, items: int) -> Dataset[Item]:
        heard, data = self.config.hears, self.config.data
        pairs = self.pairs(items, stem, heard=heard)
        if not data.encoded:
            return pairs
        return EncodedPairs(pairs, self.codec, inputs=heard, whole=data.whole, audio=self.reads_audio)

    def validate(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """See `Task.validate`: cross-entropy and accuracy by masked share, and what generation scores."""
        assert isinstance(module, TokenModels)
        codec, given = self.codec, module.given(batch)
        active = active_frames(batch.target, codec.hop_length)
        metrics: dict[str, Tensor] = {}
        for name, step, written in module.in_turn(given):
            found = masked_metrics(step, given, active, written)
            metrics |= {f"{name}_{key}": value for key, value in found.items()}
        entropies = [metrics[f"{name}_cross_entropy"] for name, _ in module.steps()]
        copied, clean = codec.quantize(codec.encode(batch.input), 1)[0], given.codes[:, :1]
        copies = [token_accuracy(copied[i : i + 1], clean[i : i + 1], active[i : i + 1])[0] for i in range(len(copied))]
        metrics["copy_input_accuracy_1"] = torch.stack(copies)
        return {"cross_entropy": torch.stack(entropies).sum(dim=0), **metrics}

    @torch.no_grad()
    def separate(self, module: nn.Module, audio: Tensor, context: Tensor | None = None) -> Separation:
        """See `StemTask.separate`; the same input always gives the same, whatever else is in its batch."""
        assert isinstance(module, TokenModels)
        codec, length = self.codec, audio.shape[-1]
        writer = self._writer()
        seeds = [self.config.train.seed] * len(audio)

        def decode(codes: Tensor) -> Tensor:
            return codec.decode(codec.codes_to_latents(codes), length)

        listened = writer.listen(audio, context)

        def last(given: int, steps: int | None = None) -> Tensor:
            return list(writer.write(listened, seeds, given, steps).values())[-1]

        first, *others = self.config.given
        written = writer.write(listened, seeds, first)
        codes = list(written.values())[-1]
        beside = {"coarse": written["coarse"], "c2f": codes} if "fine" in written else {}
        beside |= {f"given_{count}": last(count) for count in others}
        beside |= {f"steps_{steps}": last(first, steps) for steps in self.config.also_steps}
        return Separation(
            latents=codec.codes_to_latents(codes),
            input_latents=listened.latents,
            codes=codes,
            input_codes=listened.codes,
            output=decode(codes),
            quantized_input=decode(listened.codes),
            steps={name: Step(codes, decode(codes)) for name, codes in beside.items()},
        )

    def told(self) -> dict[str, object]:
        """See `StemTask.told`."""
        return {
            "sampling": self.config.sampling.model_dump(),
            "fine_sampling": self.config.fine_sampling.model_dump(),
            "given": self.config.given,
        }

    def export(self, module: nn.Module, folder: Path) -> None:
        """See `Task.export`: the models in `tokens/`, for `load_token_models`."""
        assert isinstance(module, TokenModels)
        models = {name: step.model for name, step in module.steps()}
        if self.config.adapters is not None:
            models = copy.deepcopy(models)
            for model in models.values():
                merge_adapters(model)
        known = {"licence": self.licence, "codebook_rms": codebook_rms(self.codec)}
        facts = facts_of(self.config).model_copy(update=known)
        save_token_models(models, facts, folder / EXPORTED)


class TokenModels(nn.Module):
    """The models of a training, which learn from the same batches.

    Args:
        steps: of the models, by name, in their order.
        listener: what hears the input for all of them; not a part of this.
    """

    def __init__(self, steps: dict[str, TokenStep], listener: Listener) -> None:
        super().__init__()
        self.each = nn.ModuleDict(steps)
        self._listener = listener

    def steps(self) -> list[tuple[str, TokenStep]]:
        """The models' steps by name, in their order."""
        return [(name, step) for name, step in self.each.items() if isinstance(step, TokenStep)]

    def in_turn(self, given: Given) -> Iterator[tuple[str, TokenStep, Tensor | None]]:
        """The models' steps by name, each with the codes that it is to learn to go on from, if not the stem's."""
        written = None
        for name, step in self.steps():
            yield name, step, written
            if step.config.coarse_errors and name != self.steps()[-1][0]:
                written = step.write(given) if given.heard.draft is None else given.heard.draft

    def given(self, batch: Batch) -> Given:
        """What a batch gives them."""
        steps = [step for _, step in self.steps()]
        return give(batch, steps[0].codec, self._listener, latents=any(step.needs_latents for step in steps))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of all models by name, `"loss"` their sum; no model shares a weight with another."""
        losses: dict[str, Tensor] = {}
        given = self.given(batch)
        for name, step, written in self.in_turn(given):
            losses |= {f"{name}_{key}": value for key, value in step(given, written).items()}
        return {"loss": sum((losses[f"{name}_loss"] for name, _ in self.steps()), torch.zeros(())), **losses}


@torch.no_grad()
def masked_metrics(step: TokenStep, given: Given, active: Tensor, written: Tensor | None = None) -> dict[str, Tensor]:
    """What a model knows of masked cells, `[B]` each: cross-entropy, and accuracy by masked share.

    Excerpts are looked at window by window, and each frame counts once. Masks are drawn from a fixed seed for each
    excerpt, so that validations are comparable, whatever else is in a batch. With everything masked the accuracy of
    each of the first codebooks is told, too.

    Args:
        step: of the model.
        given: a batch.
        active: frames that count, because the stem is not silent, `[B, T]`.
        written: codes that the model has learnt to go on from, if they are not the stem's; what then counts as right
            is what completes them.
    """
    n_items, _, n_frames = given.codes.shape
    known, window = step.model.known, min(step.window, n_frames)
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    seen = 0

    def add(name: str, values: Tensor, items: Tensor, counted: Tensor) -> None:
        zeros = torch.zeros(n_items, device=values.device)
        sums[name] = sums.get(name, zeros).index_add(0, items, values * counted)
        counts[name] = counts.get(name, zeros).index_add(0, items, counted.float())

    for start in window_starts(n_frames, window, 0):
        part, there = step.part(given, start, start + window, written), active[:, start : start + window].clone()
        there[:, : max(0, seen - start)] = False  # the last window reaches back into the one before
        seen = start + window
        n_codebooks = part.codes.shape[1]
        for ratio in VALIDATION_RATIOS:
            generators = [torch.Generator(part.codes.device).manual_seed(step.config.train.seed) for _ in there]
            drawn = random_mask((n_items, n_codebooks - known, window), ratio, generators)
            mask = behind_known(drawn, known)
            logits, targets = step.model(part.codes, mask, step.heard(part)), part.codes[mask]
            items, books, places = mask.nonzero(as_tuple=True)
            counted = there[items, places]
            right = (logits.argmax(dim=-1) == targets).float()
            add("cross_entropy", masked_cross_entropy(logits, targets), items, counted)
            add(f"accuracy_at_{round(100 * ratio)}", right, items, counted)
            if ratio == VALIDATION_RATIOS[-1]:
                for book in range(known, min(known + TOLD_CODEBOOKS, n_codebooks)):
                    add(f"accuracy_{book + 1}", right, items, counted & (books == book))
    return {name: sums[name] / counts[name] for name in sums}


def facts_of(config: TokenTrainingConfig) -> TokenFacts:
    """What a training makes."""
    same = config.model_dump(include=set(TokenFacts.model_fields))
    return TokenFacts(**same, seconds=config.data.seconds, noise_db=config.data.noise_db)
