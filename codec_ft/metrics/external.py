"""Perceptual measures of tools that are installed beside this project: ViSQOL and PEAQ. Nothing here needs them.

Both were made for codecs and transmission, where the estimate is a slightly worse reference. Read them with care where
parts are missing or invented. Either tool judges clips of some seconds, so a track is cut into equal clips of at most
10 s (8 s or more in all tracks longer than 40 s), and its number is their mean; clips with a silent target are left
out, because a tool finds nothing there to compare.
"""

import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codec_ft.audio.files import to_channels, write_audio
from codec_ft.audio.resample import resample
from codec_ft.errors import UserError
from codec_ft.metrics.checks import check_audio_pair
from codec_ft.metrics.metric import Metric

METRICS: dict[str, Metric] = {
    "visqol": Metric(
        "ViSQOL",
        "MOS",
        "up",
        "Mean opinion of listeners, from 1 to about 4.75, as ViSQOL predicts it in its audio mode from mono at 48 kHz; "
        "mean over clips of about 10 s.",
        "Chinen et al., 2020",
    ),
    "peaq_odg": Metric(
        "PEAQ ODG",
        "",
        "up",
        "Objective difference grade of the advanced version of PEAQ as GstPEAQ computes it: 0 for no audible "
        "difference, -4 for a very annoying one; mean over clips of about 10 s.",
        "ITU-R BS.1387; Holters & Zölzer, 2015",
    ),
}
"""What this file measures."""

SAMPLE_RATE = 48000
"""The one rate of ViSQOL's audio mode and of PEAQ."""

LONGEST_SECONDS = 10.0
MARGIN_SECONDS = 0.5
"""Silence that ViSQOL wants before and after what is heard."""

SILENCE_DB = -60.0
"""Root mean square of a clip, dB re 1, below which it counts as silent."""

TIMEOUT_SECONDS = 600.0
MODEL_VARIABLE = "VISQOL_MODEL"


def visqol(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """ViSQOL in audio mode, `[B, C, N], [B, C, N] -> [B]` in float64; NaN where the target is silent.

    Runs `visqol` of github.com/google/visqol, which must be on PATH. It looks for its model in `./model`; elsewhere the
    variable VISQOL_MODEL names the file (`libsvm_nu_svr_model.txt` of its sources).

    Raises:
        UserError: the tool is not installed, fails, takes too long, or says something that is not understood.
        ValueError: the shapes differ or a sample is not finite.
    """
    return _over_clips(_VISQOL, estimate, target, sample_rate)


def peaq_odg(estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Objective difference grade of PEAQ, `[B, C, N], [B, C, N] -> [B]` in float64; NaN where the target is silent.

    Runs `peaq --advanced` of GstPEAQ (github.com/HSU-ANT/gstpeaq), which must be on PATH. More channels than two are
    averaged.

    Raises:
        UserError: the tool is not installed, fails, takes too long, or says something that is not understood.
        ValueError: the shapes differ or a sample is not finite.
    """
    return _over_clips(_PEAQ, estimate, target, sample_rate)


TOOLS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {"visqol": visqol, "peaq_odg": peaq_odg}
"""The functions of the metrics in `METRICS`."""


def available_tools() -> list[str]:
    """Names in `TOOLS` of which the executable is on PATH."""
    return [name for name, tool in (("visqol", _VISQOL), ("peaq_odg", _PEAQ)) if shutil.which(tool.executable)]


@dataclass(frozen=True)
class _Tool:
    """How to ask a tool and where its answer is.

    Attributes:
        executable: its name on PATH.
        install: where it comes from.
        arguments: from the paths of target and estimate.
        answer: what is before the number on its standard output.
        complaint: what it prints in place of, or before, a number that means nothing; it ends with status 0 even so.
        channels: the most that it takes.
        margin_seconds: silence to put around a clip.
    """

    executable: str
    install: str
    arguments: Callable[[Path, Path], list[str]]
    answer: str
    complaint: str
    channels: int
    margin_seconds: float


def _visqol_arguments(target: Path, estimate: Path) -> list[str]:
    arguments = ["--reference_file", str(target), "--degraded_file", str(estimate)]
    if model := os.environ.get(MODEL_VARIABLE):
        arguments += ["--similarity_to_quality_model", model]
    return arguments


_VISQOL = _Tool(
    executable="visqol",
    install="build it as github.com/google/visqol says, and let VISQOL_MODEL name its libsvm_nu_svr_model.txt",
    arguments=_visqol_arguments,
    answer="MOS-LQO:",
    complaint="Error executing ViSQOL",
    channels=1,
    margin_seconds=MARGIN_SECONDS,
)
_PEAQ = _Tool(
    executable="peaq",
    install="build GstPEAQ as github.com/HSU-ANT/gstpeaq says",
    arguments=lambda target, estimate: ["--advanced", str(target), str(estimate)],
    answer="Objective Difference Grade:",
    complaint="Error:",
    channels=2,
    margin_seconds=0.0,
)


def _over_clips(tool: _Tool, estimate: Tensor, target: Tensor, sample_rate: int) -> Tensor:
    """Mean over the clips of each item, `[B]`."""
    check_audio_pair(estimate, target)
    executable = shutil.which(tool.executable)
    if executable is None:
        raise UserError(f"{tool.executable}: is not on PATH. To measure with it, {tool.install}; or leave it out.")
    means = []
    for pair in zip(target, estimate, strict=True):
        heard, judged = (
            resample(to_channels(wave.cpu().numpy(), min(tool.channels, len(wave))), sample_rate, SAMPLE_RATE)
            for wave in pair
        )
        n_clips = max(1, math.ceil(heard.shape[1] / (LONGEST_SECONDS * SAMPLE_RATE)))
        clips = zip(np.array_split(heard, n_clips, axis=1), np.array_split(judged, n_clips, axis=1), strict=True)
        scores = [_ask(tool, executable, *clip) for clip in clips if not _is_silent(clip[0])]
        means.append(sum(scores) / len(scores) if scores else math.nan)
    return torch.tensor(means, dtype=torch.float64)


def _is_silent(wave: np.ndarray) -> bool:
    return bool(np.square(wave, dtype=np.float64).mean() < 10.0 ** (SILENCE_DB / 10.0))


def _ask(tool: _Tool, executable: str, target: np.ndarray, estimate: np.ndarray) -> float:
    """The tool's number for one clip of `[C, N]` at 48 kHz."""
    # Both alike, so that neither clips in 16 bits, which is what both tools read.
    scale = min(1.0, 0.999 / max(np.abs(target).max(), np.abs(estimate).max()))
    margin = round(tool.margin_seconds * SAMPLE_RATE)
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "target.wav"), Path(folder, "estimate.wav")
        for path, wave in zip(paths, (target, estimate), strict=True):
            write_audio(path, np.pad(scale * wave, ((0, 0), (margin, margin))), SAMPLE_RATE)
        try:
            done = subprocess.run(
                [executable, *tool.arguments(*paths)],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UserError(
                f"{executable}: said nothing for {TIMEOUT_SECONDS:.0f} s about a clip of "
                f"{target.shape[1] / SAMPLE_RATE:.0f} s. Try it by hand, or leave it out."
            ) from error
        except OSError as error:
            raise UserError(
                f"{executable}: cannot be run ({error.strerror}). Install it anew, or leave it out."
            ) from error
    said = f"{done.stdout}\n{done.stderr}"
    found = re.search(rf"{re.escape(tool.answer)}\s*([-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*$", done.stdout, re.MULTILINE)
    if done.returncode != 0 or tool.complaint in said or found is None:
        raise UserError(
            f"{executable}: gave no number (exit status {done.returncode}); its last words: {_last_words(tool, said)}. "
            f"If it is not set up, {tool.install}; or leave it out."
        )
    return float(found[1])


def _last_words(tool: _Tool, said: str) -> str:
    """The line with which it complains, or else the last one that is not empty."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    complaints = [line for line in lines if tool.complaint in line]
    return (complaints or lines or ["none"])[-1][:300].rstrip(".")
