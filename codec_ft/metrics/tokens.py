"""What can be said about tokens: accuracy, the baselines it is read against, and how a codebook is used.

Codes are `[B, K, T]` integers. Accuracies count only the frames marked in `active [B, T]`
(`active_frames` of the target): silent frames are one constant token, and counting them rewards silence.

One accuracy has four readings, according to what is compared with the target's codes:

- token accuracy: the codes of the model's output;
- copy-input accuracy: the codes of its input, what doing nothing scores;
- idempotence: the codes of the decoded target codes, `encode(decode(codes))`, what a perfect waveform could
  lose on its way through the codec;
- majority-token accuracy: each codebook's most frequent code, what knowing nothing scores.

A code of a residual codec refers to what the codes before it left over. Where one of those is wrong, the others of
the frame may be equal to the target's and still mean something else; `cumulative_accuracy` counts no such frame.

`codec_ft.metrics.token_counts` counts all of this for a track, so that tracks add up.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from codec_ft.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    "latent_mse": Metric(
        "latent MSE",
        "",
        "down",
        "Mean squared difference between the latents of the output and those of the target, in the space that the "
        "codec names for it.",
        "thesis, section 6.2.1",
    ),
    "token_accuracy": Metric(
        "token accuracy",
        "",
        "up",
        "Share of non-silent frames in which the output has the target's token, per codebook.",
        "thesis, section 6.2",
    ),
    "cumulative_accuracy": Metric(
        "cumulative token accuracy",
        "",
        "up",
        "Share of non-silent frames in which this and all coarser codebooks have the target's token.",
        "this project",
    ),
    "top5_accuracy": Metric(
        "top-5 accuracy",
        "",
        "up",
        "Share of non-silent frames in which the target's token is among the five that are nearest to the output, "
        "per codebook.",
        "this project",
    ),
    "codebook_distance": Metric(
        "codebook distance",
        "",
        "down",
        "How far the vectors of the output's tokens are from those of the target's, per codebook: root mean square "
        "over non-silent frames, divided by that of two of the target's frames drawn at random. 0: all right; 1: as "
        "far off as any other token of the target; a constant answer scores 0.71 at best.",
        "this project",
    ),
    "copy_input_accuracy": Metric(
        "copy-input accuracy",
        "",
        "up",
        "Token accuracy of the untouched input: what doing nothing scores. A model is of use above it.",
        "this project",
    ),
    "majority_token_accuracy": Metric(
        "majority-token accuracy",
        "",
        "up",
        "Token accuracy of always answering each codebook's most frequent token: what knowing nothing scores.",
        "this project",
    ),
    "idempotence": Metric(
        "idempotence",
        "",
        "up",
        "Share of non-silent frames whose token is the same after decoding and encoding again: what even a perfect "
        "answer may lose in the codec.",
        "this project",
    ),
    "codebook_used": Metric(
        "codes used",
        "",
        "up",
        "How many of the codebook's codes occur at all, per codebook.",
        "this project",
    ),
    "codebook_perplexity": Metric(
        "codebook perplexity",
        "",
        "up",
        "The number of equally frequent codes with the same entropy, per codebook; at most the codebook's size.",
        "van den Oord et al., 2017",
    ),
    "code_entropy_gap": Metric(
        "entropy gap",
        "bit",
        "zero",
        "Entropy of the target's tokens less that of the output's over the same non-silent frames, per codebook. "
        "Positive: the output uses fewer tokens, or the same few more often.",
        "this project",
    ),
}
"""What is said about latents and tokens."""


def active_frames(audio: Tensor, hop_length: int, threshold_db: float = -60.0) -> Tensor:
    """Which codec frames are not silent: `audio [B, C, N] -> bool [B, T]` with `T = ceil(N / hop_length)`.

    A frame is active when the root mean square of its `hop_length` samples in all channels is above
    `threshold_db` (dB re 1); the last one counts the samples it has.
    """
    channels, samples = audio.shape[1:]
    n_frames = math.ceil(samples / hop_length)
    padded = functional.pad(audio.double(), (0, n_frames * hop_length - samples))
    energy = padded.unflatten(2, (n_frames, hop_length)).square().sum(dim=(1, 3))
    starts = torch.arange(n_frames, device=audio.device) * hop_length
    present = channels * (samples - starts).clamp(max=hop_length)
    return energy > present * 10.0 ** (threshold_db / 10.0)


def token_accuracy(codes: Tensor, target_codes: Tensor, active: Tensor) -> Tensor:
    """Share of active frames whose codes are equal, per codebook: `[B, K, T], [B, K, T], [B, T] -> [K]`.

    Between 0 and 1, in float64; NaN when no frame is active. For the copy-input accuracy pass the input's codes,
    for the idempotence those of the decoded target codes.

    Raises:
        ValueError: the shapes do not fit; the message names them.
    """
    check_same_shape(codes, target_codes)
    return select_active(codes == target_codes, active).double().mean(dim=1)


def cumulative_accuracy(codes: Tensor, target_codes: Tensor, active: Tensor) -> Tensor:
    """Share of active frames whose first `k` codes are all equal, `[B, K, T], [B, K, T], [B, T] -> [K]`.

    The k-th number counts codebooks 1 to k: the first is the token accuracy of the first codebook, and none is larger
    than the one before. NaN when no frame is active.

    Raises:
        ValueError: the shapes do not fit; the message names them.
    """
    check_same_shape(codes, target_codes)
    return select_active((codes == target_codes).cumprod(dim=1), active).double().mean(dim=1)


def majority_tokens(codes: Tensor, active: Tensor) -> Tensor:
    """The most frequent code of each codebook in the active frames, `[B, K, T], [B, T] -> [K]`.

    The smallest of several that are equally frequent.

    Raises:
        ValueError: the shapes do not fit or no frame is active.
    """
    selected = select_active(codes, active)
    if selected.shape[1] == 0:
        raise ValueError("no frame is active, so no code is the most frequent one")
    return torch.stack([torch.bincount(row).argmax() for row in selected])


def majority_token_accuracy(target_codes: Tensor, active: Tensor, majority: Tensor | None = None) -> Tensor:
    """Accuracy of answering one constant code per codebook, `[B, K, T], [B, T] -> [K]`.

    `majority [K]` are the constants, usually `majority_tokens` of the training targets. Without it they
    are taken from `target_codes` themselves: the most that any constant could score.

    Raises:
        ValueError: the shapes do not fit.
    """
    if majority is None:
        # With no active frame any constant gives NaN, as in token_accuracy.
        majority = (
            majority_tokens(target_codes, active) if active.any() else target_codes.new_zeros(target_codes.shape[1])
        )
    if majority.shape != target_codes.shape[1:2]:
        raise ValueError(
            f"majority must hold one code per codebook: majority is {list(majority.shape)}, "
            f"target_codes is {list(target_codes.shape)}"
        )
    return token_accuracy(majority[None, :, None].expand_as(target_codes), target_codes, active)


def top_k_accuracy(logits: Tensor, target_codes: Tensor, active: Tensor, k: int) -> Tensor:
    """Share of active frames whose code is among the `k` likeliest: `[B, K, V, T], [B, K, T], [B, T] -> [K]`.

    Raises:
        ValueError: the shapes do not fit; the message names them.
    """
    if logits.ndim != 4 or logits.shape[:2] + logits.shape[3:] != target_codes.shape:
        raise ValueError(
            "logits must be [B, K, V, T] and target_codes [B, K, T]: "
            f"logits is {list(logits.shape)}, target_codes is {list(target_codes.shape)}"
        )
    likeliest = logits.topk(k, dim=2).indices
    return select_active((likeliest == target_codes.unsqueeze(2)).any(dim=2), active).double().mean(dim=1)


@dataclass(frozen=True)
class CodebookUsage:
    """How evenly the codes of each codebook are used; every field is `[K]`.

    `used` counts the codes that occur at all; `entropy_bits` is the entropy of their frequencies, at most
    `log2(V)`; `perplexity = 2^entropy_bits` is the number of equally frequent codes with that entropy.
    """

    used: Tensor
    perplexity: Tensor
    entropy_bits: Tensor


def codebook_usage(codes: Tensor, codebook_size: int) -> CodebookUsage:
    """Usage of each codebook of `codebook_size` codes V in `codes [B, K, T]`, over all frames.

    Raises:
        ValueError: there are no codes, or one is not in `0 .. V - 1`.
    """
    if codes.ndim != 3 or codes.numel() == 0:
        raise ValueError(f"codes must be [B, K, T] and not empty: codes is {list(codes.shape)}")
    everywhere = torch.ones(codes.shape[0], codes.shape[2], dtype=torch.bool, device=codes.device)
    return usage_of(code_histogram(codes, everywhere, codebook_size))


def usage_of(histogram: Tensor) -> CodebookUsage:
    """Usage of each codebook from how often each of its codes occurs, `[K, V]`; NaN where there are none."""
    shares = histogram.double() / histogram.sum(dim=1, keepdim=True)
    # xlogy is 0 for a code that never occurs, where a plain product would be NaN.
    entropy_bits = -torch.xlogy(shares, shares).sum(dim=1) / math.log(2.0)
    return CodebookUsage(used=(histogram > 0).sum(dim=1), perplexity=entropy_bits.exp2(), entropy_bits=entropy_bits)


def code_histogram(codes: Tensor, active: Tensor, codebook_size: int) -> Tensor:
    """How often each of the V codes occurs in the active frames, `[B, K, T], [B, T] -> [K, V]`.

    Raises:
        ValueError: the shapes do not fit, or a code is not in `0 .. V - 1`.
    """
    if codes.numel() and (codes.min() < 0 or codes.max() >= codebook_size):
        raise ValueError(
            f"codes must be in 0 .. {codebook_size - 1}, they reach from {int(codes.min())} to {int(codes.max())}"
        )
    return torch.stack([torch.bincount(row, minlength=codebook_size) for row in select_active(codes, active)])


def code_entropy_gap(codes: Tensor, target_codes: Tensor, active: Tensor, codebook_size: int) -> Tensor:
    """Entropy of the target's codes less that of the output's, in bits, `[B, K, T], [B, K, T], [B, T] -> [K]`.

    Positive where the output is poorer than the target. Counted frequencies underestimate an entropy the more, the
    fewer frames there are; that is why both are taken from the same ones. NaN when no frame is active.

    Raises:
        ValueError: the shapes do not fit, or a code is not in `0 .. V - 1`.
    """
    check_same_shape(codes, target_codes)
    output, target = (usage_of(code_histogram(grid, active, codebook_size)) for grid in (codes, target_codes))
    return target.entropy_bits - output.entropy_bits


def check_same_shape(codes: Tensor, target_codes: Tensor) -> None:
    """Refuse two grids of codes that are not of one shape.

    Raises:
        ValueError: names both shapes.
    """
    if codes.shape != target_codes.shape:
        raise ValueError(
            "codes and target_codes must have one shape [B, K, T]: "
            f"codes is {list(codes.shape)}, target_codes is {list(target_codes.shape)}"
        )


def select_active(values: Tensor, active: Tensor) -> Tensor:
    """The active frames of all items side by side: `[B, K, T], [B, T] -> [K, frames]`.

    Raises:
        ValueError: the shapes do not fit; the message names them.
    """
    if values.ndim != 3 or active.shape != (values.shape[0], values.shape[2]):
        raise ValueError(
            f"expected codes [B, K, T], or latents, and active [B, T]: they are {list(values.shape)} and "
            f"{list(active.shape)}"
        )
    return values.transpose(0, 1)[:, active.bool()]
