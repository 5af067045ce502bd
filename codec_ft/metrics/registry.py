"""The table of metrics: what each number is called, means, and which way is better; and all audio metrics at once."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.spectral import log_mel_distance, log_spectral_distance
from codec_ft.metrics.waveform import sdr_med, si_sdr, usdr


@dataclass(frozen=True)
class Metric:
    """One row of the table: how a report names and explains a number.

    `name` is a heading for people, `unit` is empty for a pure number, `direction` says which way is better,
    `definition` is a sentence or two, `source` who defined it.
    """

    name: str
    unit: str
    direction: Literal["up", "down"]
    definition: str
    source: str


METRICS: dict[str, Metric] = {
    "si_sdr": Metric(
        "SI-SDR",
        "dB",
        "up",
        "Scale-invariant ratio of target to everything else: means taken off, the target scaled to fit best. "
        "Within ±100 dB; undefined for a silent target.",
        "Le Roux et al., 2019",
    ),
    "usdr": Metric(
        "uSDR",
        "dB",
        "up",
        "Ratio of target to difference over the whole excerpt, samples and channels summed, 1e-7 added to both.",
        "Mitsufuji et al., Music Demixing Challenge 2021",
    ),
    "sdr_med": Metric(
        "SDR-med",
        "dB",
        "up",
        "BSSEval v4 as in museval: ratio of target to difference in frames of one second, frames with a silent "
        "target or estimate left out, median over frames.",
        "Stöter et al., SiSEC 2018",
    ),
    "log_mel_distance": Metric(
        "log-mel distance",
        "log10",
        "down",
        "Mean absolute difference of log10 mel amplitudes, averaged over windows of 2048 to 64 samples; 0.1 is a "
        "mean difference of 2 dB. Floor at -80 dB.",
        "Kumar et al., DAC, 2023",
    ),
    "log_spectral_distance": Metric(
        "LSD",
        "dB",
        "down",
        "Root mean square over frequency of the difference of the spectra in dB, averaged over frames "
        "(window 2048, hop 512). Floor at -80 dB.",
        "Gray and Markel, 1976",
    ),
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
}


def waveform_metrics(estimate: Tensor, target: Tensor, sample_rate: int) -> dict[str, Tensor]:
    """All audio metrics of `estimate` against `target`, both `[B, C, N]`: name in `METRICS` -> `[B]`.

    Raises:
        ValueError: the shapes differ or a sample is NaN or infinite.
    """
    check_audio_pair(estimate, target)
    return {
        "si_sdr": si_sdr(estimate, target),
        "usdr": usdr(estimate, target),
        "sdr_med": sdr_med(estimate, target, sample_rate),
        "log_mel_distance": log_mel_distance(estimate, target, sample_rate),
        "log_spectral_distance": log_spectral_distance(estimate, target),
    }
