"""A T5 that reads codes and writes codes (Raffel et al., 2020; thesis, section 7)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import EncoderDecoderCache, T5Config, T5Model

from codec_ft.codecs.residual import ResidualCodec
from codec_ft.errors import UserError
from token_models.embedding import CodeEmbedding, LearnedEmbedding, codec_tables
from token_models.translation.config import TranslationModelConfig
from token_models.translation.patterns import NOTHING, frames_of, steps_of, to_steps


class TranslationModel(nn.Module):
    """Says which code comes next, given what is heard and what has been written.

    The encoder reads one position for each frame of the inputs, whose codes stand side by side in it. The decoder reads
    one position for each step of the pattern, which holds what the step before has written. Each codebook has a
    classifier of its own, which is asked in the steps in which it writes. Positions are T5's bias by distance: its
    attention from decoder to encoder has none, and must find the frame that is written by what it hears (but see
    `TranslationModelConfig.aligned`).

    Args:
        codec: the frozen codec, whose vectors embed the codes; it is not a part of the model.
        config: sizes and pattern.
        inputs: how many inputs are heard.

    Attributes:
        n_codebooks: K, which it writes.
        n_heard: how many codebooks it hears, of all inputs together.

    Raises:
        UserError: the model does not fit the codec.
    """

    def __init__(self, codec: ResidualCodec, config: TranslationModelConfig, inputs: int = 1) -> None:
        super().__init__()
        self.n_codebooks = _codebooks("codebooks", config.codebooks, codec)
        of_each = _codebooks("input_codebooks", config.input_codebooks, codec)
        self.n_heard, self.codebook_size = inputs * of_each, codec.codebook_size
        self.pattern, self.aligned = config.pattern, config.aligned
        if config.embedding == "codec":
            heard = codec_tables(codec, of_each, unit=True).repeat(inputs, 1, 1)
            self.heard = CodeEmbedding(config.dim, heard, maskable=False)
            self.written = CodeEmbedding(config.dim, codec_tables(codec, self.n_codebooks, unit=True))
        else:
            self.heard = LearnedEmbedding(config.dim, self.n_heard, codec.codebook_size, config.learned_dim)
            self.written = LearnedEmbedding(config.dim, self.n_codebooks, codec.codebook_size, config.learned_dim)
        self.t5 = T5Model(
            T5Config(
                vocab_size=1,
                d_model=config.dim,
                d_kv=config.dim // config.heads,
                d_ff=config.feedforward * config.dim,
                num_layers=config.encoder_layers,
                num_decoder_layers=config.decoder_layers,
                num_heads=config.heads,
                dropout_rate=config.dropout,
                feed_forward_proj="gated-gelu",
            )
        )
        # A table of words that is never read would have no gradient, which distributed training takes for a mistake.
        self.t5.set_input_embeddings(nn.Identity())
        self.classifier = nn.Parameter(torch.empty(self.n_codebooks, codec.codebook_size, config.dim))
        self.bias = nn.Parameter(torch.zeros(self.n_codebooks, codec.codebook_size))
        nn.init.normal_(self.classifier, std=config.dim**-0.5)

    def forward(self, heard: Tensor, codes: Tensor) -> Tensor:
        """Logits of every code of a grid given those that are written before it, float32 `[B, K, T, V]`.

        Args:
            heard: codes of the inputs, one below the other, `[B, K', T]`.
            codes: of the stem, `[B, K, T]`.

        Raises:
            ValueError: the shapes do not fit the model or each other.
        """
        self.check(heard, codes)
        before = F.pad(to_steps(codes, self.pattern)[..., :-1], (1, 0), value=NOTHING)
        features = self.decode(before, self.encode(heard))
        steps = steps_of(self.pattern, self.n_codebooks, codes.shape[-1]).to(codes.device)
        books = torch.arange(self.n_codebooks, device=codes.device)[:, None].expand_as(codes)
        return self.classify(features[:, steps].flatten(0, 2), books.flatten()).unflatten(0, codes.shape)

    def encode(self, heard: Tensor) -> Tensor:
        """What is heard `[B, K', T]` as states of its frames, `[B, T, W]`."""
        # A mask of nothing: learnt vectors have one for what is unknown, though all that is heard is known.
        known = torch.zeros_like(heard, dtype=torch.bool) if self.heard.masked is not None else None
        return self.t5.encoder(inputs_embeds=self.heard(heard, known)).last_hidden_state

    def decode(
        self, before: Tensor, states: Tensor, first: int = 0, cache: EncoderDecoderCache | None = None
    ) -> Tensor:
        """What the classifiers read in some steps, `[B, n, W]`.

        Args:
            before: what was written in the step before each of them, `[B, K, n]`.
            states: of the encoder, `[B, T, W]`.
            first: number of the first of these steps; all before it must be in the cache.
            cache: keys and values of earlier steps; those of these steps are added to it.
        """
        shown = self.written(before, before == NOTHING)
        if self.aligned:
            frames = frames_of(self.pattern, self.n_codebooks, states.shape[1]).amax(dim=0)
            shown = shown + states[:, frames[first : first + before.shape[-1]].to(states.device)]
        return self.t5.decoder(
            inputs_embeds=shown,
            encoder_hidden_states=states,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def classify(self, features: Tensor, books: Tensor) -> Tensor:
        """Features `[M, W]` to the logits of the codebooks `[M]` that write there, float32 `[M, V]`."""
        found = features.new_empty(len(books), self.codebook_size, dtype=torch.float32)
        for k in books.unique().tolist():
            cells = books == k
            found[cells] = F.linear(features[cells], self.classifier[k], self.bias[k]).float()
        return found

    def check(self, heard: Tensor, codes: Tensor) -> None:
        """Refuse grids of other shapes than the model's.

        Raises:
            ValueError: names both shapes.
        """
        fits = heard.dim() == codes.dim() == 3 and len(heard) == len(codes) and heard.shape[-1] == codes.shape[-1]
        if not fits or (heard.shape[1], codes.shape[1]) != (self.n_heard, self.n_codebooks) or codes.numel() == 0:
            raise ValueError(
                f"expected what is heard [B, {self.n_heard}, T] and codes [B, {self.n_codebooks}, T] with B, T > 0, "
                f"got {list(heard.shape)} and {list(codes.shape)}"
            )


def _codebooks(key: str, wanted: int | None, codec: ResidualCodec) -> int:
    if wanted is not None and wanted > codec.n_codebooks:
        raise UserError(
            f"model.{key}={wanted}: {codec.name} has {codec.n_codebooks}. Take as many or fewer, or leave it out for "
            "all."
        )
    return wanted or codec.n_codebooks
