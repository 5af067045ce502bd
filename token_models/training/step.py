"""A training step of a token model: masks, logits of the masked cells, their cross-entropy."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from token_models.conditioning.heard import Heard
from token_models.masks.compose import behind_known
from token_models.masks.random_mask import bernoulli_mask, random_mask
from token_models.masks.schedule import cosine
from token_models.masks.sobol import item_numbers
from token_models.masks.spans import span_mask
from token_models.model import TokenModel
from token_models.training.config import TokenTrainingConfig
from token_models.training.given import Given
from token_models.training.loss import label_tables, masked_cross_entropy, soft_cross_entropy
from token_models.windows import window_starts


class TokenStep(nn.Module):
    """A token model and its loss; codec and labels stand outside the module registry (in tuples).

    Args:
        codec: the frozen codec.
        config: of the training.
        stage: whose model this is, "coarse" or "fine".
        preferring: see `TokenModel`.

    Raises:
        UserError: the model does not fit the codec.
    """

    def __init__(self, codec: ResidualCodec, config: TokenTrainingConfig, stage: str, preferring: int = 0) -> None:
        super().__init__()
        self.config = config
        self.model = TokenModel(codec, config.stages[stage], 1 + len(config.context), preferring)
        self._outside = (codec,)
        self._labels: tuple[Tensor, ...] = ()
        seconds = config.fine_seconds if stage == "fine" else config.data.seconds
        self.window = codec.n_frames(round(seconds * codec.sample_rate))
        if config.mask.kind == "spans" and config.mask.span > self.window:
            raise UserError(f"mask.span={config.mask.span}: the {stage} model sees {self.window} frames. Take fewer.")

    @property
    def codec(self) -> ResidualCodec:
        """The frozen codec."""
        return self._outside[0]

    @property
    def needs_latents(self) -> bool:
        """Whether the clean stem's codes are not all that is learnt from."""
        return self.model.nearness is not None or (self.config.coarse_errors > 0 and self.model.known > 0)

    def forward(self, given: Given, written: Tensor | None = None) -> dict[str, Tensor]:
        """The losses of a batch by name.

        Args:
            given: the batch.
            written: what the first codebooks are in generation, `[B, K', T]`: what the model before writes, or what is
                kept of a draft; None leaves them as they should be.
        """
        n_frames = given.codes.shape[-1]
        start = int(torch.randint(n_frames - self.window + 1, ())) if n_frames > self.window else 0
        part = self.part(given, start, min(start + self.window, n_frames), written)
        assert given.indices is not None, "training items are numbered"
        ratio = cosine(item_numbers(self.config.train.seed, given.indices.cpu()))
        mask = self.draw_mask(part.codes, ratio)
        logits, guess = self.model.answer(part.codes, mask, self.heard(part))
        targets = part.codes[mask]
        cross_entropy = self.cross_entropy(logits, targets, mask).mean()
        losses = {"loss": cross_entropy}
        if guess is not None:
            assert part.latents is not None
            true = given.codes[..., start : start + part.codes.shape[-1]]
            match = self.codec.match_space
            mse = F.mse_loss(match(guess, true), match(part.latents, true))
            loss = cross_entropy + self.config.latent_mse * mse
            losses = {"loss": loss, "cross_entropy": cross_entropy, "latent_mse": mse}
        return losses | self._accuracies(logits, targets, mask)

    @torch.no_grad()
    def write(self, given: Given) -> Tensor:
        """The codes that the model holds for the likeliest while it knows none, `[B, K, T]`, window by window."""
        training = self.model.training
        self.model.eval()
        found = given.codes[:, : self.model.n_codebooks].clone()
        window = min(self.window, found.shape[-1])
        for start in window_starts(found.shape[-1], window, 0):
            part = self.part(given, start, start + window)
            mask = behind_known(torch.ones_like(part.codes[:, self.model.known :], dtype=torch.bool), self.model.known)
            likeliest = self.model(part.codes, mask, self.heard(part)).argmax(dim=-1)
            found[..., start : start + window] = part.codes.masked_scatter(mask, likeliest)
        self.model.train(training)
        return found

    def part(self, given: Given, start: int, stop: int, written: Tensor | None = None) -> Given:
        """Frames `start` to `stop` of the model's codebooks.

        Args:
            given: a batch.
            start: first frame.
            stop: the one behind the last.
            written: see `forward`.
        """
        part = given.cut(start, stop, self.codec.hop_length)
        codes = part.codes[:, : self.model.n_codebooks]
        if written is not None and self.config.coarse_errors:
            assert part.latents is not None
            codes = self.with_errors(codes, part.latents, written[..., start:stop])
        return replace(part, codes=codes)

    def heard(self, given: Given) -> Heard | None:
        """What the model is shown of what is heard: nothing, if it has no condition."""
        return given.heard if self.model.condition is not None else None

    @torch.no_grad()
    def with_errors(self, codes: Tensor, latents: Tensor, written: Tensor) -> Tensor:
        """Codes `[B, K, T]` with coarse ones as they were written in some frames, and fine ones that complete them.

        Args:
            codes: of the clean stem.
            latents: likewise, `[B, D, T]`.
            written: of the coarse codebooks at least, `[B, K', T]`.
        """
        there = torch.rand(len(codes), 1, codes.shape[-1], device=codes.device) < self.config.coarse_errors
        known = self.model.known
        coarse = torch.where(there, written[:, :known], codes[:, :known])
        return self.codec.complete_codes(latents, coarse, codes.shape[1])

    def draw_mask(self, codes: Tensor, ratio: Tensor) -> Tensor:
        """Which cells of codes `[B, K, T]` are masked, `ratio [B]` of those that are to be predicted."""
        known = self.model.known
        shape = (len(codes), codes.shape[1] - known, codes.shape[2])
        generator = torch.Generator(codes.device).manual_seed(int(torch.randint(2**62, ())))
        options = self.config.mask
        if options.kind == "spans":
            drawn = span_mask(shape, ratio, options.span, generator)
        else:
            drawn = {"random": random_mask, "bernoulli": bernoulli_mask}[options.kind](shape, ratio, generator)
        if not drawn.any():  # by itself, each cell may stay: then there is one
            drawn = random_mask(shape, ratio, generator)
        return behind_known(drawn, known)

    def cross_entropy(self, logits: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """Of each masked cell, `[M]`, with the labels that were chosen."""
        if not self.config.soft_labels:
            return masked_cross_entropy(logits, targets, self.config.label_smoothing if self.training else 0.0)
        if not self._labels or self._labels[0].device != logits.device:
            self._labels = (label_tables(self.codec, self.model.n_codebooks, self.config.soft_labels),)
        books = mask.nonzero(as_tuple=True)[1]
        return soft_cross_entropy(logits, self._labels[0][books, targets])

    def _accuracies(self, logits: Tensor, targets: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Share of the masked cells that are right: of all, and of the first codebook that is predicted."""
        right = (logits.argmax(dim=-1) == targets).float()
        first = mask.nonzero(as_tuple=True)[1] == self.model.known
        of_first = right[first].sum() / first.sum().clamp(min=1)  # under spans it may be masked nowhere
        return {"accuracy": right.mean(), f"accuracy_{self.model.known + 1}": of_first}
