"""The masked token transformer (thesis, section 7; VampNet: Flores García et al., 2023, section 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from token_models.conditioning.condition import Condition, Shown
from token_models.conditioning.heard import Heard
from token_models.config import TokenModelConfig
from token_models.embedding import CodeEmbedding, LearnedEmbedding, codec_tables
from token_models.near import Nearness

T5_BUCKETS, T5_DISTANCE = 32, 128


class TokenModel(nn.Module):
    """Says which codes may stand in the masked cells of a grid, given all others and what is heard.

    The grid has the first `K` codebooks of a codec, of which the first `known` are never masked: a coarse model has the
    first few and none known, a coarse-to-fine one all of them and the coarse ones known. Frames attend to each other in
    both directions.

    Args:
        codec: the frozen codec, whose vectors embed the codes; it is not a part of the model.
        config: sizes and condition.
        inputs: how many inputs are heard, if any are.
        preferring: for how many codebooks the enhancer that is heard says which codes it would rather have
            (`TrainedEnhancer.preferring`); 0: none is heard, or it says nothing.

    Attributes:
        n_codebooks: K.
        known: codebooks that are always given.
        condition: what is heard as features of the frames; None of a model that hears nothing.

    Raises:
        UserError: the model does not fit the codec.
    """

    def __init__(self, codec: ResidualCodec, config: TokenModelConfig, inputs: int = 1, preferring: int = 0) -> None:
        super().__init__()
        from x_transformers import Encoder  # two seconds that nothing else should wait for

        self.n_codebooks = _codebooks(config, codec)
        self.known, self.codebook_size = config.known, codec.codebook_size
        head = config.dim // config.heads
        sizes = (self.n_codebooks, codec.codebook_size)
        self.embedding = (
            CodeEmbedding(config.dim, codec_tables(codec, self.n_codebooks, unit=True))
            if config.embedding == "codec"
            else LearnedEmbedding(config.dim, *sizes, config.learned_dim)
        )
        self.cross = config.condition.anything and config.condition.join == "cross"
        self.condition = Condition(codec, config.condition, inputs, config.dim) if config.condition.anything else None
        self.layers = Encoder(
            dim=config.dim,
            depth=config.layers,
            heads=config.heads,
            attn_dim_head=head,
            attn_flash=config.positions == "rotary",  # with the bias the library computes all weights
            attn_sublayer_dropout=config.dropout,
            cross_attend=self.cross,
            rotary_pos_emb=config.positions == "rotary",
            rotary_emb_dim=head - head % 2,  # channels turn in pairs
            rel_pos_bias=config.positions == "t5",
            rel_pos_num_buckets=T5_BUCKETS,
            rel_pos_max_distance=T5_DISTANCE,
            use_rmsnorm=True,
            ff_glu=True,
            ff_mult=config.feedforward,
            ff_no_bias=True,
            ff_custom_activation=nn.GELU(approximate="tanh" if config.activation == "gelu_tanh" else "none"),
            ff_sublayer_dropout=config.dropout,
            verbose=False,
        )
        predicted = self.n_codebooks - self.known
        self.classifier = nn.Parameter(torch.empty(predicted, codec.codebook_size, config.dim))
        self.bias = nn.Parameter(torch.zeros(predicted, codec.codebook_size))
        self.nearness: Nearness | None = None
        if config.near:
            near = min(config.near, predicted)
            preferred = min(max(0, preferring - self.known), near) if config.condition.enhanced else 0
            self.nearness = Nearness(codec, config.dim, self.known, near, preferred, config.condition.tokens)
        if self.nearness is None:
            nn.init.normal_(self.classifier, std=config.dim**-0.5)
        else:  # what is near decides at first
            nn.init.zeros_(self.classifier)

    def forward(self, codes: Tensor, mask: Tensor, heard: Shown | Heard | None = None) -> Tensor:
        """Logits of the masked cells, float32 `[M, V]`, in the order of `mask.nonzero()`: item, codebook, frame.

        Args:
            codes: `[B, K, T]`; those under the mask are not looked at.
            mask: True where a code is unknown, of the same shape; nowhere in the known codebooks.
            heard: what is heard of the input, or what `condition` has made of it.
        """
        return self.answer(codes, mask, heard)[0]

    def answer(self, codes: Tensor, mask: Tensor, heard: Shown | Heard | None = None) -> tuple[Tensor, Tensor | None]:
        """The logits of `forward`, and the stem's latents `[B, D, T]` if the model guesses them."""
        shown = self.shown(heard)
        features = self.features(codes, mask, shown)
        start = None if shown is None else shown.start
        guess = None if self.nearness is None else self.nearness.guess(features, start)
        beside = (None, None) if shown is None else (shown.preferred, shown.codes)
        logits = self.logits(features, mask, codes, guess, *beside)
        if self.training and self.nearness is not None:
            # A mask may leave out all codebooks that some of these serve, but processes wait for all gradients.
            logits = logits + 0 * sum(parameter.sum() for parameter in self.nearness.parameters())
        return logits, guess

    def shown(self, heard: Shown | Heard | None) -> Shown | None:
        """What `condition` makes of what is heard.

        Raises:
            ValueError: what is heard is missing, or too much.
        """
        if self.condition is None:
            if heard is not None:
                raise ValueError("the model hears nothing")
            return None
        if heard is None:
            raise ValueError("what the model hears is missing")
        return self.condition(heard) if isinstance(heard, Heard) else heard

    def features(self, codes: Tensor, mask: Tensor, shown: Shown | None = None) -> Tensor:
        """What the classifier reads, `[B, T, W]`; codes and mask as of `forward`.

        Raises:
            ValueError: grid and mask differ in shape or are not the model's, or what is shown does not fit.
        """
        self._check(codes, mask)
        frames = self.embedding(codes, mask)
        if frames.dtype in (torch.bfloat16, torch.float16):
            frames = frames.float()  # the sums of all layers stay in single precision
        if shown is None:
            return self.layers(frames)
        context = shown.features
        if context.shape != frames.shape:
            raise ValueError(f"what is heard makes {list(context.shape)}, but the grid {list(frames.shape)}")
        if not self.cross:
            return self.layers(frames + context)
        places = torch.arange(context.shape[1], device=context.device)
        return self.layers(frames, context=context, context_pos=places)

    def logits(
        self,
        features: Tensor,
        mask: Tensor,
        codes: Tensor,
        guess: Tensor | None = None,
        preferred: Tensor | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """Features `[B, T, W]` to the logits of the masked cells alone, `[M, V]`, in float32.

        With a guess of the latents, `[B, D, T]`, codes count as near to what the codebooks before leave of it: known
        codes, and where there is none the one that is held for the likeliest. To that is added what an enhancer
        prefers, `[B, K', V, T]`, and what speaks for the input's own codes, heard `[B, K, T]`.
        """
        items, books, places = mask.nonzero(as_tuple=True)
        found = features.new_empty(len(items), self.codebook_size, dtype=torch.float32)
        near = self.nearness if guess is not None else None
        residual = near.residual(guess, codes) if near is not None and guess is not None else None
        sure = torch.ones_like(mask[:, 0])
        for k in range(self.known, self.n_codebooks):
            cells = books == k
            item, place = items[cells], places[cells]
            if len(item):
                weight, bias = self.classifier[k - self.known], self.bias[k - self.known]
                values = F.linear(features[item, place], weight, bias).float()
                if near is not None and residual is not None and k < near.stop:
                    values = values + near.scores(k, residual[item, :, place], sure[item, place])
                    if preferred is not None and near.trust is not None and k - self.known < len(near.trust):
                        values = values + near.trust[k - self.known] * preferred[item, k, :, place].float()
                    if heard is not None and near.log_copies is not None:
                        own = heard[item, k, place]
                        values = values.scatter_add(1, own.clamp(min=0)[:, None], near.for_copies(k, own))
                found[cells] = values
            if near is not None and residual is not None and k + 1 < near.stop:
                chosen = codes[:, k].long()
                if len(item):
                    chosen = chosen.index_put((item, place), found[cells].argmax(dim=-1))
                residual, sure = near.without(k, residual, chosen), sure & ~mask[:, k]
        return found

    def _check(self, codes: Tensor, mask: Tensor) -> None:
        if codes.dim() != 3 or codes.shape[1] != self.n_codebooks or codes.numel() == 0:
            raise ValueError(f"expected codes [B, {self.n_codebooks}, T] with B, T > 0, got {list(codes.shape)}")
        if mask.shape != codes.shape or mask.dtype != torch.bool:
            raise ValueError(f"expected a mask of booleans {list(codes.shape)}, got {mask.dtype} {list(mask.shape)}")


def check_fits(model: TokenModel, codes: Tensor, mask: Tensor, *, draft: bool = False) -> None:
    """Refuse a grid that a model cannot fill, before any work.

    Args:
        model: the model.
        codes: `[B, K, T]`.
        mask: of the cells to fill.
        draft: what stands under the mask is looked at, too.

    Raises:
        ValueError: shapes do not fit, known codes are out of range, or something is masked in the known codebooks.
    """
    model._check(codes, mask)
    if codes.dtype != torch.long:
        raise ValueError(f"expected codes as whole numbers (torch.int64), got {codes.dtype}")
    known = codes if draft else codes[~mask]
    if known.numel() and not 0 <= int(known.min()) <= int(known.max()) < model.codebook_size:
        raise ValueError(
            f"{'codes' if draft else 'known codes'} must lie in 0..{model.codebook_size - 1}, got {int(known.min())}.."
            f"{int(known.max())}"
        )
    if bool(mask[:, : model.known].any()):
        raise ValueError(f"the first {model.known} codebooks are always known to this model, but some are masked")


def _codebooks(config: TokenModelConfig, codec: ResidualCodec) -> int:
    wanted = config.codebooks or codec.n_codebooks
    if wanted > codec.n_codebooks:
        raise UserError(
            f"codebooks={wanted}: {codec.name} has {codec.n_codebooks}. Take as many or fewer, or leave it out for all."
        )
    if config.known >= wanted:
        raise UserError(
            f"known={config.known}: {codec.name} has {wanted} codebooks, so nothing would be left to predict. Take "
            "fewer."
        )
    return wanted
