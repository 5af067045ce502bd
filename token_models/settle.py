"""The last model's part in one step: the codes nearest to the latents that it guesses behind the codes before.

The likeliest fine codes are a bad answer where hundreds are about as likely: each by itself is most probably wrong, and
may lie far from all others. The guess lies in the middle of them, and what comes nearest to it costs least.
"""

import torch
from torch import Tensor

from codec_ft.codecs.residual import ResidualCodec
from token_models.conditioning.heard import Heard
from token_models.generate import Stage
from token_models.masks.compose import behind_known
from token_models.windows import window_starts


@torch.no_grad()
def settle(stage: Stage, codec: ResidualCodec, known: Tensor, heard: Heard | None, keep: int = 0) -> Tensor:
    """All codes of a model's codebooks, `[B, K, T]`, by what it guesses; most of the known ones may change as well.

    Args:
        stage: a model that guesses latents.
        codec: the frozen codec.
        known: the codebooks that it goes on from, `[B, K', T]`.
        heard: of the input.
        keep: of the known codebooks, so many stay as they are.

    Raises:
        ValueError: the model guesses no latents, goes on from another number of codebooks, or from fewer than are to
            stay.
    """
    model, n_frames = stage.model, known.shape[-1]
    if keep > model.known:
        raise ValueError(f"keep={keep}: only {model.known} codebooks are known")
    if known.shape[1] != model.known:
        raise ValueError(f"the model goes on from {model.known} codebooks, got {known.shape[1]}")
    if model.nearness is None:
        raise ValueError("the model guesses no latents: its near is 0")
    unknown = known.new_zeros(len(known), model.n_codebooks - model.known, n_frames)
    codes = torch.cat([known, unknown], dim=1)
    mask = behind_known(torch.ones_like(unknown, dtype=torch.bool), model.known)
    guess = torch.zeros(len(codes), codec.latent_dim, n_frames, device=codes.device)
    for start in window_starts(n_frames, stage.window, stage.overlap):
        stop = min(start + stage.window, n_frames)
        part = None if heard is None or model.condition is None else heard.frames(start, stop, codec.hop_length)
        shown = model.shown(part)
        features = model.features(codes[..., start:stop], mask[..., start:stop], shown)
        found = model.nearness.guess(features, shown.start if shown else None)
        first = stage.overlap // 2 if start else 0  # as codes are written: the later window sees more of what follows
        guess[..., start + first : stop] = found[..., first:]
    if not keep:
        return codec.quantize(guess, model.n_codebooks)[0]
    return codec.complete_codes(guess, known[:, :keep], model.n_codebooks)
