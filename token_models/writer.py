"""Token models at work: from audio to the codes and the sound of a stem."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codec_ft.codecs.base import Codec
from codec_ft.codecs.long import encode_each
from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from codec_ft.finetune.apply import TrainedEnhancer
from codec_ft.finetune.enhancer import side_by_side
from token_models.conditioning.heard import Heard, Listener, check_same_codes
from token_models.generate import Stage, fill, generate
from token_models.model import TokenModel, check_fits
from token_models.sampling.config import SamplingConfig
from token_models.save import TokenFacts
from token_models.settle import settle
from token_models.windows import OVERLAP


@dataclass(frozen=True)
class Listened:
    """What token models go on from.

    Attributes:
        latents: of the frozen encoder for the input, `[B, D, T]`.
        codes: of the input, `[B, K, T]`.
        heard: for the models' conditions, and as codes that are kept or begun with.
    """

    latents: Tensor
    codes: Tensor
    heard: Heard


class TokenWriter:
    """Writes the codes of a stem for audio at the codec's rate, in windows as long as the training's excerpts.

    Args:
        codec: the frozen codec.
        facts: what the models are.
        models: in `eval()`, by name.
        enhancer: that of the facts, whose codes are given in place of the input's.

    Attributes:
        listener: what hears the input for the models.

    Raises:
        UserError: the enhancer writes fewer codebooks than are to be given, or those of another codec.
    """

    def __init__(
        self,
        codec: Codec,
        facts: TokenFacts,
        models: Mapping[str, TokenModel],
        enhancer: TrainedEnhancer | None = None,
    ) -> None:
        self.codec, self.facts, self.enhancer = codec, facts, enhancer
        sampling = {"coarse": facts.sampling, "fine": facts.fine_sampling}
        if enhancer is not None:
            check_same_codes(codec, enhancer, "enhancer")
            written = enhancer.writes
            if enhancer.context != facts.context:
                raise UserError(
                    f"enhancer={enhancer.name}: hears {_list(enhancer.context)} beside its input, but "
                    f"context={_list(facts.context)}. Set context as it was there, or take another enhancer."
                )
            if max(facts.given) > written:
                raise UserError(
                    f"given={max(facts.given)}: enhancer={enhancer.name} writes {written} codebooks. Give as many or "
                    "fewer."
                )
            doubting = [model.n_codebooks for name, model in models.items() if sampling[name].doubt is not None]
            if max(doubting, default=0) > written:
                raise UserError(
                    f"sampling.doubt: enhancer={enhancer.name} writes {written} of {max(doubting)} codebooks only. Set "
                    "it to null where there is no draft."
                )
        begins = any(facts.given) or any(sampling[name].doubt is not None for name in models)
        conditions = [config.condition for config in facts.models.values()]
        self.listener = Listener(codec, conditions, enhancer, drafts=begins)
        most = max(model.n_codebooks for model in models.values())
        if max(facts.given) >= most:
            raise UserError(
                f"given={max(facts.given)}: the models have {most} codebooks, and nothing would be left to write. Give "
                "fewer."
            )
        for name, model in models.items():
            self._check_sampling(name, model, sampling[name])
        seconds = {"coarse": facts.seconds, "fine": facts.fine_seconds}
        windows = {name: codec.n_frames(round(seconds[name] * codec.sample_rate)) for name in models}
        self.stages = {
            name: Stage(place, model, sampling[name], windows[name], math.floor(OVERLAP * windows[name]))
            for place, (name, model) in enumerate(models.items())
        }

    @staticmethod
    def _check_sampling(name: str, model: TokenModel, sampling: SamplingConfig) -> None:
        """Refuse what a model cannot do."""
        key = {"coarse": "sampling", "fine": "fine_sampling"}[name]
        if sampling.guidance.active and (model.condition is None or model.condition.nothing is None):
            raise UserError(
                f"{key}.guidance: the {name} model has never gone without its input. Train it with a condition and "
                "condition.drop above zero, or set guidance.scale to 1."
            )
        if isinstance(sampling.steps, list) and len(sampling.steps) != model.n_codebooks:
            raise UserError(
                f"{key}.steps: has {len(sampling.steps)} numbers, but the {name} model {model.n_codebooks} codebooks. "
                "Give one number for each, or one for all."
            )

    @torch.no_grad()
    def listen(self, audio: Tensor, context: Tensor | None = None) -> Listened:
        """Hear audio `[B, 1, N]` and what is beside it, `[B, n, N]`."""
        encoded = encode_each(self.codec, side_by_side(audio, context if self.listener.reads_context else None))
        latents = encoded[:, : self.codec.latent_dim]
        codes, _ = self.codec.quantize(latents)
        return Listened(latents, codes, self.listener.hear(audio, context, encoded))

    @torch.no_grad()
    def write(
        self,
        listened: Listened,
        seeds: Sequence[int],
        given: int = 0,
        steps: int | None = None,
        temperature: float | None = None,
    ) -> dict[str, Tensor]:
        """The codes that each model leaves, `{name: [B, K', T]}`; an item depends on its own seed alone.

        Args:
            listened: what they go on from.
            seeds: one for each item.
            given: of the draft, so many codebooks are kept.
            steps: of sampling, in place of those of the facts.
            temperature: likewise.
        """
        draft = listened.heard.draft
        sampled, settled = list(self._asked(steps, temperature).items()), None
        if self.facts.settle is not None:
            *sampled, settled = sampled
        found = generate(
            dict(sampled),
            (len(listened.codes), listened.codes.shape[-1]),
            listened.heard,
            seeds,
            given=draft[:, :given] if given and draft is not None else None,
            draft=draft,
            hop_length=self.codec.hop_length,
        )
        if settled is not None:
            name, stage = settled
            assert isinstance(self.codec, ResidualCodec) and self.facts.settle is not None
            known = list(found.values())[-1]
            found[name] = settle(stage, self.codec, known, listened.heard, self.facts.settle)
        return found

    def rewrite(
        self,
        codes: Tensor,
        mask: Tensor,
        heard: Heard | None,
        seeds: Sequence[int],
        steps: int | None = None,
        temperature: float | None = None,
    ) -> Tensor:
        """A grid `[B, K, T]` with what is masked written anew, all else as it is; nothing is settled.

        Args:
            codes: of all codebooks that the models know.
            mask: of the same shape.
            heard: for the models' conditions, if they have any.
            seeds: one for each item.
            steps: of sampling, in place of those of the facts.
            temperature: likewise.

        Raises:
            ValueError: grid and mask are not the models'.
        """
        if mask.shape != codes.shape or mask.dtype != torch.bool:
            raise ValueError(f"expected a mask of booleans {list(codes.shape)}, got {mask.dtype} {list(mask.shape)}")
        stages = [stage.from_nothing() for stage in self._asked(steps, temperature).values()]
        hidden = [_but_known(mask, stage.model) for stage in stages]
        # Known codebooks of the last model may be masked: those before it write them.
        check_fits(stages[-1].model, codes.masked_fill(mask, 0), hidden[-1])
        for stage, unknown in zip(stages, hidden, strict=True):
            count = stage.model.n_codebooks
            filled = fill(stage, codes[:, :count], unknown, heard, seeds, self.codec.hop_length)
            codes = torch.cat([filled, codes[:, count:]], dim=1)
        return codes

    def _asked(self, steps: int | None, temperature: float | None) -> dict[str, Stage]:
        """The models, asked as `Stage.asked` says."""
        return {name: stage.asked(steps, temperature) for name, stage in self.stages.items()}


def _but_known(mask: Tensor, model: TokenModel) -> Tensor:
    """A mask of a model's codebooks, without those that it is always given."""
    hidden = mask[:, : model.n_codebooks].clone()
    hidden[:, : model.known] = False
    return hidden


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
